"""Tables of files as data sets: which columns are features, what was chosen on the user's behalf, and what is doubtful."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.data.base import Dataset, assemble
from mcprune.data.coding.coding import Cells, code_table, has_gaps
from mcprune.data.formats.cells import number_text
from mcprune.data.formats.frames import TYPED, read_typed
from mcprune.data.formats.header import Header, find_header
from mcprune.data.formats.reading import Reading
from mcprune.data.formats.tables import Columns, Preview, Rows, Table, cells_of, require_names
from mcprune.data.formats.text_tables import read_text_table
from mcprune.data.parts.entities import entity_codes
from mcprune.data.parts.times import time_values
from mcprune.data.roles.checks import nearest, some
from mcprune.data.roles.columns import RowNumbers, row_numbers, target_column
from mcprune.data.roles.doubts import doubtful_columns
from mcprune.data.roles.tasks import REGRESSION, resolve_task
from mcprune.data.weights import weight_column, with_weights
from mcprune.errors import ConfigError, DataError
from mcprune.types import AnyArray

TEXTS = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")
TABLES = (*TEXTS, *TYPED)


class _Roles(NamedTuple):
    """Indices of the columns with a role of their own, None where there is none."""

    target: int
    weights: int | None
    entities: int | None
    times: int | None


def load_table(path: Path, reading: Reading) -> Dataset:
    """Load a table from a file.

    Raises
    ------
    ConfigError
        One column of two roles, or an option that cannot be.
    DataError
        As `load`.
    """
    notes: list[str] = []

    def header_of(first: list[str], rows: Rows) -> Header:
        if reading.header != "auto":
            return Header(reading.header == "yes")
        header = find_header(first, rows, reading.target)
        if not header.is_header and not header.note:
            header = Header(
                False, "no header line: the columns are called column 0, column 1, ... If there is one: --header yes"
            )
        notes.extend([header.note] if header.note else [])
        return header

    def choose(names: list[str], is_named: bool, preview: Preview) -> Columns:
        require_names(path, names)
        roles, note = _roles(path, names, reading, preview, is_named=is_named)
        notes.extend([note] if note else [])
        ignored = [_column(path, names, name, "to ignore") for name in reading.ignore]
        taken = {*ignored, *roles}
        return Columns(
            [i for i in range(len(names)) if i not in taken],
            roles.target,
            skips_identifiers=reading.id_columns == "drop",
            weights=roles.weights,
            texts=tuple(i for i in (roles.entities, roles.times) if i is not None),
        )

    is_typed = path.suffix.lower() in TYPED
    table = read_typed(path, choose) if is_typed else read_text_table(path, reading.text, header_of, choose)
    # A file that turns out not to be UTF-8 is read twice.
    return _dataset(path, table, reading, list(dict.fromkeys([*table.notes, *notes])))


def _roles(
    path: Path, names: Sequence[str], reading: Reading, preview: Preview, *, is_named: bool
) -> tuple[_Roles, str]:
    """Return the columns with a role, and a note on the target."""
    weights = None
    if reading.sample_weight is not None:
        weights = weight_column(path, names, reading.sample_weight, reading.target)
    entities = None if reading.split_by is None else _column(path, names, reading.split_by, "to split by")
    times = None if reading.split_time is None else _column(path, names, reading.split_time, "of times")
    others = [i for i in range(len(names)) if i not in (weights, entities, times) and names[i] not in reading.ignore]
    if not others:
        raise DataError(f"{path}: no column is left for the target. Leave out fewer.")
    if reading.target is not None and reading.target in names:  # a role twice is said below
        place, note = list(names).index(reading.target), ""
    else:
        chosen, note = target_column(
            path, [names[i] for i in others], reading.target, lambda i: preview(others[i]), is_named=is_named
        )
        place = others[chosen]
    roles = _Roles(place, weights, entities, times)
    places = [i for i in roles if i is not None]
    twice = next((i for i in places if places.count(i) > 1 or names[i] in reading.ignore), None)
    if twice is not None:
        raise ConfigError(
            f"column {names[twice]!r} has two of the roles target, sample_weight, split_by, split_time and ignore. Give it one."
        )
    return roles, note


def _column(path: Path, names: Sequence[str], name: str, role: str) -> int:
    if name not in names:
        raise DataError(
            f"{path}: no column {name!r} {role}.{nearest(name, names)} The columns are: {some(map(repr, names), 12)}."
        )
    return list(names).index(name)


def _measured(table: Table, task: str) -> Table:
    """Return a table whose target's numbers are plain where they are measured; as classes they stay as they are written."""
    numbers: list[str] = []
    for cell in () if table.targets is None else table.targets:
        number = number_text(cell, table.decimal) if isinstance(cell, str) else None
        if number is None:  # classes, or numbers already: mostly the first cell says so
            return table
        numbers.append(number)
    task, _ = resolve_task(task, [float(number) for number in numbers], "the target")
    return table._replace(targets=numbers) if task == REGRESSION else table


