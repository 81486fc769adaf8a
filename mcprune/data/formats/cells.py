"""Cells of text tables: numbers with either decimal mark, truth values, dates and gaps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from mcprune.data.roles.checks import some
from mcprune.errors import DataError

MISSING = frozenset(
    {"", "nan", "na", "n/a", "n.a.", "null", "none", "?", "<na>", "nat", "\\n", "missing", "-", "--", "."}
    | {"#n/a", "#na", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!"}
)
TRUTHS = {"true": "1", "false": "0"}

# A point or a comma, a space (also narrow or not breaking) or an apostrophe between groups of three digits.
_SPACES = " '\u00a0\u202f\u2009\u2019"
_GROUPED = r"[+-]?[1-9]\d{{0,2}}(?P<mark>[{marks}])\d{{3}}(?:(?P=mark)\d{{3}})*(?:{decimal}\d*)?(?:[eE][+-]?\d+)?"
_GROUPS = {
    ".": re.compile(_GROUPED.format(marks="," + _SPACES, decimal=r"\.")),
    ",": re.compile(_GROUPED.format(marks="." + _SPACES, decimal=",")),
}
_THOUSAND = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")  # or a number with three decimals
_BELOW_THOUSAND = re.compile(r"[+-]?\d{1,3}")
_PLAIN_COMMA = re.compile(r"[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?")

# A number with a unit or a currency, or with another decimal mark.
_ODD_NUMBER = re.compile(
    r"(?:[A-Z]{3}|[^\w\s.,])? ?[-+]?[\d.,'\u00a0\u202f]*\d ?(?:[^\W\d_]{1,6}|[^\w\s]|[^\W\d_]{1,3}/[^\W\d_]{1,3})?"
)
_VALUES = 30  # texts that begin with digits are numbers if more of them are different

_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?(?:Z| ?[+-]\d{2}:?\d{2})?"
_DAY = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|\d{4}-\d{2}"
    r"|\d{1,2}\.?[ -][A-Za-z]{3,9}\.?[ -]\d{2,4}|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}"
)
_DATE = re.compile(rf"(?:{_DAY})(?:[T, ]+{_CLOCK})?|{_CLOCK}")


def is_number(cell: str) -> bool:
    """Return whether a cell is a number with a decimal point; '1_000', which Python reads, is not."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def is_missing_text(cell: str) -> bool:
    """Return whether a cell stands for a missing value."""
    return cell.strip().lower() in MISSING


def is_truth(cell: str) -> bool:
    """Return whether a cell is True or False, in any case."""
    return cell.strip().lower() in TRUTHS


def is_date(cell: str) -> bool:
    """Return whether a cell is a date, a time of day, or both."""
    return bool(_DATE.fullmatch(cell.strip()))


def are_odd_numbers(cells: Sequence[str]) -> bool:
    """Return whether texts are numbers in a form that is not read, such as '4 kg', '5 %', 'EUR 3', and most differ."""
    odd = sum(bool(_ODD_NUMBER.fullmatch(cell.strip())) for cell in cells)
    return 2 * odd > len(cells) and len(set(cells)) > min(_VALUES, len(cells) // 2)


def is_grouped(cell: str, decimal: str) -> bool:
    """Return whether a cell is a number with thousands separators."""
    return bool(_GROUPS[decimal].fullmatch(cell.strip()))


def number_text(cell: str, decimal: str = ".") -> str | None:
    """Return a number as Python's float reads it, None if the cell is no number.

    Parameters
    ----------
    cell : str
    decimal : '.' or ','
        The decimal mark. The other of the two, a space or an apostrophe may separate groups of three digits.

    Examples
    --------
    >>> number_text("1,234.5"), number_text("1.234,5", ","), number_text("1,5")
    ('1234.5', '1234.5', None)
    """
    text = cell.strip().replace("\u2212", "-")  # a minus sign as it is printed
    if decimal == "," and ("," in text or "." in text):
        if _PLAIN_COMMA.fullmatch(text):
            return text.replace(",", ".")
    elif is_number(text):
        return text
    match = _GROUPS[decimal].fullmatch(text)
    return match and text.replace(match["mark"], "").replace(",", ".")


def decimal_evidence(cell: str) -> str:
    """Return which decimal mark a cell shows: '.' or ',', '?' for one of the form '1,234', or '' where it shows none."""
    text = cell.strip()
    if "," not in text and "." not in text:
        return ""
    is_point, is_comma = number_text(text) is not None, number_text(text, ",") is not None
    if is_point and is_comma:  # three digits behind one mark
        return "?" if "," in text else ""
    return "." if is_point else "," if is_comma else ""


def decimal_mark(path: Path, rows: Sequence[Sequence[str]]) -> str:
    """Return the decimal mark that the cells of the first rows show.

    Raises
    ------
    DataError
        Only numbers such as 1,234 have a mark, or numbers such as 1.234 stand beside whole ones below a thousand.
    """
    count = Counter(decimal_evidence(cell) for row in rows for cell in row)
    if count[","] or count["."]:
        return "," if count[","] > count["."] else "."
    doubtful = [cell for row in rows for cell in row if decimal_evidence(cell) == "?"] or _thousands_by_points(rows)
    if doubtful:
        cell = doubtful[0]
        raise DataError(
            f"{path}: {some([repr(cell.strip())])} may be {number_text(cell)} or {number_text(cell, ',')}. "
            "Say which mark is the decimal one: --decimal point or --decimal comma."
        )
    return "."


def _thousands_by_points(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells such as 1.234 of a column whose others are whole numbers below a thousand, of three digits among them."""
    for column in zip_longest(*rows, fillvalue=""):
        cells = [cell.strip() for cell in column if not is_missing_text(cell)]
        marked = [cell for cell in cells if _THOUSAND.fullmatch(cell)]
        others = [cell for cell in cells[1:] if not _THOUSAND.fullmatch(cell)]  # the first may be a name
        is_below = all(map(_BELOW_THOUSAND.fullmatch, others)) and any(len(cell.lstrip("+-")) == 3 for cell in others)
        if marked and is_below:
            return marked
    return []
