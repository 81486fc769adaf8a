"""How a text table is written: encoding, lines on top, separator and decimal mark, seen from its first lines or as the user says."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from mcprune.data.formats.cells import decimal_mark, is_number, number_text
from mcprune.data.formats.reading import TextOptions
from mcprune.errors import ConfigError, DataError

if TYPE_CHECKING:
    from _csv import Reader

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}
TABBED = (".tsv", ".tab")
UTF_8 = "utf-8"
_FALLBACKS = ("cp1252", "latin-1")  # what is not UTF-8 is most often western; latin-1 knows every byte
_MARKERS = ("#", "%", "//")
_HEAD = 1 << 16  # bytes that the encoding is seen from
# Lines, letters and cells of a line that the separator is seen from, at most.
_LINES, _LETTERS, _CELLS = 300, 200_000, 1_000
# A separator that the file's ending does not announce has to fit better by this much.
_OTHER, _SPACE = 0.95, 0.8
_SEP_LINE = re.compile(r'"?sep=(.)\1*"?', re.IGNORECASE)  # saved again, it has as many separators as the other lines
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1a")


class Row(NamedTuple):
    """A row of a file: the number and the text of its last line, and its cells."""

    line: int
    text: str
    cells: list[str]


class Dialect(NamedTuple):
    """How a text table is written.

    Attributes
    ----------
    path : Path
    encoding : str
    separator : str
        One character; a space stands for any number of spaces and tabs.
    decimal : '.' or ','
    skipped : int
        Lines on top that are no rows: comments, a line `sep=;`, blank ones.
    marker : str
        With which comment lines begin, '' where there are none.
    is_header_commented : bool
        The first row stands behind the marker, and holds the columns' names.
    notes : tuple of str
        What was seen that is not usual.
    """

    path: Path
    encoding: str
    separator: str
    decimal: str = "."
    skipped: int = 0
    marker: str = ""
    is_header_commented: bool = False
    notes: tuple[str, ...] = ()

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the file, the header line too; blank lines are left out."""
        with self.path.open(newline="", encoding=self.encoding) as file:
            yield from self._rows_of(file)

    def _rows_of(self, file: TextIO) -> Iterator[Row]:
        text = [""]

        def lines() -> Iterator[str]:
            if self.is_header_commented:
                yield uncommented(next(file, ""), self.marker)
            for text[0] in file:  # csv.reader reads no line ahead, so this line ends the row
                yield text[0]

        for _ in range(self.skipped):
            next(file, "")
        reader = split_lines(lines(), self.separator)
        return (Row(reader.line_num + self.skipped, text[0], cells) for cells in reader if cells)


def split_lines(lines: Iterable[str], separator: str) -> Reader:
    """Return the reader of the cells of lines; blank lines have none."""
    if separator == " ":
        lines = (line.strip().replace("\t", " ") for line in lines)
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)


def uncommented(line: str, marker: str) -> str:
    """Return a line without the marker of comments; a name that follows it at once keeps it: '#id'."""
    rest = line.lstrip()[len(marker) :]
    return rest.lstrip() if rest[:1].isspace() else line


def find_dialect(path: Path, options: TextOptions) -> Dialect:
    """Return how a text table is written.

    Parameters
    ----------
    path : Path
    options : TextOptions
        What the user says goes before what is seen.

    Raises
    ------
    ConfigError
        A separator, decimal mark or encoding that there is not.
    DataError
        No text, or numbers such as 1,234 whose decimal mark cannot be told.
    OSError
        The file cannot be read.
    """
    separator, decimal = as_separator(options.separator), as_decimal(options.decimal)
    encoding = _encoding(path, options.encoding)
    lines = _first_lines(path, encoding)
    notes = [] if encoding in (UTF_8, "utf-8-sig") else [f"encoding {encoding}"]
    skipped, marker, announced = _top(lines)
    is_marked = announced is not None and separator is None
    separator = announced if is_marked else separator
    body = [line for line in lines[skipped:] if line.strip() and not (marker and line.lstrip().startswith(marker))]
    own = "\t" if path.suffix.lower() in TABBED else ","
    if separator is None:
        separator = _best_separator(body, own)
    rows = _parsed(body, separator)
    is_commented = marker != "" and _names_rows(lines[skipped - 1], marker, separator, rows)
    if is_commented:
        skipped -= 1
    if separator != own:
        notes.append(f"separated by {NAMES.get(separator, repr(separator))}")
    if decimal is None:
        decimal = decimal_mark(path, rows)
    if decimal == ",":
        notes.append("decimal commas")
    if skipped and any(line.strip() for line in lines[:skipped]):
        notes.append(f"{skipped} line{'s' * (skipped > 1)} on top skipped")
    if is_commented:
        notes.append(f"the names come after {marker!r}")
    return Dialect(path, encoding, separator, decimal, skipped, marker, is_commented, tuple(notes))


# --- what the user says


def as_separator(text: str) -> str | None:
    """Return the character of a separator, None for 'auto'.

    Raises
    ------
    ConfigError
        More than one character, a quote or a line end.
    """
    if text.lower() == "auto":
        return None
    character = SEPARATORS.get(text.lower(), text)
    if len(character) != 1 or character in '"\r\n' or character.isalnum():
        raise ConfigError(
            f"separator={text!r} is not one character between cells. Give one such as ';', or one of {', '.join(SEPARATORS)}."
        )
    return character


