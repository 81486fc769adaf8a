"""Text tables: csv and tsv, through Python's csv module."""

import csv
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from mcprune.data.checks import distinct_names
from mcprune.data.columns import MIN_COUNTED_ROWS, MISSING, Header, column_names, is_number
from mcprune.data.targets import parse_labels
from mcprune.errors import DataError
from mcprune.types import AnyArray

UNNAMED = "Unnamed: 0"  # what pandas calls a first column without a name


class Columns(NamedTuple):
    """Indices of the columns to read: features in this order, and the target and the sample weights if they are read.

    With `skips_identifiers` a feature column of texts that are different in each row is left out.
    """

    features: list[int]
    target: int | None
    skips_identifiers: bool = False
    weights: int | None = None


class Table(NamedTuple):
    """Columns of a file: features, unchecked, of shape (rows, N), and the target's values if it was read."""

    names: list[str]
    features: AnyArray
    targets: AnyArray | Sequence[object] | None
    target_name: str | None
    identifiers: tuple[str, ...] = ()  # columns of texts that were left out
    weights: AnyArray | None = None  # (rows,) unchecked, if they were read
    width: int = 0  # columns of the file


class Row(NamedTuple):
    """A row of a file: the number and the text of its last line, and its cells."""

    line: int
    text: str
    cells: list[str]


Rows = Callable[[], Iterator[list[str]]]
# Takes the first line's cells and the rows below it.
FindHeader = Callable[[list[str], Rows], Header]
# Takes the columns' names, and whether the file has them (else they are 'column 0', ...).
Chooser = Callable[[list[str], bool], Columns]


