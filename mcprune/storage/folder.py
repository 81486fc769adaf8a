"""A run's folder while the run goes on: what is written into it, and when."""

from __future__ import annotations

import errno
import json
import os
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from mcprune.config.files import write_config
from mcprune.config.schema import Config
from mcprune.errors import FolderError
from mcprune.storage.atomic import Lock, sync_folder, write_whole
from mcprune.storage.checkpoint import write_checkpoint
from mcprune.storage.events import Event, plain
from mcprune.storage.layout import (
    ALL_FILES,
    BEFORE,
    BEGUN,
    CHECKPOINT,
    CONFIG,
    EVENTS,
    MASK,
    OLDER,
    bring_back,
    check_free,
    stale_files,
)
from mcprune.surgery.model_files import save_model


class Mark(NamedTuple):
    """How far the events have been written: bytes, and their running CRC-32."""

    size: int = 0
    crc: int = 0


class RunFolder:
    """The files of a run that is going on; none of a run that is replaced is lost before `begin`.

    `announce` writes what was asked for, so that a run that is killed early can be resumed; `begin`, once there is something to
    show, the rest. A run that fails or is left in between leaves nothing.

    Parameters
    ----------
    path : Path
    config : Config
        As given; `config` is set to what it became before `begin`.
    force : bool
        A run in the folder may be replaced.
    goes_on : pair of Lock and str, optional
        The run in the folder is this one, of that id, and the folder is locked already.

    Raises
    ------
    FolderError
        The folder exists (without `force`) or cannot be written.
    """

    def __init__(self, path: Path, config: Config, *, force: bool, goes_on: tuple[Lock, str] | None = None) -> None:
        if goes_on is None:
            check_free(path, force=force)
        self.path = path
        self.given = self.config = config
        self.run_id = uuid.uuid4().hex if goes_on is None else goes_on[1]
        self.mark = Mark()
        self._force = force
        self._events: int | None = None
        self._waiting: list[Event] = []
        self._lock: Lock | None = None if goes_on is None else goes_on[0]
        self._made: list[Path] = []  # folders, the innermost first
        self._has_begun_file = goes_on is not None
        self._is_first = goes_on is None
        self._is_over = False
        self._needs: tuple[str, ...] = ()
        self.job = ""  # of torchrun: a process that it begins anew knows its run by this

    @property
    def has_begun(self) -> bool:
        """Whether there is something to show."""
        return self._events is not None

    def announce(self, needs: tuple[str, ...] = ()) -> None:
        """Lock the folder and write what was asked for; a run that stands there under --force is left alone until `begin`.

        Parameters
        ----------
        needs : tuple of str
            What a resume must be given anew: `data`, `model`.
        """
        if self._lock is not None:
            return
        try:
            for folder in (self.path, *self.path.parents):
                if folder.exists():
                    break
                self._made.append(folder)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.path)
            bring_back(self.path)
            for stale in stale_files(self.path):
                stale.unlink()
            self._needs = needs
            if not any(self.path.iterdir()):
                self._write_begun()
        except FolderError:
            self._made = []
            raise
        except OSError as error:
            self._leave()
            raise self._unwritable(error) from None

    def begin(self) -> None:
        """Make the folder's files and write the events that waited; once is enough."""
        if self._events is not None:
            return
        self.announce()
        try:
            for name in ALL_FILES if self._force and not self._has_begun_file else ():
                if (self.path / name).exists():  # until this run has something to show for it
                    (self.path / name).replace(self.path / (name + BEFORE))
            if not self._has_begun_file:
                if (self.path / CONFIG).exists():
                    raise FolderError(f"another run has begun in {str(self.path)!r} meanwhile; choose another --out")
                self._write_begun()
            # `out` and `force` belong to this run, not to its repetition.
            write_config(self.config.replace(out=None, force=False), self.path / CONFIG)
            self._open(None)
        except FolderError:
            raise
        except OSError as error:
            raise self._unwritable(error) from None
        for event in self._waiting:
            self.event(event)
        self._waiting = []

    def go_on(self, mark: Mark) -> None:
        """Open the events to write behind a mark, in place of `begin`.

        Raises
        ------
        FolderError
            They cannot be written.
        """
        self._open(mark)

    def event(self, event: Event) -> None:
        """Append an event as a line; before `begin` it waits."""
        if self._events is None:
            self._waiting.append(event)
            return
        line = (event.to_json() + "\n").encode()
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._events, left) :]
        except OSError as error:
            raise self._stopped(EVENTS, error) from None
        self.mark = Mark(self.mark.size + len(line), zlib.crc32(line, self.mark.crc))

    def checkpoint(self, tree: Mapping[str, Any], mark: Mark) -> None:
        """Write a checkpoint behind the events up to `mark`; the last one becomes the older one.

        Raises
        ------
        FolderError
            It cannot be written; those that are there stay good.
        """
        path = self.path / CHECKPOINT
        try:
            assert self._events is not None
            os.fsync(self._events)  # a checkpoint must never know of events that a crash takes back
            beside = path.with_name(path.name + ".part")
            write_checkpoint(beside, {"run": self.run_id, "events": list(mark), **tree})
            if path.exists():
                path.replace(self.path / OLDER)
            beside.replace(path)
            sync_folder(self.path)
        except OSError as error:
            raise self._stopped(CHECKPOINT, error) from None

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file in one step: beside it, then renamed."""
        try:
            text = json.dumps(plain(dict(value)), indent=1, allow_nan=False) + "\n"
            write_whole(self.path / name, text.encode())
        except OSError as error:
            raise self._stopped(name, error) from None

    def model(self, model: nn.Module, extra: Mapping[str, Any]) -> None:
        """Write the small model and what `load` needs beside it."""
        if not self.path.is_dir():  # it would be made anew, without the mask
            raise self._stopped("model.json", FileNotFoundError(errno.ENOENT, "gone"))
        try:
            save_model(model, self.path, dict(extra))
        except FolderError as error:
            if isinstance(error.__cause__, OSError):  # unlike a model on its own, a run goes on
                raise self._stopped("model.safetensors", error.__cause__) from None
            raise

    def finish(self) -> None:
        """The run has come to its planned end: nothing is left to resume."""
        self._is_over = True

    def restore(self) -> None:
        """The run failed: if it has no mask yet, an earlier run that it was to replace comes back."""
        replaced = [name for name in ALL_FILES if (self.path / (name + BEFORE)).exists()]
        if self._events is not None and replaced and not (self.path / MASK).exists():
            self._shut()
            with suppress(OSError):
                for name in ALL_FILES:
                    (self.path / name).unlink(missing_ok=True)
                bring_back(self.path)

    def close(self) -> None:
        """Close the events' file, and remove what this run has replaced, and what it needs no more."""
        if self._events is not None:
            self._shut()
            with suppress(OSError):
                for name in ALL_FILES if (self.path / MASK).exists() else ():
                    (self.path / (name + BEFORE)).unlink(missing_ok=True)
                for name in (OLDER, CHECKPOINT, BEGUN) if self._is_over else ():
                    (self.path / name).unlink(missing_ok=True)
        elif self._is_first:
            self._leave()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _leave(self) -> None:
        """Nothing was begun: leave nothing."""
        with suppress(OSError):
            if self._has_begun_file:
                (self.path / BEGUN).unlink(missing_ok=True)
                self._has_begun_file = False
            for folder in self._made:
                folder.rmdir()
        self._made = []

    def _write_begun(self) -> None:
        # As given: what was left open is settled by the data, as the first time.
        given = {name: value for name, value in self.given.given().items() if name != "out"}
        content = {
            "format": "mcprune-begun",
            "schema": 1,
            "run": self.run_id,
            "options": given,
            "needs": list(self._needs),
            **({"job": self.job} if self.job else {}),
        }
        write_whole(self.path / BEGUN, (json.dumps(plain(content), indent=1) + "\n").encode())
        self._has_begun_file = True

    def _open(self, mark: Mark | None) -> None:
        """Open the events' file to write behind a mark, or anew."""
        try:
            how = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if mark is None else 0)
            self._events = os.open(self.path / EVENTS, how, 0o666)
            if mark is not None:
                os.ftruncate(self._events, mark.size)
                os.lseek(self._events, mark.size, os.SEEK_SET)
                self.mark = mark
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> FolderError:
        return FolderError(f"{str(self.path)!r} cannot be written: {error.strerror or error}; choose another --out")

    def _stopped(self, name: str, error: OSError) -> FolderError:
        """Return the error that ends a run whose folder takes no more, with what helps."""
        remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "make it writable"
        if error.errno == errno.ENOENT:
            return FolderError(f"{str(self.path)!r} is gone: {name} cannot be written; run again elsewhere")
        return FolderError(
            f"{str(self.path / name)!r} cannot be written: {error.strerror or error}; {remedy}, then mcprune resume {self.path}"
        )

    def _shut(self) -> None:
        if self._events is not None:
            with suppress(OSError):  # a full disk has been told of where it was met
                os.close(self._events)
            self._events = None
