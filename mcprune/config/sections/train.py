"""[train]: how the classifier is trained during the search."""

from __future__ import annotations

from pydantic import Field

from mcprune.config.sections.base import LARGEST_COUNT, Section


class Train(Section):
    """How the classifier is trained during the search."""

    epochs: int | None = Field(default=None, ge=1, le=LARGEST_COUNT, description="passes over the training rows")
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="rows in a training step",
    )
    learning_rate: float = Field(
        default=2e-3,
        gt=0,
        description="Adam's learning rate during the search; it decays over the last part of the run",
    )
    weight_decay: float | None = Field(default=None, ge=0, description="decoupled weight decay (AdamW)")
    mask_noise: float | None = Field(
        default=None, ge=0, le=1, description="fraction of the kept sites that each training row swaps for dropped ones"
    )
    input_noise: float | None = Field(
        default=None,
        ge=0,
        description="standard deviation of the normal noise on the scaled inputs during the search, on training and "
        "evaluation rows",
    )
    pretrain: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="passes over the training rows with all sites kept, before the search",
    )
    frozen: bool = Field(
        default=False,
        description="the classifier is not trained during the search; it comes from --pretrain, or trained from Python",
    )
    amp: bool = Field(
        default=False,
        description="bfloat16 (torch's autocast) in the forward passes of training, in the search and the retraining; "
        "candidates and results stay float32",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="training steps between two blocks of proposals",
        json_schema_extra={"flat": "train_steps"},
    )
