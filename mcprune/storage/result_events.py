"""The events behind the search of a run: the mask, the tests, the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcprune.storage.event_parts import Adapted, BeforeAfter, Event, MaskCost, SiteGroup


@dataclass(frozen=True)
class Hardened(Event):
    """The search has ended in a hard mask.

    Attributes
    ----------
    kept : int, sites
        Kept by the hard mask: n.
    n_sites : int, sites
        Number of sites.
    gate_sum : float or None, sites
        Sum of the gates before hardening.
    gate_sum_error : float or None, sites
        |gate_sum - n| before hardening.
    costs : list of MaskCost
        Each cost of the mask that the budget bounds.
    kept_before : int, sites
        Gates above one half before hardening; of a chain that still had to drop sites, before the last drop.
    near_hard : float, share
        Share of the gates within .01 of 0 or 1 before hardening.
    last_crossed : list, steps
        For each site, the step of backprop after which its gate last crossed one half; 0 for never.
    steps : int, steps
        Steps of backprop in the search.
    forwards : int, rows
        Work of the search, as in `progress`.
    validation_accuracy : float or None, share
        Of the search's classifier under the hard mask; null without validation rows.
    validation_objective : float or None
        The objective that `run_started` names on the same rows; null for cross-entropy.
    evaluator_error : float or None, share of max(1, loss)
        Largest difference between the evaluator's loss of the position and the full model's, at the end of every 8th block; null where
        the full model itself evaluates.
    """

    kept: int
    n_sites: int
    gate_sum: float | None
    gate_sum_error: float | None
    costs: tuple[MaskCost, ...]
    kept_before: int
    near_hard: float
    last_crossed: tuple[int, ...]
    steps: int
    forwards: int
    validation_accuracy: float | None
    validation_objective: float | None
    evaluator_error: float | None


@dataclass(frozen=True)
class Standing:
    """A finalist of a playoff.

    Attributes
    ----------
    name : str
        `chain from NAME` for the last mask of a chain, NAME for that of a start; or `best on validation rows`.
    loss : float, nats
        Mean loss of fresh networks on rows that they were not trained on, over the rounds of the finalist.
    accuracy : float, share
        Accuracy of the networks on the same rows.
    behind, error : float, nats
        Mean loss above that of the winner in the rounds of both, and its standard error over the rows; 0 for the winner.
    rounds : int
        Rounds that it took part in.
    indices : list, sites
        Flat indices of its sites, rising.
    """

    name: str
    loss: float
    accuracy: float
    behind: float
    error: float
    rounds: int
    indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Playoff(Event):
    """Fresh classifiers have chosen among the finalists of the search, by cross-validation on training and validation rows.

    Attributes
    ----------
    finalists : list
        The finalists, the winner first.
    random_loss : float, nats
        Mean loss on random masks of as many sites.
    random_accuracy : float, share
        Accuracy of random masks.
    lead, lead_error : float, nats
        Mean loss of random masks above that of the winner, and its standard error over the rows.
    is_random : bool
        No finalist differs from random columns by two standard errors, or only on rows that the search has used.
    rows : int, rows
        Training and validation rows that were used.
    steps : list of int
        Steps of backprop in each round; fewer if the time is limited.
    seconds : float, s
        Duration.
    """

    finalists: tuple[Standing, ...]
    random_loss: float
    random_accuracy: float
    lead: float
    lead_error: float
    is_random: bool
    rows: int
    steps: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Refined(Event):
    """The mask that a run started from has been refined within the same budget, or stays where no better one was found.

    Attributes
    ----------
    start_loss : float or None
        What the chain minimises, on all evaluation rows by the classifier of the search, under the mask that it started from.
    loss : float or None
        The same under the mask of the result: never above `start_loss`.
    exchanged : int, sites
        Sites that were exchanged for others; under a bound on costs the larger number of dropped and added ones.
    rows : int, rows
        Evaluation rows.
    """

    start_loss: float | None
    loss: float | None
    exchanged: int
    rows: int


@dataclass(frozen=True)
class ColumnStatistic:
    """A column and its shadows.

    Attributes
    ----------
    index : int, sites
        Its index, counted from 0.
    name : str
        Of the column.
    statistic, shadow : float, share
        Share of the blocks in which the chains kept the column, and its shadows.
    rate : float, share
        The lowest false discovery rate at which the column is kept.
    is_kept : bool
        It is among the kept columns.
    """

    index: int
    name: str
    statistic: float
    shadow: float
    rate: float
    is_kept: bool


@dataclass(frozen=True)
class ErrorRate(Event):
    """Columns have competed with their shadows (`fdr`): the largest set of columns within the requested false discovery rate is kept.

    Attributes
    ----------
    fdr : float, share
        The requested rate.
    rate : float, share
        The estimated false discovery rate of the kept columns; 0 where none is kept.
    threshold : float or None, share
        The lowest statistic of a kept column; null where none is kept.
    columns : list of ColumnStatistic
        All columns, the highest statistic first.
    sets : int
        Sets of shadows.
    rows : int, rows
        Training and validation rows that were used.
    seconds : float, s
        Duration.
    """

    fdr: float
    rate: float
    threshold: float | None
    columns: tuple[ColumnStatistic, ...]
    sets: int
    rows: int
    seconds: float

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the kept columns, the highest statistic first."""
        return tuple(column.name for column in self.columns if column.is_kept)

    @property
    def indices(self) -> tuple[int, ...]:
        """Places of the kept columns, rising."""
        return tuple(sorted(column.index for column in self.columns if column.is_kept))


