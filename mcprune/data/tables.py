"""Tables: csv and tsv by Python's own reader (no pandas needed), parquet through pyarrow."""

import csv
import importlib.util
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from mcprune.data.checks import distinct_names, nearest, some
from mcprune.data.targets import typed
from mcprune.errors import DataError, brief
from mcprune.types import AnyArray

TARGET_NAMES = ("target", "label", "class", "y")
_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "?"})


class Columns(NamedTuple):
    """Which columns of a file to read: those of the features in this order, and the target's if there is
    one."""

    features: list[int]
    target: int | None


class Table(NamedTuple):
    names: list[str]  # of the feature columns
    features: AnyArray  # (rows, N), unchecked
    targets: AnyArray | Sequence[object] | None  # (rows,)
    target_name: str | None


class Row(NamedTuple):
    line: int  # of the file, where the row ends
    underscored: bool
    cells: list[str]


# given the file's column names, and whether they were in the file (else 'column 1', ...)
Chooser = Callable[[list[str], bool], Columns]


def target_column(path: Path, names: Sequence[str], target: str | None) -> tuple[int, str]:
    """Index of the target column, and a note if it was chosen on the user's behalf.

    Without a name it is the column called target, label, class or y (in any case) if just one of these
    exists, else the last.

    Raises
    ------
    DataError
        No such column (the nearest right name is given).
    """
    if target is not None:
        if target not in names:
            raise DataError(
                f"{path}: no target column {target!r}.{nearest(target, names)} The columns are: "
                f"{some(map(repr, names), 12)}."
            )
        return list(names).index(target), ""
    usual = [i for i, name in enumerate(names) if name.lower() in TARGET_NAMES]
    if len(usual) == 1:
        return usual[0], f"target = column {names[usual[0]]!r}, by its name"
    why = "no column is" if not usual else "more than one column is"
    return len(names) - 1, f"target = the last column {names[-1]!r} ({why} called {', '.join(TARGET_NAMES)})"


def read_table(path: Path, choose: Chooser) -> Table:
    """The chosen columns of a .csv, .tsv or .parquet file."""
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, choose)
    return read_csv(path, choose, "\t" if path.suffix.lower() == ".tsv" else ",")


