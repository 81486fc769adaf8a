"""Options of a classifier that is trained before the search, of its proposals, and of what follows a one-shot mask."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mcprune.config.gradient import GradientOptions
from mcprune.errors import ConfigError

CLASSIFIER: dict[str, Any] = {"group": "classifier"}
CHAIN: dict[str, Any] = {"group": "chain"}


class OneShotOptions(GradientOptions):
    """Options of `RunConfig` for trained classifiers; None and `auto` are settled from the data."""

    bias: Literal["yes", "no"] = Field(
        "yes", description="whether the layers of the built-in classifier have biases", json_schema_extra=CLASSIFIER
    )
    pretrain: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="passes over the training rows with all sites kept, before the search [none]",
        json_schema_extra=CLASSIFIER,
    )
    frozen: bool = Field(
        False,
        description="the classifier is not trained during the search; it comes from --pretrain, or from Python",
        json_schema_extra=CLASSIFIER,
    )
    update: Literal["auto", "fresh", "found", "none", "least-squares", "gradient"] = Field(
        "auto",
        description="what follows the mask: a fresh small classifier is trained, or the found one trained on, or a short update of "
        "the found values; auto: gradient for weights and frozen classifiers, found for channels, else fresh",
        json_schema_extra=CLASSIFIER,
    )
    update_epochs: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="passes of --update gradient [5, more for few rows]",
        json_schema_extra=CLASSIFIER,
    )
    informed_by: Literal["auto", "chain", "trials"] = Field(
        "auto",
        description="what informed moves go by: what the chain has met, or sites tried one by one in front of each block; "
        "auto: trials for weights",
        json_schema_extra=CHAIN,
    )
    pool_limit: int | None = Field(
        None,
        ge=1,
        le=2**31,
        description="most sites that are judged at once for a falling budget [8192 with the fused evaluator, else 512; no "
        "limit below 2,048 sites]",
        json_schema_extra=CHAIN,
    )


# What a frozen classifier does not read, with what it belongs to.
TRAINED_ONLY = {"perturb": "a run without --frozen", "jitter": "a run without --frozen"}


def unused_frozen(config: Any) -> dict[str, str]:
    """Return the options that a frozen classifier does not read, each with what it belongs to."""
    return TRAINED_ONLY if config.frozen else {}


def check_one_shot(config: Any) -> None:
    """Refuse options of one-shot pruning that contradict each other.

    Raises
    ------
    ConfigError
        Naming the options and what to do.
    """
    if config.method != "markov":
        for name in ("pretrain", "frozen"):
            if getattr(config, name):
                raise ConfigError(
                    f"--{name} with --method {config.method}, which trains the classifier as it goes; leave --{name} out, or use "
                    "--method markov"
                )
    for name, owner in unused_frozen(config).items():
        if name in config.model_fields_set and getattr(config, name):
            raise ConfigError(
                f"--{name} does nothing under --frozen: it belongs to {owner}; leave it out, or change that"
            )
    if config.update in ("fresh", "found") and "weights" in config.sites:
        raise ConfigError(
            f"update={config.update} with sites={config.sites!r}: dropped weights stay at 0 in a short update only; choose "
            "--update gradient, least-squares or none"
        )
    if config.update_epochs is not None and config.update in ("fresh", "found", "none", "least-squares"):
        raise ConfigError(
            f"update_epochs={config.update_epochs} does nothing under --update {config.update}: it belongs to --update "
            "gradient; leave it out, or change that"
        )
    if config.informed_by == "trials" and getattr(config, "propose_by", None) is not None:
        raise ConfigError(
            f"informed_by=trials and propose_by={config.propose_by} are two ways to choose what informed moves try; leave one out"
        )
    if config.informed_by == "trials" and "informed" not in config.moves and "moves" in config.model_fields_set:
        raise ConfigError(
            "informed_by=trials, but no move is informed; add it, such as --moves informed=3,exchange=1, or leave "
            "--informed-by out"
        )
