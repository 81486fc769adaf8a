"""The classifier of a run: new, cut to a mask, and described."""

from __future__ import annotations

import torch
from torch import nn

from mcprune.config.resolved import ModelSettings
from mcprune.data.prepare import Splits
from mcprune.evaluators.stages import activations
from mcprune.models.registry import build
from mcprune.sites.site_map import SiteMap
from mcprune.surgery.shrink import shrink
from mcprune.types import BoolArray


def fresh_classifier(
    settings: ModelSettings,
    splits: Splits,
    seed: int,
    hidden: tuple[int, ...] | None = None,
    dropout: float | None = None,
    inputs: int | None = None,
) -> nn.Module:
    """Return an untrained classifier; `hidden` and `dropout` replace those of the settings, `inputs` the number of columns."""
    return build(
        settings.name,
        splits.n_inputs if inputs is None else inputs,
        splits.n_outputs,
        settings.hidden if hidden is None else hidden,
        settings.activation,
        settings.dropout if dropout is None else dropout,
        seed,
        bias=settings.bias,
        width=settings.width,
        image_shape=splits.image_shape,
    )


def shrunken(model: nn.Module, sites: SiteMap, mask: BoolArray, n_inputs: int) -> nn.Module:
    """Return the model cut to a mask, for flat rows of `n_inputs`, which not every network knows."""
    return shrink(model, sites, mask, input_shape=(n_inputs,))


def rows_that_fit(model: nn.Module, sites: SiteMap, splits: Splits, *, max_memory: int, replicas: int) -> int | None:
    """Return how many rows fit in memory with their activations where channels or sub-blocks are sites; None for other kinds of sites."""
    if not sites.channels and not sites.blocks:
        return None
    device = next(model.parameters()).device
    whole, widest = activations(model, torch.from_numpy(splits.train.features[:1]).to(device))
    # The suffix evaluator keeps a map for each layer and replica; a forward pass needs a few of the widest.
    return max(1, max_memory // (4 * (replicas * whole + 3 * widest)))


def describe_classifier(settings: ModelSettings, model: nn.Module, inputs: int, *, is_users_model: bool) -> str:
    """Return a short description of the classifier: its class, or the widths of an MLP and of the one that is searched with.

    The one that is searched with may read fewer than all `inputs`.
    """
    widths = getattr(model, "widths", None)
    if not widths and not is_users_model:
        return f"{settings.name}, width {settings.width:g}"
    if not widths:
        return type(model).__name__
    is_mlp = not is_users_model and settings.name == "mlp"
    kept = (inputs, *settings.hidden, widths[-1]) if is_mlp else widths
    text = "MLP " + "-".join(map(str, kept))
    return text if tuple(kept) == tuple(widths) else f"{text}, searched with {'-'.join(map(str, widths))}"