def read_csv(path: Path, choose: Chooser, delimiter: str = ",") -> Table:
    """Read a text table, UTF-8, with or without a header line.

    The first line is a header unless it reads like the rows below it: all numbers, or numbers in some columns
    and a text where the second line has a text too (numbers 0, 1, 2, ... in order are a header, as pandas
    writes it). Columns without a header are called 'column 1', 'column 2', ... Empty cells, NA and NaN are
    NaN. Blank lines are skipped.

    Raises
    ------
    DataError
        Empty, not UTF-8, a broken line, a line with more or fewer cells, a column without a name or named
        like another, a feature cell that is no number (its column, row and content).
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _read_lines(path, file, choose, delimiter)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise DataError(f"{path}: not a readable table ({error}). Check its quotes and line ends.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _read_lines(path: Path, file: TextIO, choose: Chooser, delimiter: str) -> Table:
    underscored = False

    def lines() -> Iterator[str]:
        nonlocal underscored
        for line in file:
            underscored = "_" in line
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, skipinitialspace=True, strict=True)
    # the reader takes no line ahead of its row, so the flag belongs to the row
    rows = (Row(reader.line_num, underscored, row) for row in reader if row)
    start = [pair for _, pair in zip(range(2), rows, strict=False)]
    if not start:
        raise DataError(f"{path}: the file is empty. Give a table with a header line and rows.")
    first = start[0].cells
    named = is_header(first, start[1].cells if len(start) > 1 else None)
    names = [cell.strip() for cell in first] if named else [f"column {i + 1}" for i in range(len(first))]
    if len(names) == 1:
        raise DataError(
            f"{path}: one column only, {names[0][:60]!r}. Separate the columns by "
            f"{'tabs' if delimiter == chr(9) else 'commas'} (a .tsv has tabs, a .csv commas)."
        )
    if "" in names:
        raise DataError(
            f"{path}: column {names.index('') + 1} has no name. Name it, or remove it if it only counts the "
            "rows (pandas: to_csv(..., index=False))."
        )
    distinct_names(str(path), names)
    columns = choose(names, named)
    return _parse(path, names, columns, start[1:] if named else start, rows)


def is_header(first: Sequence[str], second: Sequence[str] | None) -> bool:
    """Whether the first line holds names (see `read_csv`)."""
    numbers = [cell.strip() for cell in first if _is_number(cell)]
    if not numbers or (len(numbers) > 2 and numbers == [str(i) for i in range(len(numbers))]):
        return True
    if len(numbers) == len(first) or second is None:
        return False
    return any(
        cell.strip() and not _is_number(cell) and _is_number(below) for cell, below in zip(first, second, strict=False)
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _parse(
    path: Path,
    names: list[str],
    columns: Columns,
    start: list[Row],
    rest: Iterator[Row],
) -> Table:
    values, targets = array("d"), []
    wanted, target = columns
    count = 0
    for source in (start, rest):
        for line, underscored, row in source:
            count += 1
            if len(row) != len(names):
                raise DataError(
                    f"{path}: line {line} has {len(row)} cells, the first line has {len(names)}. Every line "
                    "needs as many."
                )
            if target is not None:
                targets.append(row[target].strip())
            cells = [row[i] for i in wanted]
            filled = len(values)
            try:
                if underscored:
                    raise ValueError  # Python's float takes 1_000 for a number: look at each cell
                values.extend(map(float, cells))
            except ValueError:
                del values[filled:]
                values.extend(_number(path, cell, names[i], count, line) for i, cell in zip(wanted, cells, strict=True))
    features = (
        np.frombuffer(values, dtype=np.float64).reshape(count, len(wanted)) if count else np.empty((0, len(wanted)))
    )
    name = None if target is None else names[target]
    return Table([names[i] for i in wanted], features, None if target is None else typed(targets), name)


def _number(path: Path, cell: str, column: str, row: int, line: int) -> float:
    if _is_number(cell):
        return float(cell)
    if cell.strip().lower() in _MISSING:
        return float("nan")
    raise text_in_feature(path, column, f"{row} (line {line})", cell.strip())


def text_in_feature(where: object, column: str, row: str, met: object) -> DataError:
    """The error for a feature cell that is no number."""
    return DataError(
        f"{where}: the feature column {column!r} holds {str(met)[:60]!r} in row {row}, where a number is "
        "needed. Encode the column as numbers or remove it; if it is the class, name it as the target."
    )


def _read_parquet(path: Path, choose: Chooser) -> Table:
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(
            f"{path}: reading parquet needs pyarrow, which is not installed. Install the extra by "
            'pip install "mcprune[tables]", or save the table as .csv.'
        )
    import pyarrow
    import pyarrow.parquet

    try:
        return _from_parquet(path, pyarrow.parquet.read_table(path), choose)
    except DataError:
        raise
    except Exception as error:  # flipped bytes get as far as its decoders, which let nearly anything through
        raise DataError(f"{path}: not a readable parquet file ({brief(error)}). Write it again.") from error


def _from_parquet(path: Path, table: Any, choose: Chooser) -> Table:
    table.validate(full=True)  # offsets and texts, which reading takes on trust
    # pandas stores a frame's index as a column of its own: it numbers the rows and is no feature
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    names = [str(name) for name in table.column_names if name not in index]
    if len(names) < 2:
        raise DataError(f"{path}: {len(names)} columns. At least one feature and the target are needed.")
    distinct_names(str(path), names)
    wanted, target = choose(names, True)
    features = np.empty((table.num_rows, len(wanted)), dtype=np.float64)
    for j, i in enumerate(wanted):
        features[:, j] = _numbers(path, names[i], table.column(names[i]))
    if target is None:
        return Table([names[i] for i in wanted], features, None, None)
    return Table([names[i] for i in wanted], features, table.column(names[target]).to_pylist(), names[target])


def _numbers(path: Path, column: str, values: Any) -> AnyArray:
    import pyarrow

    kind = values.type.value_type if pyarrow.types.is_dictionary(values.type) else values.type
    numeric = (
        pyarrow.types.is_integer,
        pyarrow.types.is_floating,
        pyarrow.types.is_decimal,
        pyarrow.types.is_boolean,
    )
    if not any(check(kind) for check in numeric):
        cells = values.to_pylist()
        row = next((i for i, cell in enumerate(cells) if cell is not None), 0)
        raise text_in_feature(path, column, str(row + 1), cells[row] if cells else kind)
    return np.array([np.nan if cell is None else float(cell) for cell in values.to_pylist()], dtype=np.float64)
