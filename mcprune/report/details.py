"""What a report folds: the setting, the options and versions of a run, its notes; and how it is run again."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from mcprune.config.files import read_options
from mcprune.errors import ConfigError
from mcprune.report import summary as table
from mcprune.report.page import Page
from mcprune.report.sampled import is_level
from mcprune.report.screens.lines import targets_of
from mcprune.report.text import number
from mcprune.storage.event_log import EventLog
from mcprune.storage.layout import CONFIG
from mcprune.types import JsonObject

Runs = Mapping[str, EventLog]


def setting(page: Page, runs: Runs) -> None:
    """Write the setting, folded."""
    label = next(iter(runs))
    with page.fold("Setting"):
        page.table(["", "" if len(runs) == 1 else label, *list(runs)[1:]], setting_rows(runs), left=True)
        first = next(iter(runs.values()))
        if first.done is not None:
            for text in filter(None, [*table.hardened_lines(first.done), *table.adapted_lines(first.done.adapted)]):
                page.paragraph(text.strip())


def setting_rows(runs: Runs) -> list[list[str]]:
    """Return the table of the setting, a column for each run."""
    rows = (
        ("data", lambda run: run.started.name),
        ("rows", lambda run: ", ".join(f"{count:,} {part}" for part, count in run.started.rows.items())),
        ("target", lambda run: targets_of(run.started)),
        ("sites", lambda run: _sites_text(run)),
        ("classifier", lambda run: run.started.classifier),
        ("method", lambda run: _option(run, "method")),
        ("moves", _moves),
        ("delta, temperature", lambda run: _start(run, "delta", "temperature") if _is_chain(run) else "-"),
        ("alpha", lambda run: _start(run, "alpha")),
        ("epochs, blocks", lambda run: f"{run.started.epochs:,}, {run.started.blocks:,}"),
        ("evaluator", lambda run: run.started.evaluator),
        ("device, threads", lambda run: f"{run.started.device}, {run.started.threads}"),
        ("seed", lambda run: _option(run, "seed")),
    )  # fmt: skip
    return [[name, *(str(text(run) or "-") for run in runs.values())] for name, text in rows]


def _sites_text(run: EventLog) -> str:
    start = run.started
    return f"keep {start.keep:,} of {start.n_sites:,} ({', '.join(map(table.group_title, start.sites))})"


def _is_chain(run: EventLog) -> bool:
    return str(_config(run).get("method", "markov")) == "markov"


def _moves(run: EventLog) -> str:
    moves = _config(run).get("moves") or {} if _is_chain(run) else {}
    return ", ".join(f"{name} {number(share, 'g')}" for name, share in moves.items())


def _start(run: EventLog, *names: str) -> str:
    turned = any(name in change.knobs for change in run.knob_changes for name in names)
    return ", ".join(_option(run, name) for name in names) + (" at first, turned later" if turned else "")


def _config(run: EventLog) -> JsonObject:
    return run.started.config


def _option(run: EventLog, name: str) -> str:
    value = _config(run).get(name)
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)


def options(page: Page, runs: Runs) -> None:
    """Write the notes, the options and the versions, folded."""
    for label, run in runs.items():
        texts = [text for text in run.notes if text]
        if texts:
            with page.fold("Notes of the run" + (f": {label}" if len(runs) > 1 else "")):
                page.code("\n".join(texts))
    head = [""] if len(runs) == 1 else list(runs)
    with page.fold("Options and versions"):
        if len(runs) > 1:
            page.paragraph("Options that differ come first.")
        names = sorted(
            {
                name
                for run in runs.values()
                for name in _config(run)
                if any(_option(other, name) != "-" for other in runs.values())
            }
        )
        in_files = [read for run in runs.values() if (read := _read_options(run)) is not None]
        if len(in_files) == len(runs):
            names = [name for name in names if any(name.rstrip("_") in read for read in in_files)]
        names.sort(key=lambda name: len({_option(run, name) for run in runs.values()}) == 1)
        rows = [[name, *(_option(run, name) for run in runs.values())] for name in names]
        page.table(["option", *head], rows, left=True)
        versions = [run.started.versions for run in runs.values()]
        kinds = list(dict.fromkeys(kind for of_run in versions for kind in of_run))
        page.table(
            ["version", *head], [[kind, *(of_run.get(kind, "-") for of_run in versions)] for kind in kinds], left=True
        )


def _read_options(run: EventLog) -> set[str] | None:
    """Return the options that the run read, as its config.toml names them; None where it cannot be read."""
    try:
        return {name.rstrip("_") for name in read_options(run.folder / CONFIG)}
    except ConfigError:
        return None


def repeat(page: Page, runs: Runs) -> None:
    """Write how the runs are repeated."""
    page.heading("To run it again")
    for label, run in runs.items():
        text, command = again(label, run)
        page.paragraph(text)
        if command:
            page.code(command)


def again(label: str, run: EventLog) -> tuple[str, str]:
    """Return how the run is repeated as a text, and the command; no command where the data came from Python."""
    if _config(run).get("data") == "arrays":
        return (
            f"{label}: its data came from Python as arrays, so it is repeated there: mcprune.prune with these options.",
            "",
        )
    if is_level(run):
        path = shlex.quote(os.path.relpath(Path(run.folder).resolve().parents[1]))
        return (
            "This is a level of a path. Another level, or this one again once its folder is gone:",
            f"mcprune path {path} --at N",
        )
    folder, out = shlex.quote(label), shlex.quote(label.rstrip("/") + "-again")
    if run.knob_changes or run.is_replanned or run.stopped is not None:
        return "The same run with its steering, its pace and its end:", f"mcprune run --replay {folder} --out {out}"
    return (
        "The same options, the same mask:",
        f"mcprune run --config {shlex.quote(str(Path(label) / 'config.toml'))} --out {out}",
    )
