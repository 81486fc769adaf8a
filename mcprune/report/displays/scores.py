"""Bars of the scores of columns, those of the mask in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mcprune.report.displays.base import DROPPED, KEPT, axes_of, column_names, figure_of, short
from mcprune.report.page import layout
from mcprune.report.plots import drawn
from mcprune.types import BoolArray, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

MOST = 30


class ScoresDisplay:
    """Scores of columns as bars, kept columns first and in colour.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
    support : ndarray of bool, shape (N,)
        The kept columns.
    names : sequence of str, length N
    errors : ndarray of float, shape (N,), optional
        Standard errors.
    label : str
        Of the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer
    """

    ax_: Axes
    figure_: Figure
    bars_: BarContainer

    def __init__(
        self,
        scores: FloatArray,
        support: BoolArray,
        names: tuple[str, ...],
        *,
        errors: FloatArray | None = None,
        label: str = "weight at the end of the search",
    ) -> None:
        self.scores, self.support, self.names = np.asarray(scores, np.float64), np.asarray(support, bool), tuple(names)
        self.errors, self.label = errors, label

    @classmethod
    def from_estimator(cls, estimator: object, *, ax: Axes | None = None, most: int = MOST, **bar_kw: Any) -> Self:
        """Draw the `scores_` of a fitted `MarkovSelector`, `MarkovPrunedClassifier` or `MarkovPrunedRegressor`.

        Parameters
        ----------
        estimator : fitted estimator
        ax : matplotlib Axes, optional
            By default those of a new figure.
        most : int
            Bars at most, the kept columns first.
        **bar_kw
            For matplotlib's `barh`.

        Returns
        -------
        ScoresDisplay

        Raises
        ------
        McpruneError
            Matplotlib is not installed.
        """
        check_is_fitted(estimator)
        support: BoolArray = estimator.support_  # type: ignore[attr-defined]
        label = "share of the chain's blocks" if hasattr(estimator, "fdr_") else "weight at the end of the search"
        names = column_names(estimator, support.size)
        return cls(estimator.scores_, support, names, label=label).plot(ax, most=most, **bar_kw)  # type: ignore[attr-defined]

    def order(self, most: int = MOST) -> list[int]:
        """Return the columns in the order of the bars: the kept ones first, then by falling score."""
        order: list[int] = np.lexsort((np.arange(self.scores.size), -self.scores, ~self.support))[:most].tolist()
        return order

    def plot(self, ax: Axes | None = None, *, most: int = MOST, **bar_kw: Any) -> Self:
        """Draw with matplotlib; the parameters are those of `from_estimator`."""
        order = self.order(most)
        self.ax_ = axes_of(ax, rows=len(order))
        self.figure_ = figure_of(self.ax_)
        colours = [KEPT if self.support[site] else DROPPED for site in order]
        errors = None if self.errors is None else self.errors[order]
        self.bars_ = self.ax_.barh(
            short([self.names[site] for site in order]),
            self.scores[order],
            **{"color": colours, "xerr": errors, **bar_kw},
        )
        self.ax_.invert_yaxis()
        self.ax_.set(xlabel=self.label, title=f"{int(self.support.sum())} of {self.support.size} columns are kept")
        return self

    def to_plotly(self, most: int = MOST) -> PlotlyFigure:
        """Return the same as a figure of plotly."""
        order = self.order(most)
        places = list(range(len(order)))
        bar = {
            "type": "bar", "orientation": "h", "x": self.scores[order].tolist(), "y": places, "showlegend": False,
            "marker": {"color": [KEPT if self.support[site] else DROPPED for site in order]},
        }  # fmt: skip
        if self.errors is not None:
            bar["error_x"] = {"array": self.errors[order].tolist()}
        axis = {"tickvals": places, "ticktext": short([self.names[site] for site in order]), "autorange": "reversed"}
        look = layout(height=110 + 18 * len(order), xaxis={"title": self.label}, yaxis=axis, bargap=0.25)
        return drawn({"data": [bar], "layout": look}, "there is no column")
