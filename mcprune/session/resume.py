"""Going on with a run that was cut off: from its last checkpoint, to the bits that it would have had."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from mcprune.config.options import in_flat
from mcprune.config.schema import Config, make_config
from mcprune.data.base import Dataset
from mcprune.data.fingerprint import fingerprint
from mcprune.distributed.evaluation import Ranks
from mcprune.environment import circumstances, use_threads
from mcprune.errors import ConfigError, FolderError, McpruneError
from mcprune.session.build.dataset import load_dataset
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import record_events, search_and_finish, start_run
from mcprune.session.ranks import enter
from mcprune.session.search import Search
from mcprune.session.steering.callbacks import Callback
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.replay import Replay, change_of
from mcprune.state import put_tensors
from mcprune.storage.atomic import Lock
from mcprune.storage.checkpoint import packed, read_checkpoint
from mcprune.storage.event_log import parse_event, parse_events
from mcprune.storage.events import Event, Progress, RunDone, Stopped
from mcprune.storage.folder import Mark, RunFolder
from mcprune.storage.layout import CHECKPOINT, EVENTS, OLDER, REQUEST, RESULT, read_json, restore_replaced, stale_files


class Opened(NamedTuple):
    """A run that can go on.

    Attributes
    ----------
    folder : RunFolder
        Locked until it is closed, which `events_of` does.
    held : dict or None
        The checkpoint; None where the run begins anew.
    needs : tuple of str
        What the folder does not hold: `data`, `model`, `objective`.
    told : list of Event
        What was told up to the checkpoint.
    controller : Controller
        Repeats the changes that were recorded after the checkpoint, or known already.
    words : list of str
        Where it goes on, and what is different now.
    is_forced : bool
        Differences were accepted.
    options : dict
        What the run was asked for.
    """

    folder: RunFolder
    held: dict[str, Any] | None
    needs: tuple[str, ...]
    told: list[Event]
    controller: Controller
    words: list[str]
    is_forced: bool
    options: dict[str, Any]


def has_ended(folder: str | Path) -> bool:
    """Tell whether a run in the folder has come to its planned end; what it then left for a resume is removed."""
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


def open_run(folder: str | Path, *, older: bool = False, anyway: bool = False) -> Opened:
    """Lock a run's folder and choose where it goes on; nothing in it is changed but stale temporary files.

    Parameters
    ----------
    folder : path
    older : bool
        Pass over the last checkpoint: take the one before it, or begin anew.
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
        with suppress(OSError):  # a folder that cannot be written is told of when it is written
            restore_replaced(path)
            for stale in stale_files(path):
                stale.unlink()
        request = _request(path)
        options, run_id = request["options"], request["run"]
        held, name = _choose(path, run_id, older=older)
        words = []
        if held is None:
            config = make_config(**options)
            words.append(f"{path}: no block is kept yet, so the run begins anew")
        else:
            config = _config_of(path, held)
            block = held["search"]["blocks_done"]
            words.append(f"{path}: going on behind block {block:,} ({name})")
            now = circumstances(config.runtime.threads or 1, str(held["machine"]["device"]))
            different = [
                f"{key} {then} then, {now.get(key)} now"
                for key, then in held["machine"].items()
                if now.get(key) != then
            ]
            if different and not anyway:
                raise FolderError(
                    f"{str(path)!r} was begun elsewhere: {'; '.join(different)}. The run would not end in the same bits; "
                    "--anyway goes on all the same"
                )
            words += [f"other than when it began, so the bits may differ: {text}" for text in different]
        mark = Mark() if held is None else Mark(*held["events"])
        told, tail = _split(path, mark)
        controller = _controller(held, tail)
        files = RunFolder(path, config, force=bool(options.get("force")), resumes=(lock, run_id))
        return Opened(files, held, tuple(request["needs"]), told, controller, words, anyway, options)
    except BaseException:
        lock.release()
        raise


