"""`mcprune path`: masks for several numbers of kept sites from one run, and how many are enough."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mcprune.cli.arguments import run_options, run_parser
from mcprune.cli.parser import Parser
from mcprune.errors import ConfigError
from mcprune.report.terminal import Output, choose
from mcprune.report.text import wrapped

if TYPE_CHECKING:
    from mcprune.path.result import PathResult
    from mcprune.storage.path_curve import Curve

DESCRIPTION = (
    "Choose a mask for every number of a list in one run, and tell how many are enough: --keep 2:200 (12 numbers of about equal factors), "
    "2:200:20 or 5,10,20; without --keep between few and all sites. --macs 500:50000 or --parameters 500:50000 go over a cost instead. "
    "It prints accuracy over the levels with standard errors and writes path.json, path.html and the run of the level that is enough. With "
    "FOLDER it prints a path that is done, and --at N retrains, tests and writes another level of it."
)
OWN = ("folder", "at")
INTERRUPTED = 130  # exit code


def path_parser() -> Parser:
    """Return the parser: the options of run, and those of a path."""
    parser = run_parser("path", DESCRIPTION)
    own = parser.add_argument_group("path")
    parser.option("folder", metavar="FOLDER", nargs="?", help="a path that is done")
    parser.option(
        "--at",
        metavar="N|none|all",
        group=own,
        help="levels that are written as runs, FOLDER/levels/nNNN (default: the one that is enough)",
    )
    return parser


def path(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    options, quiet, json = run_options(arguments, path_parser())
    folder, at = (options.pop(name, None) for name in OWN)
    if folder is not None:
        if options:
            from mcprune.config.options import option

            raise ConfigError(
                f"{option(next(iter(options)))} is for a new path, but {folder!r} is one that is done. Leave one of them out."
            )
        return _show(Path(str(folder)), at, quiet=quiet, json=json)

    from mcprune.config.schema import make_config
    from mcprune.path.call import solve, split_levels
    from mcprune.path.folder import check_path_folder, path_folder
    from mcprune.path.screen import PathScreen
    from mcprune.session.build.dataset import load_dataset

    levels, rest = split_levels({"keep": "auto", **options})
    config = make_config(**{"compare": "no", **rest})
    out = path_folder(config)
    check_path_folder(out, force=bool(config.value("force")))
    _check_at(at, None if levels is None else levels.numbers)
    paths = solve(config, levels, load_dataset(config), [PathScreen(sys.stderr, is_quiet=quiet or json)], out=out)
    _print(paths.curve, out, quiet=quiet, json=json)
    if levels is not None and paths.levels != levels.numbers:  # an interrupt has ended it early
        return INTERRUPTED
    _write_levels(paths, out, at, quiet=quiet or json)
    return 0


def _show(folder: Path, at: object, *, quiet: bool, json: bool) -> int:
    from mcprune.path.folder import load_path, read_curve

    curve = read_curve(folder)
    if at is None:
        _print(curve, folder, quiet=quiet, json=json)
        return 0
    _check_at(at, tuple(level.level for level in curve.levels))
    _write_levels(load_path(folder), folder, at, quiet=quiet or json)
    return 0


def _check_at(at: object, levels: tuple[int, ...] | None) -> None:
    """Refuse a level that the path does not have; that of an automatic path is known later."""
    if at in (None, "none", "all"):
        return
    if not str(at).isdecimal():
        raise ConfigError(
            f"--at takes a level, none or all, but got {at!r}. Give a number of the path, such as --at 25."
        )
    if levels is not None and int(str(at)) not in levels:
        raise ConfigError(f"--at {at}, but the path has no such level. Choose one of {', '.join(map(str, levels))}.")


def _write_levels(paths: PathResult, folder: Path, at: object, *, quiet: bool) -> None:
    """Write levels as runs, and print where."""
    from mcprune.path.folder import level_folder

    numbers = paths.levels if at == "all" else () if at == "none" else (paths.enough if at is None else int(str(at)),)
    output = choose(sys.stderr if quiet else sys.stdout)
    for number in numbers:
        target = level_folder(folder, number)
        if (target / "result.json").exists():
            output.lines([f"{target} is there already"])
            continue
        result = paths.at(number, out=target)
        if not quiet:
            output.lines(
                ["", *wrapped(result.summary, output.width, ""), f"written: {target} (mcprune report {target})"]
            )


def _print(curve: Curve, folder: Path, *, quiet: bool, json: bool) -> None:
    """Print the answer, the table and where the files are."""
    from mcprune.report import path_view

    if json:
        print(json_text.dumps(curve.to_dict()))
        return
    if quiet:
        print(folder)
        return
    output: Output = choose(sys.stdout)
    text = [*path_view.sentences(curve), path_view.method_line(curve)]
    output.lines([line for one in text for line in wrapped(one, output.width, "")])
    output.lines([""])
    output.table(path_view.HEADER, path_view.rows(curve))
    names = path_view.names_line(curve.enough)
    output.lines(["", *wrapped(f"kept at {curve.enough.level:,}: {names}", output.width, "")])
    output.lines([f"written: {folder / 'path.html'}, {folder / 'path.json'}"])
