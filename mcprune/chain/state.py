"""What the next step needs (ChainState) and what diagnostics need (StepInfo), kept apart."""

from typing import NamedTuple

import numpy as np

from mcprune.chain import KINDS, kernels
from mcprune.errors import ConfigError, NumericalError
from mcprune.types import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["ChainState", "StepInfo", "kept_count", "mask", "new_state", "refresh"]


class ChainState(NamedTuple):
    """R chains over N sites. The engine owns the arrays: `engine.advance` updates them in place.

    (A copy of the position for each one-site move would cost more than the move.) Take copies of what should
    stay.
    """

    position: FloatArray  # (R, N) pruner weights
    loss: FloatArray  # (R,) L_tot at position, on the current batch and classifier; nan before engine.set_loss
    cla: FloatArray  # (R,) L_cla at position, likewise
    step: IntArray  # (R,) proposals consumed; keys the random numbers
    sums: FloatArray  # (R, 3) running sums of s, s (1 - s), log s
    tree: AnyArray  # (R, N + 1) int32 Fenwick tree over the kept sites (w > 0); [:, 0] is their count

    @property
    def arrays(self) -> tuple[FloatArray, FloatArray, AnyArray, IntArray]:
        """Position, sums, tree and step: what kernels take of a chain beside its losses."""
        return self.position, self.sums, self.tree, self.step


class StepInfo(NamedTuple):
    """What happened to a batch of candidates."""

    consumed: IntArray  # (R,) candidates that the serial chain would have proposed
    # (hides tuple.index, which nobody needs here)
    index: IntArray  # type: ignore[assignment]  # (R,) which one was accepted, -1 if none
    kind: IntArray  # (R,) its move, an index of moves.KINDS, -1 if none
    loss_change: FloatArray  # (R, K) L_tot change of each consumed candidate (0 for a null step), nan for the others
    proposed: IntArray  # (R, 6) steps of each move, null steps and walks among them
    accepted: IntArray  # (R, 6) accepted candidates
    null: IntArray  # (R,) steps whose move was not available
    nonfinite: IntArray  # (R,) consumed candidates whose loss was not finite: rejected
    steps: IntArray  # (R,) steps of the chain; more than `consumed` where there were walks (gates by rank)
    decided: IntArray  # (R, 6) consumed candidates of each move, which the accept rule has decided

    @classmethod
    def empty(cls, replicas: int, count: int) -> "StepInfo":
        """Return that of no steps, for R replicas and K candidates."""
        counts = np.zeros((4, replicas), np.int64)
        kinds = np.zeros((3, replicas, len(KINDS)), np.int64)
        return cls(
            consumed=counts[0],
            index=np.full(replicas, -1),
            kind=np.full(replicas, -1),
            loss_change=np.full((replicas, count), np.nan),
            proposed=kinds[0],
            accepted=kinds[1],
            null=counts[1],
            nonfinite=counts[2],
            steps=counts[3],
            decided=kinds[2],
        )


def new_state(position: FloatArray, *, sharpness: float) -> ChainState:
    """State at given weights, no proposal consumed, losses still unknown (nan).

    Parameters
    ----------
    position : ndarray, shape (R, N) or (N,) for one chain
        Copied. A site is kept where its weight is positive.
    sharpness : float > 0
        Gates are sigmoid(sharpness * w); inf = hard gates.

    Raises
    ------
    ConfigError
        Where a weight is not finite, there is no site, or sharpness is not positive.
    """
    weights = np.array(position, dtype=np.float64, ndmin=2, order="C")
    if weights.ndim != 2 or weights.size == 0:
        raise ConfigError(f"position has shape {np.shape(position)}. Give (replicas, sites), at least one of each.")
    if not np.isfinite(weights).all():
        bad = int(np.count_nonzero(~np.isfinite(weights)))
        raise ConfigError(f"{bad} of {weights.size} starting weights are not finite. Start from finite ones, say 4.")
    replicas, sites = weights.shape
    state = ChainState(
        position=weights,
        loss=np.full(replicas, np.nan),
        cla=np.full(replicas, np.nan),
        step=np.zeros(replicas, np.int64),
        sums=np.empty((replicas, 3)),
        tree=np.empty((replicas, sites + 1), np.int32),
    )
    refresh(state, sharpness=sharpness)
    return state


def refresh(state: ChainState, *, sharpness: float) -> ChainState:
    """Sum the gates and build the tree again, in place: after a change of sharpness or of positions by hand.

    The engine does it for its own drift (see `kernels.apply`). The losses are left alone: call
    `engine.set_loss` next.
    """
    if not sharpness > 0:
        raise ConfigError(f"sharpness={sharpness} must be positive. 1 is the plain sigmoid, inf a hard gate.")
    kernels.refresh_rows(state.position, float(sharpness), state.sums, state.tree)
    return state


def kept_count(state: ChainState) -> IntArray:
    """Sites with a positive weight, shape (R,), in O(R)."""
    return state.tree[:, 0].astype(np.int64)


def mask(position: FloatArray, n: int) -> BoolArray:
    """Hard mask of exactly n sites: the largest weights, ties to the lowest index.

    Parameters
    ----------
    position : ndarray, shape (..., N)
    n : int, 0 <= n <= N

    Returns
    -------
    ndarray of bool, shape (..., N)

    Raises
    ------
    ConfigError
        Where n is out of range.
    NumericalError
        Where a weight is NaN, which has no rank.
    """
    weights = np.asarray(position, dtype=np.float64)
    sites = weights.shape[-1]
    if not 0 <= n <= sites:
        raise ConfigError(f"keep={n}, but there are {sites} sites. Choose 0 <= keep <= {sites}.")
    if np.isnan(weights).any():
        raise NumericalError("A weight is NaN, so the sites have no order. Start again from finite weights.")
    order = np.argsort(-weights, axis=-1, kind="stable")[..., :n]
    kept = np.zeros(weights.shape, np.bool_)
    np.put_along_axis(kept, order, True, axis=-1)
    return kept