def events_of(
    opened: Opened,
    dataset: Dataset | None = None,
    model: nn.Module | None = None,
    function: Callable[..., Any] | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    ranks: Ranks | None = None,
) -> Iterator[Event]:
    """Tell again what was told, then go on to the end; leaving the loop keeps what is written.

    Parameters
    ----------
    opened : Opened
    dataset : Dataset, optional
        The data again, where the run was begun on data given from Python; else they are loaded as the first time.
    model : nn.Module, optional
        The classifier again, where the user's own was given; its weights come from the checkpoint.
    function : callable, optional
        The objective again, where it was a function.
    callbacks : iterable of Callback
        Who watches the run; they get the earlier events too.
    ranks : Ranks, optional
        The processes that go on with it, of which this is rank 0; there may be more or fewer than before.

    Raises
    ------
    McpruneError
        Something is missing, or does not fit the checkpoint.
    """
    folder, held = opened.folder, opened.held
    try:
        config = folder.config
        _check_given(opened, dataset, model, function)
        if ranks is not None:
            tell_all(opened, ranks)
        if dataset is None:
            dataset = load_dataset(config)
        began = time.monotonic()
        if held is None:
            yield from start_run(
                config, dataset, folder, model, opened.controller, function, callbacks=callbacks, ranks=ranks
            )
            return
        search = restored(
            held,
            dataset,
            opened.controller,
            folder.path,
            model=model,
            function=function,
            is_forced=opened.is_forced,
            ranks=ranks,
        )
        folder.config = search.plan.config
        del dataset
        folder.resume_at(Mark(*held["events"]))
        began = time.monotonic() - search.state.clock.total
        yield from record_events(search_and_finish(search, folder, began), search, folder, callbacks, opened.told)
    finally:
        folder.close()  # releases the lock


def restored(
    held: dict[str, Any],
    dataset: Dataset,
    controller: Controller,
    path: Path,
    *,
    model: nn.Module | None = None,
    function: Callable[..., Any] | None = None,
    is_forced: bool = False,
    ranks: Ranks | None = None,
) -> Search:
    """Return the search as a checkpoint of the run in `path` holds it; the other arguments as those of `Opened` and `events_of`."""
    config = given = _config_of(path, held)
    try:
        if held["evaluator"] is not None and config.chain.early_reject is None:
            # What `auto` chose by its speed then; another one may round otherwise.
            config = config.replace(evaluator=held["evaluator"])
        plan = make_plan(config, dataset, model, function=function)
        plan.notes.clear()
        plan.spent_forwards = int(held["spent_forwards"])
        if held["data"] != fingerprint(plan.prepared) and not is_forced:
            raise FolderError(
                f"the data {plan.prepared.name!r} are not those that the run in {str(path)!r} began with; "
                "put them back, or use --anyway"
            )
        if model is not None:
            _check_frozen(plan.origin, held["origin"]["frozen"], path)
            put_tensors(plan.origin, held["origin"]["parameters"], held["origin"]["buffers"])
        enter(plan, given, ranks)
        trained_by, size = held.get("training_ranks"), 1 if ranks is None else ranks.size
        if trained_by is not None and trained_by != size and not is_forced:
            raise FolderError(
                f"{trained_by} processes shared the rows of each step in {str(path)!r}, {size} would end in other bits; "
                f"torchrun --nproc-per-node={trained_by}, or use --anyway"
            )
        use_threads(plan.runtime.threads)
        search = Search(plan, make_method(plan), controller)
        search.restore(held["search"])
    except McpruneError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise FolderError(
            f"the checkpoint in {str(path)!r} does not fit its run ({type(error).__name__}: {said}); "
            "resume with --older, or run again"
        ) from error
    return search


def _check_frozen(model: nn.Module, frozen: list[str], path: Path) -> None:
    """Refuse a model given again of which other parameters are frozen: another part of it would be trained."""
    now = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if different := now ^ set(frozen):
        name = min(different)
        raise ConfigError(
            f"parameter {name!r} of the model has requires_grad={name not in now}, but when the run in {str(path)!r} was begun it had "
            f"{name in now}. Set requires_grad as it was then."
        )


def tell_all(opened: Opened, ranks: Ranks) -> None:
    """Tell the other ranks, which wait in `follow`, where a run goes on; they need not see its folder."""
    held = opened.held
    options = held["options"] if held is not None else opened.options
    ranks.broadcast({"options": options, "steering": opened.controller.pending(0), "is_forced": opened.is_forced})
    ranks.broadcast_bytes(b"" if held is None else packed(held))


