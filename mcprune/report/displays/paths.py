"""The curve of a path: how good each number of columns is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from sklearn.utils.validation import check_is_fitted

from mcprune.errors import ConfigError
from mcprune.report.displays.base import KEPT, MARKED, axes_of, figure_of
from mcprune.report.path_view import amount, path_figure
from mcprune.report.plots import drawn
from mcprune.storage.path_curve import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure


class PathDisplay:
    """Accuracy, or R2, over the number of kept columns, with standard errors; a mark at the number that is enough.

    Parameters
    ----------
    curve : Curve

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib ErrorbarContainer
    """

    ax_: Axes
    figure_: Figure
    line_: ErrorbarContainer

    def __init__(self, curve: Curve) -> None:
        self.curve = curve

    @classmethod
    def from_estimator(cls, estimator: object, *, ax: Axes | None = None, **line_kw: Any) -> Self:
        """Draw the `curve_` of an estimator that was fitted with keep="auto".

        Parameters
        ----------
        estimator : fitted estimator
        ax : matplotlib Axes, optional
            By default those of a new figure.
        **line_kw
            For matplotlib's `errorbar`.

        Raises
        ------
        ConfigError
            It was fitted with one number of columns.
        McpruneError
            Matplotlib is not installed.
        """
        check_is_fitted(estimator)
        return cls(require_curve(getattr(estimator, "curve_", None))).plot(ax, **line_kw)

    def plot(self, ax: Axes | None = None, **line_kw: Any) -> Self:
        """Draw with matplotlib; the parameters are those of `from_estimator`."""
        self.ax_ = axes_of(ax)
        self.figure_ = figure_of(self.ax_)
        levels, enough = self.curve.levels, self.curve.enough
        x = [level.level for level in levels]
        self.line_ = self.ax_.errorbar(
            x,
            [level.accuracy for level in levels],
            [level.accuracy_error for level in levels],
            **{"color": KEPT, "marker": "o", "capsize": 2, **line_kw},
        )
        self.ax_.plot(
            enough.level, enough.accuracy, "o", ms=13, mfc="none", mec=MARKED, mew=2,
            label=f"{amount(self.curve, enough)} are enough",
        )  # fmt: skip
        self.ax_.set_xscale("log")
        self.ax_.set_xticks(x, [f"{level:,}" for level in x])
        self.ax_.minorticks_off()
        unit = self.curve.kind if self.curve.unit == "sites" else self.curve.unit
        self.ax_.set(xlabel=f"kept {unit}" if self.curve.unit == "sites" else unit, ylabel=self.curve.measure)
        self.ax_.legend(loc="lower right")
        return self

    def to_plotly(self) -> PlotlyFigure:
        """Return the same as a figure of plotly."""
        return drawn(path_figure(self.curve), "there is no level")


def require_curve(curve: Curve | None) -> Curve:
    """Return a curve.

    Raises
    ------
    ConfigError
        There is none.
    """
    if curve is None:
        raise ConfigError('There is no path: one number of columns was searched. Give keep="auto", or use prune_path.')
    return curve
