"""What `bench` and `reproduce` print: a line for each run, the tables, the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from mcprune.report.terminal import Output, RichOutput, choose, write
from mcprune.report.text import number, wrapped
from mcprune.storage.run_metrics import read_run
from mcprune.studies.jobs import Jobs, Told

HEADER = [
    "method", "as found", "retrained", "spread", "|sum - n|", "kept before", "decided", "seconds", "Mforwards", "epochs", "overlap",
]  # fmt: skip


def lines(jobs: Jobs, number_: int, told: Told, stream: TextIO) -> None:
    """Write one line on what became of a run."""
    words = f"[{number_}/{len(jobs.jobs)}] {told.job.name}: "
    if told.status == "failed":
        words += f"failed: {told.message}"
    else:
        run = read_run(jobs.folder(told.job.name), jobs.spent(told.job.name))
        words += (
            f"{run.found:.4f} as found, {run.retrained:.4f} retrained, {run.kept_before:,} of {run.n:,} kept before "
            f"hardening, {run.seconds:.1f} s" + (", finished before" if told.status == "kept" else "")
        )
    write(stream, words + "\n")


def cells(row: Mapping[str, Any]) -> list[str]:
    """Return the figures of a method as the table shows them."""
    before = row["kept_before"]
    low, high = min(before), max(before)
    return [
        f"{row['method']}" + (f" (cut {row['cut']}x)" if row["cut"] else ""),
        number(row["found"], ".4f"),
        number(row["retrained"], ".4f"),
        number(row["retrained_spread"], ".4f"),
        number(row["away"], ".1f"),
        f"{low:,}" if low == high else f"{low:,}-{high:,}",
        number(row["near_hard"], ".1%"),
        number(row["seconds"], ".1f"),
        number(row["forwards"] / 1e6, ".1f"),
        number(row["epochs"], ".0f"),
        number(row["overlap"], ".2f"),
    ]


def time_cells(row: Mapping[str, Any]) -> list[str]:
    """Return when a method reached each accuracy, in seconds and in millions of forwards, and in how many runs if not in all."""
    found = [str(row["method"])]
    for point in row["times"]:
        count = point["count"]
        some = "" if count in (0, row["seeds"]) else f" ({count}/{row['seeds']})"
        found.append(number(point["seconds"], ".1f") + (" s" if count else "") + some)
        found.append(number(None if not count else point["forwards"] / 1e6, ".1f") + (" M" if count else "") + some)
    return found


def time_header(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the titles over `time_cells`."""
    titles = ["method"]
    for point in rows[0]["times"]:
        titles += [f"time to {point['accuracy']:g}", f"forwards to {point['accuracy']:g}"]
    return titles


def table(found: Mapping[str, Any], stream: TextIO) -> None:
    """Write the tables of a comparison, one pair for each n."""
    output = choose(stream)
    for keep in found["setting"]["keep"]:
        rows = [row for row in found["table"] if row["n"] == keep]
        if not rows:
            continue
        seeds = max(row["seeds"] for row in rows)
        output.lines(
            ["", f"n = {keep:,}, {seeds} seed{'s' * (seeds > 1)}, {found['setting']['seconds']:g} s for each search"]
        )
        _table(output, HEADER, [cells(row) for row in rows])
        output.lines(["", "time and sample-forwards until a mask of exactly n sites had a validation accuracy of"])
        _table(output, time_header(rows), [time_cells(row) for row in rows])
    words = [
        "",
        *(line for one in found["ranking"] if one["text"] for line in wrapped(one["text"], output.width, "")),
        *found["misses"],
        *wrapped(
            "as found, retrained: test accuracy of the hard mask, spread a standard deviation over seeds; |sum - n|: of the gates "
            "before hardening; kept before: gates above one half before hardening; decided: gates within .01 of 0 or 1 then; "
            "overlap: mean Jaccard overlap of the masks of two seeds; cut: runs that met the clock before their last epoch",
            output.width,
            "",
        ),
    ]
    output.lines(words)


def fitting(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Return the columns of as many tables as it takes for none to be wider than `width`; each begins with the first column."""
    widths = [max(len(text) for text in column) + 3 for column in zip(header, *rows, strict=True)]
    groups: list[list[int]] = [[0]]
    for place in range(1, len(header)):
        if len(groups[-1]) > 1 and sum(widths[other] for other in groups[-1]) + widths[place] > width:
            groups.append([0])
        groups[-1].append(place)
    return groups


def _table(output: Output, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # A terminal would cut a wide table off; in a file a long line is no harm.
    width = output.width if isinstance(output, RichOutput) else 10_000
    for places in fitting(header, rows, width):
        output.table([header[place] for place in places], [[row[place] for place in places] for row in rows])


def claim_lines(found: Mapping[str, Any], stream: TextIO) -> None:
    """Write each statement with what was measured and the verdict."""
    output = choose(stream)
    for row in found["rows"]:
        output.lines(["", f"{row['number']} {row['claim']}"])
        for title in ("run", "measured", "threshold"):
            output.lines(wrapped(f"{title}: {row[title]}", output.width))
        output.lines([f"  verdict: {row['verdict']}"])
    output.lines(["", *wrapped(found["summary"], output.width, ""), ""])
