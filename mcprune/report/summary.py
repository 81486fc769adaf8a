"""The result of a run as text: the table of test accuracies, what was kept, the sizes, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence

from mcprune.config.budgets import COST_UNITS, cost_number
from mcprune.data.roles.tasks import REGRESSION
from mcprune.errors import FolderError, brief
from mcprune.report.picture import picture
from mcprune.report.text import number, ranges, some, wrapped
from mcprune.storage.answer import measure_name
from mcprune.storage.events import Adapted, BeforeAfter, ErrorRate, Playoff, Refined, RunDone, Scored, SiteGroup

HEADER = ["", "sites kept", "test accuracy", "spread", "masks", "seconds"]
MOST = 200  # names or ranges of indices that are listed; mask.json has them all


def header(objective: str | None, task: str = "classification", *, is_weighted: bool = False) -> list[str]:
    """Return the titles; errors and the objective follow the accuracy where there are any, and all may be weighted by rows."""
    errors = ["RMSE", "MAE"] if task == REGRESSION else []
    measure = measure_name(task, "test", is_weighted=is_weighted)
    return [*HEADER[:2], measure, *errors, *([] if objective is None else [objective]), *HEADER[3:]]


def cells(score: Scored, objective: str | None = None, task: str = "classification") -> list[str]:
    """Return one row of the table: what was tested, sites, accuracy, errors, the objective, spread, count of masks, seconds."""
    errors = [number(score.rmse, ".4g"), number(score.mae, ".4g")] if task == REGRESSION else []
    return [
        score.name,
        number(score.kept, ",d"),
        number(score.accuracy, ".4f"),
        *errors,
        *([] if objective is None else [number(score.objective, ".4f")]),
        number(score.spread, ".4f"),
        number(score.count, "d"),
        number(score.seconds, ".1f"),
    ]


def playoff_header(task: str = "classification") -> list[str]:
    """Return the titles of the table of the finalists."""
    return ["finalist", "loss", measure_name(task), "behind", "error", "rounds"]


def playoff_cells(event: Playoff) -> list[list[str]]:
    """Return the table of the finalists by their cross-validated figures, the winner first, and random columns below."""
    rows = [
        [
            one.name,
            *(number(value, ".4f") for value in (one.loss, one.accuracy, one.behind, one.error)),
            str(one.rounds),
        ]
        for one in event.finalists
    ]
    figures = (event.random_loss, event.random_accuracy, event.lead, event.lead_error)
    return [*rows, ["random columns", *(number(value, ".4f") for value in figures), "1"]]


def playoff_verdict(event: Playoff) -> str:
    """Return what the playoff has shown, in a sentence."""
    if event.is_random:
        return "no finalist differs from random columns by two standard errors"
    return f"playoff on {event.rows:,} rows, cross-validated: {event.finalists[0].name} has the lowest loss"


def playoff_lines(event: Playoff, task: str = "classification") -> list[str]:
    """Return the table of the finalists as aligned lines, and the verdict."""
    titles = playoff_header(task)
    rows = [titles, *playoff_cells(event)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(titles))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return [*lines, playoff_verdict(event)]


ERROR_RATE_HEADER = ["column", "kept", "its shadows", "lowest fdr", ""]
BELOW = 3  # columns that are listed below the kept ones


def refined_line(event: Refined) -> str:
    """Return what has become of the mask that a run started from."""
    where = f"on {event.rows:,} evaluation rows"
    if not event.exchanged:
        return f"refined: no better mask was found {where}, so the mask stays (loss {number(event.start_loss, '.4f')})"
    return f"refined: loss {number(event.start_loss, '.4f')} -> {number(event.loss, '.4f')} {where}, {event.exchanged:,} sites exchanged"


def error_rate_lines(event: ErrorRate) -> list[str]:
    """Return the table of the kept columns and of the first others as aligned lines, and what it says."""
    rows = [ERROR_RATE_HEADER, *error_rate_cells(event, MOST)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(ERROR_RATE_HEADER))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
    return [*lines, error_rate_verdict(event)]


def error_rate_cells(event: ErrorRate, most: int) -> list[list[str]]:
    """Return a row for each kept column and for the first others, at most so many, under `ERROR_RATE_HEADER`."""
    return [
        [
            one.name,
            *(number(value, ".3f") for value in (one.statistic, one.shadow, one.rate)),
            "" if one.is_kept else "not kept",
        ]
        for one in event.columns[: len(event.indices) + BELOW][:most]
    ]


def error_rate_verdict(event: ErrorRate) -> str:
    """Return how many columns are kept, and at what estimated false discovery rate."""
    return (
        f"{len(event.indices):,} of {len(event.columns):,} columns beat their shadows at an estimated false discovery rate of "
        f"{number(event.rate, '.3f')} (requested: at most {event.fdr:g}; {event.sets} sets of shadows, {event.rows:,} rows)"
    )


def kept_lines(done: RunDone, *, width: int, unicode: bool) -> list[str]:
    """List the kept sites, a group of sites after the other.

    Parameters
    ----------
    done : RunDone
    width : int
        Characters that fit into a line.
    unicode : bool
        False keeps the picture in ASCII.

    Raises
    ------
    FolderError
        Indices, names and groups that do not fit together.
    """
    lines: list[str] = []
    pairs = list(zip(done.indices, done.names, strict=True))
    start = 0
    for group in done.sites:
        stop = start + group.size
        inside = [(index - start, name) for index, name in pairs if start <= index < stop]
        start = stop
        where = [index for index, _ in inside]
        lines.append(f"{group_title(group)}: {len(inside):,} of {group.size:,} kept")
        shape = done.image_shape if group.kind == "inputs" else None
        if shape and inside:
            lines += ["  " + line for line in picture(where, shape, width=max(width - 2, 1), unicode=unicode)]
        elif group.kind == "weights":
            pass  # thousands of indices say nothing; mask.json has them
        elif group.kind == "inputs":
            lines += wrapped(some([name for _, name in inside], MOST), width)
        else:
            lines += wrapped(some(ranges(where), MOST), width)
    if pairs and not 0 <= min(done.indices) <= max(done.indices) < start:
        raise FolderError(f"kept sites {min(done.indices)}..{max(done.indices)} lie outside of the {start} sites")
    return lines


def group_title(group: SiteGroup) -> str:
    """Return the title of a group of sites: inputs, or units of a layer."""
    return f"{group.kind} of {group.layer}" if group.layer else group.kind


def size_lines(done: RunDone) -> list[str]:
    """Say how many parameters and multiply-accumulates the classifier had and the small model has."""
    lines = []
    for title, count in (("parameters", done.parameters), ("multiply-accumulates of a row", done.macs)):
        lines.append(f"{title}: {count.before:,} before, {count.after:,} after{_share(count)}")
    for cost in done.costs:  # of single weights, the small model also holds those that are 0
        used, limit = (cost_number(one, cost.unit) for one in (cost.used, cost.limit))
        lines.append(f"budget: {used} of at most {limit} {COST_UNITS[cost.unit]}")
    return lines


def _share(count: BeforeAfter) -> str:
    return f" ({count.after / count.before:.1%})" if count.before else ""


def weights_line(count: BeforeAfter) -> list[str]:
    """Say how many weights are other than 0, before and after."""
    if count.before == count.after:
        return []
    return [f"weights other than 0: {count.before:,} before, {count.after:,} after{_share(count)}"]


def hardened_lines(done: RunDone) -> list[str]:
    """Say how far from n sites the gradient path had ended before hardening, and when its gates were decided."""
    if done.method != "gradient":
        return []
    data = done.hardened
    n, above = data.kept, data.kept_before
    crossed = sorted(step for step in data.last_crossed if step)
    when = (
        f"{len(crossed):,} gates crossed one half, the last time at step {crossed[len(crossed) // 2]:,} (median) "
        f"and {crossed[-1]:,} (the last one) of {data.steps:,}"
        if crossed
        else f"no gate has crossed one half in {data.steps:,} steps"
    )
    return [
        f"before hardening: {above:,} gates above one half ({above - n:+,d} of n), |sum of gates - n| = "
        f"{number(data.gate_sum_error, ',.1f')}, {number(data.near_hard, '.1%')} of the gates within .01 of 0 or 1",
        when,
        "",
    ]


def adapted_lines(adapted: Adapted | None) -> list[str]:
    """Say what the chain adapted: the ladder of its replicas with the swap rate of each pair, and delta."""
    if adapted is None:
        return []
    frozen = adapted.frozen_at
    since = "not frozen: the warm-up did not end" if frozen is None else f"frozen after {frozen:,} proposals a replica"
    lines = [f"adapted during the warm-up, {since}"]
    if adapted.temperatures:
        lines.append("  temperatures: " + ", ".join(number(value, ".3g") for value in adapted.temperatures))
        rates = ", ".join(number(value, ".0%") for value in adapted.swap_rates or ())
        lines.append(f"  swaps between neighbours: {rates}; round trips: {number(adapted.round_trips, ',d')}")
    if adapted.deltas:
        lines.append("  delta: " + ", ".join(number(value, ".3g") for value in adapted.deltas))
    return lines


def files_line(folder: str | None, files: Sequence[str]) -> list[str]:
    """Say where everything was written."""
    return [f"written to {folder}: {', '.join(files)}" if files else f"written to {folder}"] if folder else []


def check(done: RunDone, where: str) -> None:
    """Refuse a result that was read from a file and cannot be shown.

    Raises
    ------
    FolderError
        Naming what does not fit together.
    """
    try:
        kept_lines(done, width=80, unicode=False)
        size_lines(done)
        weights_line(done.nonzero_weights)
        hardened_lines(done)
        adapted_lines(done.adapted)
    except (ArithmeticError, LookupError, ValueError, FolderError) as error:
        raise FolderError(
            f"the result in {where!r} cannot be shown ({brief(error)}); the file was changed: run again"
        ) from None
