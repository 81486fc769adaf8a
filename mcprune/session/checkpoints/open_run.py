"""Open the folder of a run that was cut off: the checkpoint to resume, and what happened after it."""

from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

from mcprune.config.options import in_flat
from mcprune.config.schema import Config, make_config
from mcprune.environment import machine_differences
from mcprune.errors import ConfigError, FolderError
from mcprune.session.checkpoints.content import Checkpoint
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.replay import Replay, change_of
from mcprune.storage.atomic import Lock
from mcprune.storage.checkpoint import read_checkpoint
from mcprune.storage.event_log import parse_event, parse_events
from mcprune.storage.events import Event, Progress, RunDone, Stopped
from mcprune.storage.folder import Mark, RunFolder
from mcprune.storage.layout import (
    CHECKPOINT,
    EVENTS,
    OLDER,
    REQUEST,
    RESULT,
    in_place_of_run,
    read_json,
    restore_replaced,
    stale_files,
)
from mcprune.types import JsonObject


class OpenRun(NamedTuple):
    """A run that was opened to be resumed.

    Attributes
    ----------
    folder : RunFolder
        Locked until it is closed, which `resume_run` does.
    checkpoint : dict or None
        None where the run starts from the beginning.
    needs : tuple of str
        What the folder does not contain: `data`, `model`, `objective`.
    events : list of Event
        Those up to the checkpoint.
    controller : Controller
        Repeats the changes after the checkpoint.
    notes : list of str
        Where the run continues, and what is different now.
    is_forced : bool
        Differences were accepted.
    options : dict
        Of the run, as the user gave them.
    """

    folder: RunFolder
    checkpoint: Checkpoint | None
    needs: tuple[str, ...]
    events: list[Event]
    controller: Controller
    notes: list[str]
    is_forced: bool
    options: JsonObject


def is_finished(folder: str | Path) -> bool:
    """Return whether the run in the folder has come to its planned end; then the files for a resume are removed."""
    path = Path(folder)
    try:
        if read_json(path, RESULT).get("cut_short_by") is not None:
            return False
        last = parse_event((path / EVENTS).read_bytes().splitlines()[-1])
    except (FolderError, OSError, IndexError, ValueError):
        return False
    if not isinstance(last, RunDone) or not last.is_complete:
        return False
    with suppress(OSError):
        for name in (OLDER, CHECKPOINT, REQUEST):
            (path / name).unlink(missing_ok=True)
    return True


def open_run(folder: str | Path, *, older: bool = False, anyway: bool = False) -> OpenRun:
    """Lock the folder of a run and choose its checkpoint; only stale temporary files are removed.

    Parameters
    ----------
    folder : path
    older : bool
        Skip the last checkpoint: use the one before it, or start from the beginning.
    anyway : bool
        Continue though versions, threads, device or data differ; then the bits of the result may differ.

    Raises
    ------
    FolderError
        There is no run to resume, another process has it open, or the checkpoint is not valid.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}. Give the folder of a run, such as runs/digits.")
    lock = Lock(path)
    try:
        with suppress(OSError):  # a folder that cannot be written is reported when a file is written
            restore_replaced(path)
            for stale in stale_files(path):
                stale.unlink()
        request = _request(path)
        options, run_id = request["options"], request["run"]
        checkpoint, name = _choose(path, run_id, older=older)
        notes = []
        if checkpoint is None:
            config = make_config(**options)
            notes.append(f"{path}: there is no checkpoint yet, so the run starts again")
        else:
            config = config_of(path, checkpoint)
            block = checkpoint["search"]["blocks_done"]
            notes.append(f"{path}: going on after block {block:,} ({name})")
            different = machine_differences(checkpoint["machine"])
            if different and not anyway:
                raise FolderError(
                    f"{str(path)!r} was started elsewhere: {'; '.join(different)}. The run would not end in the same bits. Use "
                    "--anyway to continue it all the same."
                )
            notes += [f"different from when it was started, so the bits may differ: {text}" for text in different]
        mark = Mark() if checkpoint is None else Mark(*checkpoint["events"])
        events, tail = _split(path, mark)
        controller = _controller(checkpoint, tail)
        files = RunFolder(path, config, force=bool(options.get("force")), resumes=(lock, run_id))
        return OpenRun(files, checkpoint, tuple(request["needs"]), events, controller, notes, anyway, options)
    except BaseException:
        lock.release()
        raise


def _request(path: Path) -> JsonObject:
    """Return the content of the file that asks for the run."""
    if not (path / REQUEST).exists():
        if is_finished(path):
            raise FolderError(
                f"The run in {str(path)!r} is finished, so there is nothing to resume. See mcprune show {path}."
            )
        if text := in_place_of_run(path):
            raise FolderError(text)
        raise FolderError(
            f"{str(path)!r} has no {REQUEST}, so there is no run to resume. Give another folder, or run again."
        )
    request = read_json(path, REQUEST)
    if request.get("format") != "mcprune-request" or not isinstance(request.get("options"), dict):
        raise FolderError(f"{str(path / REQUEST)!r} was not written by mcprune. Run again.")
    if request.get("schema") != 1:
        raise FolderError(f"{str(path / REQUEST)!r} was written by a later mcprune. Use that version.")
    if not isinstance(request.get("run"), str) or not isinstance(request.get("needs"), list):
        raise FolderError(f"{str(path / REQUEST)!r} is broken. Run again.")
    return request


def _choose(path: Path, run_id: str, *, older: bool) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint to resume and its file name; None where there is none."""
    names = [name for name in (CHECKPOINT, OLDER) if (path / name).exists()]
    passed = names[:1] if older else []
    for place, name in enumerate(names):
        if name in passed:
            continue
        try:
            return _read(path, name, run_id), name
        except FolderError as error:
            if older:  # the one before it may be valid
                continue
            offer = "from the start"
            for other in names[place + 1 :]:
                with suppress(FolderError):
                    offer = f"after block {_read(path, other, run_id)['search']['blocks_done']:,}"
                    break
            raise FolderError(
                f"{str(path)!r} cannot be resumed: {error}. mcprune resume --older {path} continues {offer}"
            ) from None
    return None, ""


