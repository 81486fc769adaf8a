"""A run's folder: what is written into it, and how it is read back without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import nn

from mcprune.arrays import AnyArray, Float32Array
from mcprune.data.scale import Scaler
from mcprune.errors import DataError, FolderError, McpruneError
from mcprune.pruning.portable import load_model, save_model
from mcprune.pruning.weight_sites import hold_zeros
from mcprune.session.config import RunConfig, write_config
from mcprune.session.events import Event, plain
from mcprune.session.records import ALL_FILES, BEFORE, CONFIG, EVENTS, MASK, check_free


class RunFolder:
    """The files of a run that is going on; none is made, and none of a run that is replaced is lost, before `begin`.

    Raises
    ------
    FolderError
        The folder exists (without `force`) or cannot be written.
    """

    def __init__(self, path: Path, config: RunConfig, *, force: bool) -> None:
        check_free(path, force=force)
        self.path = path
        # `out` and `force` belong to this run, not to its repetition.
        self._config = config.model_copy(update={"out": None, "force": False})
        self._force = force
        self._events: TextIO | None = None
        self._waiting: list[Event] = []

    def begin(self) -> None:
        """Make the folder and write the events that waited; once is enough."""
        if self._events is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in ALL_FILES if self._force else ():
                if (self.path / name).exists():  # until this run has something to show for it
                    (self.path / name).replace(self.path / (name + BEFORE))
            try:
                (self.path / CONFIG).touch(exist_ok=False)
            except FileExistsError:
                raise FolderError(
                    f"another run has begun in {str(self.path)!r} meanwhile; choose another --out"
                ) from None
            write_config(self._config, self.path / CONFIG)
            self._events = (self.path / EVENTS).open("w", encoding="utf-8")
        except OSError as error:
            raise FolderError(
                f"{str(self.path)!r} cannot be written: {error.strerror or error}; choose another --out"
            ) from None
        for event in self._waiting:
            self.event(event)

    def event(self, event: Event) -> None:
        """Append an event as a line; before `begin` it waits."""
        if self._events is None:
            self._waiting.append(event)
            return
        try:
            self._events.write(event.line() + "\n")
            self._events.flush()
        except OSError as error:
            raise FolderError(f"{str(self.path / EVENTS)!r} cannot be written: {error.strerror}; make room") from None

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file in one step: beside it, then renamed."""
        try:
            beside = self.path / (name + ".new")
            beside.write_text(json.dumps(plain(dict(value)), indent=1, allow_nan=False) + "\n", encoding="utf-8")
            beside.replace(self.path / name)
        except OSError as error:
            raise FolderError(f"{str(self.path / name)!r} cannot be written: {error.strerror}; make room") from None

    def model(self, model: nn.Module, extra: Mapping[str, Any]) -> None:
        """Write the small model and what `load` needs beside it."""
        save_model(model, self.path, dict(extra))

    def restore(self) -> None:
        """The run failed: if it has no mask yet, an earlier run that it was to replace comes back."""
        if self._events is not None and self._force and not (self.path / MASK).exists():
            self._shut()
            for name in ALL_FILES:
                if (self.path / (name + BEFORE)).exists():
                    (self.path / (name + BEFORE)).replace(self.path / name)

    def close(self) -> None:
        """Close the events' file, and remove what this run has replaced."""
        if self._events is not None:
            self._shut()
            with suppress(OSError):
                for name in ALL_FILES:
                    (self.path / (name + BEFORE)).unlink(missing_ok=True)

    def _shut(self) -> None:
        if self._events is not None:
            with suppress(OSError):  # a full disk has been told of where it was met
                self._events.close()
            self._events = None


