"""Text tables: csv, tsv and the like, through Python's csv module."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from mcprune.data.formats.cells import (
    TRUTHS,
    are_odd_numbers,
    is_date,
    is_grouped,
    is_missing_text,
    is_truth,
    number_text,
)
from mcprune.data.formats.dialect import UTF_8, Dialect, Row, fallback, find_dialect
from mcprune.data.formats.first_rows import column_of, first_rows, number_notes, one_column
from mcprune.data.formats.reading import TextOptions
from mcprune.data.formats.tables import (
    UNNAMED,
    Chooser,
    Columns,
    FindHeader,
    Table,
    Texts,
    text_in_feature,
    text_in_weights,
)
from mcprune.data.roles.columns import MIN_COUNTED_ROWS, column_names
from mcprune.data.roles.targets import parse_labels
from mcprune.errors import DataError

END_OF_FILE = " \t\x1a"  # with spaces: old programs end a text by this sign


def read_text_table(
    path: Path, options: TextOptions, find_header: FindHeader, choose: Chooser, *, least: int = 2
) -> Table:
    """Read a text table: its encoding, separator and decimal mark are seen from its first lines.

    Columns without a header are called 'column 0', 'column 1', ...; a first column without a name 'Unnamed: 0'. Empty cells, NA and
    the like are NaN; True and False are 1 and 0. Blank lines, comment lines on top, and columns without a name and content (as
    separators at the ends of lines make them) are skipped.

    Parameters
    ----------
    path : Path
    options : TextOptions
        What the user says of it.
    find_header, choose : callable
        Decide whether the first line is a header, and which columns are read.
    least : int
        Columns that the table must have.

    Raises
    ------
    ConfigError
        An option that cannot be.
    DataError
        Empty, no text, a broken line, a line with more or fewer cells, a feature cell that is no number (its column,
        row and content), classes that differ by spaces only.
    """
    try:
        dialect = find_dialect(path, options)
        try:
            return _Reader(dialect).read(find_header, choose, least)
        except UnicodeDecodeError as error:
            if dialect.encoding != UTF_8 or options.encoding.lower() != "auto":
                raise
            # The first lines were ASCII.
            options = options._replace(encoding=fallback(error.object))
        return _Reader(find_dialect(path, options)).read(find_header, choose, least)
    except UnicodeError as error:
        raise DataError(
            f"{path}: not a text file in {options.encoding if options.encoding != 'auto' else 'UTF-8'} ({error}). "
            "Say which encoding it has: --encoding NAME, or save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise DataError(f"{path}: not a readable table ({error}). Check its quotes and line ends.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


class _Reader:
    def __init__(self, dialect: Dialect) -> None:
        self.dialect, self.path = dialect, dialect.path
        self.decimal, self.separator = dialect.decimal, dialect.separator
        self.names: list[str] = []
        self.blank: list[int] = []  # columns without name and content
        self.codes: dict[int, dict[str, int]] = {}  # of the texts of a column
        self.truths: set[int] = set()  # columns of True and False
        self.spellings: dict[str, str] = {}  # by class without spaces
        self.weights: int | None = None  # the column of sample weights
        self.notes: list[str] = list(dialect.notes)
        self.skipped = 0  # rows without content
        self.has_groups = False  # thousands separators
        self.header: list[str] | None = None  # the cells of the first line, if it names the columns
        self.repeated = 0  # lines that are the header once more
        self.number_notes: list[str] = []

    def read(self, find_header: FindHeader, choose: Chooser, least: int) -> Table:
        rows = self.dialect.rows()
        sample = first_rows(rows)
        if not sample:
            raise DataError(f"{self.path}: the file is empty. Give a table with a header line and rows.")
        first = sample[0].cells
        is_header = (
            self.dialect.is_header_commented or find_header([*map(self._plain, first)], self._rows_below).is_header
        )
        body = [row.cells for row in (sample[1:] if is_header else sample)]
        self.names = [cell.strip() for cell in first] if is_header else column_names(len(first))
        self._fit_names(body, is_header=is_header)
        if len(self.names) < least:
            raise one_column(self.path, self.names[0], body, self.separator)
        used = [i for i in range(len(self.names)) if i not in self.blank]
        chosen = choose([self.names[i] for i in used], is_header, lambda i: column_of(body, used[i]))
        columns = Columns(
            [used[i] for i in chosen.features],
            None if chosen.target is None else used[chosen.target],
            chosen.skips_identifiers,
            None if chosen.weights is None else used[chosen.weights],
            tuple(used[i] for i in chosen.texts),
        )
        as_texts = {used[i] for i in chosen.as_texts}
        self.codes = {i: {} for i in columns.features if i in as_texts}
        self._find_kinds([i for i in columns.features if i not in as_texts], body)
        numbers = [i for i in columns.features if i not in self.codes and i not in self.truths]
        self.number_notes = number_notes(self.names, numbers, body)
        self.header = first if is_header else None
        return self._parse(columns, sample[1:] if is_header else sample, rows)

    def _rows_below(self) -> Iterator[list[str]]:
        """Read the rows below the first line once more, numbers as Python writes them."""
        rows = self.dialect.rows()
        next(rows, None)
        return ([*map(self._plain, row.cells)] for row in rows)

    def _plain(self, cell: str) -> str:
        return number_text(cell, self.decimal) or cell

    def _fit_names(self, body: list[list[str]], *, is_header: bool) -> None:
        """Make as many names as the rows have cells: of a table with an index that has no name, or with separators at the ends of lines."""
        names = self.names
        width = Counter(map(len, body)).most_common(1)[0][0] if body else len(names)
        if is_header and width == len(names) + 1 and len(names) > 1:
            last, index = column_of(body, width - 1), column_of(body, 0)
            if not any(cell.strip() for cell in last):
                names.append("")
            elif len(set(index)) == len(index):  # as R writes it
                names.insert(0, "")
        elif is_header and width == len(names) - 1 and not names[-1]:
            names.pop()
        self.blank = [
            i
            for i, name in enumerate(names)
            if (not name or (not is_header and i == len(names) - 1))
            and len(names) > 2
            and body
            and not any(cell.strip() for cell in column_of(body, i))
        ]
        if self.blank:
            several = len(self.blank) > 1
            self.notes.append(
                f"{len(self.blank)} column{'s' * several} without content {'are' if several else 'is'} left out"
            )
        if (
            not names[0] and 0 not in self.blank and UNNAMED not in names
        ):  # an index, as spreadsheets and pandas write it
            names[0] = UNNAMED

    def _find_kinds(self, features: Sequence[int], body: list[list[str]]) -> None:
        """Find the columns of truth values and of texts: those whose first rows have mostly such cells."""
        for i in features:
            cells = column_of(body, i)
            try:
                [*map(float, cells)]  # most columns, at the speed of C
                continue
            except ValueError:
                cells = [cell for cell in cells if not is_missing_text(cell)]
            if cells and all(map(is_truth, cells)):
                self.truths.add(i)
            elif cells and self._are_texts(cells):
                self.codes[i] = {}

    def _are_texts(self, cells: list[str]) -> bool:
        texts = [cell for cell in cells if number_text(cell, self.decimal) is None]
        is_mostly_text = len(texts) > len(cells) / 2 and sum(map(is_date, texts)) <= len(texts) / 2
        return is_mostly_text and not are_odd_numbers(texts)

    def _parse(self, columns: Columns, start: list[Row], rest: Iterator[Row]) -> Table:
        values, targets = array("d"), []
        features, target, width = list(columns.features), columns.target, len(self.names)
        self.weights = columns.weights
        columns_read = features if columns.weights is None else [*features, columns.weights]
        texts: list[list[str]] = [[] for _ in columns.texts]
        is_special = bool(self.codes or self.truths or self.blank or columns.texts)
        count = 0
        for row in chain(start, rest):
            cells = row.cells
            if len(cells) != width or not any(cells):
                if not self._is_no_row(row):
                    raise DataError(
                        f"{self.path}: line {row.line} has {len(cells)} cells, the first line has {width}. "
                        "Give every line as many."
                    )
                continue
            if cells == self.header:
                self.repeated += 1
                continue
            count += 1
            if target is not None:
                targets.append(self._label(row, target))
            if is_special:
                for i, kept in zip(columns.texts, texts, strict=True):
                    kept.append(cells[i].strip())
                self._recode(row)
            self._append(values, row, columns_read, count)
        table = (
            np.frombuffer(values, dtype=np.float64).reshape(count, -1)
            if values
            else np.empty((count, len(columns_read)))
        )
        identifiers = [i for i in self.codes if columns.skips_identifiers and self._names_rows(i, count)]
        kept_columns = [place for place, i in enumerate(features) if i not in identifiers]
        kept_names = [features[place] for place in kept_columns]
        whole = len(kept_columns) == table.shape[1]
        return Table(
            [self.names[i] for i in kept_names],
            table if whole else np.ascontiguousarray(table[:, kept_columns]),
            None if target is None else parse_labels(targets),
            None if target is None else self.names[target],
            tuple(self.names[i] for i in identifiers),
            None if columns.weights is None else table[:, -1],
            width,
            tuple(Texts(place, tuple(self.codes[i])) for place, i in enumerate(kept_names) if i in self.codes),
            tuple(texts),
            self._notes(),
            self.decimal,
        )

    def _names_rows(self, column: int, rows: int) -> bool:
        """Return whether a column of texts is different in each row, and not by chance."""
        return len(self.codes[column]) == rows and (rows >= MIN_COUNTED_ROWS or self.names[column] == UNNAMED)

    def _notes(self) -> tuple[str, ...]:
        """Return one line on what is not as usual in the file."""
        seen = list(self.notes)
        if self.has_groups:
            seen.append("thousands separators")
        if self.skipped:
            seen.append(f"{self.skipped:,} line{'s' * (self.skipped > 1)} without content left out")
        if self.repeated:
            lines = "line that repeats" if self.repeated == 1 else "lines that repeat"
            seen.append(f"{self.repeated:,} {lines} the header left out")
        return (*((f"read as: {'; '.join(seen)}",) if seen else ()), *self.number_notes)

    def _is_no_row(self, row: Row) -> bool:
        """Return whether a line has separators only, or is a comment as those on top."""
        marker = self.dialect.marker
        if any(cell.strip(END_OF_FILE) for cell in row.cells) and not (
            marker and len(row.cells) != len(self.names) and row.text.startswith(marker)
        ):
            return False
        self.skipped += 1
        return True

    def _recode(self, row: Row) -> None:
        """Put numbers in the place of texts and truth values."""
        cells = row.cells
        for i in self.blank:
            if cells[i].strip():
                raise DataError(
                    f"{self.path}: line {row.line} holds {cells[i].strip()[:60]!r} in column {i} (counted from 0), which has no name "
                    "and no content in the lines before. Name the column, or remove the cell."
                )
        for i in self.truths:
            cells[i] = TRUTHS.get(cells[i].strip().lower(), cells[i])
        for i, codes in self.codes.items():
            cell = cells[i].strip()
            if is_missing_text(cell):
                cells[i] = "nan"
                continue
            cells[i] = str(codes.setdefault(cell, len(codes)))

    def _append(self, values: array[float], row: Row, columns: list[int], number: int) -> None:
        cells = [row.cells[i] for i in columns]
        length = len(values)
        try:
            if "_" in row.text or (self.decimal == "," and "." in row.text):
                raise ValueError  # Python's float reads 1_000, and 1.234 has another meaning here: check each cell
            if self.decimal == ",":
                cells = [cell.replace(",", ".") for cell in cells]
            values.extend(map(float, cells))
        except ValueError:
            del values[length:]
            values.extend(self._number(row.cells[i], i, number, row.line) for i in columns)

    def _label(self, row: Row, target: int) -> str:
        """Return the class of a row without the spaces around it.

        Raises
        ------
        DataError
            Another row has this class with other spaces.
        """
        label = row.cells[target]
        if self.separator != " " and (self.separator + " " in row.text or row.text[0] == " "):
            plain = row.text.rstrip("\r\n").split(self.separator)
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
        if self.decimal == "." and "_" not in cell:
            try:
                return float(cell)
            except ValueError:
                pass
        text = number_text(cell, self.decimal)
        if text is not None:
            self.has_groups = self.has_groups or is_grouped(cell, self.decimal)
            return float(text)
        if is_missing_text(cell):
            return float("nan")
        error = text_in_weights if column == self.weights else text_in_feature
        raise error(self.path, self.names[column], f"{row} (line {line})", cell.strip())
