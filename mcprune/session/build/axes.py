"""Sensors and steps as sites: the inputs that belong to one are a group of tied sites, of the cost of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from mcprune.config.schema import Config
from mcprune.errors import ConfigError
from mcprune.sites.row_axes import AXES, row_axes
from mcprune.types import IntArray


def tie_axis(config: Config, model: nn.Module | None, n_inputs: int) -> tuple[Config, str]:
    """Return the configuration with inputs tied where sites are sensors or steps, and a note on them; "" where they are not.

    Parameters
    ----------
    config : Config
    model : nn.Module or None
        The user's own, which takes flat rows; None for a built-in one.
    n_inputs : int

    Raises
    ------
    ConfigError
        Another kind of site beside them, a built-in classifier, or options that contradict tied sites.
    ModelError
        The first layer does not read sensors at steps.
    """
    text = config.problem.sites.strip()
    kinds = [kind for kind in AXES if kind in [part.strip().partition(":")[0] for part in text.split(",")]]
    if not kinds:
        return config, ""
    kind = kinds[0]
    if text != kind:
        raise ConfigError(
            f"sites={text!r}, but {kind} are sites alone: all inputs of one are kept or dropped together. Write sites={kind!r}."
        )
    if model is None:
        raise ConfigError(
            f"sites={kind!r}, but the built-in classifiers do not read {kind} of rows over time. Give a model of your own, such as one "
            "that begins with nn.Conv1d or nn.GRU, or tie the inputs by groups."
        )
    if config.problem.groups is not None:
        raise ConfigError(
            f"groups with sites={kind!r}, whose inputs are groups already. Leave groups out, or choose sites='inputs'."
        )
    if config.method != "markov":
        raise ConfigError(
            f"method={config.method} keeps or drops inputs one by one, but those of one of the {kind} belong together. Use method=markov."
        )
    axes = row_axes(model, n_inputs, kind)
    groups = {
        f"{kind[:-1]}[{number}]": {"sites": _ranges(places), "cost": 1}
        for number, places in enumerate(axes.places(kind))
    }
    note = f"sites: {len(groups)} {kind} of {n_inputs // len(groups)} inputs each, as {axes.reader!r} reads them"
    return config.replace(sites="inputs", groups=groups), note


def _ranges(places: IntArray) -> Sequence[int | str]:
    """Return rising places as ranges such as 0-47 where they lie side by side, else one by one."""
    is_row = places.size > 1 and bool((np.diff(places) == 1).all())
    return [f"{places[0]}-{places[-1]}"] if is_row else places.tolist()
