"""The events from the start of a run to the end of its search."""

from __future__ import annotations

from dataclasses import dataclass

from mcprune.storage.event_parts import Adapted, CostBudget, Event, SiteGroup
from mcprune.types import JsonObject


@dataclass(frozen=True)
class RunStarted(Event):
    """A run has started. The first event of every run.

    Attributes
    ----------
    version : str
        Version of mcprune.
    versions : dict
        What the last bits of a run depend on: the versions of `mcprune`, `python`, `torch`, `numpy` and `numba`; `machine` (its
        architecture); `system`.
    name : str
        Name of the data set.
    rows : dict, rows
        Rows of each part: `train`, `validation`, `test`.
    classes : list
        The classes of the targets, as texts; at most 100 of them.
    n_classes : int
        Number of classes; 0 where targets are numbers.
    n_sites : int, sites
        Number of sites, N.
    keep : int, sites
        Number of sites to keep, n; N under a budget that is a cost.
    costs : list of CostBudget
        The bounds on costs; empty where the budget is a number of sites alone.
    sites : list
        The groups of sites in their flat order; their sizes add up to `n_sites`.
    image_shape : list or None, pixels
        (height, width) or (channels, height, width) of the inputs; null where they are no image.
    feature_names : list or None
        Name of each input; null for images, and for more than 4,096 inputs.
    doubtful : dict
        For each column that may be no measurement, why: `identifier`, `date`, `gap` (a number in its place), `weight`, `copy` (of the
        target), `sorts` (the classes), `constant` or `duplicate`. A `note` says more.
    classifier : str
        Description of the classifier.
    device : str
        Where the classifier is: `cpu` or `cuda`.
    threads : int
        Threads of torch and numba.
    folder : str or None
        The run's folder; null where nothing is written.
    epochs : int, passes
        Passes over the training rows, as planned at the start.
    blocks : int, blocks
        Blocks, as planned at the start.
    config : dict
        Every option as resolved. `config.toml` in the folder repeats the run with them.
    objective : str or None
        Description of what the chain minimises; null for cross-entropy and squared error, and on the gradient path.
    evaluator : str
        How candidates are evaluated.
    canonical : str
        The evaluator that the current loss of a block comes from; `none` where no candidates are evaluated.
    is_weighted : bool
        Rows have sample weights: every loss, accuracy and objective of the run's events is a weighted mean over rows.
    task : str
        `classification`, `regression` or `multilabel`. Of a regression every accuracy of the run's events is R2, the mean over the
        targets, and losses are in units of the standard deviation of the target; of several labels it is the share that is right.
    targets : list
        Names of numeric targets, or of labels; empty for classes.
    loss : str
        Description of what backprop minimises.
    """

    version: str
    versions: dict[str, str]
    name: str
    rows: dict[str, int]
    classes: tuple[str, ...]
    n_classes: int
    n_sites: int
    keep: int
    costs: tuple[CostBudget, ...]
    sites: tuple[SiteGroup, ...]
    image_shape: tuple[int, ...] | None
    feature_names: tuple[str, ...] | None
    doubtful: dict[str, str]
    classifier: str
    device: str
    threads: int | None
    folder: str | None
    epochs: int
    blocks: int
    config: JsonObject
    objective: str | None
    evaluator: str
    canonical: str
    is_weighted: bool = False
    task: str = "classification"
    targets: tuple[str, ...] = ()
    loss: str = "cross-entropy"


@dataclass(frozen=True)
class Note(Event):
    """A message of the run in a sentence: a warning, or the value chosen for an `auto`. May come at any time.

    Attributes
    ----------
    text : str
        The sentence.
    """

    text: str


