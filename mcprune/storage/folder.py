"""The folder of a running run: what is written into it, and when."""

from __future__ import annotations

import errno
import json
import os
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

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
    CHECKPOINT,
    CONFIG,
    EVENTS,
    MASK,
    OLDER,
    REQUEST,
    check_free,
    restore_replaced,
    stale_files,
)
from mcprune.surgery.model_files import save_model


class Mark(NamedTuple):
    """How far the events have been written: bytes, and their running CRC-32."""

    size: int = 0
    crc: int = 0


class RunFolder:
    """The files of a running run. An earlier run that it replaces is kept until `start`.

    `announce` writes the options, so that a run that is killed early can be resumed; `start`, after the first block, the other
    files. A run that ends before that leaves nothing.

    Parameters
    ----------
    path : Path
    config : Config
        As requested; the caller sets `config` to the resolved one before `start`.
    force : bool
        Replace a run in the folder.
    resumes : pair of Lock and str, optional
        Lock and id of the run in the folder, where this is its resume.

    Raises
    ------
    FolderError
        The folder is not empty (without `force`) or cannot be written.
    """

    def __init__(self, path: Path, config: Config, *, force: bool, resumes: tuple[Lock, str] | None = None) -> None:
        if resumes is None:
            check_free(path, force=force)
        self.path = path
        self.requested = self.config = config
        self.run_id = uuid.uuid4().hex if resumes is None else resumes[1]
        self.mark = Mark()
        self._force = force
        self._events: int | None = None
        self._waiting: list[Event] = []
        self._lock: Lock | None = None if resumes is None else resumes[0]
        self._created: list[Path] = []  # folders, the innermost first
        self._has_request = resumes is not None
        self._is_first = resumes is None
        self._is_finished = False
        self._needs: tuple[str, ...] = ()
        self.job = ""  # id of torchrun's job, by which a restarted process knows its run

    @property
    def has_started(self) -> bool:
        """Whether the run has files besides its options."""
        return self._events is not None

    def announce(self, needs: tuple[str, ...] = ()) -> None:
        """Lock the folder and write the options; with `force`, an earlier run is not touched before `start`.

        Parameters
        ----------
        needs : tuple of str
            What a resume must get from Python again: `data`, `model`, `objective`.
        """
        if self._lock is not None:
            return
        try:
            for folder in (self.path, *self.path.parents):
                if folder.exists():
                    break
                self._created.append(folder)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.path)
            restore_replaced(self.path)
            for stale in stale_files(self.path):
                stale.unlink()
            self._needs = needs
            if not any(self.path.iterdir()):
                self._write_request()
        except FolderError:
            self._created = []
            raise
        except OSError as error:
            self._leave()
            raise self._unwritable(error) from None

    def start(self) -> None:
        """Create the folder's files and write the events that waited; does nothing the second time."""
        if self._events is not None:
            return
        self.announce()
        try:
            for name in ALL_FILES if self._force and not self._has_request else ():
                if (self.path / name).exists():  # kept until this run has a mask
                    (self.path / name).replace(self.path / (name + BEFORE))
            if not self._has_request:
                if (self.path / CONFIG).exists():
                    raise FolderError(f"another run has started in {str(self.path)!r} meanwhile. Choose another --out.")
                self._write_request()
            # `out` and `force` are of this run, not of its repetition.
            write_config(self.config.replace(out=None, force=False), self.path / CONFIG)
            self._open(None)
        except FolderError:
            raise
        except OSError as error:
            raise self._unwritable(error) from None
        for event in self._waiting:
            self.write_event(event)
        self._waiting = []

    def resume_at(self, mark: Mark) -> None:
        """Continue the events behind a mark, in place of `start`.

        Raises
        ------
        FolderError
            The events cannot be written.
        """
        self._open(mark)

    def write_event(self, event: Event) -> None:
        """Append an event as a line; before `start` it is kept in memory."""
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

    def write_checkpoint(self, tree: Mapping[str, object], mark: Mark) -> None:
        """Write a checkpoint that belongs to the events up to `mark`; the previous one is kept.

        Raises
        ------
        FolderError
            It cannot be written; earlier ones are not touched.
        """
        path = self.path / CHECKPOINT
        try:
            assert self._events is not None
            os.fsync(self._events)  # a checkpoint must not refer to events that a crash loses
            part = path.with_name(path.name + ".part")
            write_checkpoint(part, {"run": self.run_id, "events": list(mark), **tree})
            if path.exists():
                path.replace(self.path / OLDER)
            part.replace(path)
            sync_folder(self.path)
        except OSError as error:
            raise self._stopped(CHECKPOINT, error) from None

    def write_json(self, name: str, value: Mapping[str, object]) -> None:
        """Write a JSON file in one step: under another name, then renamed.

        Raises
        ------
        FolderError
            It cannot be written.
        """
        try:
            text = json.dumps(plain(dict(value)), indent=1, allow_nan=False) + "\n"
            write_whole(self.path / name, text.encode())
        except OSError as error:
            raise self._stopped(name, error) from None

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file in one step.

        Raises
        ------
        FolderError
            It cannot be written.
        """
        try:
            write_whole(self.path / name, content)
        except OSError as error:
            raise self._stopped(name, error) from None

    def write_model(self, model: nn.Module, extra: Mapping[str, object]) -> None:
        """Write the pruned model and what `load` needs.

        Raises
        ------
        FolderError
            It cannot be written.
        ModelError
            The model's tensors do not fit its description.
        """
        if not self.path.is_dir():  # it would be created again, without the mask
            raise self._stopped("model.json", FileNotFoundError(errno.ENOENT, "gone"))
        try:
            save_model(model, self.path, dict(extra))
        except FolderError as error:
            if isinstance(error.__cause__, OSError):  # a run can be resumed, a model alone cannot
                raise self._stopped("model.safetensors", error.__cause__) from None
            raise

    def mark_finished(self) -> None:
        """Note that the run has ended as planned: `close` removes what a resume needs."""
        self._is_finished = True

    def restore_replaced(self) -> None:
        """Restore the earlier run that this one was to replace, if this one failed before it had a mask."""
        replaced = [name for name in ALL_FILES if (self.path / (name + BEFORE)).exists()]
        if self._events is not None and replaced and not (self.path / MASK).exists():
            self._close_events()
            with suppress(OSError):
                for name in ALL_FILES:
                    (self.path / name).unlink(missing_ok=True)
                restore_replaced(self.path)

    def close(self) -> None:
        """Close the events' file, remove what this run has replaced and what it needs no more, and unlock the folder."""
        if self._events is not None:
            self._close_events()
            with suppress(OSError):
                for name in ALL_FILES if (self.path / MASK).exists() else ():
                    (self.path / (name + BEFORE)).unlink(missing_ok=True)
                for name in (OLDER, CHECKPOINT, REQUEST) if self._is_finished else ():
                    (self.path / name).unlink(missing_ok=True)
        elif self._is_first:
            self._leave()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _leave(self) -> None:
        """Remove what `announce` has created."""
        with suppress(OSError):
            if self._has_request:
                (self.path / REQUEST).unlink(missing_ok=True)
                self._has_request = False
            for folder in self._created:
                folder.rmdir()
        self._created = []

    def _write_request(self) -> None:
        # As requested: open options are resolved from the data again.
        options = {name: value for name, value in self.requested.set_options().items() if name != "out"}
        content = {
            "format": "mcprune-request",
            "schema": 1,
            "run": self.run_id,
            "options": options,
            "needs": list(self._needs),
            **({"job": self.job} if self.job else {}),
        }
        write_whole(self.path / REQUEST, (json.dumps(plain(content), indent=1) + "\n").encode())
        self._has_request = True

    def _open(self, mark: Mark | None) -> None:
        """Open the events' file to write behind a mark, or an empty one."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if mark is None else 0)
            self._events = os.open(self.path / EVENTS, flags, 0o666)
            if mark is not None:
                os.ftruncate(self._events, mark.size)
                os.lseek(self._events, mark.size, os.SEEK_SET)
                self.mark = mark
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> FolderError:
        return FolderError(f"{str(self.path)!r} cannot be written: {error.strerror or error}. Choose another --out.")

    def _stopped(self, name: str, error: OSError) -> FolderError:
        """Return the error that ends a run whose folder cannot be written any more, with the remedy."""
        remedy = "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "Make it writable"
        if error.errno == errno.ENOENT:
            return FolderError(
                f"{str(self.path)!r} no longer exists: {name} cannot be written. Run again in another folder."
            )
        return FolderError(
            f"{str(self.path / name)!r} cannot be written: {error.strerror or error}. {remedy}, then: mcprune resume {self.path}"
        )

    def _close_events(self) -> None:
        if self._events is not None:
            with suppress(OSError):  # a full disk was reported at the write
                os.close(self._events)
            self._events = None
