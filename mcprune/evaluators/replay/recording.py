"""What the calls of a model returned, as they are or in a shorter number type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.utils import _pytree as pytree

from mcprune.evaluators.replay.calls import Call

# Number types that are stored in a shorter one on request.
LONG = (torch.float32, torch.float64)


class Stored(NamedTuple):
    """A tensor in a shorter number type, and the type that it had."""

    tensor: torch.Tensor
    dtype: torch.dtype


class Recording:
    """What the calls of one position returned on some rows.

    Parameters
    ----------
    dtype : torch.dtype, optional
        A shorter number type in which tensors of 32 or 64 bits are stored, where it holds their largest number; None: as they are.

    Attributes
    ----------
    outputs : dict of int to object
        By the number of the call, as they are stored.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        self.outputs: dict[int, object] = {}

    def put(self, number: int, output: object) -> None:
        """Store what a call returned."""
        self.outputs[number] = (
            output if self.dtype is None else pytree.tree_map_only(torch.Tensor, self._stored, output)
        )

    def get(self, number: int) -> object:
        """Return what a call returned."""
        output = self.outputs[number]
        if self.dtype is None:
            return output
        return pytree.tree_map(_restored, output, is_leaf=lambda one: isinstance(one, Stored))

    def forget(self, start: int, calls: Sequence[Call]) -> None:
        """Forget what calls returned that end at or behind a rank."""
        self.outputs = {number: one for number, one in self.outputs.items() if calls[number].end < start}

    def _stored(self, tensor: torch.Tensor) -> object:
        assert self.dtype is not None
        if tensor.dtype not in LONG or not tensor.numel() or float(tensor.abs().max()) > torch.finfo(self.dtype).max:
            return tensor
        return Stored(tensor.to(self.dtype), tensor.dtype)


def _restored(leaf: object) -> object:
    return leaf.tensor.to(leaf.dtype) if isinstance(leaf, Stored) else leaf


def size_of(tensor: torch.Tensor, dtype: torch.dtype | None) -> int:
    """Return the bytes of a number of a tensor that is stored in a number type."""
    return tensor.element_size() if dtype is None or tensor.dtype not in LONG else dtype.itemsize