@dataclass(frozen=True)
class Scored(Event):
    """A classifier was tested: one row of the final table.

    `hard mask, not retrained` always comes; a row of the retrained or fine-tuned model follows unless the run was interrupted; the others
    come with comparisons (`compare`).

    Attributes
    ----------
    name : str
        `all sites`; `hard mask, not retrained` (the search's classifier under the mask); `hard mask, retrained` (trained on the kept
        sites); `hard mask, fine-tuned` (the kept trained values after a short update); `dense` (the frozen classifier with all sites);
        `magnitude, not retrained`; `magnitude, fine-tuned`; `random masks`; `first-layer magnitude`; `weight magnitude`. Names that end
        in `, short training` are of a comparison in fewer epochs, in which `hard mask, short training` are the kept sites.
    kept : int, sites
        Kept sites.
    accuracy : float or None, share
        On the test rows, null without such rows; the mean over the masks if `count` is above 1.
    spread : float or None, share
        Sample standard deviation over the masks; null for a single one.
    count : int, masks
        Number of masks.
    objective : float or None
        The objective that `run_started` names, on the test rows (a mean if `count` is above 1); null for cross-entropy, or where it is
        not defined on these rows.
    seconds : float, s
        Time spent on this row.
    error : float or None, share
        Standard error of the accuracy: over the test rows, or over the masks if `count` is above 1.
    behind, behind_error : float or None, share
        How much lower the accuracy is than that of the pruned model, and its standard error, paired row by row (over the masks if
        `count` is above 1); null for rows of the pruned model itself.
    rmse, mae : float or None, unit of the target
        Root of the mean squared error and mean absolute error of a regression on the test rows, the mean over the targets and over the
        masks; null for classes.
    """

    name: str
    kept: int
    accuracy: float | None
    spread: float | None
    count: int
    objective: float | None
    seconds: float
    error: float | None = None
    behind: float | None = None
    behind_error: float | None = None
    rmse: float | None = None
    mae: float | None = None


@dataclass(frozen=True)
class RunDone(Event):
    """The run has ended. The last event; `result.json` in the folder holds the same fields (`folder` is null there).

    A run that ends in an error has no such event.

    Attributes
    ----------
    name : str
        Name of the data set.
    n_sites : int, sites
        Number of sites.
    sites : list
        The groups of sites, as in `run_started`.
    folder : str or None
        The run's folder.
    seconds : float, s
        Since the data were loaded.
    scores : list
        The fields of the `scored` events, in the order of the final table.
    method : str
        `markov`, `gradient` or `importance`.
    objective : str or None
        As in `run_started`.
    hardened : Hardened
        The fields of the `hardened` event.
    indices : list, sites
        Flat indices of the kept sites, rising, over the groups of `sites` in their order.
    names : list
        Name of each kept site.
    image_shape : list or None, pixels
        As in `run_started`.
    cut_short_by : str or None
        `interrupt` or `terminate` where Ctrl-C or SIGTERM ended the search, the retraining or the comparisons early, and `mcprune resume`
        continues; else null.
    files : list
        Names of the files in the folder.
    adapted : Adapted or None
        As in the last `progress`.
    costs : list of MaskCost
        As in `hardened`.
    parameters : BeforeAfter, parameters
        Of the classifier.
    macs : BeforeAfter, multiply-accumulates
        Of one row, in linear and convolution layers.
    nonzero_weights : BeforeAfter, weights
        Weights of linear, convolution, attention and recurrent layers that are not 0.
    summary : str
        The result in one sentence.
    simpler : str
        A sentence on simpler methods that do as well within one standard error; empty if there are none.
    is_weighted : bool
        As in `run_started`: the accuracies are shares of the sum of sample weights.
    task : str
        As in `run_started`: of a regression the accuracies are R2.
    """

    name: str
    n_sites: int
    sites: tuple[SiteGroup, ...]
    folder: str | None
    seconds: float
    scores: tuple[Scored, ...]
    method: str
    objective: str | None
    hardened: Hardened
    indices: tuple[int, ...]
    names: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    cut_short_by: str | None
    files: tuple[str, ...]
    adapted: Adapted | None
    costs: tuple[MaskCost, ...]
    parameters: BeforeAfter
    macs: BeforeAfter
    nonzero_weights: BeforeAfter
    summary: str = ""
    simpler: str = ""
    is_weighted: bool = False
    task: str = "classification"
    # session.finish.finalize.Outcome
    outcome: object = field(default=None, repr=False, compare=False, metadata={"json": False})

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the run was cut short by a signal."""
        return self.cut_short_by is None
