"""The result of a run in words: the table of test accuracies, what was kept, the sizes, and where it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcprune.config.budgets import COST_UNITS
from mcprune.errors import FolderError, brief
from mcprune.report.picture import picture
from mcprune.report.text import number, ranges, some, wrapped

HEADER = ["", "sites kept", "test accuracy", "spread", "masks", "seconds"]
MOST = 200  # names or ranges of indices that are listed; mask.json has them all
NEEDED = ("rows", "keep", "names", "sites", "N")


def header(objective: str | None) -> list[str]:
    """Return the titles; the objective stands beside the accuracy where it is another than cross-entropy."""
    return HEADER if objective is None else [*HEADER[:3], objective, *HEADER[3:]]


def cells(row: Mapping[str, Any], objective: str | None = None) -> list[str]:
    """Return one row of the table: what was tested, sites, accuracy, the objective, spread, count of masks, seconds."""
    return [
        str(row["name"]),
        number(row.get("sites"), ",d"),
        number(row.get("accuracy"), ".4f"),
        *([] if objective is None else [number(row.get("objective"), ".4f")]),
        number(row.get("spread"), ".4f"),
        number(row.get("count"), "d"),
        number(row.get("seconds"), ".1f"),
    ]


def kept_lines(result: Mapping[str, Any], *, width: int, unicode: bool) -> list[str]:
    """Say which sites are kept, a group of sites after the other.

    Parameters
    ----------
    result : mapping
        `keep` (flat indices over all sites, rising), `names` (one for each of them), `sites` (the groups in
        their flat order, each with kind, layer and size) and `image_shape`.
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
    pairs = list(zip(result["keep"], result["names"], strict=True))
    start = 0
    for group in result["sites"]:
        stop = start + group["size"]
        inside = [(index - start, name) for index, name in pairs if start <= index < stop]
        start = stop
        where = [index for index, _ in inside]
        lines.append(f"{group_title(group)}: {len(inside):,} of {group['size']:,} kept")
        shape = result.get("image_shape") if group["kind"] == "inputs" else None
        if shape and inside:
            lines += ["  " + line for line in picture(where, shape, width=max(width - 2, 1), unicode=unicode)]
        elif group["kind"] == "weights":
            pass  # thousands of indices say nothing; mask.json has them
        elif group["kind"] == "inputs":
            lines += wrapped(some([str(name) for _, name in inside], MOST), width)
        else:
            lines += wrapped(some(ranges(where), MOST), width)
    if pairs and not 0 <= min(result["keep"]) <= max(result["keep"]) < start:
        raise FolderError(f"kept sites {min(result['keep'])}..{max(result['keep'])} lie outside of the {start} sites")
    return lines


def group_title(group: Mapping[str, Any]) -> str:
    """Return a group of sites in words: inputs, or units of a layer."""
    return f"{group['kind']} of {group['layer']}" if group.get("layer") else str(group["kind"])


def size_lines(result: Mapping[str, Any]) -> list[str]:
    """Say how many parameters and multiply-accumulates the classifier had and the small model has."""
    lines = []
    for name, words in (("parameters", "parameters"), ("macs", "multiply-accumulates of a row")):
        if result.get(name):
            before, after = result[name]["before"], result[name]["after"]
            share = f" ({after / before:.1%})" if before else ""
            lines.append(f"{words}: {before:,} before, {after:,} after{share}")
    if cost := result.get("cost"):  # of single weights, the small model also holds those that are 0
        lines.append(f"budget: {cost['kept']:,} of at most {cost['limit']:,} {COST_UNITS[cost['in']]}")
    return lines


def weights_line(counts: Mapping[str, Any] | None) -> list[str]:
    """Say how many weights are other than 0, before and after."""
    if not counts or counts["before"] == counts["after"]:
        return []
    before, after = counts["before"], counts["after"]
    return [
        f"weights other than 0: {before:,} before, {after:,} after" + (f" ({after / before:.1%})" if before else "")
    ]


def harden_lines(result: Mapping[str, Any]) -> list[str]:
    """Say how far from n sites the gradient path had ended before hardening, and when its gates were decided."""
    data = result.get("harden")
    if result.get("method") != "gradient" or not data:
        return []
    n, above = result["n"], data["kept_before"]
    crossed = sorted(step for step in data["last_crossed"] if step)
    when = (
        f"{len(crossed):,} gates crossed one half, the last time at step {crossed[len(crossed) // 2]:,} (median) "
        f"and {crossed[-1]:,} (the last one) of {data['steps']:,}"
        if crossed
        else f"no gate has crossed one half in {data['steps']:,} steps"
    )
    return [
        f"before hardening: {above:,} gates above one half ({above - n:+,d} of n), |sum of gates - n| = "
        f"{number(data['away'], ',.1f')}, {number(data['near_hard'], '.1%')} of the gates within .01 of 0 or 1",
        when,
        "",
    ]


def adapted_lines(adapted: Mapping[str, Any] | None) -> list[str]:
    """Say what the chain adapted: the ladder of its replicas with the swap rate of each pair, and delta."""
    if not adapted:
        return []
    frozen = adapted.get("frozen_at")
    since = "not frozen: the warm-up did not end" if frozen is None else f"frozen after {frozen:,} proposals a replica"
    lines = [f"adapted during the warm-up, {since}"]
    if adapted.get("temperatures"):
        lines.append("  temperatures: " + ", ".join(number(value, ".3g") for value in adapted["temperatures"]))
        rates = ", ".join(number(value, ".0%") for value in adapted["swap_rates"])
        lines.append(f"  swaps between neighbours: {rates}; round trips: {number(adapted['round_trips'], ',d')}")
    if adapted.get("deltas"):
        lines.append("  delta: " + ", ".join(number(value, ".3g") for value in adapted["deltas"]))
    return lines


def files_line(folder: str | None, files: Sequence[str]) -> list[str]:
    """Say where everything was written."""
    return [f"written to {folder}: {', '.join(files)}" if files else f"written to {folder}"] if folder else []


def check(result: Mapping[str, Any], where: str) -> None:
    """Refuse a result that was read from a file and cannot be shown.

    Raises
    ------
    FolderError
        Naming the entry that is missing or of another kind than it should be.
    """
    remedy = "the file was changed or comes from another version; run again"
    for name in NEEDED:
        if name not in result:
            raise FolderError(f"the result in {where!r} lacks {name!r}; {remedy}")
    try:
        if not all(type(index) is int for index in result["keep"]):
            raise ValueError("'keep' must hold indices")
        if not isinstance(files := result.get("files", []), list) or not all(isinstance(name, str) for name in files):
            raise ValueError("'files' must hold names")
        if not isinstance(objective := result.get("objective"), str | None):
            raise ValueError("'objective' must be a text")
        for row in result["rows"]:
            if not all(isinstance(cell, str) for cell in cells(row, objective)):
                raise ValueError("the name of a row must be a text")
        kept_lines(result, width=80, unicode=False)
        size_lines(result)
        weights_line(result.get("nonzero_weights"))
        harden_lines(result)
        adapted_lines(result.get("adapted"))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, FolderError) as error:
        raise FolderError(f"the result in {where!r} cannot be shown ({brief(error)}); {remedy}") from None
