"""The page of a report: its setting, its results, how the run went, what the small model costs, how to repeat it."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcprune.exporters.footprint import Footprints
from mcprune.report import figures, tables
from mcprune.report import summary as table
from mcprune.report.page import Page
from mcprune.report.text import duration, number
from mcprune.storage.event_log import EventLog
from mcprune.storage.layout import CONFIG
from mcprune.storage.run_metrics import jaccard
from mcprune.types import JsonObject

Runs = Mapping[str, EventLog]
REASONS = {
    "interrupt": "it was interrupted (Ctrl-C)",
    "terminate": "it was terminated (SIGTERM)",
    "max_time": "its time was up",
    "validation": "its masks had stopped to do better on the validation rows",
    "stop": "it was stopped on the live page",
    "replay": "the run that it repeats had ended there",
}


def check(run: EventLog) -> None:
    """Refuse a run whose result cannot be shown.

    Raises
    ------
    FolderError
        Naming what is wrong with it.
    """
    if run.done is not None:
        table.check(run.done, str(run.folder))


def write_page(
    path: Path, runs: Runs, features: Mapping[str, Sequence[str] | None], costs: Mapping[str, Footprints]
) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
    runs : mapping of str to EventLog
        By their folders; the first is the one that is reported, the others are drawn over it.
    features : mapping
        The names of all inputs, None where they are not known.
    costs : mapping
        What the models of the runs that have ended cost.
    """
    label, run = next(iter(runs.items()))
    start = run.started
    page = Page(f"mcprune report: {start.name}, {start.keep:,} of {start.n_sites:,} sites", state(run))
    if len(runs) > 1:
        page.paragraph(
            f"The run in {label}; {len(runs) - 1} more drawn over it: {', '.join(list(runs)[1:])}.", quiet=False
        )
    for name, other in list(runs.items())[1:]:
        page.paragraph(f"{name}: {state(other)}")
    page.heading("Setting")
    page.table(["", "" if len(runs) == 1 else label, *list(runs)[1:]], setting_rows(runs), left=True)
    page.heading("Result")
    _outcome(page, runs, features)
    _curves(page, runs)
    for name, other in runs.items():
        tables.changes(page, name if len(runs) > 1 else "", other)
    tables.diagnosis(page, runs)
    tables.costs(page, runs, costs)
    _configuration(page, runs, costs)
    page.write(path)


def state(run: EventLog) -> str:
    """Say whether the run has ended, and how."""
    last = run.progress[-1] if run.progress else None
    parts = []
    if run.done is not None:
        parts.append(f"The run has ended after {duration(run.done.seconds)}.")
    elif run.hardened is not None:
        parts.append(
            "This run is unfinished: its search has ended, but its last figures are missing. It may be going on."
        )
    else:
        done = f"{last.block:,} of {run.started.blocks:,} blocks were recorded" if last else "no block was recorded"
        parts.append(f"This run is unfinished: {done}. It may be going on, or it was broken off.")
    if run.stopped is not None:
        reason = run.stopped.reason
        parts.append(f"The search ended early, at block {run.stopped.block}: {REASONS.get(reason, reason)}.")
    if run.done is not None and not run.done.is_complete:
        parts.append("What followed the search was cut short.")
    if run.is_torn:
        parts.append("The last line of its events was cut off and is left out.")
    return " ".join(parts)


