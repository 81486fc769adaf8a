"""`mcprune show`: the table and the picture of a finished run."""

from __future__ import annotations

import sys
from dataclasses import replace

from mcprune.cli.parser import Parser


def show(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    parser = Parser("mcprune show", "Print the table and the picture of a finished run.")
    parser.option("folder", metavar="FOLDER", help="the run's folder, such as runs/digits")
    folder = parser.read(arguments).folder

    from mcprune.report.summary import check
    from mcprune.report.terminal import choose, report
    from mcprune.storage.event_log import read_result

    done = replace(read_result(folder), folder=folder)  # where it is now
    check(done, folder)
    report(choose(sys.stdout), done)
    return 0
