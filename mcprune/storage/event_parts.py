"""The base of all events, the parts that they are made of, and their form in JSON."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import numpy as np

from mcprune.types import JsonObject


def plain(value: object) -> Any:
    """Return the value in JSON's own types: arrays as lists, dataclasses as objects, non-finite numbers as None."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if is_dataclass(value):
        return {
            part.name: plain(getattr(value, part.name)) for part in fields(value) if part.metadata.get("json", True)
        }
    return value


@dataclass(frozen=True)
class SiteGroup:
    """Neighbouring sites of one kind.

    Attributes
    ----------
    kind : str
        `inputs`, `units`, `channels`, `weights`, `heads`, `neurons` or `blocks`.
    layer : str
        The module's name; empty for inputs. Of channels that share their sites, the first module.
    size : int, sites
        How many there are.
    """

    kind: str
    layer: str
    size: int


@dataclass(frozen=True)
class CostBudget:
    """A budget that is a cost.

    Attributes
    ----------
    unit : str
        `parameters` or `macs`; `latency`, in picoseconds; with `--groups` `sites` or `cost`.
    limit : int, unit
        The mask may cost at most this much.
    total : int, unit
        Cost of all sites.
    smallest : int, unit
        Cost of one site in each group.
    """

    unit: str
    limit: int
    total: int
    smallest: int


@dataclass(frozen=True)
class MaskCost(CostBudget):
    """What a mask costs, with the fields of `CostBudget`.

    Attributes
    ----------
    used : int, unit
        Cost of the mask.
    groups : list, sites
        Kept sites of each group; with `--groups` the kept items of each cost.
    names : list or None
        With `--groups`, the kept groups.
    """

    used: int
    groups: tuple[int, ...]
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class BeforeAfter:
    """A count of the classifier with all sites, and of the pruned model.

    Attributes
    ----------
    before, after : int
        With all sites, and pruned.
    """

    before: int
    after: int


@dataclass(frozen=True)
class Adapted:
    """What a chain adapts during its warm-up.

    Attributes
    ----------
    frozen_at : int or None, proposals
        Consumed by each replica when the warm-up ended; null before.
    temperatures : list or None, nats
        The ladder, the coldest first; null for a single replica.
    swap_rates : list or None, share
        For each pair of neighbours, the accepted share of swaps, since the start or the end of the warm-up; null before the first.
    round_trips : int or None
        Of all replicas, from the coldest temperature to the hottest and back, counted like the swaps.
    deltas : list or None, pruner weight
        With `adapt_delta`, delta at each temperature.
    """

    frozen_at: int | None = None
    temperatures: tuple[float | None, ...] | None = None
    swap_rates: tuple[float | None, ...] | None = None
    round_trips: int | None = None
    deltas: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened in a run; the base of all kinds.

    Attributes
    ----------
    kind : str
        The name of the class in lower case with underscores, such as `run_started`.
    """

    kind: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        cls.kind = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, float) and not math.isfinite(value):
                object.__setattr__(self, part.name, None)

    def to_dict(self) -> JsonObject:
        """Return the fields in JSON's own types."""
        content: JsonObject = plain(self)
        return content

    def to_json(self) -> str:
        """Return the event as one line of strict JSON, its kind under `event`."""
        return json.dumps({"event": self.kind, **self.to_dict()}, allow_nan=False, separators=(", ", ": "))
