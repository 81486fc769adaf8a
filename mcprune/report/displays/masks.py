"""Masks as pictures: kept pixels of an image, or one row of cells for each mask of a table's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mcprune.errors import ConfigError
from mcprune.report.displays.base import DROPPED, KEPT, axes_of, column_names, figure_of, short
from mcprune.report.page import BARE, layout
from mcprune.report.plots import drawn
from mcprune.types import BoolArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from plotly.graph_objects import Figure as PlotlyFigure

MOST_NAMES = 60  # columns beyond which names beside the axis cannot be read


class MaskDisplay:
    """Which columns, or pixels, are kept.

    Parameters
    ----------
    masks : ndarray of bool, shape (K, N)
        One mask, or those of the levels of a path.
    names : sequence of str, length N
    rows : sequence of str, length K, optional
        What each mask is, such as its number of columns.
    image_shape : tuple of int, optional
        (h, w) or (channels, h, w) of a single mask whose columns are the pixels of an image.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage

    Raises
    ------
    ConfigError
        Shapes that do not fit.
    """

    ax_: Axes
    figure_: Figure
    image_: AxesImage

    def __init__(
        self,
        masks: BoolArray,
        names: Sequence[str],
        *,
        rows: Sequence[str] = (),
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.masks = np.atleast_2d(np.asarray(masks, bool))
        self.names, self.rows = tuple(names), tuple(rows) or ("",) * len(self.masks)
        is_image = image_shape is not None and len(self.masks) == 1 and int(np.prod(image_shape)) == self.masks.size
        self.image_shape = image_shape if is_image else None
        if len(self.names) != self.masks.shape[1] or len(self.rows) != len(self.masks):
            raise ConfigError(
                f"Masks of shape {self.masks.shape}, {len(self.names)} names and {len(self.rows)} rows. Give a name for each column and "
                "a text for each mask."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        *,
        ax: Axes | None = None,
        image_shape: tuple[int, ...] | None = None,
        **image_kw: Any,
    ) -> Self:
        """Draw the `support_` of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
        ax : matplotlib Axes, optional
            By default those of a new figure.
        image_shape : tuple of int, optional
            Where the columns are pixels.
        **image_kw
            For matplotlib's `imshow`.

        Raises
        ------
        McpruneError
            Matplotlib is not installed.
        """
        check_is_fitted(estimator)
        support: BoolArray = estimator.support_  # type: ignore[attr-defined]
        return cls(support, column_names(estimator, support.size), image_shape=image_shape).plot(ax, **image_kw)

    @property
    def cells(self) -> BoolArray:
        """What is drawn: (h, w) of an image, channels below each other, else (K, N)."""
        return self.masks if self.image_shape is None else self.masks.reshape(-1, self.image_shape[-1])

    def plot(self, ax: Axes | None = None, **image_kw: Any) -> Self:
        """Draw with matplotlib; the parameters are those of `from_estimator`."""
        self.ax_ = axes_of(ax, rows=len(self.cells) if self.image_shape is None else 0)
        self.figure_ = figure_of(self.ax_)
        from matplotlib.colors import ListedColormap

        aspect = "equal" if self.image_shape is not None else "auto"
        look = {
            "cmap": ListedColormap([DROPPED, KEPT]),
            "vmin": 0,
            "vmax": 1,
            "interpolation": "nearest",
            "aspect": aspect,
        }
        self.image_ = self.ax_.imshow(self.cells, **{**look, **image_kw})
        if self.image_shape is not None:
            self.ax_.set(xticks=[], yticks=[])
        else:
            is_named = len(self.names) <= MOST_NAMES
            self.ax_.set_xticks(
                range(len(self.names)) if is_named else [], short(self.names) if is_named else [], rotation=90
            )
            self.ax_.set_yticks(range(len(self.rows)), self.rows)
        kept = self.masks.sum(axis=1)
        number = f"{kept[0]}" if len(kept) == 1 else f"{kept.min()} to {kept.max()}"
        self.ax_.set_title(f"{number} of {self.masks.shape[1]} are kept")
        return self

    def to_plotly(self) -> PlotlyFigure:
        """Return the same as a figure of plotly."""
        heat = {
            "type": "heatmap", "z": self.cells.astype(int).tolist(), "showscale": False, "zmin": 0, "zmax": 1,
            "colorscale": [[0, DROPPED], [1, KEPT]], "xgap": 1, "ygap": 1,
        }  # fmt: skip
        if self.image_shape is not None:
            axes = {"xaxis": BARE, "yaxis": {**BARE, "autorange": "reversed", "scaleanchor": "x"}}
        else:
            axes = {
                "xaxis": {"tickvals": list(range(len(self.names))), "ticktext": short(self.names)},
                "yaxis": {
                    "tickvals": list(range(len(self.rows))),
                    "ticktext": list(self.rows),
                    "autorange": "reversed",
                },
            }
        return drawn({"data": [heat], "layout": layout(height=160 + 18 * len(self.cells), **axes)}, "there is no mask")
