"""[retrain]: how the small model is trained on what the mask keeps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mcprune.config.sections.base import LARGEST_COUNT, Section


class Retrain(Section):
    """How the small model is trained on what the mask keeps."""

    finetune: Literal["auto", "scratch", "warm", "short", "least-squares", "none"] = Field(
        default="auto",
        description="what follows the mask. scratch: a fresh classifier is trained; warm: the search's weights are trained on; short: "
        "a few passes on these weights; least-squares: each layer is refitted in closed form",
        json_schema_extra={"flat": "finetune"},
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_COUNT,
        description="passes over the rows",
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="Adam's learning rate; it rises to twice that and falls to 0",
    )
    weight_decay: float | None = Field(default=None, ge=0, description="decoupled weight decay (AdamW)")
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="dropout in the hidden layers",
    )
    input_noise: float | None = Field(
        default=None, ge=0, description="standard deviation of the noise on the scaled inputs"
    )
    warp: float = Field(
        default=0.0,
        ge=0,
        le=4,
        description="images: shifts of up to so many pixels, rotations of 8 degrees and scales of 8% times that",
    )
    distill: float = Field(
        default=0.0,
        ge=0,
        le=20,
        description="train the small classifier on the outputs of a classifier on all sites, instead of the labels: the temperature of "
        "these outputs, such as 2; 0: the labels",
    )
