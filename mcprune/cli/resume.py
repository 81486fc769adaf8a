"""`mcprune resume`: continue a run that was cut off."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mcprune.cli.parser import Parser
from mcprune.errors import ConfigError


def resume(arguments: list[str]) -> int:
    """Run the command and return its exit code, that of `mcprune run`."""
    parser = Parser(
        "mcprune resume",
        "Continue a run or a path that was killed, interrupted or ended by an error, from its last checkpoint. On the same machine, with "
        "the same threads and versions, it ends in the same bits as the uninterrupted one. The earlier events of a run are printed again "
        "first.",
    )
    parser.option("folder", metavar="FOLDER", help="the folder of the run or path, such as runs/digits")
    parser.option(
        "--older",
        action="store_true",
        help="skip the last checkpoint: use the one before it, or start again (default: no)",
    )
    parser.option(
        "--anyway",
        action="store_true",
        help="continue although versions, threads, device or data differ: the result may differ (default: no)",
    )
    parser.option(
        "--quiet",
        action="store_true",
        help="print errors and, at the end, the run's folder; nothing else (default: no)",
    )
    parser.option("--json", action="store_true", help="print the events as JSON lines, nothing else (default: no)")
    parser.option(
        "--rank-timeout",
        type=float,
        metavar="SECONDS",
        help="with torchrun: seconds after which a silent process counts as lost (default: 300)",
    )
    options = parser.read(arguments)
    if options.quiet and options.json:
        raise ConfigError("--quiet prints nothing and --json everything. Leave one of them out")

    if options.rank_timeout is not None and not 0 < options.rank_timeout <= 1e6:
        raise ConfigError(f"--rank-timeout {options.rank_timeout:g} is out of range. Choose 0 < seconds <= 1e6")
    if "RANK" in os.environ or "WORLD_SIZE" in os.environ:
        from mcprune.session.ranks import place_of

        place = place_of(os.environ)
        if place is not None:
            from mcprune.cli.ranks import resume_shared

            return resume_shared(place, options)

    from mcprune.storage.layout import PATH_UNFINISHED, of_path

    path = Path(options.folder)
    if (path / PATH_UNFINISHED).is_dir():
        if options.older:
            raise ConfigError("A path has one checkpoint. Leave --older out, or start the path again with --force.")
        from mcprune.cli.studies.path import resume_path

        return resume_path(path, anyway=options.anyway, quiet=options.quiet, json=options.json)
    if of_path(path):
        print(f"the path in {path} is finished. See mcprune path {path}", file=sys.stderr)
        return 0

    from mcprune.report.screens.choose import choose_screen, watch
    from mcprune.session.checkpoints.open_run import is_finished, open_run
    from mcprune.session.resume import resume_run

    if is_finished(options.folder):
        print(
            f"the run in {options.folder} is finished, so there is nothing to resume. See mcprune show {options.folder}",
            file=sys.stderr,
        )
        return 0
    opened = open_run(options.folder, older=options.older, anyway=options.anyway)
    for text in opened.notes if not options.quiet else ():
        print(f"mcprune: {text}", file=sys.stderr)
    with choose_screen(sys.stdout, quiet=options.quiet, json=options.json) as screen:
        return watch(resume_run(opened), screen)