def _read(path: Path, name: str, run_id: str) -> Checkpoint:
    """Return a checkpoint of this run, whose events are complete."""
    checkpoint = cast(Checkpoint, read_checkpoint(path / name))  # its parts are checked here, and where they are used
    try:
        if checkpoint["run"] != run_id:
            raise FolderError(f"{name} is of another run")
        size, crc = map(int, checkpoint["events"])
        parts = (checkpoint["machine"]["device"], int(checkpoint["machine"]["threads"]), checkpoint["options"])
        if not all(isinstance(part, kind) for part, kind in zip(parts, (str, int, dict), strict=True)):
            raise TypeError("a part is of another kind")
        if not isinstance(checkpoint["search"]["blocks_done"], int) or not checkpoint["data"]:
            raise TypeError("a part is of another kind")
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{name} lacks a part ({error})") from None
    try:
        with (path / EVENTS).open("rb") as file:
            head = file.read(size)
    except OSError as error:
        raise FolderError(f"{EVENTS} cannot be read: {error.strerror}") from None
    if len(head) != size or zlib.crc32(head) != crc:
        raise FolderError(f"{EVENTS} was changed before the point at which {name} was written")
    return checkpoint


def config_of(path: Path, checkpoint: Checkpoint) -> Config:
    """Return the configuration of a checkpoint of the run in `path`.

    Raises
    ------
    FolderError
        The configuration is not valid.
    """
    try:
        return make_config(**in_flat(checkpoint["options"]))
    except (TypeError, ConfigError) as error:
        raise FolderError(
            f"The checkpoint in {str(path)!r} has options that are not valid: {error}. Run again."
        ) from None


def _split(path: Path, mark: Mark) -> tuple[list[Event], list[Event]]:
    """Return the events up to the mark, and the complete ones after it."""
    try:
        data = (path / EVENTS).read_bytes()
    except OSError:
        return [], []
    whole = data[mark.size : data.rfind(b"\n") + 1]  # the last line may be incomplete
    return parse_events(data[: mark.size]).events, parse_events(whole).events


def _controller(checkpoint: Checkpoint | None, tail: list[Event]) -> Controller:
    """Return a controller that repeats the changes that were pending at the checkpoint, or made after it before the run was cut off."""
    try:
        replay = Replay.of(dict(checkpoint["steering"]) if checkpoint is not None else {})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FolderError(
            f"The changes that the checkpoint lists cannot be read ({error}). Resume with --older."
        ) from None
    for event in tail:
        if isinstance(event, Progress):
            replay.repeats_until = max(replay.repeats_until, event.block)
        if (change := change_of(event)) is not None:
            replay.repeats_until = max(replay.repeats_until, change.block)
            replay.add(change)
        elif isinstance(event, Stopped) and event.reason in ("stop", "finish", "max_time") and replay.end is None:
            replay.end, replay.reason = event.block, event.reason
    return replay
