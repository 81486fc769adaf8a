"""What a run gives to a program: the mask, the pruned model, metrics, the history; shown as HTML in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcprune.report import card
from mcprune.session.finish.finalize import outcome_of
from mcprune.storage.event_log import EventLog
from mcprune.storage.events import ErrorRate, Event, Progress, Refined, RunDone, RunStarted, Stopped
from mcprune.storage.path_curve import Curve
from mcprune.storage.pruned_model import PrunedModel
from mcprune.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from plotly.graph_objects import Figure
    from torch import nn

    from mcprune.report.displays.masks import MaskDisplay
    from mcprune.report.displays.paths import PathDisplay
    from mcprune.report.displays.scores import ScoresDisplay
    from mcprune.sampling.sample import SampleProgress
    from mcprune.sampling.samples import Samples

# Keys of `Result.metrics` for the rows of the final table; any other row is test_accuracy_ and its name.
METRIC_NAMES = {
    "hard mask, retrained": "test_accuracy",
    "hard mask, fine-tuned": "test_accuracy",
    "hard mask, not retrained": "test_accuracy_before_retraining",
}
# Figures of a row, and what stands in place of `accuracy` in the key: R2 of a regression takes that place too.
FIGURES = {"accuracy": "accuracy", "rmse": "rmse", "mae": "mae"}


@dataclass(frozen=True)
class Mask:
    """A hard mask over N sites that keeps exactly n; of a table with gaps or categories the sites are its columns.

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
    image_shape : tuple of int, or None
        Where the sites are the inputs of an image: (h, w) or (channels, h, w).
    site_names : tuple of str
        Names of all sites, where these are the columns of a table; else empty.
    """

    support: BoolArray
    indices: IntArray
    names: tuple[str, ...]
    weights: FloatArray
    image_shape: tuple[int, ...] | None = None
    site_names: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        """Return n."""
        return int(self.indices.size)

    def plot(self) -> Figure:
        """Return a figure of the kept pixels, or else of the sites with the largest weights.

        Returns
        -------
        plotly.graph_objects.Figure
            A notebook shows it; else `.show()` opens it in a browser, and `.write_html(path)` writes it.

        Raises
        ------
        McpruneError
            In a notebook without nbformat, which plotly needs there.
        """
        from mcprune.report import plots

        return plots.drawn(self._figure(), "the mask has no site")

    def all_names(self) -> tuple[str, ...]:
        """Return the names (N,) of all sites; of sites that are no columns those of the dropped ones are their places."""
        known = self._known_names()
        return tuple(known.get(site, f"site {site}") for site in range(self.support.size))

    def _known_names(self) -> dict[int, str]:
        return dict(enumerate(self.site_names)) | dict(zip(self.indices.tolist(), self.names, strict=True))

    def _figure(self) -> dict[str, object] | None:
        from mcprune.report import plots

        names = self._known_names()
        return plots.mask_figure(self.support, names, self.weights, self.image_shape)

    def _repr_html_(self) -> str:
        picture = card.pixels(self.indices.tolist(), self.image_shape)
        return picture + card.names(self.names, self.support.size)


class History(list[Progress]):
    """The progress events of a run in their order: a list that can be plotted.

    Parameters
    ----------
    events : iterable of Event
        All events of the run.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._log = EventLog(Path(), tuple(events))
        super().__init__(self._log.progress)

    def plot(self) -> Figure:
        """Return a figure of loss, validation accuracy and kept sites over the epochs; see `Mask.plot`.

        Raises
        ------
        McpruneError
            No block was recorded; or as `Mask.plot`.
        """
        from mcprune.report import plots

        return plots.drawn(plots.history_figure(self._log), "no block was recorded")


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Its text, as of `print(result)`, is the result in a sentence. A notebook shows it as a card.

    Attributes
    ----------
    mask : Mask
    model : PrunedModel
        The pruned model: `model.predict(X)` takes rows with all columns, or with the kept ones alone.
    metrics : dict of str to float
        Accuracies between 0 and 1. `test_accuracy` is that of `model`, `test_accuracy_before_retraining` that of the
        classifier of the search under the mask; with `compare="yes"` also those of other masks. Without test rows: empty. With
        sample weights they are weighted, and called `weighted_test_accuracy` and so on. A regression has `test_r2`, `test_rmse` and
        `test_mae` in place of `test_accuracy`, the last two in the unit of the target.
    is_complete : bool
        False where the run was ended before its planned end: by a signal, by `max_time`, or by who steered it.
    history : History
        The progress events, a list that can be plotted.
    events : list of Event
    folder : Path or None
        Where the run was written.
    curve : Curve or None
        Of a path, where n was chosen by one.
    """

    mask: Mask
    model: PrunedModel
    metrics: dict[str, float]
    is_complete: bool
    history: History = field(repr=False)
    events: list[Event] = field(repr=False)
    folder: Path | None
    curve: Curve | None = field(default=None, repr=False)

    @property
    def summary(self) -> str:
        """The result in one sentence, and in a second one where a simpler way does as well."""
        done = self._done
        rows = next((event.rows["test"] for event in self.events if isinstance(event, RunStarted)), 0)
        where = f" (on the run's own {rows:,} test rows)" if rows and self.metrics else ""
        return " ".join(filter(None, [f"{done.summary}{where}.", done.simpler]))

    @property
    def fdr(self) -> ErrorRate | None:
        """The statistics of the columns and the estimated false discovery rate of the kept ones; None without `fdr`."""
        return next((event for event in self.events if isinstance(event, ErrorRate)), None)

    @property
    def refined(self) -> Refined | None:
        """The losses of the mask that the run started from and of that of the result; None where it refined no mask."""
        return next((event for event in self.events if isinstance(event, Refined)), None)

    def plot(self) -> Figure:
        """Return a figure of the kept sites beside the accuracies with their error bars; see `Mask.plot`.

        Raises
        ------
        McpruneError
            As `Mask.plot`.
        """
        from mcprune.report import plots

        done = self._done
        figure = plots.result_figure(self.mask._figure(), done.scores, done.task, is_weighted=done.is_weighted)
        return plots.drawn(figure, "there is no mask")

    def plot_scores(self, ax: Axes | None = None, *, most: int = 30) -> ScoresDisplay:
        """Draw the weights of the sites at the end of the search as bars, with matplotlib; see `ScoresDisplay`."""
        from mcprune.report.displays.scores import ScoresDisplay

        return ScoresDisplay(self.mask.weights, self.mask.support, self.mask.all_names()).plot(ax, most=most)

    def plot_mask(self, ax: Axes | None = None) -> MaskDisplay:
        """Draw which sites are kept, with matplotlib; of a path at each of its levels. See `MaskDisplay`."""
        from mcprune.report.displays.masks import MaskDisplay

        names = self.mask.all_names()
        if self.curve is None or self.curve.unit != "sites" or self.curve.n_sites != len(names):
            return MaskDisplay(self.mask.support, names, image_shape=self.mask.image_shape).plot(ax)
        masks = np.zeros((len(self.curve.levels), len(names)), bool)
        for row, level in zip(masks, self.curve.levels, strict=True):
            row[:] = (
                np.isin(names, level.names) if self.mask.site_names else np.isin(np.arange(row.size), level.indices)
            )
        return MaskDisplay(masks, names, rows=[f"{level.level:,}" for level in self.curve.levels]).plot(ax)

    def plot_path(self, ax: Axes | None = None) -> PathDisplay:
        """Draw how good each number of sites is, with matplotlib, where n was chosen by a path; see `PathDisplay`.

        Raises
        ------
        ConfigError
            One number of sites was searched.
        McpruneError
            Matplotlib is not installed.
        """
        from mcprune.report.displays.paths import PathDisplay, require_curve

        return PathDisplay(require_curve(self.curve)).plot(ax)

    def sample(
        self,
        data: object = None,
        model: nn.Module | None = None,
        *,
        objective: Callable[..., object] | None = None,
        sample_weight: object = None,
        force: bool = False,
        on_progress: Callable[[SampleProgress], None] | None = None,
        **settings: Any,
    ) -> Samples:
        """Draw masks of n sites by how good they are, and say how sure each kept site is; see `mcprune.sample`.

        Parameters
        ----------
        data, model, objective, sample_weight
            The same again, where they were objects of Python: a result does not hold on to them.
        force : bool
            Replace the samples in the folder of the run, where it has some.
        on_progress : callable, optional
            Called with a `SampleProgress` after each chunk.
        **settings
            Of `SampleSettings`: chains, temperature, precision, max_time, rungs, hottest, rows.

        Returns
        -------
        Samples
            In the folder of the run too, where it has one.

        Raises
        ------
        SamplingError
            The chains do not agree (R-hat); the message says what would help.
        McpruneError
            As `mcprune.sample`.
        """
        from mcprune.sampling.from_run import sample_content, sample_folder
        from mcprune.sampling.sample import SampleSettings

        chosen = SampleSettings.of(settings)
        if self.folder is not None:
            drawn = sample_folder(
                self.folder, chosen, data=data, model=model, objective=objective, sample_weight=sample_weight, force=force,
                on_progress=on_progress,
            )  # fmt: skip
        else:
            drawn = sample_content(
                outcome_of(self._done).classifiers, chosen, data=data, model=model, objective=objective,
                sample_weight=sample_weight, on_progress=on_progress,
            )  # fmt: skip
        return drawn.samples

    @property
    def _done(self) -> RunDone:
        done = self.events[-1]
        assert isinstance(done, RunDone)
        return done

    def __str__(self) -> str:
        """Return the summary."""
        return self.summary

    def _repr_html_(self) -> str:
        return card.card(self._done, "" if self.is_complete else "The run was ended before its planned end.")


def result_of_events(events: list[Event], folder: Path | None, curve: Curve | None = None) -> Result:
    """Return the result of a run in this process from all of its events."""
    done = events[-1]
    assert isinstance(done, RunDone)
    outcome = outcome_of(done)
    shown = outcome.shown
    support = shown.of(outcome.search.mask)
    is_of_inputs = len(done.sites) == 1 and done.sites[0].kind == "inputs"
    image_shape = done.image_shape if is_of_inputs else None
    names = next((event.feature_names for event in events if isinstance(event, RunStarted)), None)
    site_names = (names or ()) if is_of_inputs else ()
    return Result(
        mask=Mask(
            support, np.flatnonzero(support), done.names, shown.of(outcome.search.weights), image_shape, site_names
        ),
        model=outcome.model,
        metrics=_metrics(done),
        is_complete=done.is_complete and not any(isinstance(event, Stopped) for event in events),
        history=History(events),
        events=events,
        folder=folder,
        curve=curve,
    )


def _metrics(done: RunDone) -> dict[str, float]:
    """Return the figures on the test rows by their keys."""
    out = {}
    for score in done.scores:
        name = metric_name(score.name, is_weighted=done.is_weighted)
        for figure, word in FIGURES.items():
            value = getattr(score, figure)
            if value is not None:
                place = "r2" if figure == "accuracy" and done.task == "regression" else word
                out[name.replace("accuracy", place, 1)] = float(value)
    return out


def metric_name(row: str, *, is_weighted: bool = False) -> str:
    """Return the key in `Result.metrics` of a row of the final table; weighted accuracies begin with `weighted_`."""
    slug = "_".join(row.replace(",", " ").replace("-", " ").split()).lower()
    return "weighted_" * is_weighted + METRIC_NAMES.get(row, f"test_accuracy_{slug}")
