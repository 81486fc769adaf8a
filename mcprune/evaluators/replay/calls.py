"""The calls of modules in a forward pass: their order, what each returns, and which sites act from where on.

No graph is traced: the model runs as it is, and the `forward` of its modules notes when a call begins and ends. Where a group of sites
acts is seen by running the model with other gates, NaN among them, until an output differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from mcprune.models.modes import evaluating
from mcprune.sites.site_map import SiteMap
from mcprune.types import IntArray

Forward = Callable[..., object]
# Rows of the passes that show the calls, and of the one that shows which side of an output counts the rows.
FEW, MORE = 2, 3
PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device)
OUTSIDE = -1


class Gated(Protocol):
    """A model whose forward pass takes gates, such as `GatedModel`."""

    model: nn.Module
    sites: SiteMap

    def __call__(self, x: torch.Tensor, gates: torch.Tensor, *, is_partial: bool = False) -> torch.Tensor:
        """Return the outputs of rows under gates."""
        ...


@dataclass
class Call:
    """One call of a module.

    Attributes
    ----------
    module : nn.Module
    end : int
        Rank among the ends of all calls.
    inside : int
        Calls that begin and end inside it.
    output : object
        Tensors, or tuples and dicts of them; copies.
    writers : set of int
        The calls that change its output in place later, `OUTSIDE` for operations outside of all of them.
    is_plain : bool
        The output holds tensors and numbers only, and no input is changed in place but one that is returned.
    writes : bool
        An input is changed in place.
    """

    module: nn.Module
    end: int = 0
    inside: int = 0
    output: object = None
    writers: set[int] = field(default_factory=set)
    is_plain: bool = True
    writes: bool = False


class _EnoughError(Exception):
    """Ends a forward pass of which enough has been seen."""


def tensors_of(tree: object) -> list[torch.Tensor]:
    """Return the tensors in nested tuples, lists and dicts, in order."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def mapped(tree: object, change: Callable[[torch.Tensor], torch.Tensor]) -> object:
    """Return the same nested structure with each tensor changed."""
    if isinstance(tree, torch.Tensor):
        return change(tree)
    return pytree.tree_map_only(torch.Tensor, change, tree)


@contextlib.contextmanager
def patched(modules: Sequence[nn.Module], make: Callable[[nn.Module, Forward], Forward]) -> Iterator[None]:
    """Replace the `forward` of modules inside the block; their hooks run as before, around it."""
    before = [(module, module.__dict__.get("forward")) for module in modules]
    for module in modules:
        module.__dict__["forward"] = make(module, module.forward)
    try:
        yield
    finally:
        for module, own in before:
            if own is None:  # gates of attention may have set and removed one of their own
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


