"""Choose the evaluator of a run: which ones are usable, and which of those is the fastest on the model and batch at hand.

An evaluator is usable if it can be built for the model and its losses of a few candidates agree with the canonical losses within
the error that it states. `fused` is taken at once where it is usable, on plain perceptrons; otherwise the usable ones are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from mcprune.chain import moves, state
from mcprune.errors import ModelError
from mcprune.evaluators.base import Canonical, Evaluator
from mcprune.evaluators.cuda_graph import GraphEvaluator
from mcprune.evaluators.folded import Bounds, FoldedEvaluator, FoldedFullEvaluator, FoldedObjective
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.evaluators.fused_weights import FusedWeightsEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.evaluators.suffix import STORES, SuffixEvaluator
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective, Rows
from mcprune.random import Stream, generator
from mcprune.sites.gates import GatedModel

CHECKED = 6  # candidates whose losses are compared with the canonical ones
BUDGET = 0.3  # seconds for timing all evaluators
WORTH = 1.1  # least speed, in multiples of that of full, for which another evaluator is taken
CHAINS = np.zeros(1, np.int64)


@dataclass
class EvaluationProblem:
    """What an evaluator is chosen for: the classifiers, the objective, an evaluation batch like those of the run, and its moves."""

    gated: GatedModel
    objective: Objective
    features: torch.Tensor  # (B, ...)
    targets: torch.Tensor  # (B,)
    plan: moves.MovePlan
    keep: int
    start_weight: float
    sharpness: float
    lookahead: int
    max_memory: int = 2**30
    early_reject: float | None = None
    rows: Rows | None = None
    classifiers: tuple[GatedModel, ...] = ()  # one for each fold; empty: `gated` alone
    bounds: Bounds | None = None  # of the folds in a batch
    current: state.ChainState = field(init=False)

    def __post_init__(self) -> None:
        """Start where a run spends most of its time: n sites kept, here random ones."""
        sites = self.gated.sites.size
        kept = generator(0, Stream.TRIALS).permutation(sites) < max(1, min(self.keep, sites - 1))
        self.current = state.new_state(
            np.where(kept, self.start_weight, -self.start_weight)[None], sharpness=self.sharpness
        )

    def propose(self, count: int, plan: moves.MovePlan | None = None) -> moves.Moves:
        """Return moves of the run's mixture, or of another one."""
        return moves.propose(
            self.current, count, plan=plan or self.plan, delta=1.0, sharpness=self.sharpness, seed=0, chains=CHAINS
        )

    def start(self, evaluator: Evaluator) -> Evaluator:
        """Start an evaluator on the batch, and return it."""
        if self.rows is not None:
            self.objective.begin(self.rows)
        evaluator.begin(self.features, self.targets, self.current.position, self.sharpness)
        return evaluator


Builder = Callable[[GatedModel, Objective, EvaluationProblem], Evaluator]


def _fused(gated: GatedModel, objective: Objective, problem: EvaluationProblem) -> Evaluator:
    if gated.sites.weights:
        return FusedWeightsEvaluator(gated, objective, early_reject=problem.early_reject)
    # A fold's evaluator gets no limits, for which rows are sorted.
    return FusedEvaluator(
        gated,
        objective,
        early_reject=problem.early_reject,
        sorts_rows=not isinstance(problem.objective, FoldedObjective),
    )


# `suffix` with outputs recorded in a shorter number type, which is taken by name alone.
SHORT = {f"suffix-{store}": store for store in STORES if store != "same"}


def _suffix(store: str) -> Builder:
    return lambda gated, objective, problem: SuffixEvaluator(
        gated, objective, max_memory=problem.max_memory, early_reject=problem.early_reject, store=store
    )


# The evaluators by name, in the order of the table of `mcprune evaluators`; `--evaluator` takes the same names.
REGISTRY: Mapping[str, Builder] = MappingProxyType(
    {
        "fused": _fused,
        "suffix": _suffix("same"),
        "incremental": lambda gated, objective, problem: IncrementalEvaluator(
            gated, objective, max_memory=problem.max_memory
        ),
        "graph": lambda gated, objective, problem: GraphEvaluator(
            gated, objective, batch=problem.lookahead, max_memory=problem.max_memory
        ),
        "full": lambda gated, objective, problem: FullEvaluator(gated, objective, max_memory=problem.max_memory),
        **{name: _suffix(store) for name, store in SHORT.items()},
    }
)
NAMES = tuple(name for name in REGISTRY if name not in SHORT)