@dataclass(frozen=True)
class Stage(Event):
    """A stage of the run begins that may take long. Only for screens: it is not written to `events.jsonl`.

    Attributes
    ----------
    name : str
        `pretrain`, `compile`, `start`, `search`, `playoff`, `retrain` or `compare`.
    text : str
        What is done, in a few words.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Progress(Event):
    """The state after a block; at most some 400 times in a run.

    On the gradient path a block is `train_steps` steps of backprop, and the losses are means over their training batches. With several
    replicas `loss` to `target` are those of the coldest replica, and counts of proposals are sums over all replicas.

    Attributes
    ----------
    block, blocks : int, blocks
        Blocks done, and planned in all (see `replanned`).
    epoch : float, passes
        Passes over the training rows done, with a fraction.
    epochs : int, passes
        Planned in all, rounded up.
    loss : float or None, nats
        L_tot at the current position.
    classification_loss : float or None, nats
        L_cla, or the value of the objective that `run_started` names.
    selection_loss : float or None, sites / N
        L_sel = |sum of gates - n(t)| / N; under a bound on costs |cost - cost(t)| / `total` of the first, which is not part of L_tot.
    rejection_loss : float or None, sites / N
        L_rej, or L_rej' with `rejection = "modified"`.
    alpha : float or None, nats
        Weight of L_pru = L_sel + L_rej.
    schedule_lambda : float or None
        lambda of the schedules ratio, mu-lambda, decade and stall; null for others.
    delta : float or None, pruner weight
        Half-width of a proposal; null where nothing is proposed.
    temperature : float or None, nats
        At 0 only strict decreases of the loss are accepted; null where nothing is proposed.
    gate_sum : float or None, sites
        Sum of the gates.
    near_hard : float, share
        Share of the gates within .01 of 0 or 1.
    kept : int, sites
        Sites with a weight above 0.
    target : int, sites
        n(t), the budget at this time; under a budget that is a cost the number of kept sites.
    costs, cost_targets : list, unit of the budget
        Each cost of the mask, and cost(t), which it may not exceed, in the order of `run_started`; empty where the budget is a number
        of sites alone.
    proposals : int, proposals
        Steps of the chain since the start, of all replicas.
    decisions : int, proposals
        Those whose candidate was accepted or rejected by its loss, since the start. With gates by rank a step that leaves the mask as it
        is takes no decision: the weights walk, and nothing is evaluated.
    accepted : int, proposals
        Decisions for the candidate, since the start.
    acceptance : float or None, share
        Accepted share of the decisions since the previous `progress`.
    moves : dict, proposals
        For each kind of move, `[proposed, decided, accepted]` since the start.
    nonfinite : int, proposals
        Candidates rejected because their loss was not finite, since the start.
    null_moves : int, proposals
        Moves that were not available, since the start.
    rejected_by_bound : int, proposals
        Rejected without an evaluation because not even the lowest possible loss would be accepted, since the start.
    rejected_by_cost : int, proposals
        Rejected without an evaluation because the mask would cost more than cost(t) or empty a group, since the start.
    adapted : Adapted or None
        What the chain adapts; null where it adapts nothing.
    decisions_per_second : float, 1/s
        Decisions of the last block over the median time of the last 31 blocks, backprop included.
    forwards : int, rows
        Work since the start: rows that went forward through the classifier. A row of backprop counts three; a candidate counts all rows
        of its evaluation batch, whatever its evaluator saves. Pilots are included.
    validation_accuracy : float or None, share
        Of the hard mask that keeps the sites of `kept`, on the validation rows; measured at most some 40 times in a run, else null.
    validation_at_n : float or None, share
        Likewise of a mask of exactly n sites (on the gradient path the n largest weights); null while a chain keeps more.
    validation_objective : float or None
        The objective that `run_started` names, at the same times, on the validation rows; null for cross-entropy.
    gates : str or None
        The gates of all sites, base64 of a byte each, 0..255 for 0..1; at most 60 times in a run, for at most 16,384 sites, else null.
    seconds : float, s
        Since the data were loaded.
    seconds_left : float or None, s
        Estimate for the rest of the search; null until two blocks after the first, which compiles the engine, have been timed.
    """

    block: int
    blocks: int
    epoch: float
    epochs: int
    loss: float | None
    classification_loss: float | None
    selection_loss: float | None
    rejection_loss: float | None
    alpha: float | None
    schedule_lambda: float | None
    delta: float | None
    temperature: float | None
    gate_sum: float | None
    near_hard: float
    kept: int
    target: int
    costs: tuple[int, ...]
    cost_targets: tuple[int, ...]
    proposals: int
    decisions: int
    accepted: int
    acceptance: float | None
    moves: dict[str, tuple[int, int, int]]
    nonfinite: int
    null_moves: int
    rejected_by_bound: int
    rejected_by_cost: int
    adapted: Adapted | None
    decisions_per_second: float
    forwards: int
    validation_accuracy: float | None
    validation_at_n: float | None
    validation_objective: float | None
    gates: str | None
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class KnobChanged(Event):
    """Knobs were changed, by a person or by a replay; in force from the next block on, or within a block from its next part on.

    `mcprune run --replay FOLDER` repeats the changes. At a temperature above 0 the chain samples from one fixed
    distribution only while the knobs are constant; a `note` at the end of the search says since which proposal they have been.

    Attributes
    ----------
    block : int, blocks
        Done before the change.
    proposals : int, proposals
        Consumed before the change, by all replicas, in these blocks.
    knobs : dict
        The changed knobs with their new values: `delta`, `temperature` and `alpha` as a number or the text of a schedule; `moves` as
        shares; `evaluation_rows` (null: as configured); `budget_pressure`; `adapt_delta` (null: off).
    before : dict
        Their values before.
    part : int, parts
        Done of the next block before the change: parts are cut by counts of rows and decisions, never by time, so that a replay can
        repeat the change; 0 between two blocks.
    """

    block: int
    proposals: int
    knobs: JsonObject
    before: JsonObject
    part: int = 0


@dataclass(frozen=True)
class Replanned(Event):
    """The number of planned blocks of a chain was changed, such as to end its schedules with `max_time`.

    What is left of n(t), the learning rate and every other schedule is spread evenly over the blocks that are left. Fewer blocks are
    planned where the planned ones would take too long, and up to those of `run_started` again where there is time; in `bench` and
    `reproduce` also more. On the live page Finish plans fewer, so that n(t) comes down to n within seconds, and a run without an end
    plans more. If time is up while n(t) is above n, one more block is planned. `mcprune run --replay FOLDER` and
    `mcprune resume` repeat these changes.

    Attributes
    ----------
    block : int, blocks
        Done before the change.
    blocks, blocks_before : int, blocks
        Planned in all from now on, and before.
    progress : float, share
        The part of the schedules that is done: from here on they go from this share to 1 over the blocks that are left.
    """

    block: int
    blocks: int
    blocks_before: int
    progress: float


@dataclass(frozen=True)
class Stopped(Event):
    """The search ended before its last planned block. A `progress` comes directly before.

    The mask is hardened, tested and saved nevertheless. After an `interrupt` or `terminate` the pruned model is neither retrained nor
    compared.

    Attributes
    ----------
    reason : str
        `interrupt` (Ctrl-C), `terminate` (SIGTERM), `max_time`, `validation` (the masks did worse on the validation rows), `stop` or
        `finish` (on the live page: at once, or once n(t) had come down to n) or `replay` (the repeated run ended there).
    block : int, blocks
        Done in all.
    """

    reason: str
    block: int