def read_csv(path: Path, find_header: FindHeader, choose: Chooser, *, least: int = 2) -> Table:
    """Read a text table, UTF-8, with or without a header line: cells between tabs in a .tsv, else between commas.

    Columns without a header are called 'column 0', 'column 1', ...; a first column without a name 'Unnamed: 0'. Empty cells, NA and
    NaN are NaN. Blank lines are skipped.

    Parameters
    ----------
    path : Path
    find_header, choose : callable
        Decide whether the first line is a header, and which columns are read.
    least : int
        Columns that the table must have.

    Raises
    ------
    DataError
        Empty, not UTF-8, a broken line, a line with more or fewer cells, a feature cell that is no number (its column,
        row and content), classes that differ by spaces only.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _Reader(path, delimiter).read(file, find_header, choose, least)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise DataError(f"{path}: not a readable table ({error}). Check its quotes and line ends.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


class _Reader:
    def __init__(self, path: Path, delimiter: str) -> None:
        self.path, self.delimiter = path, delimiter
        self.names: list[str] = []
        self.texts: dict[int, set[str]] = {}  # of columns that may be identifiers
        self.spellings: dict[str, str] = {}  # by class without spaces
        self.weights: int | None = None  # the column of sample weights

    def read(self, file: TextIO, find_header: FindHeader, choose: Chooser, least: int) -> Table:
        rows = self._rows(file)
        start = [row for _, row in zip(range(2), rows, strict=False)]
        if not start:
            raise DataError(f"{self.path}: the file is empty. Give a table with a header line and rows.")
        first = start[0].cells
        is_header = find_header(first, self._rows_below).is_header
        self.names = [cell.strip() for cell in first] if is_header else column_names(len(first))
        if not self.names[0] and UNNAMED not in self.names:  # an index, as spreadsheets and pandas write it
            self.names[0] = UNNAMED
        if len(self.names) < least:
            raise DataError(
                f"{self.path}: one column only, {self.names[0][:60]!r}. Separate the columns by "
                f"{'tabs' if self.delimiter == chr(9) else 'commas'} (a .tsv has tabs, a .csv commas)."
            )
        columns = choose(self.names, is_header)
        return self._parse(columns, start[1:] if is_header else start, rows)

    def _rows(self, file: TextIO) -> Iterator[Row]:
        line = [""]

        def lines() -> Iterator[str]:
            for line[0] in file:  # csv.reader reads no line ahead, so this line ends the row
                yield line[0]

        reader = csv.reader(lines(), delimiter=self.delimiter, skipinitialspace=True, strict=True)
        return (Row(reader.line_num, line[0], row) for row in reader if row)

    def _rows_below(self) -> Iterator[list[str]]:
        """Read the rows below the first line once more."""
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            rows = self._rows(file)
            next(rows, None)
            for row in rows:
                yield row.cells

    def _parse(self, columns: Columns, start: list[Row], rest: Iterator[Row]) -> Table:
        values, targets = array("d"), []
        features, target = list(columns.features), columns.target
        self.weights = columns.weights
        if columns.skips_identifiers and start:
            self.texts = {i: set() for i in features if i < len(start[0].cells) and _is_text(start[0].cells[i])}
            features = [i for i in features if i not in self.texts]
        columns_read = features if columns.weights is None else [*features, columns.weights]
        count = 0
        for count, row in enumerate(chain(start, rest), 1):
            if len(row.cells) != len(self.names):
                raise DataError(
                    f"{self.path}: line {row.line} has {len(row.cells)} cells, the first line has {len(self.names)}. "
                    "Give every line as many."
                )
            if target is not None:
                targets.append(self._label(row, target))
            for i, texts in self.texts.items():
                texts.add(row.cells[i])
                if len(texts) < count:
                    raise self._text_in_feature(i, start[0])
            self._append(values, row, columns_read, count)
        if count < MIN_COUNTED_ROWS:
            for i in self.texts:
                raise self._text_in_feature(i, start[0])
        width = len(columns_read)
        matrix = np.frombuffer(values, dtype=np.float64).reshape(count, width) if values else np.empty((count, width))
        return Table(
            [self.names[i] for i in features],
            np.ascontiguousarray(matrix[:, : len(features)]),
            None if target is None else parse_labels(targets),
            None if target is None else self.names[target],
            tuple(self.names[i] for i in self.texts),
            None if columns.weights is None else matrix[:, -1],
            len(self.names),
        )

    def _append(self, values: "array[float]", row: Row, columns: list[int], number: int) -> None:
        cells = [row.cells[i] for i in columns]
        length = len(values)
        try:
            if "_" in row.text:
                raise ValueError  # Python's float reads 1_000: check each cell
            values.extend(map(float, cells))
        except ValueError:
            del values[length:]
            values.extend(self._number(cell, i, number, row.line) for i, cell in zip(columns, cells, strict=True))

    def _label(self, row: Row, target: int) -> str:
        """Return the class of a row without the spaces around it.

        Raises
        ------
        DataError
            Another row has this class with other spaces.
        """
        label = row.cells[target]
        if self.delimiter + " " in row.text or row.text[0] == " ":
            plain = row.text.rstrip("\r\n").split(self.delimiter)
            if len(plain) == len(row.cells) and '"' not in row.text:
                label = plain[target]  # with the spaces that csv.reader has skipped
        stripped = label.strip()
        other = self.spellings.setdefault(stripped, label)
        if other != label:
            raise DataError(
                f"{self.path}: the classes {other!r} and {label!r} of column {self.names[target]!r} differ by spaces "
                "only. Write them alike, or rename one."
            )
        return stripped

    def _number(self, cell: str, column: int, row: int, line: int) -> float:
        if is_number(cell):
            return float(cell)
        if cell.strip().lower() in MISSING:
            return float("nan")
        error = text_in_weights if column == self.weights else text_in_feature
        raise error(self.path, self.names[column], f"{row} (line {line})", cell.strip())

    def _text_in_feature(self, column: int, row: Row) -> DataError:
        return text_in_feature(self.path, self.names[column], f"1 (line {row.line})", row.cells[column].strip())


def _is_text(cell: str) -> bool:
    return not is_number(cell) and cell.strip().lower() not in MISSING


def text_in_feature(where: object, column: str, row: str, cell: object) -> DataError:
    """Return the error for a feature cell that is not a number."""
    return DataError(
        f"{where}: the feature column {column!r} holds {str(cell)[:60]!r} in row {row}, where a number is "
        "needed. Encode the column as numbers or remove it; if it is the class, name it as the target."
    )


def text_in_weights(where: object, column: str, row: str, cell: object) -> DataError:
    """Return the error for a sample weight that is not a number."""
    return DataError(
        f"{where}: the column {column!r} of the sample weights holds {str(cell)[:60]!r} in row {row}, where a number is needed. "
        "Name the column that holds the rows' weights."
    )


def require_names(where: object, names: Sequence[str]) -> None:
    """Refuse columns without a name, and columns of one name.

    Raises
    ------
    DataError
        There are such columns.
    """
    if "" in names:
        raise DataError(
            f"{where}: column {list(names).index('')} (counted from 0) has no name. Name it, or remove it if it only "
            "numbers the rows (pandas: to_csv(..., index=False))."
        )
    distinct_names(str(where), names)
