"""`mcprune sample`: how sure each kept site is, by masks drawn with probabilities exp(-loss / T)."""

from __future__ import annotations

import argparse
import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mcprune.cli.arguments import run_options, run_parser
from mcprune.cli.parser import Parser
from mcprune.config.options import OPTIONS, option
from mcprune.errors import ConfigError
from mcprune.report.screens.status_line import StatusLine

if TYPE_CHECKING:
    from mcprune.sampling.sample import SampleProgress, SampleSettings

DESCRIPTION = (
    "Draw masks of exactly n sites, good ones more often: several chains at a temperature above 0, evaluated by frozen classifiers of a "
    "finished run. Prints how often each site is kept, with standard errors, and ends with an error if the chains do not agree. With "
    "FOLDER it samples a finished run; with --data it runs first, with the options of mcprune run. The samples are written into the "
    "folder of the run; repeat the command to continue. docs/how-sure.md explains what it prints."
)
# Options of run that mean something of sampling here: their help.
REWORDED = {
    "temperature": "of the draws, in the unit of the loss (default: masks that the rows cannot distinguish)",
    "max_time": "the most seconds of sampling (default: 600)",
    "force": "replace the samples that are there, and with --data a run in the folder (default: no)",
    "quiet": "print errors and the table alone (default: no)",
    "json": "print one JSON object alone (default: no)",
}
OWN = ("folder", "precision", "chains", "rungs", "hottest", "rows")


def sample_parser() -> Parser:
    """Return the parser: the options of run, and those of sampling."""
    parser = run_parser("sample", DESCRIPTION)
    parser.usage = (
        "mcprune sample FOLDER [options of sampling]\n       mcprune sample --data NAME|FILE|FOLDER [options]"
    )
    group = parser.add_argument_group("sampling")
    nothing = argparse.SUPPRESS
    parser.option("folder", metavar="FOLDER", nargs="?", help="a finished run, such as runs/digits")
    for name, metavar, text in (
        ("--precision", "P", "largest standard error of P(kept) of a site (default: 0.02)"),
        ("--chains", "C", "chains from different starts, at least 4 (default: 4)"),
        (
            "--rows",
            "N",
            "evaluation rows at most: fewer are faster, and distinguish fewer masks (default: those of the run)",
        ),
        ("--rungs", "R", "laws of each chain on a ladder from the loss to its model; 1: no ladder (default: 1)"),
        ("--hottest", "X", "in the last law of the ladder the loss counts 1/X (default: 4)"),
    ):
        parser.option(name, metavar=metavar, group=group, default=nothing, help=text)
    for action in parser._actions:
        if action.dest in REWORDED:
            action.help = REWORDED[action.dest]
            if action.dest in ("temperature", "max_time", "force"):
                for other in parser._action_groups:
                    if action in other._group_actions:
                        other._group_actions.remove(action)
                group._group_actions.append(action)
    return parser


def sample(arguments: list[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    options, quiet, json = run_options(arguments, sample_parser())
    own = {name: options.pop(name, None) for name in OWN}
    folder, settings = own["folder"], _settings(options, own)
    is_forced = bool(options.get("force"))
    if quiet and json:
        raise ConfigError("--quiet prints little and --json one object alone. Leave one of them out")
    if folder is None and "data" not in options:
        raise ConfigError(
            "there is no run to sample. Give its folder, or --data to run first. See mcprune sample --help"
        )
    if folder is not None:
        options.pop("force", None)
        if options:
            name = next(iter(options))
            raise ConfigError(
                f"{option(name)} is for a new run, but {str(folder)!r} is one that has been run. Leave one of them out"
            )
    else:
        folder = _run_first(options, is_silent=quiet or json)

    from mcprune.report.samples import samples_json, samples_lines
    from mcprune.report.terminal import write
    from mcprune.sampling.from_run import sample_folder

    watch = None if quiet or json else Watch()
    drawn = sample_folder(str(folder), settings, force=is_forced, on_progress=watch)
    if watch is not None:
        watch.line.close()
    if json:
        write(sys.stdout, json_text.dumps(samples_json(drawn), allow_nan=False) + "\n")
    else:
        write(sys.stdout, "".join(f"{line}\n" for line in samples_lines(drawn)))
    return 0


def _settings(options: dict[str, object], own: dict[str, object]) -> SampleSettings:
    """Take the options of sampling out of the others."""
    from mcprune.sampling.sample import SampleSettings

    values: dict[str, object] = {}
    for name, kind in (("precision", float), ("chains", int), ("rungs", int), ("hottest", float), ("rows", int)):
        if own[name] is not None:
            values[name] = _number(name, own[name], kind)
    for name in ("temperature", "max_time"):
        if name in options:
            values[name] = _number(name, options.pop(name), float)
    return SampleSettings(**values)  # type: ignore[arg-type]  # each was read as its kind


def _number(name: str, value: object, kind: type[float] | type[int]) -> float | int:
    try:
        return kind(str(value))
    except ValueError:
        flag = OPTIONS[name].flag if name in OPTIONS else f"--{name}"
        what = "whole number" if kind is int else "number"
        raise ConfigError(f"{flag} takes a {what}, but got {str(value)!r}. See mcprune sample --help") from None


def _run_first(options: dict[str, object], *, is_silent: bool) -> Path:
    """Run, and return the folder of the run."""
    from mcprune.config.schema import make_config
    from mcprune.report.screens.choose import choose_screen, watch
    from mcprune.sampling.from_run import check_searched
    from mcprune.session.loop import run

    config = make_config(**options)
    check_searched(config, "such a run")
    with choose_screen(sys.stderr if is_silent else sys.stdout, quiet=is_silent) as screen:
        if watch(run(config), screen):
            raise KeyboardInterrupt
    return config.folder()


class Watch:
    """Shows where sampling is."""

    def __init__(self) -> None:
        self.line = StatusLine(-StatusLine.EVERY)  # the first line comes at once

    def __call__(self, progress: SampleProgress) -> None:
        """Show it where a line is due."""
        if not self.line.is_due(progress.seconds):
            return
        text = f"{progress.seconds:5.0f} s  temperature {progress.temperature:.3g}  "
        text += f"{progress.draws:,} masks a chain" if progress.draws else f"burn-in, round {progress.rounds}"
        if progress.error == progress.error:
            text += f"  error {progress.error:.3f}  R-hat {progress.r_hat:.3f}"
        self.line.show(text)
