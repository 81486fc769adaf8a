"""Which of many parameters stay in the quick selection."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(values: Iterable[Any], *chosen: Any) -> list[Any]:
    """Parameters of which all but the chosen ones are slow: left out by `-m "not slow"`.

    Parameters
    ----------
    values : iterable
        As for `pytest.mark.parametrize`: single values, or tuples of several.
    *chosen
        Those of the values that stay in the quick selection; of tuples, their first elements will do.
    """
    return _marked(values, chosen, pytest.mark.slow)


def long_but(reason: str, values: Iterable[Any], *chosen: Any) -> list[Any]:
    """Parameters of which all but the chosen ones are long: left out by default, for a reason that is stated."""
    return _marked(values, chosen, pytest.mark.long(reason))


def _marked(values: Iterable[Any], chosen: Collection[Any], mark: pytest.MarkDecorator) -> list[Any]:
    rows = list(values)
    missing = [name for name in chosen if not any(_matches(row, name) for row in rows)]
    assert not missing, f"no parameter is {missing}"
    return [row if any(_matches(row, name) for name in chosen) else _param(row, mark) for row in rows]


def _matches(row: Any, name: Any) -> bool:
    return bool(row == name or (isinstance(row, tuple) and row[0] == name))


def _param(row: Any, mark: pytest.MarkDecorator) -> Any:
    parts: Collection[Any] = row if isinstance(row, tuple) else (row,)
    return pytest.param(*parts, marks=mark)