def as_decimal(text: str) -> str | None:
    """Return the decimal mark, None for 'auto'; errors as `as_separator`."""
    marks = {"auto": None, ".": ".", ",": ",", "point": ".", "comma": ","}
    if text.lower() not in marks:
        raise ConfigError(f"decimal={text!r} is no decimal mark. Choose auto, point ('.') or comma (',').")
    return marks[text.lower()]


def as_encoding(text: str) -> str:
    """Return the name of an encoding; errors as `as_separator`."""
    try:
        name = codecs.lookup(text).name
        "".encode(name)  # an encoding of texts, not of bytes
    except (LookupError, ValueError, TypeError):
        raise ConfigError(
            f"encoding={text!r} is none that Python knows. Choose auto, utf-8, utf-16, cp1252, latin-1 or another."
        ) from None
    return "utf-8-sig" if name == UTF_8 else name


# --- the encoding


def _encoding(path: Path, asked: str) -> str:
    if asked.lower() != "auto":
        return as_encoding(asked)
    with path.open("rb") as file:
        head = file.read(_HEAD)
        is_whole = not file.read(1)
    marks = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"))
    for mark, name in (*marks, (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig")):
        if head.startswith(mark):
            return name
    if b"\0" in head:
        odd, even = head[1::2].count(0), head[::2].count(0)
        if max(odd, even) > 0.8 * (len(head) // 2) and min(odd, even) < 0.1 * len(head):
            return "utf-16-le" if odd > even else "utf-16-be"
    control = sorted(_CONTROL & set(head))
    if control:
        place = head.index(control[0])
        raise DataError(
            f"{path}: not a text file (byte {place} is {control[0]}). Give a table of text: csv, or the like. "
            "If it is text in a rare encoding: --encoding NAME."
        )
    return UTF_8 if _decodes(head, UTF_8, is_whole=is_whole) else fallback(head)


def fallback(head: bytes) -> str:
    """Return the encoding of bytes that are not UTF-8."""
    return next(name for name in _FALLBACKS if _decodes(head, name, is_whole=True))


def _decodes(head: bytes, encoding: str, *, is_whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(head, final=is_whole)
    except UnicodeDecodeError:
        return False
    return True


# --- lines on top


def _first_lines(path: Path, encoding: str) -> list[str]:
    lines: list[str] = []
    letters = 0
    with path.open(newline="", encoding=encoding) as file:
        for line in file:
            lines.append(line)
            letters += len(line)
            if len(lines) >= _LINES or (letters > _LETTERS and len(lines) > 2):
                break
    return lines


def _top(lines: Sequence[str]) -> tuple[int, str, str | None]:
    """Return the number of lines on top that are no rows, the marker of comments among them, and an announced separator."""
    marker, announced, skipped = "", None, 0
    for number, line in enumerate(lines):
        text = line.strip("\ufeff \t\r\n")
        match = _SEP_LINE.fullmatch(line.strip("\ufeff\r\n "))  # the separator may be a tab
        if match and not number:
            announced = match[1]
            skipped = number + 1
        elif text:
            mark = next((each for each in _MARKERS if text.startswith(each)), "")
            # A column may be called '#'.
            if (
                not mark
                or (marker and mark != marker)
                or text[len(mark) : len(mark) + 1] in (*NAMES.keys() - {" "}, '"')
            ):
                break
            marker, skipped = mark, number + 1
    return skipped, marker, announced


def _names_rows(line: str, marker: str, separator: str, rows: list[list[str]]) -> bool:
    """Return whether the last comment line names the columns of the rows below it: as many cells, names over numbers."""
    names = _parsed([uncommented(line, marker)], separator)
    if not rows or not names or len(names[0]) != len(rows[0]) or len(rows[0]) < 2:
        return False
    return any(map(is_number, rows[0])) and not any(map(is_number, names[0]))


# --- the separator


def _parsed(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Return the cells of lines, up to the first that is broken (the last may be cut)."""
    rows = []
    try:
        for cells in split_lines(lines, separator):
            if cells:
                rows.append(cells)
    except csv.Error:
        pass
    return rows


def _best_separator(lines: Sequence[str], own: str) -> str:
    """Return the separator under which the lines have equally many cells, none of which looks like several; else the file's own."""
    scores = {}
    for separator in NAMES:
        factor = 1.0 if separator == own else _SPACE if separator == " " else _OTHER
        scores[separator] = factor * _fit(_parsed(lines, separator), separator)
    best = max(scores, key=lambda each: scores[each])
    return best if scores[best] > 0 else own


def _fit(rows: list[list[str]], separator: str) -> float:
    """Return how well rows are cells of one separator, from 0 to 1."""
    if not rows:
        return 0.0
    width, count = Counter(map(len, rows[1:] or rows)).most_common(1)[0]
    if width < 2:
        return 0.0
    others = [each for each in NAMES if each not in (separator, " ")]

    def clean(cells: list[str]) -> float:
        some_cells = cells[:_CELLS]
        return sum(_is_one(cell, others) for cell in some_cells) / max(len(some_cells), 1)

    below = [clean(row) for row in rows[1:]]
    return clean(rows[0]) * count / max(len(rows) - 1, 1) * (sum(below) / len(below) if below else 1.0)


def _is_one(cell: str, others: Sequence[str]) -> bool:
    """Return whether a cell looks like one: a number, or a text without other separators that is not several numbers."""
    if not any(each in cell for each in (*others, " ")):
        return True
    if number_text(cell) is not None or number_text(cell, ",") is not None:
        return True
    return not any(each in cell for each in others) and not all(map(is_number, cell.split()))
