"""Files that are there whole or not at all, also after a crash, and a lock that dies with its holder; free of torch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mcprune.errors import FolderError

NEW = ".new"  # ending of a file while it is written


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step: beside it, flushed to the disk, renamed, the folder flushed.

    Raises
    ------
    OSError
        It cannot be written; a file of that name is as it was.
    """
    beside = path.with_name(path.name + NEW)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):  # it holds the room that is missing
            beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush a folder, so that its renames outlive a crash; where folders cannot be opened nothing is done."""
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


class Lock:
    """Lock a folder so that only this process writes into it, until `release` or until the process ends.

    Where the system has no such locks (not POSIX, some network file systems) nothing is locked.

    Raises
    ------
    FolderError
        Another process holds it, or this one already.
    """

    def __init__(self, folder: Path) -> None:
        self._number: int | None = None
        try:
            import fcntl
        except ImportError:
            return
        try:
            number = os.open(folder, os.O_RDONLY)
        except OSError:
            return
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(number)
            raise FolderError(
                f"another run has started in {str(folder)!r} and is still running; wait for its end, or choose another folder"
            ) from None
        except OSError:
            os.close(number)
            return
        self._number = number

    def release(self) -> None:
        """Let others in; once is enough."""
        if self._number is not None:
            os.close(self._number)
            self._number = None
