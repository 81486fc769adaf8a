"""Columns that may be no measurements: identifiers, dates, marks of gaps, sample weights, copies of the target, what sorts the classes."""

import math
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from mcprune.data.roles.checks import some
from mcprune.data.roles.columns import row_numbers
from mcprune.random import Stream, generator
from mcprune.types import AnyArray, FloatArray, IntArray

_SAMPLE = 1_000  # rows that candidates are searched in
_COLUMNS = 4_096  # that are looked at together
# Chance, over all columns together, at which numbers without a meaning may sort the classes.
CHANCE = 1e-3
LINEAR, FEW = 1e-9, 3  # distance of a correlation from 1 that is rounding; rows of which any two columns may be linear
# Numbers that stand for missing values in files of measuring devices and surveys: above zero, or below.
GAP_MARKS = (9.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0)
NEAR_ONE = (0.5, 2.0)  # a mean of weights that were scaled to 1

_END = r"([ _.-]?(nominal|nom|total|\d+))?"
# Names that are usual for sample weights alone.
_WEIGHT = re.compile(
    r"(sample|event|evt|ev|mc|gen|generator|xsec|lumi|scale|row|case|obs|survey|inverse|ip|frequency|freq|class|instance)"
    rf"[ _.-]?(weights?|wgts?|wts?|w){_END}|ipw",
    re.IGNORECASE,
)
# Names of sample weights that may be those of a measurement too.
_MAY_BE_WEIGHT = re.compile(rf"(weights?|wgts?|wts?|w){_END}", re.IGNORECASE)


class ColumnNote(NamedTuple):
    """Why columns are doubtful as features, for people.

    Attributes
    ----------
    names : tuple of str
        The columns.
    kind : str
        `identifier`: a different number in each row. `weight`: looks like sample weights. `copy`: one value for each class. `sorts`:
        its order is that of the classes. `constant`: one value in all rows. `duplicate`: equal to another column. `gap`: a number that
        may stand for a missing value. `date`: dates as whole numbers.
    text : str
        One line that names the columns, with the remedy.
    """

    names: tuple[str, ...]
    kind: str
    text: str


def doubtful_columns(
    names: Sequence[str],
    features: AnyArray,
    targets: AnyArray,
    *,
    mentioned: Collection[str] = (),
    identifiers: Collection[str] | None = None,
) -> tuple[ColumnNote, ...]:
    """Return notes on columns that may be no measurements, or that say nothing.

    Parameters
    ----------
    names : sequence of str, length N
    features : ndarray, shape (rows, N)
        Finite.
    targets : ndarray of int64, shape (rows,), or of float64, shape (rows, T)
        Class indices, or numbers.
    mentioned : collection of str
        Columns that the options name, as in --must-keep and --must-drop: nobody overlooks these, so only copies of the target,
        constants and duplicates are noted of them.
    identifiers : collection of str, optional
        The columns that `row_numbers` calls possible; looked for by default.

    Returns
    -------
    tuple of ColumnNote
    """
    notes = []

    def add(kind: str, chosen: Sequence[int], one: str, several: str, remedy: str) -> None:
        if chosen:
            verb = one if len(chosen) == 1 else several
            text = f"{_columns(names, chosen)} {verb}{remedy}"
            notes.append(ColumnNote(tuple(names[j] for j in chosen), kind, text))

    open_ = [j for j, name in enumerate(names) if name not in mentioned]
    if identifiers is None:
        identifiers = [names[j] for j in row_numbers(names, features).possible]
    numbering = [j for j in open_ if names[j] in identifiers]
    if numbering:
        text = f"a different number in each row: {_columns(names, numbering)}. If it only numbers the rows: --must-drop"
        notes.append(ColumnNote(tuple(names[j] for j in numbering), "identifier", text))
    for j, mark in _gap_marks(features):
        if j in open_:
            text = (
                f"column {names[j]!r} holds {mark:g} in several rows, far from all other numbers. If it stands for a missing value: empty "
                f"these cells; if it is measured: --must-keep {names[j]}"
            )
            notes.append(ColumnNote((names[j],), "gap", text))
    dates = [j for j in _dates(features) if j in open_]
    remedy = " dates as whole numbers, such as 20260131. Make numbers of them that may matter, such as the weekday; then: --must-drop"
    add("date", dates, "holds", "hold", remedy)
    weights = [j for j in open_ if _may_weigh(names[j], features[:, j])]
    for j in weights:
        text = (
            f"column {names[j]!r} looks like sample weights (mean {float(features[:, j].mean(dtype=np.float64)):.3g}), which are no "
            f"feature. If it holds weights: --sample-weight {names[j]}; if it should not be used: --must-drop {names[j]}"
        )
        notes.append(ColumnNote((names[j],), "weight", text))
    is_measured = targets.dtype.kind == "f"
    constant, copies, sorting = _by_number(features, targets) if is_measured else _by_class(features, targets)
    remedy = ". If it is a copy of the target: --must-drop, or remove it"
    of_class = "the class, with one value for each class"
    one, several = (
        ("is the target in another unit", "are the target in another unit")
        if is_measured
        else (f"determines {of_class}", f"determine {of_class}")
    )
    add("copy", copies, one, several, remedy)
    noted = {*numbering, *weights, *copies}
    sorting = [j for j in sorting if j not in noted and names[j] not in mentioned]
    remedy = " the classes: each class has a range of its own. If it was made from the target, or numbers the rows: --must-drop"
    add("sorts", sorting, "sorts", "sort", remedy)
    add("constant", constant, "has one value in all rows", "have one value in all rows", "")
    twins = _twins(features, set(constant))
    if twins:
        pairs = some((f"{names[j]!r} and {names[i]!r}" for j, i in twins), 3)
        text = f"equal in all rows: columns {pairs}. Either may be kept in place of the other"
        notes.append(ColumnNote(tuple(names[j] for j, _ in twins), "duplicate", text))
    return tuple(notes)