class SmallModel(nn.Module):
    """The model that a run has left, with the way from a full raw row to its inputs and from its outputs to labels.

    Attributes
    ----------
    model : nn.Module
        Takes the kept inputs, scaled, in the order of `keep`: (B, n) -> (B, C).
    keep : ndarray of int64
        The kept inputs' columns in a full row.
    labels : tuple
        The classes' own values, by output.
    names : tuple of str
        Names of the kept inputs.
    feature_names, target_name, image_shape
        The layout of the data that the run was made on, as readers of new rows need it.
    """

    def __init__(self, model: nn.Module, extra: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.keep = np.asarray(extra["columns"], np.int64)
        self.labels = tuple(extra["labels"])
        self.names = tuple(extra["names"])
        self.n_inputs = len(extra["feature_names"])
        self.scaler = Scaler.from_dict(extra["scaler"])  # of the kept inputs
        fits = len(self.names) == self.keep.size == self.scaler.shift.size
        if not fits or self.keep.tolist() != extra["columns"] or len(set(self.keep.tolist())) != self.keep.size:
            raise ValueError("columns, names and scaling do not fit together")
        if self.keep.size and not 0 <= self.keep.min() <= self.keep.max() < self.n_inputs:
            raise ValueError("a column lies outside of the rows")
        self.feature_names = tuple(extra["feature_names"])
        self.target_name: str | None = extra["target_name"]
        self.image_shape = tuple(extra["image_shape"]) if extra["image_shape"] else None
        if extra.get("holds_zeros"):  # dropped weights: training on leaves them at 0
            hold_zeros(self.model)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (B, C) for scaled kept inputs (B, n), as `select` gives them."""
        out: torch.Tensor = self.model(x)
        return out

    def select(self, X: Any) -> torch.Tensor:
        """Pick the kept inputs from full raw rows (B, N) and scale them: (B, n) float32.

        Raises
        ------
        DataError
            Rows of another width, or not finite where it matters.
        """
        if hasattr(X, "columns") and hasattr(X, "to_numpy"):  # a frame: by name, not by place
            missing = [name for name in self.feature_names if name not in set(map(str, X.columns))]
            if missing:
                raise DataError(f"the frame has no column {missing[0]!r}; it needs the columns of the run's data")
            X = X[[{str(name): name for name in X.columns}[name] for name in self.feature_names]].to_numpy()
        rows = np.asarray(X)
        rows = rows.reshape(len(rows), -1) if rows.ndim > 2 else rows
        if rows.ndim != 2 or rows.shape[1] != self.n_inputs:
            raise DataError(f"rows of shape {rows.shape} were met; the model was made for {self.n_inputs} inputs a row")
        try:
            chosen = rows[:, self.keep].astype(np.float64)
        except (TypeError, ValueError):
            raise DataError("the kept columns hold something that is no number; give numeric rows") from None
        if not np.isfinite(chosen).all():
            row, column = np.argwhere(~np.isfinite(chosen))[0]
            raise DataError(f"row {row}, input {self.names[column]!r} is not finite; mend or drop such rows")
        scaled: Float32Array = self.scaler.apply(chosen)
        return torch.from_numpy(scaled)

    @torch.no_grad()
    def probabilities(self, X: AnyArray) -> Float32Array:
        """Return class probabilities (B, C) for full raw rows (B, N)."""
        parameter = next(self.model.parameters(), torch.zeros(()))
        out: Float32Array = torch.softmax(self(self.select(X).to(parameter.device)), dim=1).cpu().numpy()
        return out

    def predict(self, X: AnyArray) -> AnyArray:
        """Return the labels (B,) of full raw rows (B, N)."""
        chosen: AnyArray = np.asarray(self.labels)[self.probabilities(X).argmax(axis=1)]
        return chosen


def load(folder: str | Path) -> SmallModel:
    """Return the small model of a run's folder; no code is run that the folder brings.

    Raises
    ------
    FolderError
        The folder is missing or broken.
    """
    model, description = load_model(folder)
    extra = description.get("extra", description)
    try:
        return SmallModel(model, extra)
    except (KeyError, TypeError, ValueError, McpruneError) as error:
        raise FolderError(f"{str(folder)!r} holds a model, but its description is broken: {error}; run again") from None
