"""A held-out check of a search on folds: its masks must go on to do better on rows that it does not use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mcprune.models.modes import evaluating
from mcprune.session.build.plan import Plan
from mcprune.training.metrics import weighted_mean
from mcprune.types import BoolArray, FloatArray

# Standard errors of the paired difference by which a mask must be worse than the best one; validation rows that this takes.
ERRORS, LEAST_ROWS = 3.0, 30


@dataclass
class GuardState:
    """The mask that did best on the validation rows; updated in place.

    Attributes
    ----------
    mask : ndarray of bool, shape (N,)
    losses : ndarray of float64, shape (validation rows,)
        Infinite before the first look.
    search_loss : float
        Of that mask on the evaluation rows.
    block : int
        After which it stood.
    fallen : list of float
        Block, search loss and validation loss where the search had fallen away; empty where it has not.
    """

    mask: BoolArray
    losses: FloatArray
    search_loss: float
    block: int
    fallen: list[float]


class Guard:
    """Looks at the validation rows with the classifiers of all folds.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    is_on : bool
        The classifiers are those of folds, the loss of backprop is minimised, and there are enough validation rows.
    """

    def __init__(self, plan: Plan) -> None:
        rows = plan.splits.validation
        self.plan = plan
        self.is_on = (
            len(plan.stack) > 1 and plan.is_plain_objective and plan.space.is_count and len(rows.targets) >= LEAST_ROWS
        )
        self.share = None if rows.weights is None else rows.weights / rows.weights.sum()
        self.features, self.targets = (
            plan.rows(plan.seen(rows.features)),
            torch.from_numpy(rows.targets).to(plan.device),
        )

    def init(self) -> GuardState:
        """Return the state before the first look."""
        rows = len(self.targets) if self.is_on else 0
        return GuardState(np.zeros(self.plan.sites.size, bool), np.full(rows, np.inf), math.inf, 0, [])

    def look(self, state: GuardState, mask: BoolArray, search_loss: float, block: int) -> None:
        """Compare a mask (N,) of n sites with the best one so far."""
        if not self.is_on or state.fallen or self.plan.space.counted(mask) != self.plan.keep:
            return
        losses = self._losses(mask)
        if state.block == 0 or self._mean(losses) <= self._mean(state.losses):
            state.mask[:], state.losses[:], state.search_loss, state.block = mask, losses, search_loss, block
            return
        change = losses - state.losses
        away = self._mean(change)
        if self.share is None:
            error = float(change.std(ddof=1)) / math.sqrt(len(change))
        else:
            _, error = weighted_mean(change, self.share)
        if search_loss < state.search_loss and away > ERRORS * error:
            state.fallen = [float(block), search_loss, self._mean(losses)]

    def note(self, state: GuardState) -> str:
        """Return what to say of a search that has fallen away; empty where it has not."""
        if not state.fallen:
            return ""
        block, search_loss, loss = state.fallen
        return (
            f"The search began to fit its own rows: from block {state.block:,} to {block:,.0f} its loss fell from {state.search_loss:.4f} "
            f"to {search_loss:.4f}, but that on {len(self.targets):,} validation rows rose from {self._mean(state.losses):.4f} to "
            f"{loss:.4f}. "
            f"The mask of block {state.block:,} stays in the running."
        )

    def _mean(self, losses: FloatArray) -> float:
        """Return the mean over the rows (rows,), under their weights where they have any."""
        return float(losses.mean() if self.share is None else self.share @ losses)

    @torch.no_grad()
    def _losses(self, mask: BoolArray) -> FloatArray:
        """Return the mean loss (rows,) of the classifiers."""
        losses = np.zeros(len(self.targets))
        for gated in self.plan.stack:
            with evaluating(gated.model):
                logits = gated(self.features, gated.hard_gates(self.plan.seen(mask)))
            losses += self.plan.row_loss.rows(logits, self.targets).double().cpu().numpy()
        return losses / len(self.plan.stack)
