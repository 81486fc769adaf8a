"""How a table is read, as far as the user says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict


class TextOptions(NamedTuple):
    """How a text table is written; under 'auto' its content decides.

    Attributes
    ----------
    header : 'auto', 'yes' or 'no'
        Whether the first line holds the columns' names.
    separator : str
        One character between the cells, or its name: comma, semicolon, tab, pipe, space (one or more).
    decimal : 'auto', '.' or ','
        The decimal mark.
    encoding : str
        A name that Python knows, such as utf-8, utf-16, cp1252 or latin-1.
    """

    header: str = "auto"
    separator: str = "auto"
    decimal: str = "auto"
    encoding: str = "auto"


class ReadingOptions(TypedDict, total=False):
    """The fields of `Reading`, by name."""

    target: str | None
    header: str
    id_columns: str
    required: Sequence[str]
    sample_weight: str | None
    separator: str
    decimal: str
    encoding: str
    ignore: Sequence[str]
    split_by: str | None
    split_time: str | None
    task: str


class Reading(NamedTuple):
    """How a table is read.

    Attributes
    ----------
    target : str or None
        The column that holds the class; of an .npz file, the array.
    header, separator, decimal, encoding : str
        See `TextOptions`.
    id_columns : 'drop' or 'keep'
        Columns that only number or name the rows: leave them out, or keep them as features. Arrays and frames with such
        columns are refused under 'drop', since a mask's indices are those of their columns.
    required : sequence of str
        Columns that are features in any case.
    sample_weight : str or None
        The column that holds the rows' weights, which is then no feature; of an .npz file, the array.
    ignore : sequence of str
        Columns that are not read.
    split_by, split_time : str or None
        The column of entities, of which none is in two parts, and the column of times, by which training rows come before validation
        rows before test rows. They are no features.
    task : str
        What the target is: `auto`, `classification`, `regression` or `multilabel`.
    """

    target: str | None = None
    header: str = "auto"
    id_columns: str = "drop"
    required: Sequence[str] = ()
    sample_weight: str | None = None
    separator: str = "auto"
    decimal: str = "auto"
    encoding: str = "auto"
    ignore: Sequence[str] = ()
    split_by: str | None = None
    split_time: str | None = None
    task: str = "auto"

    @property
    def text(self) -> TextOptions:
        """How a text table is written."""
        return TextOptions(self.header, self.separator, self.decimal, self.encoding)

    def options_of_tables(self) -> dict[str, object]:
        """Return the options that only tables have and that are not at their defaults, by name."""
        names = ("header", "separator", "decimal", "encoding", "id_columns", "ignore", "split_by", "split_time")
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(Reading(), name)}
