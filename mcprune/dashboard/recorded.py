"""A recorded run on the page, ended or not: its record in the place of a chain, nothing to be turned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mcprune.dashboard.controller import Desk, hardened_row
from mcprune.dashboard.gates import SHOWN, shown
from mcprune.errors import FolderError, brief
from mcprune.report.figures import site_names
from mcprune.storage.event_log import EventLog, feature_names, read_log
from mcprune.storage.events import KnobChanged, Note, Progress
from mcprune.storage.layout import EVENTS, MASK, read_json

SAME = ("loss", "gate_sum", "kept", "target")


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
        run = read_log(folder)
        try:
            self._read(run)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            path = str(Path(folder) / EVENTS)
            raise FolderError(f"{path!r} is not the record of a run ({brief(error)}); give another folder") from None
        self._run["folder"] = str(folder)

    def _read(self, run: EventLog) -> None:
        self.hear(run.started)
        is_chain = run.started.config["method"] == "markov"
        ended = "The run has ended: its knobs can no longer be turned."
        going = (
            "This run has not ended, or not in this folder: shown is what it had told when this page was started. Nothing can be turned "
            f"from here; mcprune resume {run.folder} goes on with a run that was broken off."
        )
        self._run |= {
            "is_chain": is_chain,
            "is_past": True,
            "is_ended": run.done is not None,
            "stopped": None if run.stopped is None else run.stopped.to_dict(),
            "image_shape": run.started.image_shape if _is_of_inputs(run) else None,
            "without": going if run.done is None else ended,
        }
        for text in run.notes:
            self.hear(Note(text))
        for event, last in zip(run.progress, [None, *run.progress], strict=False):
            self.hear(event)
            self._series.add(self._row(run, event, last))
        for change in run.knob_changes:
            self._change(run, change)
        for score in run.scores:
            self.hear(score)
        if run.done is not None:
            self.hear(run.done)
        self._become("unfinished" if run.done is None else "done")
        self._finish(run)

    def _row(self, run: EventLog, event: Progress, last: Progress | None) -> dict[str, float | None]:
        """Return a progress event as a row of the series; acceptance by move since the last one."""
        row: dict[str, float | None] = {name: getattr(event, name) for name in SAME}
        row |= {"cla": event.classification_loss, "validation": self._validation}
        row |= {"step": event.proposals, "rate": event.proposals_per_second}
        alpha = event.alpha or 0.0
        row |= {"sel": alpha * (event.selection_loss or 0.0), "rej": alpha * (event.rejection_loss or 0.0)}
        if not self._run["is_chain"]:
            steps = run.started.config["train_steps"]
            row |= {"step": event.block * steps, "alpha": event.alpha, "lambda": event.schedule_lambda}
            block, seconds = (0, 0.0) if last is None else (last.block, last.seconds)
            row["rate"] = steps * (event.block - block) / max(event.seconds - seconds, 1e-9)
        for name, (proposed, accepted) in event.moves.items():
            was = (0, 0) if last is None else last.moves.get(name, (0, 0))
            if proposed > was[0]:
                row[f"move {name}"] = (accepted - was[1]) / (proposed - was[0])
        return row

    def _change(self, run: EventLog, change: KnobChanged) -> None:
        """Take a change into the log, with the figures before and after it."""
        before, after = run.compared(change)
        blocks = run.series("block")

        def figures(part: Any) -> dict[str, Any]:
            found = {name: run.series(name)[part] for name in ("acceptance", "loss")}
            known = {name: values[np.isfinite(values)] for name, values in found.items()}
            return {name: float(values.mean()) if values.size else None for name, values in known.items()}

        entry = {
            **change.to_dict(),
            "number": len(self._changes.entries) + 1,
            "origin": "record",
            "before_figures": figures(before),
        }
        entry["superseded"] = run.is_superseded(change)
        entry["effect"] = None
        if after.size and not entry["superseded"]:
            entry["effect"] = {**figures(after), "blocks": int(blocks[after[-1]] - change.block)}
        self._changes.entries.append(entry)

    def _finish(self, run: EventLog) -> None:
        last, gates, indices = run.progress[-1] if run.progress else None, run.gates(), run.indices()
        size = run.started.n_sites
        if last is None:
            return
        at_end = (gates[-1] if len(gates) else np.zeros(0)) / 255.0
        if run.done is not None:
            weights = np.asarray(read_json(run.folder, MASK)["weights"], np.float64)
            if weights.shape != (size,):  # before anything of that size is made
                raise ValueError(f"{MASK} has {weights.size} weights, {size} were expected")
            at_end = 1.0 / (1.0 + np.exp(-np.clip(weights, -50, 50)))
        is_told = size <= SHOWN and indices is not None
        kept = np.zeros(size if is_told else 0, bool)
        if is_told:
            kept[np.asarray(indices, np.int64)] = True
        share = gates.mean(axis=0, dtype=np.float64) / 255.0 if len(gates) else kept.astype(np.float64)
        names = ("block", "acceptance", "delta", "temperature", "alpha", "seconds_left")
        self._latest = {
            **{name: getattr(last, name) for name in names},
            "row": self._row(run, last, run.progress[-2] if len(run.progress) > 1 else None),
            "near_hard": last.near_hard,
            "constant_since": run.knob_changes[-1].proposals if run.knob_changes else 0,
            "hints": [],
            **shown(at_end, kept, share if is_told else None),
        }
        if run.done is not None:
            self._latest["row"] |= hardened_row(run.done.hardened)
            self._latest["seconds_left"] = None
        if is_told:
            self._run["names"] = site_names(run, feature_names(run))


def _is_of_inputs(run: EventLog) -> bool:
    """Whether the shape of the image, if there is one, has a pixel for each input: a page would draw as many as it says."""
    first, shape = run.started.sites[0], run.started.image_shape
    return shape is not None and math.prod(shape) == first.size and first.kind == "inputs"
