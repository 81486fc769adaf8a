"""A finished run on the page: its record in the place of a chain, nothing to be turned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcprune.errors import FolderError, brief
from mcprune.faces.tune.desk import BINS, SHOWN, Desk, packed
from mcprune.session import events
from mcprune.session.events import Event
from mcprune.session.records import EVENTS, MASK, read_json, read_result

SAME = ("loss", "cla", "gate_sum", "kept", "target")


class Past(Desk):
    """A desk that has heard a whole run; it refuses all orders.

    Parameters
    ----------
    folder : str or Path
        Of a run that has ended.

    Raises
    ------
    FolderError
        The folder holds no such run.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        result, mask = read_result(folder), read_json(folder, MASK)
        path = Path(folder) / EVENTS
        last: Mapping[str, Any] | None = None
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                data = json.loads(line)
                event = Event(str(data.pop("event")), data)
                self.hear(event)
                if event.kind == events.PROGRESS:
                    self._series.add(self._row(data, last))
                    last = data
            self._finish(result, mask, last)
        except (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
            raise FolderError(
                f"{str(path)!r} is not the record of a run ({brief(error)}); give another folder"
            ) from None
        self._run["folder"] = str(folder)

    def _row(self, data: Mapping[str, Any], last: Mapping[str, Any] | None) -> dict[str, float | None]:
        """Return a progress event as a row of the series; acceptance by move since the last one."""
        row: dict[str, float | None] = {name: data[name] for name in SAME}
        row |= {
            "step": data["proposals"],
            "sel": data["alpha"] * data["sel"],
            "rej": data["alpha"] * data["rej"],
            "rate": data["proposals_per_second"],
            "validation": self._validation,
        }
        for name, (proposed, accepted) in data["moves"].items():
            before = (last or {"moves": {}})["moves"].get(name, (0, 0))
            if proposed > before[0]:
                row[f"move {name}"] = (accepted - before[1]) / (proposed - before[0])
        return row

    def _finish(self, result: Mapping[str, Any], mask: Mapping[str, Any], last: Mapping[str, Any] | None) -> None:
        size = int(result["N"])
        self._run["image_shape"] = result["image_shape"]
        weights = np.asarray(mask["weights"], np.float64)
        if weights.shape != (size,):  # before anything of that size is made
            raise ValueError(f"{MASK} has {weights.size} weights, {size} were expected")
        if last is None:
            return
        kept = np.zeros(size, bool)
        kept[np.asarray(result["keep"], np.int64)] = True
        gates = 1.0 / (1.0 + np.exp(-np.clip(weights, -50, 50)))
        self._latest = {
            **{name: last[name] for name in ("block", "acceptance", "delta", "temperature", "alpha", "seconds_left")},
            "row": self._row(last, None),
            "constant_since": self._log[-1]["step"] if self._log else 0,
            "hints": [],
            "histogram": np.histogram(gates, BINS, (0.0, 1.0))[0].tolist(),
        }
        if size <= SHOWN:
            names = {site: name for site, name in zip(result["keep"], result["names"], strict=True)}
            self._run["names"] = [names.get(site, f"site {site}") for site in range(size)]
            self._latest["mask"] = packed(np.packbits(kept))
            self._latest["share"] = packed(255 * kept.astype(np.uint8))
