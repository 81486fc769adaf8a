"""[model]: the classifier, built in or of a file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mcprune.config.parsing import MODEL_NAMES, is_model_file, layer_widths, model_name
from mcprune.config.sections.base import Section, Width


class Model(Section):
    """The classifier, built in or of a file."""

    name: Annotated[str, BeforeValidator(model_name)] = Field(
        default="mlp",
        description=f"classifier by name: {', '.join(MODEL_NAMES)} (the last three take images); or FILE.py:NAME of a torch nn.Module "
        "of your own, or of a function that returns one",
        json_schema_extra={"flat": "model", "placeholder": "NAME|FILE.py:NAME"},
    )
    width: float = Field(
        default=1.0,
        gt=0,
        le=16,
        description="multiplies the channels of every layer of a convolutional network, such as 0.25",
    )
    hidden: Annotated[tuple[Width, ...], BeforeValidator(layer_widths)] = Field(
        default=(128, 64), description="widths of the hidden layers"
    )
    search_hidden: Annotated[tuple[Width, ...] | None, BeforeValidator(layer_widths)] = Field(
        default=None,
        description="widths while inputs are searched",
    )
    activation: Literal["relu", "tanh", "sigmoid", "gelu", "softplus"] = Field(
        default="relu", description="activation of the hidden layers"
    )
    dropout: float | None = Field(default=None, ge=0, lt=1, description="dropout in the hidden layers while training")
    bias: bool = Field(default=True, description="biases in the linear layers of the built-in classifier")

    @property
    def is_file(self) -> bool:
        """Whether the classifier is in a file of the user."""
        return is_model_file(self.name)
