"""`mcprune run` and `mcprune resume` under torchrun: several processes, of which rank 0 alone has a screen and a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mcprune.cli.screen import choose_screen, watch
from mcprune.config.schema import Config
from mcprune.errors import FolderError, McpruneError
from mcprune.session.loop import folder_of, run
from mcprune.session.ranks import Place, about_options, met
from mcprune.session.resume import events_of, has_ended, open_run
from mcprune.session.steering import Steering
from mcprune.session.worker import follow
from mcprune.storage.layout import BEGUN, read_json


def run_shared(place: Place, config: Config, steering: Steering | None, *, quiet: bool, json: bool) -> int:
    """Do this rank's part of a run; begun anew by torchrun, go on with it from its last checkpoint. Returns the exit code."""
    about = {"command": "run", **about_options(config)}
    with _named(place), met(place, about, config.runtime.device, config.runtime.rank_timeout) as ranks:
        if not ranks.is_first:
            return follow(ranks, config, steering)
        folder = folder_of(config)
        with choose_screen(sys.stdout, quiet=quiet, json=json) as screen:
            if place.restarts and is_of(folder, place.job):
                opened = open_run(folder)
                _say(opened.words, quiet=quiet)
                return watch(events_of(opened, ranks=ranks), screen)
            return watch(run(config, steering, ranks), screen)


def resume_shared(place: Place, given: Any) -> int:
    """Do this rank's part of going on with a run. Returns the exit code."""
    with _named(place), met(place, {"command": "resume"}, "auto", given.rank_timeout) as ranks:
        ended = ranks.agree(int(has_ended(given.folder)) if ranks.is_first else 0)
        if ended:
            _say([f"the run in {given.folder} has ended: nothing is left to resume"] * ranks.is_first, quiet=False)
            return 0
        if not ranks.is_first:
            return follow(ranks)
        opened = open_run(given.folder, older=given.older, anyway=given.anyway)
        _say(opened.words, quiet=given.quiet)
        with choose_screen(sys.stdout, quiet=given.quiet, json=given.json) as screen:
            return watch(events_of(opened, ranks=ranks), screen)


def is_of(folder: Path, job: str) -> bool:
    """Tell whether the run in a folder was begun by this torchrun, in an earlier attempt."""
    try:
        return bool(read_json(folder, BEGUN).get("job") == job)
    except FolderError:
        return False


class _named:
    """Errors of other ranks than 0 say whose they are."""

    def __init__(self, place: Place) -> None:
        self.rank = place.rank

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.rank and isinstance(error, McpruneError):
            error.args = (f"rank {self.rank}: {error}",)


def _say(words: list[str], *, quiet: bool) -> None:
    for text in words if not quiet else ():
        print(f"mcprune: {text}", file=sys.stderr)