def _check_given(
    opened: Opened, dataset: Dataset | None, model: nn.Module | None, function: Callable[..., Any] | None
) -> None:
    path = opened.folder.path
    if "data" in opened.needs and dataset is None:
        raise ConfigError(
            f"the data of {str(path)!r} were given from Python and are not in its folder; go on from Python: "
            f"mcprune.resume({str(path)!r}, data=(X, y))"
        )
    if "model" in opened.needs and model is None:
        raise ConfigError(
            f"the classifier of {str(path)!r} was given from Python, and its code is not in the folder; go on from Python: "
            f"mcprune.resume({str(path)!r}, model=...)"
        )
    if "objective" in opened.needs and function is None:
        raise ConfigError(
            f"the objective of {str(path)!r} was a function given from Python; go on from Python: "
            f"mcprune.resume({str(path)!r}, objective=...)"
        )
    if "objective" not in opened.needs and function is not None:
        raise ConfigError(f"the objective of {str(path)!r} is in its options; leave objective out")
    if "model" not in opened.needs and model is not None:
        raise ConfigError(f"the classifier of {str(path)!r} is a built-in one; leave model out")


def _request(path: Path) -> dict[str, Any]:
    if not (path / REQUEST).exists():
        if has_ended(path):
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


def _choose(path: Path, run_id: str, *, older: bool) -> tuple[dict[str, Any] | None, str]:
    """Return the checkpoint to go on from and its name; None where there is none."""
    names = [name for name in (CHECKPOINT, OLDER) if (path / name).exists()]
    passed = names[:1] if older else []
    for place, name in enumerate(names):
        if name in passed:
            continue
        try:
            return _checked(path, name, run_id), name
        except FolderError as error:
            if older:  # what is older still may be good
                continue
            offer = "from the start"
            for other in names[place + 1 :]:
                with suppress(FolderError):
                    offer = f"behind block {_checked(path, other, run_id)['search']['blocks_done']:,}"
                    break
            raise FolderError(
                f"{str(path)!r} cannot go on: {error}. mcprune resume --older {path} goes on {offer}"
            ) from None
    return None, ""


def _checked(path: Path, name: str, run_id: str) -> dict[str, Any]:
    """Return a checkpoint of this run whose events are there."""
    held = read_checkpoint(path / name)
    try:
        if held["run"] != run_id:
            raise FolderError(f"{name} is of another run")
        size, crc = map(int, held["events"])
        parts = (held["search"]["blocks_done"], held["machine"]["device"], held["options"], held["data"])
        if not isinstance(parts[0], int) or not isinstance(held["machine"], dict):
            raise TypeError("a part is of another kind")
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{name} lacks a part of what it should hold ({error})") from None
    try:
        with (path / EVENTS).open("rb") as file:
            head = file.read(size)
    except OSError as error:
        raise FolderError(f"{EVENTS} cannot be read: {error.strerror}") from None
    if len(head) != size or zlib.crc32(head) != crc:
        raise FolderError(f"{EVENTS} was changed in front of what {name} stands behind")
    return held


def _config_of(path: Path, held: dict[str, Any]) -> Config:
    try:
        return make_config(**in_flat(held["options"]))
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


def _controller(held: dict[str, Any] | None, tail: list[Event]) -> Controller:
    """Return what was still to be turned, and what a person, or the clock, had turned behind the checkpoint before the run was cut off."""
    try:
        found = Replay.of(dict(held["steering"]) if held is not None else {})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FolderError(
            f"the checkpoint says wrongly what is still to be turned ({error}); resume with --older"
        ) from None
    for event in tail:
        if isinstance(event, Progress):
            found.repeats_until = max(found.repeats_until, event.block)
        if (change := change_of(event)) is not None:
            block, turned = change
            found.repeats_until = max(found.repeats_until, block)
            if turned not in found.changes.setdefault(block, []):  # a repeated one is known already
                found.changes[block].append(turned)
        elif isinstance(event, Stopped) and event.reason in ("stop", "max_time") and found.end is None:
            found.end, found.reason = event.block, event.reason
    return found