def _gap_marks(features: AnyArray) -> list[tuple[int, float]]:
    """Return the columns with a number that is usual for gaps, in several rows and farther from the others than they are spread."""
    out: list[tuple[int, float]] = []
    if features.dtype.kind != "f":
        return out
    low, high = features.min(axis=0), features.max(axis=0)
    candidates = np.flatnonzero(np.isin(low, [-mark for mark in GAP_MARKS]) | np.isin(high, GAP_MARKS))
    for j in candidates.tolist():
        column = features[:, j].astype(np.float64)
        for mark in (float(low[j]), float(high[j])):
            others = column[column != mark]
            is_usual = abs(mark) in GAP_MARKS and (mark < 0) == (mark == low[j])
            if is_usual and len(column) - others.size > 1 and np.unique(others).size > FEW:
                distance = np.abs(others - mark).min()
                out += [(j, mark)] if distance > np.ptp(others) else []
    return out


def _dates(features: AnyArray) -> list[int]:
    """Return the columns of whole numbers that are days written as 20260131."""
    low, high = features.min(axis=0), features.max(axis=0)
    chosen = []
    for j in np.flatnonzero((low >= 19000101) & (high <= 21001231) & (low < high)).tolist():
        column = features[:, j].astype(np.float64)
        month, day = column // 100 % 100, column % 100
        if ((column % 1 == 0) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all():
            chosen.append(j)
    return chosen


def _may_weigh(name: str, column: AnyArray) -> bool:
    """Return whether a column looks like sample weights by its name and its values."""
    name = name.strip()
    is_usual = bool(_WEIGHT.fullmatch(name))
    if not is_usual and not _MAY_BE_WEIGHT.fullmatch(name):
        return False
    if float(column.min()) < 0 or float(column.max()) <= 0:
        return is_usual
    is_whole = bool((np.mod(column[:_SAMPLE], 1) == 0).all())
    return is_usual or not is_whole or NEAR_ONE[0] <= float(column.mean(dtype=np.float64)) <= NEAR_ONE[1]


def _by_number(features: AnyArray, targets: FloatArray) -> tuple[list[int], list[int], list[int]]:
    """Return the columns with one value in all rows, those that are a linear function of a target, and none that sort classes."""
    constant: list[int] = []
    copies: list[int] = []
    away = targets - targets.mean(axis=0)
    away /= np.maximum(np.linalg.norm(away, axis=0), 1e-300)
    for start in range(0, features.shape[1], _COLUMNS):
        part = features[:, start : start + _COLUMNS].astype(np.float64)
        is_constant = np.ptp(part, axis=0) == 0
        part -= part.mean(axis=0)
        size = np.linalg.norm(part, axis=0)
        alike = np.abs(away.T @ part).max(axis=0) >= (1.0 - LINEAR) * size
        constant += (start + np.flatnonzero(is_constant)).tolist()
        copies += (start + np.flatnonzero(alike & ~is_constant)).tolist()
    return constant, copies if len(targets) > FEW else [], []


def _by_class(features: AnyArray, targets: IntArray) -> tuple[list[int], list[int], list[int]]:
    """Return the columns with one value in all rows, those with one for each class, and those in whose order the classes are apart."""
    constant: list[int] = []
    copies: list[int] = []
    sorting: list[int] = []
    for start in range(0, features.shape[1], _COLUMNS):  # in parts, so that wide data are not copied
        of_part = _by_class_in(features[:, start : start + _COLUMNS], targets)
        for whole, part in zip((constant, copies, sorting), of_part, strict=True):
            whole += [start + j for j in part]
    return constant, copies, sorting if _chance(targets) * features.shape[1] < CHANCE else []


def _by_class_in(features: AnyArray, targets: IntArray) -> tuple[list[int], list[int], list[int]]:
    sample, of_sample = features[:_SAMPLE], targets[:_SAMPLE]  # only candidates are compared in all rows
    low, high = _ranges(sample, of_sample)
    is_constant = (sample == sample[0]).all(axis=0)
    is_copy = ~is_constant & (low == high).all(axis=0)
    candidates = np.flatnonzero(~is_constant & ~is_copy & _are_apart(low, high)).tolist()
    constant = [j for j in np.flatnonzero(is_constant).tolist() if (features[:, j] == features[0, j]).all()]
    copies = [j for j in np.flatnonzero(is_copy).tolist() if _is_copy(features[:, j], targets)]
    sorting = [j for j in candidates if _are_apart(*_ranges(features[:, j : j + 1], targets))[0]]
    return constant, copies, sorting


def _ranges(features: AnyArray, targets: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the least and the greatest value of each class, (C, N) each."""
    parts = [features[targets == one] for one in np.unique(targets)]
    return np.stack([part.min(axis=0) for part in parts]), np.stack([part.max(axis=0) for part in parts])


def _are_apart(low: FloatArray, high: FloatArray) -> AnyArray:
    """Return of each column (N,) whether no two of the ranges overlap."""
    order = np.argsort(low, axis=0, kind="stable")
    low, high = np.take_along_axis(low, order, axis=0), np.take_along_axis(high, order, axis=0)
    return np.asarray((high[:-1] < low[1:]).all(axis=0))


def _chance(targets: IntArray) -> float:
    """Return the probability that distinct numbers without a meaning sort the classes: C! rows!_1 ... rows!_C / rows!."""
    counts = np.bincount(targets)
    counts = counts[counts > 0]
    log = math.lgamma(counts.size + 1) + sum(math.lgamma(n + 1) for n in counts) - math.lgamma(counts.sum() + 1)
    return math.exp(min(log, 0.0))


def _is_copy(column: AnyArray, targets: IntArray) -> bool:
    classes, where = np.unique(targets, return_index=True)
    values = np.zeros(int(classes[-1]) + 1, column.dtype)
    values[classes] = column[where]
    return bool((column == values[targets]).all()) and np.unique(column[where]).size == classes.size


def _twins(features: AnyArray, constant: set[int]) -> list[tuple[int, int]]:
    """Return columns that are equal to an earlier one in all rows, with that one."""
    first: dict[int, list[int]] = {}
    twins = []
    hashes = _hashes(features[:_SAMPLE]).tolist()
    for j in sorted(set(range(features.shape[1])) - constant):
        alike = first.setdefault(hashes[j], [])
        twin = next((i for i in alike if (features[:, i] == features[:, j]).all()), None)
        if twin is None:
            alike.append(j)
        else:
            twins.append((j, twin))
    return twins


def _hashes(sample: AnyArray) -> AnyArray:
    """Return a number (N,) for each column, the same for columns of the same bytes."""
    if sample.dtype.itemsize not in (1, 2, 4, 8):
        return np.array([hash(column.tobytes()) for column in sample.T])
    kind = np.dtype(f"u{sample.dtype.itemsize}")
    weights = generator(0, Stream.COLUMN_HASHES).integers(2**63, size=(len(sample), 1), dtype=np.uint64) * 2 + 1
    out = np.empty(sample.shape[1], np.uint64)
    for start in range(0, sample.shape[1], _COLUMNS):
        part = np.ascontiguousarray(sample[:, start : start + _COLUMNS]).view(kind).astype(np.uint64)
        out[start : start + _COLUMNS] = (part * weights).sum(axis=0, dtype=np.uint64)  # modulo 2^64
    return out


def _columns(names: Sequence[str], chosen: Sequence[int]) -> str:
    return f"column{'' if len(chosen) == 1 else 's'} {some((repr(names[j]) for j in chosen), 4)}"
