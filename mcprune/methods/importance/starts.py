"""Measures in the service of the chain: the mask it starts from, and how often `informed` tries a site."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mcprune.chain import state
from mcprune.methods.base import Batch, MaskUpdate
from mcprune.methods.importance.scorer import Scorer
from mcprune.methods.importance.selection import select
from mcprune.methods.markov.method import Markov
from mcprune.types import FloatArray


class Started(Markov):
    """A chain that waits until a measure has chosen its first mask.

    Until the share `begin` of the run the classifier trains on all sites and the chain makes no proposal. Then the measure
    keeps exactly n(t) sites, the same for all replicas, and the chain goes on as it always does.

    Parameters
    ----------
    scorer : Scorer
    begin : float
        Share of the run; 0: the first block.
    how, floor
        As `select` takes them.
    *chain, **more
        What `Markov` takes.
    """

    def __init__(self, *chain: Any, scorer: Scorer, begin: float, how: str, floor: int, **more: Any) -> None:
        super().__init__(*chain, **more)
        self._scorer, self._begin_at, self._how, self._floor = scorer, begin, how, floor
        self._told: list[str] = []
        self.is_started = False

    @property
    def forwards(self) -> int:
        """Work of the scores in rows that went forward."""
        return self._scorer.forwards

    def update(self, batch: Batch, progress: float) -> MaskUpdate:
        """See `Markov.update`; before the start only the loss is taken."""
        if self.is_started:
            return super().update(batch, progress)
        if progress < self._begin_at - 1e-9:
            return self._wait(batch, progress)
        self._start(self.target(progress))
        return super().update(batch, progress)

    def harden(self, batch: Batch) -> np.ndarray:
        """See `Method.harden`: a run that ended before the start keeps what the measure keeps."""
        if not self.is_started:
            self._start(self.settings.keep)
        return super().harden(batch)

    def notes(self) -> list[str]:
        """What the user should know of the start."""
        return self._told

    def _start(self, count: int) -> None:
        found = self._scorer.scores()
        if self.settings.cost is not None:  # `count` is cost(t): the highest scores that fit under it
            scored = np.where(np.isfinite(found.values), found.values, -np.inf)
            mask = self.settings.cost.costs.fill(np.argsort(-scored, kind="stable"), count)
        else:
            mask = select(found.values, self._scorer.owners.sites.groups, count, self._how, self._floor)
        weight = self.settings.start_weight
        self.state.position[:] = np.where(mask, weight, -weight)
        state.refresh(self.state, sharpness=self.sharpness)
        self._last_target = count
        self.is_started = True
        self._told += [f"start: {int(mask.sum()):,} sites by {self._scorer.settings.measure}", *found.notes]

    def _wait(self, batch: Batch, progress: float) -> MaskUpdate:
        self._begin(batch)
        alpha = self.settings.alpha.value(progress)
        sites = self.state.position.shape[1]
        self._set_loss(alpha, sites)
        judged, self._judged = self._judged, 0
        cold = self.coldest
        loss, cla = float(self.state.loss[cold]), float(self.state.cla[cold])
        return MaskUpdate(
            loss=loss,
            cla=cla,
            sel=abs(float(self.state.sums[cold, 0]) - sites) / sites,
            rej=(loss - cla) / alpha - abs(float(self.state.sums[cold, 0]) - sites) / sites if alpha else 0.0,
            alpha=alpha,
            delta=self.settings.delta.value(progress),
            temperature=self.settings.temperature.value(progress),
            gate_sum=float(self.state.sums[cold, 0]),
            kept=self.kept(),
            target=sites,
            proposals=0,
            accepted=0,
            nonfinite=0,
            null_moves=0,
            rejected_by_bound=0,
            moves={},
            judged=judged,
            spread=math.nan,
        )


class SiteWeights:
    """Weights of `informed` by a measure: the higher a site's rank, the more often it is added, and the less often removed.

    Ranks, since measures are of any scale and some of any sign. All sites are scored as if none were dropped: behind a ReLU a dropped
    unit has no slope. They are computed at the first block and then whenever another `every` of the run is over; at T > 0 the chain asks
    only during its warm-up.

    Parameters
    ----------
    scorer : Scorer
    every : float
        Share of the run.
    """

    def __init__(self, scorer: Scorer, every: float = 1 / 40) -> None:
        self.scorer, self.every = scorer, every
        self._next = -math.inf
        self._weights: tuple[FloatArray, FloatArray] | None = None

    def __call__(self, progress: float) -> tuple[FloatArray, FloatArray]:
        """Return weights (add, remove), each (N,), at a share of the run."""
        if self._weights is None or progress >= self._next - 1e-9:
            self._weights = ranks(self.scorer.scores().values)
            self._next = progress + self.every
        return self._weights


def ranks(scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (add, remove), each (N,) in 1/N .. 1: rank from below and from above, ties to their mean."""
    from scipy.stats import rankdata

    rank = rankdata(scores) / scores.size
    return rank, 1.0 + 1.0 / scores.size - rank
