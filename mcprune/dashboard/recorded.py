"""A recorded run on the page, ended or not: its record in the place of a chain, nothing to be turned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcprune.dashboard.controller import Desk, hardened_row
from mcprune.dashboard.gates import SHOWN, shown
from mcprune.errors import FolderError, brief
from mcprune.report.figures import site_names
from mcprune.storage import events
from mcprune.storage.event_log import Recorded, features, read_recorded
from mcprune.storage.events import Event, plain
from mcprune.storage.layout import EVENTS, MASK, read_json

SAME = ("loss", "cla", "gate_sum", "kept", "target")


class Past(Desk):
    """A desk that has heard what a run has told so far; it refuses all orders.

    Parameters
    ----------
    folder : str or Path
        Of a run that has ended, or not.

    Raises
    ------
    FolderError
        The folder holds no such run.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        run = read_recorded(folder)
        try:
            self._read(run)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            path = str(Path(folder) / EVENTS)
            raise FolderError(f"{path!r} is not the record of a run ({brief(error)}); give another folder") from None
        self._run["folder"] = str(folder)

    def _read(self, run: Recorded) -> None:
        self.hear(Event(events.START, run.start))
        is_chain = run.start["config"]["method"] == "markov"
        ended = "The run has ended: its knobs can no longer be turned."
        going = (
            "This run has not ended, or not in this folder: shown is what it had told when this page was started. Nothing can be turned "
            f"from here; mcprune resume {run.folder} goes on with a run that was broken off."
        )
        self._run |= {
            "is_chain": is_chain,
            "is_past": True,
            "is_ended": run.done is not None,
            "stopped": run.stopped,
            "image_shape": run.image_shape if _is_of_inputs(run) else None,
            "without": going if run.done is None else ended,
        }
        for text in run.notes:
            self.hear(Event(events.NOTE, {"text": text}))
        for data, last in zip(run.progress, [None, *run.progress], strict=False):
            self.hear(Event(events.PROGRESS, data))
            self._series.add(self._row(run, data, last))
        for knob in run.knobs:
            self._change(run, knob)
        for row in run.rows:
            self.hear(Event(events.ROW, row))
        if run.done is not None:
            self.hear(Event(events.DONE, run.done))
        self._become("unfinished" if run.done is None else "done")
        self._finish(run)

    def _row(self, run: Recorded, data: Mapping[str, Any], last: Mapping[str, Any] | None) -> dict[str, float | None]:
        """Return a progress event as a row of the series; acceptance by move since the last one."""
        row: dict[str, float | None] = {name: data[name] for name in SAME}
        row |= {"step": data["proposals"], "rate": data["proposals_per_second"], "validation": self._validation}
        row |= {name: (data["alpha"] or 0.0) * (data[name] or 0.0) for name in ("sel", "rej")}
        if not self._run["is_chain"]:
            config, before = run.start["config"], last or {"block": 0, "seconds": 0.0}
            steps = config["train_steps"]
            row |= {"step": data["block"] * steps, "alpha": data["alpha"], "lambda": data.get("lambda")}
            row["rate"] = (
                steps * (data["block"] - before["block"]) / max(float(data["seconds"] - before["seconds"]), 1e-9)
            )
        for name, (proposed, accepted) in data["moves"].items():
            was = (last or {"moves": {}})["moves"].get(name, (0, 0))
            if proposed > was[0]:
                row[f"move {name}"] = (accepted - was[1]) / (proposed - was[0])
        return row

    def _change(self, run: Recorded, knob: dict[str, Any]) -> None:
        """Take a change into the log, with what the record says of the time around it."""
        before, after = run.around(knob)
        blocks = run.series("block")

        def figures(part: Any) -> dict[str, Any]:
            found = {name: run.series(name)[part] for name in ("acceptance", "loss", "cla")}
            known = {name: values[np.isfinite(values)] for name, values in found.items()}
            return {name: float(values.mean()) if values.size else None for name, values in known.items()}

        entry = {
            **plain(knob),
            "number": len(self._changes.entries) + 1,
            "origin": "record",
            "before_figures": figures(before),
        }
        entry["superseded"] = run.is_superseded(knob)
        entry["effect"] = None
        if after.size and not entry["superseded"]:
            entry["effect"] = {**figures(after), "blocks": int(blocks[after[-1]] - knob["block"])}
        self._changes.entries.append(entry)

    def _finish(self, run: Recorded) -> None:
        last, gates, keep = run.progress[-1] if run.progress else None, run.gates(), run.keep()
        if last is None:
            return
        at_end = (gates[-1] if len(gates) else np.zeros(0)) / 255.0
        if run.done is not None:
            weights = np.asarray(read_json(run.folder, MASK)["weights"], np.float64)
            if weights.shape != (run.N,):  # before anything of that size is made
                raise ValueError(f"{MASK} has {weights.size} weights, {run.N} were expected")
            at_end = 1.0 / (1.0 + np.exp(-np.clip(weights, -50, 50)))
        is_told = run.N <= SHOWN and keep is not None
        kept = np.zeros(run.N if is_told else 0, bool)
        if is_told:
            kept[np.asarray(keep, np.int64)] = True
        share = gates.mean(axis=0, dtype=np.float64) / 255.0 if len(gates) else kept.astype(np.float64)
        names = ("block", "acceptance", "delta", "temperature", "alpha", "seconds_left")
        self._latest = {
            **{name: last[name] for name in names},
            "row": self._row(run, last, run.progress[-2] if len(run.progress) > 1 else None),
            "near_hard": last.get("near_hard"),
            "constant_since": run.knobs[-1]["step"] if run.knobs else 0,
            "hints": [],
            **shown(at_end, kept, share if is_told else None),
        }
        if run.done is not None:
            self._latest["row"] |= hardened_row(run.harden or {"kept": len(run.done["keep"])})
            self._latest["seconds_left"] = None
        if is_told:
            self._run["names"] = site_names(run, features(run))


def _is_of_inputs(run: Recorded) -> bool:
    """Whether the shape of the image, if there is one, has a pixel for each input: a page would draw as many as it says."""
    first = run.start["sites"][0]
    return run.image_shape is not None and math.prod(run.image_shape) == first["size"] and first["kind"] == "inputs"
