"""The files of a run's folder: their names, the check before they are written, and reading them back; free of torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mcprune.errors import FolderError, brief

CONFIG, EVENTS, MASK, RESULT = "config.toml", "events.jsonl", "mask.json", "result.json"
BEGUN = "begun.json"  # what was asked for; there until the run has come to its end
CHECKPOINT, OLDER = "checkpoint.safetensors", "checkpoint-older.safetensors"  # the last two, until the end
REPORT = "report.html"  # of `mcprune report`, where it was called
# Of `mcprune export`, where it was called without a name: of the run's model, so what is one file goes with it.
EXPORT, ENDINGS = "small", {"safetensors": "", "torch": ".pt2", "onnx": ".onnx", "c": ".h"}
HALF = (".new", ".part", ".part.new")  # ends of files that are being written
BEFORE = ".before"  # an earlier run under --force, until the new one has a mask
FILES = (CONFIG, EVENTS, MASK, RESULT, "model.safetensors", "model.json")
ALL_FILES = (BEGUN, *FILES, CHECKPOINT, OLDER, REPORT, *(EXPORT + ending for ending in ENDINGS.values() if ending))


def _is_ours(name: str) -> bool:
    """Whether a run wrote it: also what a kill or a full disk left half done."""
    return any(name == known + end for known in ALL_FILES for end in ("", *HALF, BEFORE))


def check_free(path: Path, *, force: bool) -> None:
    """Refuse a folder that holds something, or that cannot be made; nothing is written yet.

    Raises
    ------
    FolderError
        The folder exists and is not empty (without `force`), is a file, or does not look like a run although `force` is
        given.
    """
    try:
        path.exists()
    except (OSError, ValueError) as error:
        raise FolderError(f"{str(path)[:80]!r} is no name for a folder ({error}); choose another --out") from None
    # A kill in the first instant leaves a half of the first file, which is nothing.
    if path.is_dir() and {entry.name for entry in path.iterdir()} - {entry.name for entry in stale_files(path)}:
        if not force:
            on = f", or go on with it: mcprune resume {path}" if (path / BEGUN).exists() else ""
            raise FolderError(f"the folder {str(path)!r} exists; choose another --out, or replace it with --force{on}")
        foreign = sorted(entry.name for entry in path.iterdir() if not _is_ours(entry.name))
        if foreign:
            raise FolderError(
                f"the folder {str(path)!r} holds {foreign[0]!r}, which no run wrote, so --force will not replace it; "
                "choose another --out"
            )
    elif path.exists() and not path.is_dir():
        raise FolderError(f"{str(path)!r} is a file; choose another --out")
    parent = path
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise FolderError(f"{str(parent)!r} is a file, so {str(path)!r} cannot be made; choose another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise FolderError(f"the folder {str(parent)!r} cannot be written; choose another --out")


def bring_back(path: Path) -> None:
    """Undo a replacement under --force that was cut off before the new run had begun.

    Raises
    ------
    OSError
        A file cannot be moved.
    """
    if not (path / BEGUN).exists():
        for name in ALL_FILES:
            if (path / (name + BEFORE)).exists():
                (path / (name + BEFORE)).replace(path / name)


def stale_files(path: Path) -> list[Path]:
    """Return what a kill or a full disk has left half written."""
    return [path / (name + end) for name in ALL_FILES for end in HALF if (path / (name + end)).exists()]


def read_json(folder: str | Path, name: str) -> dict[str, Any]:
    """Return one of a run's JSON files.

    Raises
    ------
    FolderError
        The folder or the file is missing, or the file is not a JSON object.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}; give the folder of a run, such as runs/digits")
    try:
        value = json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FolderError(f"{str(folder)!r} has no {name}: no run that ended is there; run again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{str(path / name)!r} cannot be read: {brief(error)}; run again") from None
    if not isinstance(value, dict):
        raise FolderError(f"{str(path / name)!r} is no JSON object; run again")
    return value
