"""A recorded run on the page, finished or not: its events take the place of a search, and nothing can be changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mcprune.config.knobs import unused_knobs
from mcprune.dashboard.controller import Accepted, NotNow
from mcprune.dashboard.effects import Window, effect_of
from mcprune.dashboard.gates import SHOWN, message_of
from mcprune.dashboard.view import RunView, hardened_figures
from mcprune.dashboard.window import Change, Figures
from mcprune.errors import FolderError, brief
from mcprune.report.charts.figures import site_names
from mcprune.storage.event_log import EventLog, feature_names, read_log
from mcprune.storage.events import KnobChanged, Note, Progress
from mcprune.storage.layout import EVENTS, MASK, read_json
from mcprune.types import FloatArray, IntArray

GROUP = 2  # progress events whose mean is one value of a standard error: each is a mean over some blocks already
SAME = ("loss", "classification_loss", "gate_sum", "kept", "target")
DONE = "The run is finished, so its knobs can no longer be changed."
UNFINISHED = (
    "This run is not finished, or not in this folder. The page shows what was recorded when it was started. Nothing can be changed from "
    "here; mcprune resume {folder} continues a run that was cut off."
)


class RecordedRun(RunView):
    """The view of a run in a folder.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    FolderError
        The folder holds no run.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        log = read_log(folder)
        try:
            self._read(log)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            path = str(Path(folder) / EVENTS)
            raise FolderError(
                f"{path!r} is not the record of a run ({brief(error)}). Give the folder of another run"
            ) from None
        self._run["folder"] = str(folder)

    def _read(self, log: EventLog) -> None:
        start = log.started
        self.on_event(start)
        self._run |= {
            "method": start.config["method"],
            "is_chain": start.config["method"] == "markov",
            "is_by_rank": start.config.get("gates") == "rank",
            "is_recorded": True,
            "is_done": log.done is not None,
            "stopped": None if log.stopped is None else log.stopped.to_dict(),
            "image_shape": start.image_shape if _has_image(log) else None,
            "no_knobs": DONE if log.done is not None else UNFINISHED.format(folder=log.folder),
        }
        for text in log.notes:
            self.on_event(Note(text))
        for event, last in zip(log.progress, [None, *log.progress], strict=False):
            self.on_event(event)
            self.series.add(self._figures(log, event, last))
        moves = dict(start.config.get("moves") or {})
        for change in log.knob_changes:
            moves = change.knobs.get("moves", moves)
            self._add_change(log, change, moves)
        for score in log.scores:
            self.on_event(score)
        if log.done is not None:
            self.on_event(log.done)
        self.become("unfinished" if log.done is None else "done")
        self._finish(log)

    def _figures(self, log: EventLog, event: Progress, last: Progress | None) -> dict[str, float | None]:
        """Return a progress event as a row of the series, with the acceptance by move since the last one."""
        figures: dict[str, float | None] = {name: getattr(event, name) for name in SAME}
        figures |= {
            "x": event.proposals,
            "rate": event.decisions_per_second,
            "validation_accuracy": self._validation,
            "selection_loss": (event.alpha or 0.0) * (event.selection_loss or 0.0),
            "rejection_loss": (event.alpha or 0.0) * (event.rejection_loss or 0.0),
        }
        if not self._run["is_chain"]:
            steps = log.started.config["train_steps"]
            figures |= {"x": event.block * steps, "alpha": event.alpha, "schedule_lambda": event.schedule_lambda}
            block, seconds = (0, 0.0) if last is None else (last.block, last.seconds)
            figures["rate"] = steps * (event.block - block) / max(event.seconds - seconds, 1e-9)
        for name, (_, decided, accepted) in event.moves.items():
            _, decided_before, accepted_before = (0, 0, 0) if last is None else last.moves.get(name, (0, 0, 0))
            if decided > decided_before:
                figures[f"move {name}"] = (accepted - accepted_before) / (decided - decided_before)
        return figures

    def _add_change(self, log: EventLog, event: KnobChanged, moves: Mapping[str, float]) -> None:
        """Log a change, with the figures of the progress events before and after it."""
        before, after = log.compared(event)
        columns = [log.series(name) for name in ("acceptance", "loss")]

        def means(part: IntArray) -> Figures | None:
            known = [values[part][np.isfinite(values[part])] for values in columns]
            return Figures(*(float(values.mean()) if values.size else None for values in known)) if part.size else None

        def window(values: FloatArray, part: IntArray) -> Window:
            return Window(values[part].tolist(), [1.0] * part.size)

        targets = log.series("target")[before]
        entry = Change(
            number=len(self.changes.entries) + 1,
            origin="record",
            block=event.block,
            proposals=event.proposals,
            knobs=event.knobs,
            before=event.before,
            unused=unused_knobs(
                event.knobs,
                moves,
                is_by_rank=log.started.config.get("gates") == "rank",
                is_at_target=bool(targets.size) and targets[-1] == log.started.keep,
            ),
            figures_before=means(before),
            is_superseded=log.is_superseded(event),
        )
        if after.size and not entry.is_superseded:
            entry.figures_after = means(after)
            entry.blocks_after = int(log.series("block")[after[-1]] - event.block)
            half = before.size // 2
            control, recent = before[: before.size - half], before[before.size - half :]
            entry.effects = {
                name: effect_of(window(values, recent), window(values, after), window(values, control), GROUP)
                for name, values in zip(("acceptance", "loss"), columns, strict=True)
            }
        self.changes.entries.append(entry)

    def _finish(self, log: EventLog) -> None:
        if not log.progress:
            return
        last, gates, indices, size = log.progress[-1], log.gates(), log.indices(), log.started.n_sites
        at_end = (gates[-1] if len(gates) else np.zeros(0)) / 255.0
        if log.done is not None:
            weights = np.asarray(read_json(log.folder, MASK)["weights"], np.float64)
            if weights.shape != (size,):  # before anything of that size is made
                raise ValueError(f"{MASK} has {weights.size} weights for {size} sites")
            at_end = 1.0 / (1.0 + np.exp(-np.clip(weights, -50, 50)))
        kept = np.zeros(0, bool)
        if is_shown := size <= SHOWN and indices is not None:
            kept = np.zeros(size, bool)
            kept[np.asarray(indices, np.int64)] = True
            self._run["names"] = site_names(log, feature_names(log))
        share = gates.mean(axis=0, dtype=np.float64) / 255.0 if len(gates) else kept.astype(np.float64)
        names = ("block", "acceptance", "delta", "temperature", "alpha", "seconds_left", "near_hard")
        self.latest = {
            **{name: getattr(last, name) for name in names},
            "figures": self._figures(log, last, log.progress[-2] if len(log.progress) > 1 else None),
            "constant_since": log.knob_changes[-1].proposals if log.knob_changes else 0,
            "hints": [],
            **message_of(at_end, kept, share if is_shown else None),
        }
        if log.done is not None:
            self.latest["figures"] |= hardened_figures(log.done.hardened)
            self.latest["seconds_left"] = None


class NoRequests:
    """The requests of a recorded run: there are none."""

    def change(self, changes: Mapping[str, object]) -> Accepted:
        """Refuse."""
        raise NotNow("the run is recorded; its knobs cannot be changed")

    def act(self, action: str) -> Accepted | None:
        """Refuse."""
        raise NotNow("the run is recorded")


def _has_image(log: EventLog) -> bool:
    """Whether there is an image shape with a pixel for each input: a page draws as many pixels as the shape has."""
    first, shape = log.started.sites[0], log.started.image_shape
    return shape is not None and math.prod(shape) == first.size and first.kind == "inputs"
