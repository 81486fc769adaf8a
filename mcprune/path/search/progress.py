"""How far a path is: the scores of its levels so far, as events."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mcprune.storage.path_curve import Curve
from mcprune.storage.path_events import LevelScore, PathProgress


class PathStatus:
    """The scores of the levels of a path; those by fresh classifiers replace those by the classifiers of the search.

    Parameters
    ----------
    levels : iterable of int
    unit : str
        Of the levels: sites, macs or parameters.
    noun : str
        What the sites are, in the plural.
    """

    def __init__(self, levels: Iterable[int], unit: str, noun: str) -> None:
        self.levels, self.unit, self.noun = tuple(levels), unit, noun
        self._scores: dict[int, LevelScore] = {}

    def add(self, level: int, accuracy: float, error: float, *, is_final: bool) -> None:
        """Note how good the mask of a level is; nan where it is not known."""
        known = self._scores.get(level)
        if known is not None and known.is_final and not is_final:
            return
        share, deviation = (None if math.isnan(value) else value for value in (accuracy, error))
        self._scores[level] = LevelScore(level, share, deviation, is_final)

    def add_levels(self, levels: Iterable[int]) -> None:
        """Add levels that are searched later."""
        self.levels = tuple(sorted({*self.levels, *levels}))

    def event(self, level: int | None, way: str, stops_left: int = 0) -> PathProgress:
        """Return where the path is now."""
        scores = tuple(self._scores[one] for one in sorted(self._scores))
        return PathProgress(self.levels, self.unit, self.noun, level, way, stops_left, scores)

    def end(self, curve: Curve, answer: Iterable[str]) -> PathProgress:
        """Return the end of the path."""
        scores = tuple(LevelScore(one.level, one.accuracy, one.accuracy_error, True) for one in curve.levels)
        levels = tuple(one.level for one in curve.levels)
        return PathProgress(
            levels, self.unit, self.noun, None, "", 0, scores, curve.enough.level, curve.knee.level, tuple(answer)
        )
