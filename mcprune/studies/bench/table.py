"""What `bench` prints: a table of the methods for each n."""

from __future__ import annotations

from collections.abc import Sequence

from mcprune.report.terminal import Output, RichOutput
from mcprune.report.text import number, wrapped
from mcprune.studies.base import Results
from mcprune.studies.bench.runs import MethodRow

HEADER = [
    "method", "not retrained", "retrained", "spread", "|sum - n|", "kept before", "decided", "seconds", "Mforwards", "epochs", "overlap",
]  # fmt: skip

# What each column is, for the page and the screen.
TERMS = (
    ("not retrained", "test accuracy of the hard mask with the classifier of the search"),
    ("retrained", "test accuracy of a fresh classifier on what is kept: by it the methods are ranked"),
    ("spread", "standard deviation of it over the seeds"),
    ("|sum - n|", "how far the sum of the gates was from n before hardening"),
    ("kept before", "gates above one half before hardening"),
    ("decided", "share of the gates within .01 of 0 or 1 before hardening"),
    (
        "seconds",
        "of the search, without retraining; with the short trials that learn how many epochs fit, and under auto the pilots",
    ),
    (
        "Mforwards",
        "millions of rows through the classifier; a row of backprop counts three, a candidate all rows of its batch",
    ),
    ("overlap", "mean Jaccard overlap of the masks of two seeds"),
    ("cut", "behind a method: runs that the clock ended before their last epoch"),
)


def cells(row: MethodRow) -> list[str]:
    """Return the figures of a method as text."""
    before = row["kept_before"]
    low, high = min(before), max(before)
    return [
        f"{row['method']}" + (f" (cut {row['cut']}x)" if row["cut"] else ""),
        number(row["hardened"], ".4f"),
        number(row["retrained"], ".4f"),
        number(row["retrained_spread"], ".4f"),
        number(row["away"], ".1f"),
        f"{low:,}" if low == high else f"{low:,}-{high:,}",
        number(row["near_hard"], ".1%"),
        number(row["seconds"], ".1f"),
        short(row["forwards"] / 1e6),
        short(row["epochs"]),
        number(row["overlap"], ".2f"),
    ]


def short(value: float | None) -> str:
    """Return a number of any size by three digits, or as many as are before the point."""
    return number(value, ".3g" if value is None or abs(value) < 100 else ",.0f")


def time_cells(row: MethodRow) -> list[str]:
    """Return when a method reached each accuracy, in seconds and in millions of forwards, and in how many runs if not in all."""
    texts = [str(row["method"])]
    for point in row["times"]:
        count = point["count"]
        some = "" if count in (0, row["seeds"]) else f" ({count}/{row['seeds']})"
        texts.append(number(point["seconds"], ".1f") + (" s" if count else "") + some)
        texts.append(
            short(None if point["forwards"] is None else point["forwards"] / 1e6) + (" M" if count else "") + some
        )
    return texts


def time_header(rows: Sequence[MethodRow]) -> list[str]:
    """Return the titles over `time_cells`."""
    titles = ["method"]
    for point in rows[0]["times"]:
        titles += [f"time to {point['accuracy']:g}", f"forwards to {point['accuracy']:g}"]
    return titles


def never_line(rows: Sequence[MethodRow]) -> str:
    """Return the sentence on the methods that reached none of the accuracies; empty where there are none."""
    never = [str(row["method"]) for row in rows if not any(point["count"] for point in row["times"])]
    if not never:
        return ""
    least = min(point["accuracy"] for point in rows[0]["times"])
    names = "No method had a" if len(never) == len(rows) else f"Not among them: {', '.join(never)}, which had no"
    return f"{names} mask of exactly n sites with a validation accuracy of {least:g} or more."


def print_tables(results: Results, output: Output) -> None:
    """Write the tables of a comparison, one pair for each n, and the rankings."""
    for keep in results["setting"]["keep"]:
        rows = [row for row in results["table"] if row["n"] == keep]
        if not rows:
            continue
        seeds = max(row["seeds"] for row in rows)
        output.lines(
            ["", f"n = {keep:,}, {seeds} seed{'s' * (seeds > 1)}, {results['setting']['seconds']:g} s for each search"]
        )
        _table(output, HEADER, [cells(row) for row in rows])
        if reached := [row for row in rows if any(point["count"] for point in row["times"])]:
            output.lines(["", "time and sample-forwards until a mask of exactly n sites had a validation accuracy of"])
            _table(output, time_header(reached), [time_cells(row) for row in reached])
        if text := never_line(rows):
            output.lines(["", *wrapped(text, output.width, "")])
    lines = [
        "",
        *(line for one in results["ranking"] if one["text"] for line in wrapped(one["text"], output.width, "")),
        *results["misses"],
        *weights_line(results),
        "",
        *terms_lines(output.width),
    ]
    output.lines(lines)


def terms_lines(width: int) -> list[str]:
    """Return what each column is, a line for each; its further lines are indented."""
    longest = max(len(term) for term, _ in TERMS)
    return [
        (term if number == 0 else "").ljust(longest + 2) + text
        for term, meaning in TERMS
        for number, text in enumerate(wrapped(meaning, width - longest - 2, ""))
    ]


def weights_line(results: Results) -> list[str]:
    """Say by which column all accuracies are weighted; nothing where all rows count alike."""
    column = results["setting"]["shared"].get("sample_weight")
    return [f"all accuracies are weighted by the column {column!r}"] if column else []


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
