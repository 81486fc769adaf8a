"""Open the folder of a run that was cut off: the checkpoint to resume, and what happened after it."""

from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

from mcprune.config.options import in_flat
from mcprune.config.schema import Config, make_config
from mcprune.environment import describe_machine
from mcprune.errors import ConfigError, FolderError
from mcprune.session.checkpoints.content import Checkpoint
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.replay import Replay, change_of
from mcprune.storage.atomic import Lock
from mcprune.storage.checkpoint import read_checkpoint
from mcprune.storage.event_log import parse_event, parse_events
from mcprune.storage.events import Event, Progress, RunDone, Stopped
from mcprune.storage.folder import Mark, RunFolder
from mcprune.storage.layout import CHECKPOINT, EVENTS, OLDER, REQUEST, RESULT, read_json, restore_replaced, stale_files
from mcprune.types import JsonObject


class OpenRun(NamedTuple):
    """A run that can be resumed.

    Attributes
    ----------
    folder : RunFolder
        Locked until it is closed, which `resume_run` does.
    checkpoint : dict or None
        None where the run starts again.
    needs : tuple of str
        What the folder does not contain: `data`, `model`, `objective`.
    events : list of Event
        Those up to the checkpoint.
    controller : Controller
        Repeats the changes that were recorded after the checkpoint, or known already.
    notes : list of str
        Where the run goes on, and what is different now.
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
    """Whether the run in the folder has come to its planned end; what it left for a resume is then removed."""
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
    """Lock a run's folder and choose where it goes on; nothing in it is changed but stale temporary files.

    Parameters
    ----------
    folder : path
    older : bool
        Skip the last checkpoint: take the one before it, or start again.
    anyway : bool
        Go on though versions, threads, device or data differ: the bits may differ from there on.

    Raises
    ------
    FolderError
        No run is there that can go on; another process goes on with it; the checkpoint is refused, with the reason.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}; give the folder of a run, such as runs/digits")
    lock = Lock(path)
    try:
        with suppress(OSError):  # whether the folder can be written shows when it is written
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
            now = describe_machine(int(checkpoint["machine"]["threads"]), str(checkpoint["machine"]["device"]))
            different = [
                f"{key} {then} then, {now.get(key)} now"
                for key, then in checkpoint["machine"].items()
                if now.get(key) != then
            ]
            if different and not anyway:
                raise FolderError(
                    f"{str(path)!r} was started elsewhere: {'; '.join(different)}. The run would not end in the same bits; "
                    "--anyway goes on all the same"
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
            raise FolderError(f"the run in {str(path)!r} has ended: nothing is left to resume; mcprune show {path}")
        raise FolderError(
            f"{str(path)!r} has no {REQUEST}: no run that can go on is there; give another folder, or run again"
        )
    request = read_json(path, REQUEST)
    if request.get("format") != "mcprune-request" or not isinstance(request.get("options"), dict):
        raise FolderError(f"{str(path / REQUEST)!r} was not written by mcprune; run again")
    if request.get("schema") != 1:
        raise FolderError(f"{str(path / REQUEST)!r} was written by a later mcprune; use that version")
    if not isinstance(request.get("run"), str) or not isinstance(request.get("needs"), list):
        raise FolderError(f"{str(path / REQUEST)!r} is broken; run again")
    return request


def _choose(path: Path, run_id: str, *, older: bool) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint to go on from and its name; None where there is none."""
    names = [name for name in (CHECKPOINT, OLDER) if (path / name).exists()]
    passed = names[:1] if older else []
    for place, name in enumerate(names):
        if name in passed:
            continue
        try:
            return _read(path, name, run_id), name
        except FolderError as error:
            if older:  # an older one may be good
                continue
            offer = "from the start"
            for other in names[place + 1 :]:
                with suppress(FolderError):
                    offer = f"after block {_read(path, other, run_id)['search']['blocks_done']:,}"
                    break
            raise FolderError(
                f"{str(path)!r} cannot go on: {error}. mcprune resume --older {path} goes on {offer}"
            ) from None
    return None, ""


def _read(path: Path, name: str, run_id: str) -> Checkpoint:
    """Return a checkpoint of this run whose events are there."""
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
        raise FolderError(f"{EVENTS} was changed before the place where {name} was written")
    return checkpoint


def config_of(path: Path, checkpoint: Checkpoint) -> Config:
    """Return the configuration that a checkpoint of the run in `path` was written under.

    Raises
    ------
    FolderError
        It cannot be run.
    """
    try:
        return make_config(**in_flat(checkpoint["options"]))
    except (TypeError, ConfigError) as error:
        raise FolderError(
            f"the checkpoint in {str(path)!r} holds options that cannot be run: {error}; run again"
        ) from None


def _split(path: Path, mark: Mark) -> tuple[list[Event], list[Event]]:
    """Return the events up to the mark, and those after it as far as they are whole."""
    try:
        data = (path / EVENTS).read_bytes()
    except OSError:
        return [], []
    whole = data[mark.size : data.rfind(b"\n") + 1]  # what follows the last end of a line was cut off
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
            block, turned = change
            replay.repeats_until = max(replay.repeats_until, block)
            if turned not in replay.changes.setdefault(block, []):  # a repeated one is known already
                replay.changes[block].append(turned)
        elif isinstance(event, Stopped) and event.reason in ("stop", "max_time") and replay.end is None:
            replay.end, replay.reason = event.block, event.reason
    return replay
