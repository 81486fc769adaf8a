"""What a run of a model shows of its sub-blocks: their order, the axis of the batch, and how often their weights are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from mcprune.models.forward import run_model, zero_rows
from mcprune.models.modes import evaluating, plain_attention
from mcprune.sites.blocks.description import SubBlock

FEW, MORE = 2, 3  # rows of the two runs


class Trace(NamedTuple):
    """What two runs have shown of the layers that ran.

    Attributes
    ----------
    order : dict of str to int
        Place of each output projection among those of all sub-blocks.
    first : dict of str to int
        Place of the first call of each layer of sub-blocks, and of each expert.
    batch_axis : dict of str to int
        The axis of a layer's input along which the rows of a batch lie.
    positions : dict of str to int
        Times that a layer uses its weights for one row.
    """

    order: dict[str, int]
    first: dict[str, int]
    batch_axis: dict[str, int]
    positions: dict[str, int]


def trace(model: nn.Module, blocks: Iterable[SubBlock], rows: Sequence[int]) -> Trace:
    """Run a model on rows of zeros, and return what its sub-blocks do.

    Raises
    ------
    ModelError
        The model cannot be run on such rows.
    """
    few, more = (_shapes(model, blocks, rows, count) for count in (FEW, MORE))
    outs = {block.out for block in blocks}
    axes = {
        name: next((axis for axis, (a, b) in enumerate(zip(shapes[0], more[name][0], strict=False)) if a != b), 0)
        for name, shapes in few.items()
        if name in more
    }
    uses = {name: sum(_positions(shape) for shape in shapes) // FEW for name, shapes in few.items()}
    order = {name: place for place, name in enumerate(name for name in few if name in outs)}
    return Trace(order, {name: place for place, name in enumerate(few)}, axes, uses)


def _positions(shape: tuple[int, ...]) -> int:
    return torch.Size(shape[:-1]).numel()


def _shapes(
    model: nn.Module, blocks: Iterable[SubBlock], rows: Sequence[int], count: int
) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of the inputs of the layers of sub-blocks, a call each, by their names in the order in which they run."""
    out: dict[str, list[tuple[int, ...]]] = {}

    def noted(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            first = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
            if first is not None:
                out.setdefault(name, []).append(tuple(first.shape))

        return note

    names = dict.fromkeys(part for block in blocks for part in (*block.parts, *block.members))
    hooks = [model.get_submodule(name).register_forward_pre_hook(noted(name), with_kwargs=True) for name in names]
    try:
        with torch.no_grad(), evaluating(model), plain_attention():
            run_model(lambda: model(zero_rows(model, count, rows)), model, tuple(rows))
    finally:
        for hook in hooks:
            hook.remove()
    return out
