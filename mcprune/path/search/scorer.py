"""Which mask of each level is the best, and how good it is: scores on rows that neither search nor training has used."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.errors import ConfigError
from mcprune.path.search.candidates import Candidate, is_table
from mcprune.path.search.cross_validation import Rows, cross_validate, scored_rows
from mcprune.path.search.progress import PathStatus
from mcprune.path.search.store import PathStore
from mcprune.path.search.validate import LevelModel, Validator, validation_share
from mcprune.session.build.plan import Plan
from mcprune.storage.events import Event, Stage
from mcprune.training.cross_validation.out_of_fold import Scores
from mcprune.training.metrics import weighted_mean
from mcprune.types import FloatArray

# Rounds of scoring after a first one, which leaves two masks of each level; effort of the first.
ROUNDS, FIRST_EFFORT, LEFT = 2, 0.6, 2


class ScoredMasks(NamedTuple):
    """The masks of some levels that were scored to the end: candidates, and their losses and hits (masks, rows)."""

    candidates: list[Candidate]
    scores: Scores


class MaskScorer:
    """What scores the masks of a path: cross-validation for columns of tables, else the validation rows.

    Parameters
    ----------
    plan : Plan
    store : PathStore
        Keeps the scores.

    Raises
    ------
    ConfigError
        There are no validation rows, and cross-validation is not for these sites.
    """

    def __init__(self, plan: Plan, store: PathStore) -> None:
        self.plan, self.store = plan, store
        self.is_table = is_table(plan)
        self.rows: Rows | None = scored_rows(plan.splits, plan.runtime.seed, plan.row_loss) if self.is_table else None
        if self.rows is None and not len(plan.splits.validation.targets):
            raise ConfigError(
                "The levels of this path are compared on validation rows, but validation=0. Leave it out."
            )
        self.share: FloatArray = validation_share(plan) if self.rows is None else self.rows.share
        self.how = "validation rows" if self.rows is None else "cross-validation"

    def score(
        self, candidates: Sequence[Candidate], levels: Sequence[int], status: PathStatus, name: str, *, is_kept: bool
    ) -> Generator[Event, None, ScoredMasks]:
        """Judge masks; of several of a level the best ones are scored again, and these are returned.

        Parameters
        ----------
        candidates : sequence of Candidate
        levels : sequence of int
            By the places of the candidates.
        status : PathStatus
            Gets the scores.
        name : str
            Of the scores in the store.
        is_kept : bool
            Whether the store keeps them; those of some levels alone are not.
        """
        unique = {(one.place, one.mask.tobytes()): one for one in reversed(candidates)}
        left = sorted(unique.values(), key=lambda one: one.place)
        count = len({one.place for one in left})
        yield Stage("compare", f"fresh classifiers score {len(left)} masks of {count} levels")
        store = self.store if is_kept else PathStore()
        if self.rows is None:
            return (yield from self._validate(left, levels, status, store, name))
        yield status.event(None, "score")
        first = self._round(left, 0, FIRST_EFFORT, store, name)
        loss = first.losses @ self.share
        kept: list[int] = []
        for place in sorted({one.place for one in left}):
            own_places = [number for number, one in enumerate(left) if one.place == place]
            kept += sorted(own_places, key=lambda number: float(loss[number]))[:LEFT]
        left = [left[number] for number in kept]
        rounds = [self._round(left, number, 1.0, store, name) for number in range(1, ROUNDS + 1)]
        scored = ScoredMasks(left, Scores(*(np.mean(parts, axis=0) for parts in zip(*rounds, strict=True))))
        for number in self.best(scored):
            right = weighted_mean(scored.scores.is_right[number], self.share)
            status.add(levels[left[number].place], *right, is_final=True)
        yield status.event(None, "score")
        return scored

    def best(self, scored: ScoredMasks) -> list[int]:
        """Return the number of the mask of the lowest loss of each level, by rising level."""
        mean = scored.scores.losses @ self.share
        picks: dict[int, int] = {}
        for number, one in enumerate(scored.candidates):
            if one.place not in picks or mean[number] < mean[picks[one.place]]:
                picks[one.place] = number
        return [picks[place] for place in sorted(picks)]

    def _validate(
        self, left: list[Candidate], levels: Sequence[int], status: PathStatus, store: PathStore, name: str
    ) -> Generator[Event, None, ScoredMasks]:
        validator, parts = Validator(self.plan), dict[int, Scores]()
        for number in reversed(
            range(len(left))
        ):  # from the largest masks on: a small model can start from that of a larger mask
            one = left[number]
            yield status.event(levels[one.place], "score", len({other.place for other in left[:number]} - {one.place}))
            key = f"{name}-{number}"
            if (kept := store.load(key)) is None:
                parts[number] = validator.score(one)
                small = None if validator.last is None else validator.last.tensors
                store.save(key, {**parts[number]._asdict(), "small": small})
            else:
                parts[number], small = Scores(kept["losses"], kept["is_right"]), kept["small"]
                validator.last = None if small is None else LevelModel(one.mask, small)
            left[number] = one._replace(small=small)
            best = min(
                (other for other in parts if left[other].place == one.place),
                key=lambda other: float(parts[other].losses @ self.share),
            )
            status.add(levels[one.place], *weighted_mean(parts[best].is_right, self.share), is_final=True)
        yield status.event(None, "score")
        rows = [np.stack(part) for part in zip(*(parts[number] for number in range(len(left))), strict=True)]
        return ScoredMasks(left, Scores(*rows))

    def _round(self, left: Sequence[Candidate], number: int, effort: float, store: PathStore, name: str) -> Scores:
        assert self.rows is not None
        key, masks = f"{name}-{number}", [one.mask for one in left]
        if (kept := store.load(key)) is not None:
            return Scores(kept["losses"], kept["is_right"])
        seed = self.plan.runtime.seed
        scores = cross_validate(self.rows, masks, seed=seed, number=number, effort=effort)
        store.save(key, scores._asdict())
        return scores
