"""The contract of a method: something that moves a mask while backprop trains the classifier."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from mcprune.objectives.base import Rows
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray

if TYPE_CHECKING:
    import torch


class Batch(NamedTuple):
    """Rows that judge: features (B, N) float32, targets (B,) int64, and what else the objective is told of them."""

    features: torch.Tensor
    targets: torch.Tensor
    rows: Rows | None = None


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
    strength: float = math.nan  # lambda of the gradient path's schedules
    judged: int = (
        0  # masks that an evaluator judged in this block: candidates, those of a falling budget, where the chains stand
    )
    adapted: dict[str, Any] | None = None  # what the method adapts, as docs/events.md says; None where nothing is
    cost: int | None = None  # of the mask, in the unit of the budget; None where that is a count of sites
    cost_target: int | None = None  # cost(t)
    walled: int = 0  # proposals rejected unevaluated for a cost above cost(t), or an emptied group
    spread: float = math.nan  # root mean square change of L_cla of what was evaluated, at a temperature only


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

    def save(self) -> dict[str, Any]:
        """Return all that its future depends on between two blocks: plain values, arrays and tensors, copied."""
        ...

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `save` of a method made alike gave; KeyError, TypeError or ValueError where it does not fit."""
        ...


@runtime_checkable
class Joint(Protocol):
    """A method whose gates are trained, or dropped, by the classifier's own steps of backprop: what one step asks of it, in this order.

    If it has a method `watch`, that is called with the gradients made and the step not yet.
    """

    crossed: IntArray  # (N,), the step at which each gate last crossed one half; 0: never

    def gates(self, rows: int) -> torch.Tensor:
        """Return the gates of a training batch, (N,) or (rows, N), with a gradient."""
        ...

    def penalty(self) -> torch.Tensor:
        """Return alpha L_pru, a scalar with a gradient, which is added to L_cla."""
        ...

    def stepped(self, cla: torch.Tensor) -> None:
        """Move the gates: L_tot has been propagated back, and the classifier has made its step; `cla` is the batch's L_cla."""
        ...

    def notes(self) -> list[str]:
        """Return what the user should know of the search, once it is over."""
        ...
