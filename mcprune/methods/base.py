"""The contract of a method: something that moves a mask while backprop trains the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mcprune.arrays import BoolArray, Float32Array, FloatArray

if TYPE_CHECKING:
    import torch


class Batch(NamedTuple):
    """Rows that judge: features (B, N) float32, targets (B,) int64."""

    features: torch.Tensor
    targets: torch.Tensor


class MaskUpdate(NamedTuple):
    """What one block did; plain numbers, as the progress event shows them."""

    loss: float  # L_tot
    cla: float
    sel: float
    rej: float
    alpha: float
    delta: float
    temperature: float
    gate_sum: float
    kept: int
    target: int  # n(t)
    proposals: int  # in this block
    accepted: int
    nonfinite: int
    null_moves: int
    rejected_by_bound: int
    moves: dict[str, tuple[int, int]]  # proposed and accepted in this block, by move
    adapted: dict[str, Any] | None = None  # what the method adapts, as docs/events.md says; None where nothing is


class Method(Protocol):
    """A way to a mask."""

    def update(self, batch: Batch, progress: float) -> MaskUpdate:
        """Work for one block on a fresh batch, `progress` (0..1) of the run done."""
        ...

    def training_gates(self) -> Float32Array:
        """Return the gates (N,) under which the classifier trains now."""
        ...

    def position(self) -> FloatArray:
        """Return the pruner weights, shape (N,)."""
        ...

    def harden(self, batch: Batch) -> BoolArray:
        """Return a mask (N,) that keeps exactly n sites."""
        ...

    def description(self) -> dict[str, Any]:
        """Return what the method became in words and numbers, for the record."""
        ...
