"""The folder of a path: its curve as JSON and as a page, the classifiers of its levels, and a run's folder for each exported level."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mcprune.config.schema import Config, make_config
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.weights import FROM_ARRAY
from mcprune.errors import ConfigError, FolderError, brief
from mcprune.path.result import OfLevels, PathResult
from mcprune.path.search.recorder import LevelTensors
from mcprune.path.search.store import REQUEST
from mcprune.report.path_view import write_path_page
from mcprune.session.build.dataset import load_dataset
from mcprune.storage.atomic import write_whole
from mcprune.storage.events import plain
from mcprune.storage.layout import (
    EVENTS,
    MASK,
    PATH_CURVE,
    PATH_LEVELS,
    PATH_UNFINISHED,
    RESULT,
    check_writable,
    read_json,
)
from mcprune.storage.layout import REQUEST as RUN_REQUEST
from mcprune.storage.path_curve import Curve

CURVE, PAGE, CLASSIFIERS, LEVELS = PATH_CURVE, "path.html", "path.safetensors", PATH_LEVELS
SMALL = "small"  # in the names of tensors
# Larger classifiers are not stored: a level is then retrained from scratch.
MOST_BYTES = 2**28


def path_folder(config: Config) -> Path:
    """Return the folder of a path: `out`, or runs/NAME-path of the data."""
    return config.out_folder() or Path("runs") / f"{config.data_name()}-path"


def level_folder(folder: Path, level: int) -> Path:
    """Return where a level is exported to, a folder as that of `mcprune run`."""
    return folder / LEVELS / f"n{level:03d}"


def check_path_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder that has something else, or a path without `force`.

    Raises
    ------
    FolderError
        The folder is not empty, is a file, or cannot be written.
    """
    check_writable(folder)
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if names and not force:
        resume = f", or continue it: mcprune resume {folder}" if is_unfinished(folder) else ""
        raise FolderError(
            f"the folder {str(folder)!r} exists. Choose another --out, or replace it with --force{resume}."
        )
    if foreign := sorted(names - {CURVE, PAGE, CLASSIFIERS, LEVELS, PATH_UNFINISHED}):
        raise FolderError(
            f"the folder {str(folder)!r} has {foreign[0]!r}, which no path wrote, so --force does not replace it. Choose another --out."
        )


def write_path(folder: Path, path: PathResult, kept: OfLevels, *, keeps_levels: bool = False) -> None:
    """Write the curve and the page of a path; exported levels of an earlier one are removed.

    Parameters
    ----------
    folder : Path
    path : PathResult
    kept : dict of int to LevelTensors
        Of the classifiers, by level.
    keeps_levels : bool
        Those whose masks are the same stay: the path was resumed.

    Raises
    ------
    FolderError
        A file cannot be written.
    """
    options = {name: value for name, value in path.config.set_options().items() if name not in ("out", "force", "keep")}
    content = {"format": "mcprune-path", "options": options, "data": path.data, **path.curve.to_dict()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        masks = {level_folder(folder, level.level): list(level.indices) for level in path.curve.levels}
        for old in (folder / LEVELS).glob("n*"):
            is_run = (old / EVENTS).exists() or (old / RUN_REQUEST).exists()
            is_same = is_written(old) and read_json(old, MASK)["indices"] == masks.get(old)
            if is_run and not (keeps_levels and is_same):
                shutil.rmtree(old)
        write_whole(folder / CURVE, (json.dumps(plain(content), indent=1, allow_nan=False) + "\n").encode())
        tensors = {
            f"{level}/{place}/{name}": tensor.contiguous()
            for level, one in kept.items()
            for place, part in [*enumerate(one.classifiers or ()), (SMALL, one.small or {})]
            for name, tensor in part.items()
        }
        (folder / CLASSIFIERS).unlink(missing_ok=True)
        if 0 < sum(one.nbytes for one in tensors.values()) <= MOST_BYTES:
            save_file(tensors, folder / CLASSIFIERS)
    except OSError as error:
        raise FolderError(
            f"{str(folder)!r} cannot be written: {error.strerror or error}. Choose another --out."
        ) from None
    write_path_page(folder / PAGE, path.curve)


def is_unfinished(folder: Path) -> bool:
    """Whether the folder has a path that was cut off, which can be resumed."""
    return (folder / PATH_UNFINISHED / REQUEST).exists()


def is_written(folder: Path) -> bool:
    """Whether the folder of a level has a run that has come to its end."""
    return (folder / RESULT).exists() and (folder / MASK).exists()


def read_curve(folder: Path) -> Curve:
    """Return the curve of a path's folder.

    Raises
    ------
    FolderError
        There is none, or it is broken.
    """
    if folder.is_dir() and not (folder / CURVE).exists():
        raise FolderError(f"{str(folder)!r} has no {CURVE}: it is no path. Give the folder of mcprune path.")
    return Curve.from_dict(read_json(folder, CURVE))


def load_path(folder: str | Path) -> PathResult:
    """Return a path from its folder; its data are loaded again.

    Raises
    ------
    FolderError
        There is no path, or it is broken.
    ConfigError
        Its data came from Python.
    """
    place = Path(folder)
    curve = read_curve(place)
    content = read_json(place, CURVE)
    config = make_config(
        **{**content["options"], "keep" if curve.unit == "sites" else curve.unit: curve.levels[0].level}
    )
    asked = config.data_settings()
    if asked.source == FROM_PYTHON or asked.reading.sample_weight == FROM_ARRAY:
        raise ConfigError(
            f"The rows of the path in {str(folder)!r} came from Python and are not in its folder. Use the PathResult there."
        )
    return PathResult(
        curve, config, load_dataset(config), _read_tensors(place / CLASSIFIERS), folder=place,
        is_complete=not is_unfinished(place), data=content.get("data"),
    )  # fmt: skip


def _read_tensors(path: Path) -> dict[int, LevelTensors]:
    """Return what a path has kept of the classifiers of its levels."""
    parts: dict[int, dict[str, dict[str, torch.Tensor]]] = {}
    try:
        for key, tensor in load_file(path).items() if path.exists() else ():
            level, number, name = key.split("/", 2)
            parts.setdefault(int(level), {}).setdefault(number, {})[name] = tensor
        tensors = {}
        for of_level, members in parts.items():
            small = members.pop(SMALL, None)
            classifiers = tuple(part for _, part in sorted(members.items(), key=lambda item: int(item[0])))
            tensors[of_level] = LevelTensors(classifiers or None, small)
        return tensors
    except (OSError, SafetensorError, ValueError) as error:
        raise FolderError(f"{str(path)!r} cannot be read ({brief(error)}). Run mcprune path again.") from None
