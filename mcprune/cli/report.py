"""`mcprune report`: one HTML page of a run, or of several over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcprune.cli.parser import Parser
from mcprune.errors import ConfigError
from mcprune.storage.layout import REPORT, free_file

DESCRIPTION = (
    "Write one HTML page of a run that needs no network: the result in a sentence, the kept sites, accuracies with error bars, ROC "
    "curve and confusion matrix of the test rows, how sure each site is (after mcprune sample with P(kept) and substitutes), the "
    "search, the small model against the whole one (parameters, multiplications, time on this machine) and the command that repeats "
    "the run; folded: all curves with marks where a knob was changed, acceptance and autocorrelation, options, versions. A run that "
    "has not ended is shown as far as it is. Of a network in fixed point (mcprune quantize, mcprune polish): its size by layer, its inputs "
    "and what the chain over its digits has changed."
)


def report(arguments: Sequence[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    parser = Parser("mcprune report", DESCRIPTION)
    parser.option("folder", metavar="FOLDER", help="the run's folder, such as runs/digits, or a network in fixed point")
    parser.option(
        "--out", metavar="FILE", help=f"where to write (default: {REPORT} in the run's folder, replaced if it is there)"
    )
    parser.option("--force", action="store_true", help="replace the file of --out if it exists (default: no)")
    parser.option(
        "--compare",
        metavar="FOLDER",
        nargs="+",
        default=[],
        help="further runs, drawn over the first; after the first FOLDER",
    )
    parsed = parser.read(list(arguments))
    print(f"written to {write_report(parsed.folder, parsed.compare, out=parsed.out, force=parsed.force)}")
    return 0


def write_report(folder: str, others: Sequence[str] = (), *, out: str | None = None, force: bool = False) -> Path:
    """Write the page and return where.

    Parameters
    ----------
    folder : str
        The run's folder.
    others : sequence of str
        Folders of runs that are drawn over it.
    out : str, optional
        The file; by default report.html in `folder`, which is replaced.
    force : bool
        Replace `out` if it exists.

    Raises
    ------
    FolderError
        A folder without a run, or whose record is broken; a file that exists or cannot be written.
    ConfigError
        A folder that is named twice.
    """
    target = Path(folder) / REPORT if out is None else free_file(out, REPORT, force=force)
    folders = [folder, *others]
    seen: set[Path] = set()
    for name in folders:
        if Path(name).resolve() in seen:
            raise ConfigError(f"--compare names {name!r}, which is in the page already; name each run once")
        seen.add(Path(name).resolve())

    from mcprune.firmware.network_files import is_network

    if is_network(Path(folder)):
        if others:
            raise ConfigError(
                f"{folder!r} holds a network in fixed point, which --compare cannot draw over. Report each folder by itself."
            )

        from mcprune.report.pages.network_page import write_network_page

        write_network_page(target, Path(folder))
        return target

    from mcprune.report.pages.run_page import check, write_page
    from mcprune.storage.event_log import feature_names, read_log

    runs = {name: read_log(name) for name in folders}
    for run in runs.values():
        check(run)

    from mcprune.exporters.footprint import footprints

    costs = {name: footprints(run.folder, run.started, run.done) for name, run in runs.items() if run.done is not None}
    write_page(target, runs, {name: feature_names(run) for name, run in runs.items()}, costs)
    return target