def setting_rows(runs: Runs) -> list[list[str]]:
    """Return the table of the setting, a column for each run."""
    rows = (
        ("data", lambda run: run.started.name),
        ("rows", lambda run: ", ".join(f"{count:,} {part}" for part, count in run.started.rows.items())),
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


def _outcome(page: Page, runs: Runs, features: Mapping[str, Sequence[str] | None]) -> None:
    first = next(iter(runs.values()))
    for name, run in runs.items():
        if len(runs) > 1:
            page.paragraph(f"{name}:", quiet=False)
        if run.scores:
            objective = run.started.objective
            page.table(table.header(objective), [table.cells(score, objective) for score in run.scores])
        else:
            page.paragraph("Nothing was tested yet.")
    for name, run in runs.items():
        if run.playoff is not None:
            beside = f"{name}: " if len(runs) > 1 else ""
            page.paragraph(f"{beside}{table.playoff_verdict(run.playoff)}.")
            page.table(table.PLAYOFF_HEADER, table.playoff_cells(run.playoff))
    _sites(page, runs, features)
    if first.done is not None:
        lines = [
            *table.hardened_lines(first.done),
            *table.size_lines(first.done),
            *table.weights_line(first.done.nonzero_weights),
            *table.adapted_lines(first.done.adapted),
        ]
        for text in filter(None, lines):
            page.paragraph(text.strip())
    if len(runs) > 1 and (mine := first.indices()) is not None:
        pairs = [
            [name, f"{jaccard(mine, other):.3f}", f"{len(set(mine) & set(other)):,}"]
            for name, run in list(runs.items())[1:]
            if (other := run.indices()) is not None and run.started.n_sites == first.started.n_sites
        ]
        if pairs:
            page.paragraph("Overlap of the masks with that of the first run: |A and B| / |A or B|, and |A and B|.")
            page.table(["", "overlap", "in both"], pairs)


def _sites(page: Page, runs: Runs, features: Mapping[str, Sequence[str] | None]) -> None:
    label, first = next(iter(runs.items()))
    if first.indices() is None:
        page.paragraph("Which sites are kept is not recorded yet.")
        return
    if first.done is None:
        page.paragraph(
            "The run has no result yet: shown are the gates above one half at the last time that they were recorded.",
            quiet=False,
        )
    shapes = {name: run.started.image_shape for name, run in runs.items()}
    picture = figures.masks(runs, shapes)
    if picture is not None:
        page.paragraph("Dark: kept, or a gate of 1. Channels stand below each other.")
        page.figure(picture)
    groups = first.started.sites
    only_pixels = len(groups) == 1 and shapes[label] is not None
    has_many = sum(group.size for group in groups if group.kind != "inputs") > figures.BARS
    if has_many and (chart := figures.by_layer(first)) is not None:
        page.paragraph(f"How many {', '.join(dict.fromkeys(group.kind for group in groups))} of each layer are kept.")
        page.figure(chart)
    # Of many inner sites, single ones have no names that say anything; columns of a table beside them have.
    is_named = not has_many or (groups[0].kind == "inputs" and shapes[label] is None)
    chart = figures.bars(first, figures.site_names(first, features[label])) if is_named and not only_pixels else None
    if chart is not None:
        page.paragraph(
            f"Blue sites are kept; the order is by the mean of the gates over the search (at most {figures.BARS} are shown)."
        )
        page.figure(chart)
    if first.done is not None and not (only_pixels and picture is not None):
        page.code("\n".join(table.kept_lines(first.done, width=110, unicode=True)))


def _curves(page: Page, runs: Runs) -> None:
    if not any(run.progress for run in runs.values()):
        page.heading("Curves")
        page.paragraph("No block is recorded yet, so there are none.")
        return
    turned = any(run.knob_changes for run in runs.values())
    words = "Dotted upright lines: a knob was turned. " if turned else ""
    several = (
        "A colour is a run; lines of a panel differ in their dashes, in the order of its title: solid, dashed, dotted. "
        if len(runs) > 1
        else ""
    )
    hidden = max(len(run.knob_changes) for run in runs.values()) - figures.MARKS
    cut = f"The first {figures.MARKS} changes of a run are marked. " if hidden > 0 else ""
    for title, panels, text in (
        (
            "Losses",
            figures.LOSSES,
            "L_tot = L_cla + alpha (L_sel + L_rej) in nats, each block on its own evaluation batch "
            "(on the gradient path: its training batches). ",
        ),
        ("Sites and accuracy", figures.BUDGET, "n(t), the sum of the gates and the kept sites; validation accuracy of hard masks. "),
        ("Knobs", figures.KNOBS, "As they stood at each block. "),
        ("Work", figures.work_panels(runs), "Acceptance since the progress event before; speed by the usual time of a block. "),
    ):  # fmt: skip
        figure = figures.curves(runs, panels)
        if figure is not None:
            page.heading(title)
            page.paragraph(
                f"{text}{words}{several}{cut}Axes are logarithmic where values span more than a factor of {figures.WIDE:g}."
            )
            page.figure(figure)


def _configuration(page: Page, runs: Runs, costs: Mapping[str, Footprints]) -> None:
    for label, run in runs.items():
        texts = [text for text in run.notes if text]
        if texts:
            page.heading("Notes of the run" + (f": {label}" if len(runs) > 1 else ""))
            page.code("\n".join(texts))
    page.heading("To run it again")
    for label, run in runs.items():
        text, command = again(label, run)
        page.paragraph(text)
        if command:
            page.code(command)
    page.heading("Options")
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
    in_files = [options for run in runs.values() if (options := _read_options(run)) is not None]
    if len(in_files) == len(runs):
        names = [name for name in names if any(name.rstrip("_") in options for options in in_files)]
    names.sort(key=lambda name: len({_option(run, name) for run in runs.values()}) == 1)
    head = [""] if len(runs) == 1 else list(runs)
    page.table(["option", *head], [[name, *(_option(run, name) for run in runs.values())] for name in names], left=True)
    page.heading("Versions of the run")
    versions = [run.started.versions for run in runs.values()]
    kinds = list(dict.fromkeys(kind for of_run in versions for kind in of_run))
    page.table(["", *head], [[kind, *(of_run.get(kind, "-") for of_run in versions)] for kind in kinds], left=True)


def _read_options(run: EventLog) -> set[str] | None:
    """Return the options that the run read, as its config.toml names them; None where it cannot be read."""
    try:
        text = (run.folder / CONFIG).read_text(encoding="utf-8")
        return {name.rstrip("_") for name in tomllib.loads(text)}
    except (OSError, ValueError):
        return None


def again(label: str, run: EventLog) -> tuple[str, str]:
    """Return how the run is repeated as a text, and the command; no command where the data came from Python."""
    if _config(run).get("data") == "arrays":
        return (
            f"{label}: its data came from Python as arrays, so it is repeated there: mcprune.prune with these options.",
            "",
        )
    folder, out = shlex.quote(label), shlex.quote(label.rstrip("/") + "-again")
    if run.knob_changes or run.is_replanned or run.stopped is not None:
        return "The same run with its steering, its pace and its end:", f"mcprune run --replay {folder} --out {out}"
    return (
        "The same options, the same mask:",
        f"mcprune run --config {shlex.quote(str(Path(label) / 'config.toml'))} --out {out}",
    )