@torch.no_grad()
def trace(gated: Gated, features: torch.Tensor, gates: torch.Tensor) -> list[Call]:
    """Return the calls of a forward pass in the order in which they begin; the model's own call is none of them."""
    calls: list[Call] = []
    returned: list[tuple[int, torch.Tensor, int]] = []  # a call, a tensor that it returned, and its version then
    ends = 0

    def note_writers(number: int) -> None:
        """Note the call in whose time tensors were changed in place that earlier calls had returned."""
        for place, (of, tensor, version) in enumerate(returned):
            if _version(tensor) != version:
                calls[of].writers.add(number)
                returned[place] = of, tensor, _version(tensor)

    def make(module: nn.Module, forward: Forward) -> Forward:
        def noted(*args: object, **options: object) -> object:
            nonlocal ends
            note_writers(OUTSIDE)
            number, call = len(calls), Call(module)
            calls.append(call)
            inputs = [(tensor, _version(tensor)) for tensor in tensors_of((args, options))]
            output = forward(*args, **options)
            note_writers(number)
            call.end, ends = ends, ends + 1
            call.inside = len(calls) - number - 1
            leaves = pytree.tree_leaves(output)
            results = {id(leaf) for leaf in leaves}
            written = [tensor for tensor, version in inputs if _version(tensor) != version]
            call.writes = bool(written)
            call.is_plain = all(isinstance(leaf, (torch.Tensor, *PLAIN)) for leaf in leaves) and all(
                id(tensor) in results for tensor in written
            )
            call.output = mapped(output, torch.clone)
            returned.extend((number, leaf, _version(leaf)) for leaf in leaves if isinstance(leaf, torch.Tensor))
            return output

        return noted

    with evaluating(gated.model), patched(modules_of(gated.model), make):
        gated(features, gates)
        note_writers(OUTSIDE)
    return calls


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Return the modules inside a model whose calls can be noted."""
    return [one for one in model.modules() if one is not model and not isinstance(one, torch.jit.ScriptModule)]


def first_changed(
    gated: Gated, features: torch.Tensor, gates: torch.Tensor, calls: Sequence[Call], *, without: Collection[int] = ()
) -> IntArray:
    """Return the rank of the first end at which each group of sites has changed an output, shape (G,); all ends where none has.

    Parameters
    ----------
    gated : Gated
    features : tensor, shape (B, ...)
    gates : tensor, shape (N,)
    calls : sequence of Call
        Of a pass over these features under these gates.
    without : collection of int
        Numbers of groups that are not tried.
    """
    out = []
    for number, group in enumerate(gated.sites.groups):
        end = 0 if group.kind == "inputs" else len(calls)
        if number in without:
            out.append(end)
            continue
        # Gates that are compared with a number lose NaN; of gates that are multiplied with zeros only NaN is seen.
        for other in (torch.nan, 1.0 - gates[group.start : group.stop]):
            changed = gates.clone()
            changed[group.start : group.stop] = other
            end = _first_difference(gated, features, changed, calls, end)
        out.append(end)
    return np.array(out, np.int64)


@torch.no_grad()
def _first_difference(
    gated: Gated, features: torch.Tensor, gates: torch.Tensor, calls: Sequence[Call], most: int
) -> int:
    """Return the rank of the first end at which an output differs from that of `calls`, or `most` where none of so many does."""
    begun = ends = 0

    def make(module: nn.Module, forward: Forward) -> Forward:
        def compared(*args: object, **options: object) -> object:
            nonlocal begun, ends
            number = begun
            begun += 1
            if number >= len(calls) or calls[number].module is not module:
                raise _EnoughError
            output = forward(*args, **options)
            if ends >= most or not _same(output, calls[number].output):
                raise _EnoughError
            ends += 1
            return output

        return compared

    # Whatever a model raises on NaN, it raises behind the difference.
    with evaluating(gated.model), patched(modules_of(gated.model), make), contextlib.suppress(Exception):
        gated(features, gates)
    return ends


def _same(one: object, other: object) -> bool:
    first, second = tensors_of(one), tensors_of(other)
    return len(first) == len(second) and all(
        a.shape == b.shape and bool(torch.isclose(a, b, rtol=0.0, atol=0.0, equal_nan=True).all())
        for a, b in zip(first, second, strict=True)
    )


class RowSide(NamedTuple):
    """Which side of a tensor counts the rows of the batch, and how many entries each row has there."""

    side: int
    each: int


def row_side(few: torch.Tensor, more: torch.Tensor) -> RowSide | None:
    """Return the side of a tensor that counts rows, from its shapes for `FEW` and `MORE` rows; a side of -1 where that is not clear."""
    if few.shape == more.shape:
        return None
    if few.dim() != more.dim():
        return RowSide(-1, 0)
    sides = [side for side, (one, other) in enumerate(zip(few.shape, more.shape, strict=True)) if one != other]
    size, larger = few.shape[sides[0]], more.shape[sides[0]]
    is_clear = len(sides) == 1 and size * MORE == larger * FEW
    return RowSide(sides[0], size // FEW) if is_clear else RowSide(-1, 0)