@dataclass
class Candidate:
    """One evaluator, and whether it is usable for the problem."""

    name: str
    evaluator: Evaluator | None = None
    reason: str = ""  # why it is not usable
    difference: float | None = None  # largest difference from the canonical loss, relative to max(1, loss)
    rates: dict[str, float] = field(default_factory=dict)  # proposals per second, by mixture


def build(name: str, problem: EvaluationProblem) -> Evaluator:
    """Return an evaluator by name.

    Raises
    ------
    ModelError
        It cannot evaluate the model; the message says why.
    """
    objective = problem.objective
    if objective.reads_mask and name != "full":
        raise ModelError(f"the objective {objective.name!r} reads the mask, which only `full` passes to it")
    if isinstance(objective, FoldedObjective) and problem.bounds is not None:
        parts = [_build(name, problem, *one) for one in zip(problem.classifiers, objective.parts, strict=True)]
        return FoldedEvaluator(parts, problem.bounds, objective)
    return _build(name, problem, problem.gated, objective)


def make_canonical(problem: EvaluationProblem) -> Canonical:
    """Return the canonical evaluator of a problem."""
    objective, memory = problem.objective, problem.max_memory
    if isinstance(objective, FoldedObjective) and problem.bounds is not None:
        parts = [
            FullEvaluator(gated, part, max_memory=memory)
            for gated, part in zip(problem.classifiers, objective.parts, strict=True)
        ]
        return FoldedFullEvaluator(parts, problem.bounds, objective)
    return FullEvaluator(problem.gated, objective, max_memory=memory)


def _build(name: str, problem: EvaluationProblem, gated: GatedModel, objective: Objective) -> Evaluator:
    return REGISTRY[name](gated, objective, problem)


def examine(name: str, problem: EvaluationProblem, canonical: Canonical) -> Candidate:
    """Build one evaluator and compare its losses with the canonical ones."""
    candidate = Candidate(name)
    try:
        evaluator = problem.start(build(name, problem))
        batch = problem.propose(CHECKED)
        usual = batch.size[0] > 0
        expected = np.append(problem.start(canonical).losses(problem.current, batch)[0, usual], canonical.current())
        losses = np.append(evaluator.losses(problem.current, batch)[0, usual], evaluator.current())
    except ModelError as error:
        candidate.reason = str(error)
        return candidate
    # A loss that is not finite is a rejection in both.
    finite = np.isfinite(expected)
    if not np.array_equal(np.isfinite(losses), finite):
        candidate.reason = "its losses are finite where the canonical losses are not, or the other way round"
        return candidate
    candidate.difference = float(
        (np.abs(losses - expected) / np.maximum(1.0, np.abs(expected)))[finite].max(initial=0.0)
    )
    if candidate.difference > evaluator.error:
        candidate.reason = (
            f"its losses differ by {candidate.difference:.1e} from the canonical losses, "
            f"more than its error of {evaluator.error:.0e}"
        )
    else:
        candidate.evaluator = evaluator
    return candidate


def measure_rates(
    evaluators: Sequence[Evaluator], problem: EvaluationProblem, seconds: float, plan: moves.MovePlan | None = None
) -> list[float]:
    """Return the proposals per second of each evaluator, timed in turns for about `seconds`, at least once each.

    The fastest turn counts, since other work of the machine only slows a turn down.
    """
    few, batch = problem.propose(2, plan), problem.propose(problem.lookahead, plan)
    best = []
    for one in evaluators:
        problem.start(one).losses(problem.current, few)
        best.append(2 / _seconds(one, problem, few))
    left = seconds
    while left > 0:
        before = left
        for place, one in enumerate(evaluators):
            if problem.lookahead / best[place] <= min(left, seconds / len(evaluators)):
                took = _seconds(one, problem, batch)
                left -= took
                best[place] = max(best[place], problem.lookahead / took)
        if left == before:
            break
    return best


