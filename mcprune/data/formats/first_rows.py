"""The first rows of a text table: what is read of them, and what they show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mcprune.data.formats.dialect import Row
from mcprune.data.roles.checks import some
from mcprune.errors import DataError

_ROWS, _CELLS = 1_000, 200_000  # that are looked at before any is read, at most
_FEW = 100  # rows in which the form of numbers is looked at
_DIGITS, _MOST = 15, 300  # that every whole number keeps, and that no number has


def first_rows(rows: Iterator[Row]) -> list[Row]:
    """Return the first rows: few of wide tables, but two where there are two."""
    sample: list[Row] = []
    cells = 0
    for row in rows:
        sample.append(row)
        cells += len(row.cells)
        if len(sample) >= _ROWS or (cells > _CELLS and len(sample) > 1):
            break
    return sample


def column_of(rows: Sequence[Sequence[str]], column: int) -> list[str]:
    """Return the cells of a column, of the rows that have it."""
    return [row[column] for row in rows if column < len(row)]


def one_column(path: Path, name: str, body: Sequence[Sequence[str]], separator: str) -> DataError:
    """Return the error for a first line of one cell: a title, or a table without separators."""
    width = Counter(map(len, body)).most_common(1)[0][0] if body else 1
    if width > 1:
        return DataError(
            f"{path}: the first line has one cell, {name[:60]!r}, but most lines have {width}. Remove the lines above the header."
        )
    return DataError(
        f"{path}: one column only, {name[:60]!r}. Separate the columns by {'tabs' if separator == chr(9) else 'commas'}, or say what "
        "does: --separator."
    )


def number_notes(names: Sequence[str], columns: Sequence[int], body: Sequence[Sequence[str]]) -> list[str]:
    """Return notes on columns of numbers that may be codes: with leading zeros, or of more digits than a number keeps."""
    coded, long = [], []
    for i in columns:
        cells = [cell.strip() for cell in column_of(body[:_FEW], i)]
        has_zeros = any(cell[:1] == "0" and cell[1:2].isdecimal() for cell in cells)
        if has_zeros and all(map(str.isdecimal, filter(None, cells))):
            coded.append(names[i])
        if any(_DIGITS < len(cell) < _MOST and cell.lstrip("+-").isdecimal() and _is_rounded(cell) for cell in cells):
            long.append(names[i])
    notes = []
    if coded:
        notes.append(
            f"read as numbers, though written with leading zeros as codes are: {some(map(repr, coded), 4)}. If they are codes: --ignore, "
            "or put a letter before each"
        )
    if long:
        notes.append(
            f"whole numbers of more than {_DIGITS} digits lose the last ones: {some(map(repr, long), 4)}. If they name the rows: --ignore"
        )
    return notes


def _is_rounded(cell: str) -> bool:
    return int(float(cell)) != int(cell)
