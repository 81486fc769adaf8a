"""The files of a run's folder: names, the check before a run, and reading JSON back; free of torch."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mcprune.errors import FolderError, brief
from mcprune.types import JsonObject

CONFIG, EVENTS, MASK, RESULT = "config.toml", "events.jsonl", "mask.json", "result.json"
REQUEST = "request.json"  # the options as requested; until the run has ended
CHECKPOINT, OLDER = "checkpoint.safetensors", "checkpoint-older.safetensors"  # the last two, until the run has ended
PREDICTIONS = "predictions.safetensors"  # of the test rows
CLASSIFIERS = "classifiers.safetensors"  # the classifiers of the search, by which masks can be sampled
SAMPLES, SAMPLES_SUMMARY = "samples.safetensors", "samples.json"  # of `mcprune sample`
REPORT = "report.html"  # of `mcprune report`
PATH_CURVE, PATH_LEVELS = "path.json", "levels"  # of `mcprune path`: its levels are runs
NETWORK = "network.json"  # of a fixed-point network
PATH_UNFINISHED = "unfinished"  # folder of the finished parts of a path, until its end
# Of `mcprune export` without a name: a replaced run takes these along.
EXPORT, ENDINGS = "small", {"safetensors": "", "torch": ".pt2", "onnx": ".onnx", "c": ".h"}
HALF = (".new", ".part", ".part.new")  # endings of files that are being written
BEFORE = ".before"  # an earlier run under --force, until the new run has a mask
FILES = (CONFIG, EVENTS, MASK, RESULT, "model.safetensors", "model.json", CLASSIFIERS, PREDICTIONS)
ALL_FILES = (
    REQUEST,
    *FILES,
    SAMPLES,
    SAMPLES_SUMMARY,
    CHECKPOINT,
    OLDER,
    REPORT,
    *(EXPORT + ending for ending in ENDINGS.values() if ending),
)


def _is_of_a_run(name: str) -> bool:
    """Return whether a run may have written a file of this name, completely or in part."""
    return any(name == known + end for known in ALL_FILES for end in ("", *HALF, BEFORE))


def check_free(path: Path, *, force: bool) -> None:
    """Refuse a folder that is not empty or cannot be created; nothing is written.

    Raises
    ------
    FolderError
        The folder is not empty (without `force`), has files that no run wrote (with `force`), is a file, or cannot be
        written.
    """
    check_writable(path)
    # A kill at the first write leaves a part of one file, which counts as nothing.
    if path.is_dir() and {entry.name for entry in path.iterdir()} - {entry.name for entry in stale_files(path)}:
        if not force:
            resume = f", or continue it: mcprune resume {path}" if (path / REQUEST).exists() else ""
            raise FolderError(
                f"the folder {str(path)!r} exists. Choose another --out, or replace it with --force{resume}."
            )
        foreign = sorted(entry.name for entry in path.iterdir() if not _is_of_a_run(entry.name))
        if foreign:
            raise FolderError(
                f"the folder {str(path)!r} has {foreign[0]!r}, which no run wrote, so --force does not replace it. "
                "Choose another --out."
            )


def check_writable(path: Path) -> None:
    """Refuse a folder that cannot be created or written; nothing is written, and what it holds does not matter.

    A command that writes at its end calls this before it begins.

    Raises
    ------
    FolderError
        It is a file or lies below one, its name is not possible, or it cannot be written.
    """
    _check_name(path)
    parent = path
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        below = "" if parent == path else f", so {str(path)!r} cannot be created"
        raise FolderError(f"{str(parent)!r} is a file{below}. Choose another --out.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise FolderError(f"the folder {str(parent)!r} cannot be written. Choose another --out.")


def check_network_folder(path: Path, *, force: bool) -> None:
    """Refuse a folder where a fixed-point network cannot be written; nothing is written.

    Raises
    ------
    FolderError
        It holds a run or a path, which the network would hide; it holds a network (without `force`); or as `check_writable`.
    """
    check_writable(path)
    if any((path / name).exists() for name in (REQUEST, RESULT, MASK, PATH_CURVE, PATH_UNFINISHED)):
        raise FolderError(
            f"{str(path)!r} holds a run or a path, and a network beside it would hide it. --force replaces networks alone. "
            "Choose another --out."
        )
    if (path / NETWORK).is_file() and not force:
        raise FolderError(f"{str(path)!r} holds a network already. Choose another --out, or replace it with --force.")


def free_file(out: str | os.PathLike[str], name: str, *, force: bool) -> Path:
    """Return the path of a file that is to be written; nothing is written.

    Parameters
    ----------
    out : path
    name : str
        Of such a file, for the message where `out` is a folder.
    force : bool
        It may be replaced.

    Raises
    ------
    FolderError
        It is a folder, exists (without `force`), or lies in a folder that is missing or cannot be written.
    """
    path = Path(out)
    if not path.name:
        raise FolderError(f"{str(out)!r} names no file. Name one with --out, such as {name!r}.")
    _check_name(path)
    if path.is_dir():
        raise FolderError(f"{str(out)!r} is a folder. Name a file with --out, such as {str(path / name)!r}.")
    if not path.parent.is_dir():
        raise FolderError(f"there is no folder {str(path.parent)!r}. Create it, or choose another --out.")
    check_writable(path.parent)
    if path.exists() and not force:
        raise FolderError(f"{str(path)!r} exists already. Choose another --out, or add --force to replace it.")
    return path


def _check_name(path: Path) -> None:
    try:
        path.exists()
    except OSError as error:
        raise FolderError(
            f"the name {path.name[:40]!r} is not possible ({error.strerror}). Choose another --out."
        ) from None


def restore_replaced(path: Path) -> None:
    """Undo a replacement under --force that was interrupted before the new run started.

    Raises
    ------
    OSError
        A file cannot be moved.
    """
    if not (path / REQUEST).exists():
        for name in ALL_FILES:
            if (path / (name + BEFORE)).exists():
                (path / (name + BEFORE)).replace(path / name)


def stale_files(path: Path) -> list[Path]:
    """Return the files that a kill or a full disk has left incomplete."""
    return [path / (name + end) for name in ALL_FILES for end in HALF if (path / (name + end)).exists()]


def of_path(path: Path) -> str:
    """Return what to give in place of the folder of a path where a run is wanted; empty where it is none."""
    if not (path / PATH_CURVE).exists():
        return ""
    if (path / PATH_UNFINISHED).exists():
        return f"{str(path)!r} is a path that was cut off, whose levels become runs at its end. Continue it: mcprune resume {path}."
    level = next(iter(sorted((path / PATH_LEVELS).glob("n*"))), path / PATH_LEVELS / "nNNN")
    return (
        f"{str(path)!r} is a path, whose levels are runs of their own. Give the folder of one, such as {str(level)!r}; "
        f"mcprune path {path} --at N writes another level, and path.html in the folder shows the curve."
    )


def of_network(path: Path) -> str:
    """Return what takes the folder of a fixed-point network where a run is wanted; empty where it is none."""
    if not (path / NETWORK).is_file():
        return ""
    return (
        f"{str(path)!r} holds a network in fixed point and no run. mcprune inspect, report, polish and export take it, and so does "
        "load_network in Python (docs/firmware.md)."
    )


def in_place_of_run(path: Path) -> str:
    """Return what a folder without a run has instead, in words; empty where that is nothing."""
    return of_path(path) or of_network(path)


def read_json(folder: str | Path, name: str) -> JsonObject:
    """Return one of a run's JSON files.

    Raises
    ------
    FolderError
        The folder or the file is missing, or the file is not a JSON object.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}. Give the folder of a run, such as runs/digits.")
    try:
        value = json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if text := in_place_of_run(path):
            raise FolderError(text) from None
        raise FolderError(f"{str(folder)!r} has no {name}: it holds no finished run. Run again.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{str(path / name)!r} cannot be read ({brief(error)}). Run again.") from None
    if not isinstance(value, dict):
        raise FolderError(f"{str(path / name)!r} is not a JSON object. Run again.")
    return value
