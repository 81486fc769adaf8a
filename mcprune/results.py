"""What a run gives to a program: the mask, the pruned model, metrics, the history; shown as HTML in a notebook."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from mcprune.storage.events import Event, Progress
from mcprune.storage.pruned_model import PrunedModel
from mcprune.types import BoolArray, FloatArray, IntArray

# A mask that shows itself lists so many names.
SHOWN_NAMES = 100
# Keys of `Result.metrics` for the rows of the final table; any other row is test_accuracy_ and its name.
METRIC_NAMES = {
    "hard mask, retrained": "test_accuracy",
    "hard mask, fine-tuned": "test_accuracy",
    "hard mask, not retrained": "test_accuracy_before_retraining",
}


@dataclass(frozen=True)
class Mask:
    """A hard mask over N sites that keeps exactly n.

    Attributes
    ----------
    support : ndarray of bool, shape (N,)
        True for the kept sites.
    indices : ndarray of int64, shape (n,)
        Flat indices of the kept sites, rising, counted from 0.
    names : tuple of str
        Names of the kept sites, in the order of `indices`.
    weights : ndarray of float64, shape (N,)
        The pruner weights at the end of the search.
    """

    support: BoolArray
    indices: IntArray
    names: tuple[str, ...]
    weights: FloatArray

    def __len__(self) -> int:
        """Return n."""
        return int(self.indices.size)

    def _repr_html_(self) -> str:
        names = ", ".join(escape(name) for name in self.names[:SHOWN_NAMES])
        more = f" and {len(self.names) - SHOWN_NAMES:,} more" if len(self.names) > SHOWN_NAMES else ""
        return f"<p><b>{len(self):,} of {self.support.size:,} sites kept</b>: {names}{more}</p>"


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes
    ----------
    mask : Mask
    model : PrunedModel
        The pruned model: `model.predict(X)` takes rows with all columns, or with the kept ones alone.
    metrics : dict of str to float
        Accuracies between 0 and 1. `test_accuracy` is that of `model`, `test_accuracy_before_retraining` that of the
        classifier of the search under the mask; with `compare="yes"` also those of other masks. Without test rows: empty. With
        sample weights they are weighted, and called `weighted_test_accuracy` and so on.
    is_complete : bool
        False where the run was ended before its planned end: by a signal, by `max_time`, or by who steered it.
    history : list of Progress
    events : list of Event
    folder : Path or None
        Where the run was written.
    """

    mask: Mask
    model: PrunedModel
    metrics: dict[str, float]
    is_complete: bool
    history: list[Progress] = field(repr=False)
    events: list[Event] = field(repr=False)
    folder: Path | None

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{value:.4f}</td></tr>" for name, value in self.metrics.items())
        note = "" if self.is_complete else "<p>The run was ended before its planned end.</p>"
        return f"<table>{rows}</table>{note}" + picture(self.model) + self.mask._repr_html_()


def metric_name(row: str, *, is_weighted: bool = False) -> str:
    """Return the key in `Result.metrics` of a row of the final table; weighted accuracies begin with `weighted_`."""
    slug = "_".join(row.replace(",", " ").replace("-", " ").split()).lower()
    return "weighted_" * is_weighted + METRIC_NAMES.get(row, f"test_accuracy_{slug}")


def picture(model: PrunedModel) -> str:
    """Return the kept inputs of a pruned model as an SVG; nothing where they are no image."""
    if model.image_shape is None or model.columns.size == model.n_inputs:
        return ""
    height, width = model.image_shape[-2:]
    places = sorted({int(column) % (height * width) for column in model.columns})
    squares = "".join(f'<rect x="{place % width}" y="{place // width}" width="1" height="1"/>' for place in places)
    return (
        f'<svg role="img" aria-label="the kept inputs" viewBox="0 0 {width} {height}" width="200" '
        f'style="border:1px solid #888;background:#8882" fill="#3b82d0">{squares}</svg>'
    )