def _dataset(path: Path, table: Table, reading: Reading, notes: list[str]) -> Dataset:
    table = _measured(table, reading.task)
    assert table.targets is not None  # `choose` always names one
    numbers = row_numbers(table.names, table.features)
    out = left_out(numbers, table.names, reading)
    names_out = [*table.identifiers, *(table.names[j] for j in out)]
    if names_out:
        notes.append(
            f"left out, as {'it only numbers or names' if len(names_out) == 1 else 'they only number or name'} the rows: "
            f"{quoted(names_out)}. If that is a measurement: --id-columns keep, or --must-keep"
        )
    names = [name for j, name in enumerate(table.names) if j not in out]
    if table.texts or has_gaps(table.features):
        cells = [one for j, one in enumerate(cells_of(table)) if j not in out]
        dataset = coded_dataset(str(path), names, cells, table.targets, table.target_name, reading.task)
    else:
        features = np.delete(table.features, out, axis=1) if out else table.features
        dataset = assemble(
            str(path), features, table.targets, feature_names=names, target_name=table.target_name, task=reading.task
        )
    notes.extend(dataset.notes)
    dataset = with_doubts(dataset, notes, reading.required, [table.names[j] for j in numbers.possible])
    dataset = with_order(replace(dataset, file_width=table.width), reading, *_split_columns(reading, table.columns))
    return dataset if table.weights is None else with_weights(dataset, table.weights)


def _split_columns(
    reading: Reading, columns: Sequence[Sequence[str]]
) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """Return the cells of the columns of entities and of times; None where there is none."""
    rest = list(columns)
    entities = rest.pop(0) if reading.split_by is not None else None
    return entities, rest.pop(0) if reading.split_time is not None else None


def refuse_two_orders(reading: Reading) -> None:
    """Refuse to split by entities and by time at once."""
    if reading.split_by is not None and reading.split_time is not None:
        raise ConfigError("split_by and split_time together: an entity may have rows at all times. Choose one of them.")


def with_order(
    dataset: Dataset, reading: Reading, entities: Sequence[str] | None, times: Sequence[str] | None
) -> Dataset:
    """Return a data set with what its rows are split by, from the cells of these columns.

    Raises
    ------
    DataError
        Cells that are missing, or no times; fewer than three different ones.
    """
    notes = list(dataset.notes)
    if entities is not None:
        codes = entity_codes(dataset.name, str(reading.split_by), entities)
        notes.append(f"split by {reading.split_by!r}: {int(codes.max()) + 1:,} entities, none of them in two parts")
        dataset = replace(dataset, entities=codes)
    if times is not None:
        notes.append(f"split by time, in the order of {reading.split_time!r}")
        dataset = replace(dataset, times=time_values(dataset.name, str(reading.split_time), times))
    return replace(dataset, notes=tuple(notes))


def left_out(numbers: RowNumbers, names: Sequence[str], reading: Reading) -> list[int]:
    """Return the columns to leave out because they number the rows; none if no other column would be left."""
    if reading.id_columns == "keep":
        return []
    out = [j for j in numbers.certain if names[j] not in reading.required]
    return out if len(out) < len(names) else []


def coded_dataset(
    name: str,
    names: Sequence[str],
    cells: Sequence[Cells],
    targets: AnyArray | Sequence[object],
    target_name: str | None,
    task: str = "auto",
) -> Dataset:
    """Make the Dataset of columns with gaps or categories.

    Raises
    ------
    DataError
        As `code_table` and `assemble`.
    """
    coded = code_table(name, names, cells)
    return assemble(
        name,
        coded.features,
        targets,
        feature_names=coded.coding.names,
        target_name=target_name,
        notes=coded.notes,
        coding=coded.coding,
        task=task,
    )


def with_doubts(dataset: Dataset, notes: Sequence[str], required: Sequence[str], identifiers: Sequence[str]) -> Dataset:
    """Return the Dataset of a table with notes on doubtful columns; `identifiers` may number the rows."""
    features, names = dataset.features, dataset.feature_names
    if dataset.coding is not None:  # of categories and gaps nothing is doubted
        plain = np.flatnonzero(~np.isnan(features).any(axis=0) & np.isin(names, dataset.coding.original_names))
        features, names = features[:, plain], tuple(names[j] for j in plain)
    if not features.shape[1]:
        return replace(dataset, notes=tuple(notes))
    doubts = doubtful_columns(names, features, dataset.targets, mentioned=required, identifiers=identifiers)
    return replace(dataset, notes=tuple(notes), doubts=doubts)


def quoted(names: Sequence[str]) -> str:
    """Return 'column' or 'columns' and their names."""
    return f"column{'' if len(names) == 1 else 's'} {some(map(repr, names), 4)}"
