"""Numbers, times and lists as short text; what is unknown is a dash."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

UNKNOWN = "-"
LARGEST = 1e300  # an integer of a file may be beyond all floats


def number(value: object, form: str) -> str:
    """Return a number in the format, or a dash for None, NaN and infinities.

    Parameters
    ----------
    value : int, float, str or None
        A text stands as it is.
    form : str
        A format specification, such as ``.4f``.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < LARGEST:
        return UNKNOWN
    return format(value, form)


def duration(seconds: object) -> str:
    """Return seconds as m:ss, or h:mm:ss from an hour on; a dash where it is not known."""
    if not isinstance(seconds, int | float) or not 0 <= seconds < LARGEST:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def ranges(indices: Iterable[int]) -> list[str]:
    """Return rising indices with neighbours drawn together: 0, 3-5 and 9 of 0, 3, 4, 5, 9."""
    spans: list[list[int]] = []
    for index in indices:
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return [str(first) if first == last else f"{first}-{last}" for first, last in spans]


def some(texts: list[str], limit: int) -> str:
    """Return the texts with commas between them, and how many more there are after the first `limit`."""
    more = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" ... and {more:,} more" if more > 0 else "")


def wrapped(text: str, width: int, indent: str = "  ") -> list[str]:
    """Return the text in indented lines of at most `width` characters; a longer word has a line of its own."""
    room = max(width, len(indent) + 1)
    return textwrap.wrap(
        text,
        room,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def columns(header: list[str], rows: list[list[str]], left: int = 1) -> list[str]:
    """Return an aligned table of plain text, the first `left` columns set left and the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        parts = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return [line(header), "  ".join("-" * width for width in widths), *map(line, rows)]
