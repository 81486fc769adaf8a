"""`mcprune run` and `mcprune resume` under torchrun: several processes, of which rank 0 alone has a screen and a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcprune.config.schema import Config
from mcprune.config.sections.settings import RankSettings
from mcprune.errors import FolderError, McpruneError
from mcprune.report.screens.choose import choose_screen, watch
from mcprune.session import worker
from mcprune.session.checkpoints.open_run import is_finished, open_run
from mcprune.session.loop import run
from mcprune.session.ranks import Place, join_ranks, shared_options
from mcprune.session.resume import resume_run
from mcprune.session.steering.controller import Controller
from mcprune.storage.layout import REQUEST, read_json


def run_shared(place: Place, config: Config, controller: Controller | None, *, quiet: bool, json: bool) -> int:
    """Run this rank's part of a run, and return the exit code; a run that torchrun restarts continues from its last checkpoint."""
    options = {"command": "run", **shared_options(config)}
    with _named(place), join_ranks(place, options, config.rank_settings()) as ranks:
        if not ranks.is_first:
            return worker.run(ranks, config, controller)
        folder = config.folder()
        with choose_screen(sys.stdout, quiet=quiet, json=json) as screen:
            if place.restarts and is_of(folder, place.job):
                opened = open_run(folder)
                _print(opened.notes, quiet=quiet)
                return watch(resume_run(opened, ranks=ranks), screen)
            return watch(run(config, controller, ranks=ranks), screen)


def resume_shared(place: Place, options: argparse.Namespace) -> int:
    """Run this rank's part of a resumed run, and return the exit code."""
    with _named(place), join_ranks(place, {"command": "resume"}, RankSettings("auto", options.rank_timeout)) as ranks:
        if ranks.broadcast_int(int(is_finished(options.folder)) if ranks.is_first else 0):
            _print(
                [f"the run in {options.folder} is finished, so there is nothing to resume"] * ranks.is_first,
                quiet=False,
            )
            return 0
        if not ranks.is_first:
            return worker.run(ranks)
        opened = open_run(options.folder, older=options.older, anyway=options.anyway)
        _print(opened.notes, quiet=options.quiet)
        with choose_screen(sys.stdout, quiet=options.quiet, json=options.json) as screen:
            return watch(resume_run(opened, ranks=ranks), screen)


def is_of(folder: Path, job: str) -> bool:
    """Whether the run in a folder was started by this torchrun, in an earlier attempt."""
    try:
        return bool(read_json(folder, REQUEST).get("job") == job)
    except FolderError:
        return False


@contextmanager
def _named(place: Place) -> Iterator[None]:
    """Put the rank before the errors of other ranks than 0."""
    try:
        yield
    except McpruneError as error:
        if place.rank:
            error.args = (f"rank {place.rank}: {error}",)
        raise


def _print(texts: list[str], *, quiet: bool) -> None:
    for text in texts if not quiet else ():
        print(f"mcprune: {text}", file=sys.stderr)