def _seconds(evaluator: Evaluator, problem: EvaluationProblem, batch: moves.Moves) -> float:
    began = time.perf_counter()
    evaluator.losses(problem.current, batch)
    return max(time.perf_counter() - began, 1e-9)


def choose(problem: EvaluationProblem, canonical: Canonical, *, budget: float = BUDGET) -> tuple[Evaluator, str]:
    """Return the evaluator for a run, and the reason for it unless it is `fused`.

    Parameters
    ----------
    problem : EvaluationProblem
    canonical : Canonical
        Taken if no other is usable.
    budget : float
        Seconds for timing.

    Returns
    -------
    evaluator : Evaluator
    why : str
        Empty for `fused`.
    """
    fused = examine("fused", problem, canonical)
    if fused.evaluator is not None:
        return fused.evaluator, ""
    # Where inputs are the only sites, a suffix is the whole model.
    kinds = {group.kind for group in problem.gated.sites.groups}
    others = [n for n in NAMES if n not in ("fused", "full") and (n != "suffix" or kinds - {"inputs"})]
    candidates = [examine(name, problem, canonical) for name in others]
    usable = [candidate.evaluator for candidate in candidates if candidate.evaluator is not None]
    why = f"fused is not usable: {fused.reason}"
    if not usable:
        return canonical, f"full, since no other is usable; {why}"
    evaluators = [canonical, *usable]
    speeds = measure_rates(evaluators, problem, budget)
    best = int(np.argmax(speeds))
    if speeds[best] < WORTH * speeds[0]:
        best = 0
    fastest = evaluators[best]
    return fastest, f"{fastest.name}, the fastest here ({speeds[best] / speeds[0]:.1f} times full); {why}"


def select_by_name(name: str, problem: EvaluationProblem, canonical: Canonical) -> Evaluator:
    """Return the evaluator of that name.

    Raises
    ------
    ModelError
        It is not usable; the message says why.
    """
    if name == "full":
        return canonical
    candidate = examine(name, problem, canonical)
    if candidate.evaluator is None:
        raise ModelError(
            f"The evaluator {name!r} cannot be used in this run: {candidate.reason}. "
            "Leave --evaluator out, or see `mcprune evaluators` for a list of those that can."
        )
    return candidate.evaluator


def survey(
    problem: EvaluationProblem, canonical: Canonical, mixtures: dict[str, moves.MovePlan], seconds: float
) -> list[Candidate]:
    """Check and time every evaluator, the plain loop over candidates first.

    Parameters
    ----------
    problem : EvaluationProblem
    canonical : Canonical
    mixtures : dict of str to MovePlan
        Mixtures of moves to time, `seconds` for each evaluator.
    """
    loop = Candidate("plain loop", make_canonical(replace(problem, max_memory=1)), difference=0.0)
    candidates = [loop, *(examine(name, problem, canonical) for name in NAMES)]
    usable = [candidate for candidate in candidates if candidate.evaluator is not None]
    for name, plan in mixtures.items():
        speeds = measure_rates(
            [candidate.evaluator for candidate in usable if candidate.evaluator], problem, seconds * len(usable), plan
        )
        for candidate, speed in zip(usable, speeds, strict=True):
            candidate.rates[name] = speed
    return candidates


@torch.no_grad()
def refuse_random(model: nn.Module, features: torch.Tensor) -> None:
    """Refuse a model that gives two outputs for the same rows, all sites kept: its losses would be noise.

    Parameters
    ----------
    model : nn.Module
        Run in evaluation mode, as for every candidate.
    features : tensor, shape (B, ...)

    Raises
    ------
    ModelError
        The outputs of two passes over the same rows differ by more than rounding.
    """
    with evaluating(model):
        one, other = model(features), model(features)
    away = (one - other).abs() / one.abs().clamp(min=1.0)
    # NaN outputs are reported elsewhere. A GPU may sum in another order each time.
    worst = float(torch.nan_to_num(away, nan=0.0).max())
    if worst > (1e-3 if features.is_cuda else 1e-6):
        raise ModelError(
            f"{type(model).__name__} is random in evaluation mode: two passes over the same rows differ by {worst:.2g}. "
            "Use modules such as nn.Dropout, which eval() turns off, or dropout(..., training=self.training)."
        )
