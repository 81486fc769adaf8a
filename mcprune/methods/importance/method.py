"""Importance as a way to a mask: train, score, drop the lowest, in one round or several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mcprune.methods.base import Batch, MaskUpdate
from mcprune.methods.importance.scorer import Scorer
from mcprune.methods.importance.selection import select
from mcprune.state import Saved, checked, copied
from mcprune.types import BoolArray, Float32Array, FloatArray


@dataclass(frozen=True)
class ImportanceSettings:
    """When sites are dropped, and how many.

    Attributes
    ----------
    keep : int
        n.
    counts : tuple of int
        Sites left after each round; the last is n.
    steps : tuple of int
        Steps of backprop after which each round comes.
    how : "global" or "layerwise"
    floor : int
        Sites that each group keeps at least.
    start_weight : float
        The position says + this for kept, - this for dropped sites.
    """

    keep: int
    counts: tuple[int, ...]
    steps: tuple[int, ...]
    how: str = "global"
    floor: int = 1
    start_weight: float = 4.0


class Importance:
    """A mask that loses the least important sites, round by round, while the classifier trains under it.

    A `Joint` method without trained gates: its rounds come between two steps of backprop.

    Parameters
    ----------
    scorer : Scorer
    settings : ImportanceSettings
    """

    # Its position ranks nothing: until the last round there are no n sites to be named.
    ranks = False

    def __init__(self, scorer: Scorer, settings: ImportanceSettings) -> None:
        self.scorer, self.settings = scorer, settings
        size = scorer.owners.sites.size
        self.mask = np.ones(size, np.bool_)
        self.crossed = np.zeros(size, np.int64)
        self.scores: FloatArray | None = None  # of the last round
        self.steps = self.rounds = self.nonfinite = 0
        self.told: list[str] = []
        self._gates = torch.ones(size, device=scorer.features.device)
        self._tracked, self._tracked_steps = np.zeros(size), 0
        self._sum, self._count = torch.zeros((), dtype=torch.float64, device=scorer.features.device), 0

    @property
    def forwards(self) -> int:
        """Work of the scores in rows that went forward, a row of backprop counting three."""
        return self.scorer.forwards

    def gates(self, rows: int) -> torch.Tensor:
        """See `Joint.gates`: the mask itself."""
        return self._gates

    def penalty(self) -> torch.Tensor:
        """See `Joint.penalty`: there is none."""
        return torch.zeros((), device=self._gates.device)

    def watch(self) -> None:
        """See the gradients of a step before it is made, for the measure that is a mean over steps."""
        if self.scorer.settings.measure != "loss-tracked":
            return
        products = {
            name: (tensor.detach() * tensor.grad)
            for name, tensor in self.scorer.owners.parameters.items()
            if tensor.grad is not None
        }
        self._tracked += np.abs(self.scorer.owners.sums(products))
        self._tracked_steps += 1

    def stepped(self, cla: torch.Tensor) -> None:
        """See `Joint.stepped`: a round may be due."""
        self.steps += 1
        self._sum += cla.double()
        self._count += 1
        due = self.settings.steps
        while self.rounds < len(due) and self.steps >= due[self.rounds]:
            self._round(self.settings.counts[self.rounds])
            self.rounds += 1

    def _round(self, count: int) -> None:
        """Score, and keep the best of what is left, exactly `count`."""
        tracked = self._tracked / self._tracked_steps if self._tracked_steps else None
        found = self.scorer.scores(self.mask, tracked)
        groups = self.scorer.owners.sites.groups
        before = self.mask
        self.mask = select(found.values, groups, count, self.settings.how, self.settings.floor, alive=before)
        self.scores = found.values
        self.nonfinite += int(before[found.nonfinite].sum())
        self.told += [note for note in found.notes if note not in self.told]
        self.crossed[before & ~self.mask] = self.steps
        self._gates = torch.from_numpy(self.mask.astype(np.float32)).to(self._gates.device)
        self._tracked, self._tracked_steps = np.zeros(self.mask.size), 0

    def update(self, batch: Batch, progress: float) -> MaskUpdate:
        """See `Method.update`: nothing moves here; L_cla is the mean over the training batches since the last call."""
        cla = float(self._sum) / max(self._count, 1)
        self._sum.zero_()
        self._count = 0
        kept = int(self.mask.sum())
        return MaskUpdate(
            loss=cla,
            cla=cla,
            sel=0.0,
            rej=0.0,
            alpha=math.nan,
            delta=math.nan,
            temperature=math.nan,
            gate_sum=float(kept),
            kept=kept,
            target=kept,
            proposals=0,
            accepted=0,
            nonfinite=self.nonfinite,
            null_moves=0,
            rejected_by_bound=0,
            moves={},
        )

    def training_gates(self) -> Float32Array:
        """See `Method.training_gates`."""
        return self.mask.astype(np.float32)

    def position(self) -> FloatArray:
        """See `Method.position`."""
        weight = self.settings.start_weight
        return np.where(self.mask, weight, -weight)

    def harden(self, batch: Batch) -> BoolArray:
        """See `Method.harden`: a run that ended before its last round scores once more and drops the rest at once."""
        if int(self.mask.sum()) > self.settings.keep:
            self.told.append(
                f"ended after {self.rounds} of {len(self.settings.counts)} rounds: the rest is dropped by one more score"
            )
            self._round(self.settings.keep)
        return self.mask.copy()

    def description(self) -> dict[str, Any]:
        """See `Method.description`."""
        return {"evaluator": f"none: scores by {self.scorer.settings.measure}", "canonical": "none"}

    def save(self) -> Saved:
        """See `Method.save`."""
        return {
            "mask": self.mask.copy(),
            "crossed": self.crossed.copy(),
            "scores": None if self.scores is None else self.scores.copy(),
            "counts": [self.steps, self.rounds, self.nonfinite, self._tracked_steps, self._count],
            "told": list(self.told),
            "gates": copied(self._gates),
            "tracked": self._tracked.copy(),
            "sum": copied(self._sum),
            "drawn": [self.scorer.turns, self.scorer.forwards],
        }

    def restore(self, saved: Saved) -> None:
        """See `Method.restore`."""
        self.mask = checked(saved["mask"], self.mask, "mask").copy()
        self.crossed = checked(saved["crossed"], self.crossed, "crossed").copy()
        self._tracked = checked(saved["tracked"], self._tracked, "tracked").copy()
        self.scores, self.told = saved["scores"], list(saved["told"])
        self.steps, self.rounds, self.nonfinite, self._tracked_steps, self._count = map(int, saved["counts"])
        self._gates, self._sum = saved["gates"].to(self._gates.device), saved["sum"].to(self._sum.device)
        self.scorer.turns, self.scorer.forwards = map(int, saved["drawn"])

    def notes(self) -> list[str]:
        """See `Joint.notes`."""
        counts = ", ".join(f"{count:,}" for count in self.settings.counts[: self.rounds])
        passed = [f"{self.scorer.settings.measure}: sites left after each round: {counts}"] if counts else []
        return passed + self.told
