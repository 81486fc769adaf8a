"""The configuration of a run with everything settled: small settings by section, none of them optional."""

from __future__ import annotations

import math
from typing import NamedTuple

from mcprune.chain.schedules import Schedule, Waves
from mcprune.config.rules import REGROWN_UNTIL


class ModelSettings(NamedTuple):
    """The built-in classifier."""

    name: str
    width: float
    hidden: tuple[int, ...]
    search_hidden: tuple[int, ...]
    activation: str
    dropout: float
    bias: bool


class TrainSettings(NamedTuple):
    """The training of the classifier during the search.

    Attributes
    ----------
    epochs, epoch_steps : int
        Passes over the rows that train, and training steps in one.
    batch_size, steps : int
        Rows in a step; steps between two blocks.
    blocks : int
        Of the whole run.
    pretrain : int
        Epochs before the search.
    """

    epochs: int
    epoch_steps: int
    batch_size: int
    steps: int
    blocks: int
    learning_rate: float
    weight_decay: float
    mask_noise: float
    input_noise: float
    pretrain: int
    is_frozen: bool
    amp: bool


class RetrainSettings(NamedTuple):
    """The training of the small model."""

    finetune: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    input_noise: float
    warp: float
    distill: float
    amp: bool

    @property
    def is_retrained(self) -> bool:
        """Whether a small classifier is trained for `epochs`, rather than the search's values adjusted."""
        return self.finetune in ("scratch", "warm")


class RuntimeSettings(NamedTuple):
    """Machine, clock and checkpoints; max_time and search_time are infinite where there is no limit."""

    compare: str
    evaluator: str
    seed: int
    device: str
    threads: int
    max_memory: int
    max_time: float
    search_time: float
    checkpoint_every: str
    train_ranks: str


class Evaluation(NamedTuple):
    """Which rows evaluate candidates, whatever the method.

    Attributes
    ----------
    on : str
        `train`, `held-out` or `folds`.
    folds : int
        Classifiers, each trained on the rows of the other folds; 1 where all evaluate by one.
    fraction : float
        Of the training rows that are held out.
    early_rows, rows : int
        Of the evaluation batch while n(t) falls, and at the end.
    falls_until : float
        Fraction of the run over which n(t) falls; 0 where it does not.
    """

    on: str
    folds: int
    fraction: float
    early_rows: int
    rows: int
    falls_until: float


class MeasureSettings(NamedTuple):
    """What scores sites, and how a ranking is cut; `temperature` 0 is that of the measure."""

    name: str
    rows: int
    temperature: float
    layerwise: bool
    min_per_layer: int


class KeepScheduleSettings(NamedTuple):
    """n(t)."""

    kind: str
    until: float
    regrow: int
    height: float
    pressure: float

    def over_time(self, whole: int, end: int) -> Schedule | Waves:
        """Return n(t), or the cost over time, from the whole model to the budget."""
        if self.kind == "constant" or end == whole:
            return Schedule("constant", float(end), float(end))
        fall = Schedule("geometric", float(whole), float(end), self.until)
        if not self.regrow:
            return fall
        # n(t) never rises above all sites.
        return Waves(fall, min(self.height, whole / end - 1.0), self.regrow, REGROWN_UNTIL)


class ChainOptions(NamedTuple):
    """The chain.

    Attributes
    ----------
    adapt_delta : float
        Acceptance rate that delta is adapted to; 0 where delta stays as set.
    hottest : float
        Infinite where there is a single replica.
    swap_every : int
        0: after each block.
    sharpness : Schedule
        Of sharpened gates.
    pool_size : int
        0: only accepted moves drop sites.
    pool_limit : int
        0: by the evaluator.
    early_reject : float
        0: exact.
    proposals : str
        chain, probes, slopes or measure; then `proposal_measure` scores.
    starts : tuple of str
        What chooses the first masks of chains, one after the other; empty: one chain from all sites.
    start_shares : tuple of float
        Share of the run at which each of these chains begins.
    rivals : tuple of str
        Selectors whose masks are finalists without a chain of their own.
    start_after : float
        Epochs before `start_measure`, the one among them, chooses a mask.
    """

    moves: dict[str, float]
    move_sites: int
    delta: Schedule
    adapt_delta: float
    warm_up: float
    temperature: Schedule
    replicas: int
    hottest: float
    swap_every: int
    alpha: Schedule
    is_modified: bool
    gates: str
    sharpness: Schedule
    keep_schedule: KeepScheduleSettings
    pool_size: int
    pool_limit: int
    start_weight: float
    weight_bound: float
    decisions: int
    lookahead: int
    early_reject: float
    proposals: str
    proposal_measure: MeasureSettings
    starts: tuple[str, ...]
    start_shares: tuple[float, ...]
    rivals: tuple[str, ...]
    start_measure: MeasureSettings
    start_after: float

    @property
    def is_informed(self) -> bool:
        """Whether a move draws its sites by scores."""
        return "informed" in self.moves

    @property
    def is_by_rank(self) -> bool:
        """Whether the n largest weights are kept, else the positive ones."""
        return self.gates == "rank"

    @property
    def gate_sharpness(self) -> float:
        """The sharpness of the gates at half of the run."""
        return {"sigmoid": 1.0, "sharpened": self.sharpness.value(0.5)}.get(self.gates, math.inf)


class AlphaSettings(NamedTuple):
    """How alpha changes on the gradient path."""

    kind: str
    value: Schedule
    strength: float
    strength_end: float
    epochs: float
    window: int
    is_literal: bool
    tolerance: float
    factor: float
    cap: float
    pilots: float


class GradientOptions(NamedTuple):
    """Gates that backprop trains."""

    alpha: AlphaSettings
    is_modified: bool
    gates: str
    sharpness: Schedule
    optimizer: str
    learning_rate: float
    start_weight: float
    weight_bound: float


class ImportanceOptions(NamedTuple):
    """Rounds of dropping by a measure; `counts` are empty where the rounds say how many sites are left."""

    measure: MeasureSettings
    rounds: int
    counts: tuple[int, ...]
    recover: int
    start_weight: float


SearchOptions = ChainOptions | GradientOptions | ImportanceOptions
