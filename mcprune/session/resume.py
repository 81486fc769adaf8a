"""Resume a run that was cut off from its last checkpoint; it ends in the bits of an uninterrupted run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from torch import nn

from mcprune.data.base import Dataset
from mcprune.data.fingerprint import fingerprint
from mcprune.distributed.evaluation import Ranks
from mcprune.environment import use_threads
from mcprune.errors import ConfigError, FolderError, McpruneError, brief
from mcprune.session.build.dataset import load_dataset
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.checkpoints.content import Checkpoint
from mcprune.session.checkpoints.open_run import OpenRun, config_of
from mcprune.session.loop import record_events, search_and_finish, start_run
from mcprune.session.ranks import share_plan
from mcprune.session.search import Search
from mcprune.session.steering.callbacks import Callback
from mcprune.session.steering.controller import Controller
from mcprune.state import put_tensors
from mcprune.storage.checkpoint import packed
from mcprune.storage.events import Event
from mcprune.storage.folder import Mark


def resume_run(
    opened: OpenRun,
    dataset: Dataset | None = None,
    model: nn.Module | None = None,
    function: Callable[..., object] | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    ranks: Ranks | None = None,
) -> Iterator[Event]:
    """Yield the events up to the checkpoint again, then continue to the end; a loop that is left early keeps the files.

    Parameters
    ----------
    opened : OpenRun
    dataset : Dataset, optional
        The data, where the run was started on data from Python; else they are loaded again.
    model : nn.Module, optional
        The classifier, where it was the user's own; its weights come from the checkpoint.
    function : callable, optional
        The objective, where it was a function.
    callbacks : iterable of Callback
        They get the earlier events too.
    ranks : Ranks, optional
        The processes of the run, where this is rank 0; there may be more or fewer than before.

    Raises
    ------
    McpruneError
        Data, model or objective are missing, or do not match the checkpoint.
    """
    folder, checkpoint = opened.folder, opened.checkpoint
    try:
        config = folder.config
        _check_parts(opened, dataset, model, function)
        if ranks is not None:
            broadcast_run(opened, ranks)
        if dataset is None:
            dataset = load_dataset(config)
        began = time.monotonic()
        if checkpoint is None:
            yield from start_run(
                config, dataset, folder, model, opened.controller, function, callbacks=callbacks, ranks=ranks
            )
            return
        search = restore_search(
            checkpoint,
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
        folder.resume_at(Mark(*checkpoint["events"]))
        began = time.monotonic() - search.state.clock.total
        yield from record_events(search_and_finish(search, folder, began), search, folder, callbacks, opened.events)
    finally:
        folder.close()  # releases the lock


def restore_search(
    checkpoint: Checkpoint,
    dataset: Dataset,
    controller: Controller,
    path: Path,
    *,
    model: nn.Module | None = None,
    function: Callable[..., object] | None = None,
    is_forced: bool = False,
    ranks: Ranks | None = None,
) -> Search:
    """Return the search of a checkpoint of the run in `path`; the other arguments are those of `OpenRun` and `resume_run`.

    Raises
    ------
    McpruneError
        Data, model or objective are missing, or do not match the checkpoint.
    """
    config = asked = config_of(path, checkpoint)
    try:
        # The evaluator that `auto` chose by its speed then; another one may round differently.
        config = config.with_evaluator(checkpoint["evaluator"])
        plan = make_plan(config, dataset, model, function=function)
        plan.notes.clear()
        plan.spent_forwards = int(checkpoint["spent_forwards"])
        if checkpoint["data"] != fingerprint(plan.splits) and not is_forced:
            raise FolderError(
                f"The data {plan.splits.name!r} are not those that the run in {str(path)!r} was started with. "
                "Restore them, or use --anyway."
            )
        if plan.is_users_model:
            _check_frozen(plan.origin, checkpoint["origin"]["frozen"], path)
            put_tensors(plan.origin, checkpoint["origin"]["parameters"], checkpoint["origin"]["buffers"])
        share_plan(plan, asked, ranks)
        trained_by, size = checkpoint.get("training_ranks"), 1 if ranks is None else ranks.size
        if trained_by is not None and trained_by != size and not is_forced:
            raise FolderError(
                f"{trained_by} processes shared the rows of each step in {str(path)!r}, and {size} would end in other bits. "
                f"Use torchrun --nproc-per-node={trained_by}, or --anyway."
            )
        use_threads(plan.runtime.threads)
        search = Search(plan, make_method(plan), controller)
        search.restore(checkpoint["search"])
    except McpruneError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise FolderError(
            f"The checkpoint in {str(path)!r} does not fit its run ({brief(error)}). Resume with --older, or run again."
        ) from error
    return search


def _check_frozen(model: nn.Module, frozen: list[str], path: Path) -> None:
    """Refuse a model with other frozen parameters than before."""
    now = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if different := now ^ set(frozen):
        name = min(different)
        raise ConfigError(
            f"parameter {name!r} of the model has requires_grad={name not in now}, but when the run in {str(path)!r} was started it had "
            f"{name in now}. Set requires_grad as it was then."
        )


def broadcast_run(opened: OpenRun, ranks: Ranks) -> None:
    """Send the run and its checkpoint to the other ranks, which wait in `worker.run` and need not see the folder."""
    checkpoint = opened.checkpoint
    options = opened.options if checkpoint is None else checkpoint["options"]
    ranks.broadcast({"options": options, "steering": opened.controller.pending(0), "is_forced": opened.is_forced})
    ranks.broadcast_bytes(b"" if checkpoint is None else packed({**checkpoint}))


def _check_parts(
    opened: OpenRun, dataset: Dataset | None, model: nn.Module | None, function: Callable[..., object] | None
) -> None:
    path = opened.folder.path
    if "data" in opened.needs and dataset is None:
        raise ConfigError(
            f"The data of {str(path)!r} came from Python and are not in its folder. Resume from Python: "
            f"mcprune.resume({str(path)!r}, data=(X, y))"
        )
    if "model" in opened.needs and model is None:
        raise ConfigError(
            f"The classifier of {str(path)!r} came from Python, and its code is not in the folder. Resume from Python: "
            f"mcprune.resume({str(path)!r}, model=...)"
        )
    if "objective" in opened.needs and function is None:
        raise ConfigError(
            f"The objective of {str(path)!r} was a function of Python. Resume from Python: "
            f"mcprune.resume({str(path)!r}, objective=...)"
        )
    if "objective" not in opened.needs and function is not None:
        raise ConfigError(f"The objective of {str(path)!r} is in its options. Leave objective out.")
    if "model" not in opened.needs and model is not None:
        raise ConfigError(f"The classifier of {str(path)!r} is a built-in one. Leave model out.")
