"""[model]: the built-in classifier."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mcprune.config.parsing import layer_widths
from mcprune.config.sections.base import Section, Width


class Model(Section):
    """The built-in classifier."""

    name: Literal["mlp", "lenet-300-100", "vgg13", "mobilenet_v1", "resnet56"] = Field(
        default="mlp", description="classifier by name; the last three take images", json_schema_extra={"flat": "model"}
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
