"""The curve of a path: how good the mask of each level is, which level is best, and which is enough. Data only."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from mcprune.errors import FolderError
from mcprune.types import FloatArray, JsonObject


@dataclass(frozen=True)
class Level:
    """The mask of a level and its figures, on rows that its scorer have not been trained on.

    Attributes
    ----------
    level : int
        The number of sites, or the limit of the cost, that was asked for.
    kept : int
        Sites that the mask keeps.
    cost : int
        Of the mask, in the unit of the curve: `kept` where that is sites.
    accuracy, accuracy_error : float
        And its standard error; of a regression R2.
    loss : float
        Mean loss of a row: cross-entropy in nats, or that of the regression.
    behind, behind_error : float
        Loss above that of the best level, and the standard error of this difference, row by row; 0 for the best one.
    way : str
        How the mask was found: `down`, `up`, or a selector of columns.
    indices : tuple of int
        Flat indices of the kept sites.
    names : tuple of str
        Of the kept sites.
    """

    level: int
    kept: int
    cost: int
    accuracy: float
    accuracy_error: float
    loss: float
    behind: float
    behind_error: float
    way: str
    indices: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """The levels of a path.

    Attributes
    ----------
    name : str
        Of the data.
    unit : str
        Of the levels: sites, macs or parameters.
    n_sites : int
    kind : str
        What the sites are, in the plural: columns, pixels, units, ...
    levels : tuple of Level
        Rising.
    scored : str
        How the figures were measured: `cross-validation` or `validation rows`.
    rows : int
        On which they were measured.
    seconds : float
    measure : str
        What `accuracy` is: accuracy, or R2.
    """

    name: str
    unit: str
    n_sites: int
    kind: str
    levels: tuple[Level, ...]
    scored: str
    rows: int
    seconds: float
    measure: str = "accuracy"

    @property
    def best(self) -> Level:
        """The level of the lowest loss."""
        return min(self.levels, key=lambda level: level.loss)

    @property
    def enough(self) -> Level:
        """The smallest level whose loss is within one standard error of that of the best one, row by row."""
        return next(level for level in self.levels if level.behind <= level.behind_error or level is self.best)

    @property
    def knee(self) -> Level:
        """The level from which on more sites bring the least: farthest above the line between the ends, over the log of the level."""
        x = np.log([level.level for level in self.levels])
        y = np.maximum.accumulate([level.accuracy for level in self.levels])
        rise = float(y[-1] - y[0])
        if rise <= 0 or len(x) < 3:
            return self.enough
        above = (y - y[0]) / rise - (x - x[0]) / (x[-1] - x[0])
        return self.levels[int(np.argmax(above))]

    def at(self, level: int) -> Level:
        """Return a level by its number.

        Raises
        ------
        KeyError
            There is no such level.
        """
        for one in self.levels:
            if one.level == level:
                return one
        raise KeyError(level)

    def to_dict(self) -> JsonObject:
        """Return the curve in the types of JSON, with its best level, the knee, and the level that is enough."""
        return {**asdict(self), "best": self.best.level, "knee": self.knee.level, "enough": self.enough.level}

    @classmethod
    def from_dict(cls, content: JsonObject) -> Self:
        """Return the curve of `to_dict`.

        Raises
        ------
        FolderError
            It is something else, or has no level.
        """
        try:
            known = {name: content[name] for name in ("name", "unit", "n_sites", "kind", "scored", "rows", "seconds")}
            levels = tuple(
                Level(**{**level, "indices": tuple(level["indices"]), "names": tuple(level["names"])})
                for level in content["levels"]
            )
            if not levels:
                raise ValueError("no level")
            return cls(levels=levels, measure=content.get("measure", "accuracy"), **known)
        except (KeyError, TypeError, ValueError) as error:
            raise FolderError(
                f"path.json is no path ({type(error).__name__}: {error}). Run mcprune path again."
            ) from None


def paired(losses: FloatArray, best: FloatArray, share: FloatArray) -> tuple[float, float]:
    """Return the mean difference (rows,) of losses, and its standard error, under shares (rows,) of sum 1."""
    change = losses - best
    mean = float(share @ change)
    return mean, math.sqrt(float(share**2 @ (change - mean) ** 2))
