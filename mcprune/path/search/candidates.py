"""Masks that may be the one of a level: those of the search, and those of plain selectors of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcprune.config.rules import LARGE
from mcprune.methods.columns import column_scores
from mcprune.path.search.recorder import LevelTensors, Parameters, Tensors
from mcprune.session.build.plan import Plan
from mcprune.sites.budget import Goal
from mcprune.types import BoolArray, JsonObject

# Selectors of columns whose masks are candidates of every level of a table.
SELECTORS = ("forest", "l1")


class Candidate(NamedTuple):
    """A mask for a level.

    Attributes
    ----------
    place : int
        Of the level.
    way : str
        How the mask was reached.
    mask : ndarray of bool, shape (N,)
    parameters : Parameters or None
        Of the classifiers that the search has trained with it.
    small : dict of str to tensor, or None
        Of the small model that has scored the mask, where retraining can go on with it.
    """

    place: int
    way: str
    mask: BoolArray
    parameters: Parameters | None = None
    small: Tensors | None = None

    @property
    def tensors(self) -> LevelTensors:
        """What is kept of the classifiers of the mask."""
        return LevelTensors(self.parameters, self.small)


def candidates_content(candidates: Sequence[Candidate]) -> JsonObject:
    """Return candidates as a part of a path's store."""
    return {"candidates": [one._asdict() for one in candidates]}


def candidates_of(content: JsonObject) -> list[Candidate]:
    """Return the candidates of `candidates_content`."""
    return [
        Candidate(
            int(one["place"]),
            str(one["way"]),
            np.asarray(one["mask"], bool),
            None if one["parameters"] is None else tuple(one["parameters"]),
        )
        for one in content["candidates"]
    ]


def is_table(plan: Plan) -> bool:
    """Whether the sites are the columns of a table of ordinary size."""
    return (
        plan.facts.kinds == {"inputs"} and plan.splits.image_shape is None and plan.facts.rows < LARGE
        and plan.space.is_count and plan.is_plain_objective
    )  # fmt: skip


def selected_columns(plan: Plan, levels: Sequence[int]) -> list[Candidate]:
    """Return the masks of plain selectors of columns, for each level of a table."""
    data, out = plan.splits.train, []
    features = plan.seen(data.features)
    for name in SELECTORS:
        scores = np.empty(0)
        for place, n in enumerate(levels):
            if place == 0 or name == "l1":  # whose penalty depends on n
                own = column_scores(name, features, data.targets, data.weights, keep=n, seed=plan.runtime.seed)
                scores = np.full(plan.sites.size, -np.inf)
                scores[slice(None) if plan.candidates is None else plan.candidates] = own
            goal = Goal(np.array([n], np.int64), np.empty(0, np.int64))
            out.append(Candidate(place, name, plan.space.enforce(scores, goal)))
    return out
