"""Where a path is: an event of `mcprune path` and of `prune_path`, for their callbacks. A run has none."""

from __future__ import annotations

from dataclasses import dataclass

from mcprune.storage.event_parts import Event


@dataclass(frozen=True)
class LevelScore:
    """How good the mask of a level is, as far as it is known.

    Attributes
    ----------
    level : int
        The number of sites, or the limit of the cost.
    accuracy, accuracy_error : float or None
        On validation rows, or by cross-validation, and its standard error; None where there are no such rows.
    is_final : bool
        By a fresh classifier; before that it is by the classifier of the search, which has trained under other masks too.
    """

    level: int
    accuracy: float | None
    accuracy_error: float | None
    is_final: bool


@dataclass(frozen=True)
class PathProgress(Event):
    """A level has begun, has been searched or has been scored.

    Attributes
    ----------
    levels : list of int
        Rising.
    unit : str
        Of the levels: sites, macs or parameters.
    noun : str
        What the sites are, in the plural.
    level : int or None
        The one that is searched or scored; None between and at the end.
    way : str
        How it was reached: `down` from a larger one, `up` from a smaller one; `score` where masks are scored.
    stops_left : int
        Of this search, after this one.
    scores : list of LevelScore
        Rising, of those that are known.
    enough, knee : int or None
        At the end, the levels of the answer.
    answer : list of str
        At the end, in sentences.
    """

    levels: tuple[int, ...]
    unit: str
    noun: str
    level: int | None
    way: str
    stops_left: int
    scores: tuple[LevelScore, ...]
    enough: int | None = None
    knee: int | None = None
    answer: tuple[str, ...] = ()
