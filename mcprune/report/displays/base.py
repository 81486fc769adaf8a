"""What the displays share: axes of matplotlib, names of columns, and figures of plotly."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mcprune.errors import McpruneError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEPT, DROPPED, MARKED = "#0072B2", "#c9ced6", "#D55E00"
WIDTH, ROW_HEIGHT, MOST_LETTERS = 6.4, 0.22, 28  # inches; letters of a name


def require_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises
    ------
    McpruneError
        It is not installed.
    """
    if find_spec("matplotlib") is None:
        raise McpruneError(
            "Displays are drawn by matplotlib, which is not installed. pip install matplotlib, or use to_plotly() or Result.plot()."
        )


def axes_of(ax: Axes | None, *, rows: int = 0) -> Axes:
    """Return axes to draw on: those that are given, or new ones, of a height for so many rows of text."""
    if ax is not None:
        return ax
    require_matplotlib()
    import matplotlib.pyplot as plt

    height = max(2.4, 1.2 + ROW_HEIGHT * rows) if rows else 4.0
    axes: Axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")[1]
    return axes


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure that axes belong to, also where they are in a part of it."""
    figure: Figure | None = ax.get_figure(root=True)
    assert figure is not None
    return figure


def column_names(estimator: object, count: int) -> tuple[str, ...]:
    """Return the names of the columns that an estimator was fitted on; x0, x1, ... where they had none."""
    names = getattr(estimator, "feature_names_in_", None)
    return tuple(f"x{place}" for place in range(count)) if names is None else tuple(map(str, names))


def short(names: Sequence[str]) -> list[str]:
    """Return names that fit beside an axis."""
    return [name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 3] + "..." for name in names]
