"""Which evaluator serves a run, and which of those is the fastest on its own model and batch.

An evaluator serves if it can be built for the model and if its losses of a few candidates agree with the canonical ones within
the error that it states. fused on a plain perceptron is taken at once; otherwise those that serve are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from mcprune.chain import moves, state
from mcprune.errors import ModelError
from mcprune.evaluators.base import Evaluator
from mcprune.evaluators.cuda_graph import GraphEvaluator
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.evaluators.fused_weights import FusedWeightsEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective, Rows
from mcprune.random import Stream, generator
from mcprune.sites.gates import GatedModel

NAMES = ("fused", "suffix", "incremental", "graph", "full")
CHECKED = 6  # candidates whose losses are compared with the canonical ones
BUDGET = 0.3  # seconds for timing, all evaluators together
WORTH = 1.1  # another evaluator than full must be so many times as fast
CHAINS = np.zeros(1, np.int64)


@dataclass
class Case:
    """What an evaluator is chosen for: the model, the objective, a batch as the run will have, and its moves."""

    gated: GatedModel
    objective: Objective
    features: torch.Tensor  # (B, ...)
    targets: torch.Tensor  # (B,)
    plan: moves.MovePlan
    keep: int
    start_weight: float
    sharpness: float
    ahead: int
    max_memory: int = 2**30
    wrong_rate: float | None = None
    rows: Rows | None = None
    current: state.ChainState = field(init=False)

    def __post_init__(self) -> None:
        """Stand where a run spends most of its time: n sites kept, here at random ones."""
        sites = self.gated.sites.size
        kept = generator(0, Stream.TRIALS).permutation(sites) < max(1, min(self.keep, sites - 1))
        self.current = state.new_state(
            np.where(kept, self.start_weight, -self.start_weight)[None], sharpness=self.sharpness
        )

    def candidates(self, count: int, plan: moves.MovePlan | None = None) -> moves.Moves:
        """Return candidates of the run's mixture, or of another one."""
        return moves.propose(
            self.current, count, plan=plan or self.plan, delta=1.0, sharpness=self.sharpness, seed=0, chains=CHAINS
        )

    def begun(self, evaluator: Evaluator) -> Evaluator:
        """Return the evaluator, begun on the batch."""
        if self.rows is not None:
            self.objective.begin(self.rows)
        evaluator.begin(self.features, self.targets, self.current.position, self.sharpness)
        return evaluator


@dataclass
class Row:
    """What was found about one evaluator."""

    name: str
    evaluator: Evaluator | None = None
    reason: str = ""  # why it does not serve
    difference: float | None = None  # the largest from canonical, relative to max(1, loss)
    rates: dict[str, float] = field(default_factory=dict)  # proposals a second, by mixture


def build(name: str, case: Case) -> Evaluator:
    """Return an evaluator by name.

    Raises
    ------
    ModelError
        It cannot serve the model; the message says why.
    """
    gated, objective, memory = case.gated, case.objective, case.max_memory
    if objective.reads_mask and name != "full":
        raise ModelError(f"the objective {objective.name!r} reads the mask, which only full has at hand")
    ways: dict[str, Callable[[], Evaluator]] = {
        "full": lambda: FullEvaluator(gated, objective, max_memory=memory),
        "fused": lambda: (FusedWeightsEvaluator if gated.sites.weights else FusedEvaluator)(
            gated, objective, wrong_rate=case.wrong_rate
        ),
        "suffix": lambda: SuffixEvaluator(gated, objective, max_memory=memory),
        "incremental": lambda: IncrementalEvaluator(gated, objective, max_memory=memory),
        "graph": lambda: GraphEvaluator(gated, objective, batch=case.ahead, max_memory=memory),
    }
    return ways[name]()


def examine(name: str, case: Case, canonical: FullEvaluator) -> Row:
    """Build one evaluator and compare its losses with the canonical ones."""
    row = Row(name)
    try:
        evaluator = case.begun(build(name, case))
        batch = case.candidates(CHECKED)
        usual = batch.size[0] > 0
        wanted = np.append(case.begun(canonical).losses(case.current, batch)[0, usual], canonical.current())
        found = np.append(evaluator.losses(case.current, batch)[0, usual], evaluator.current())
    except ModelError as error:
        row.reason = str(error)
        return row
    # A loss that is not finite is a rejection in both, whatever it is.
    finite = np.isfinite(wanted)
    if not np.array_equal(np.isfinite(found), finite):
        row.reason = "its losses are not finite where the canonical ones are, or the other way round"
        return row
    row.difference = float((np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted)))[finite].max(initial=0.0))
    if row.difference > evaluator.error:
        row.reason = (
            f"its losses are {row.difference:.1e} away from the canonical ones, more than its {evaluator.error:.0e}"
        )
    else:
        row.evaluator = evaluator
    return row


def rates(
    evaluators: Sequence[Evaluator], case: Case, seconds: float, plan: moves.MovePlan | None = None
) -> list[float]:
    """Return the proposals a second of each evaluator, measured in turns within about the given time, once at least.

    The best of the turns counts: what else the machine does only makes them slower.
    """
    few, batch = case.candidates(2, plan), case.candidates(case.ahead, plan)
    best = []
    for one in evaluators:
        case.begun(one).losses(case.current, few)
        best.append(2 / _seconds(one, case, few))
    left = seconds
    while left > 0:
        before = left
        for place, one in enumerate(evaluators):
            if case.ahead / best[place] <= min(left, seconds / len(evaluators)):
                took = _seconds(one, case, batch)
                left -= took
                best[place] = max(best[place], case.ahead / took)
        if left == before:
            break
    return best


def _seconds(evaluator: Evaluator, case: Case, batch: moves.Moves) -> float:
    began = time.perf_counter()
    evaluator.losses(case.current, batch)
    return max(time.perf_counter() - began, 1e-9)


def choose(case: Case, canonical: FullEvaluator, *, budget: float = BUDGET) -> tuple[Evaluator, str]:
    """Return the evaluator for a run, and why if it is not the obvious one.

    Parameters
    ----------
    case : Case
    canonical : FullEvaluator
        It serves where nothing else does.
    budget : float
        Seconds for timing.

    Returns
    -------
    evaluator : Evaluator
    why : str
        Empty where `fused` serves.
    """
    fused = examine("fused", case, canonical)
    if fused.evaluator is not None:
        return fused.evaluator, ""
    # Where inputs are the only sites, a suffix is the whole model.
    kinds = {group.kind for group in case.gated.sites.groups}
    others = [n for n in NAMES if n not in ("fused", "full") and (n != "suffix" or kinds - {"inputs"})]
    rows = [examine(name, case, canonical) for name in others]
    serving = [row.evaluator for row in rows if row.evaluator is not None]
    why = f"fused cannot: {fused.reason}"
    if not serving:
        return canonical, f"full, since no other serves; {why}"
    all_of_them = [canonical, *serving]
    speeds = rates(all_of_them, case, budget)
    best = int(np.argmax(speeds))
    if speeds[best] < WORTH * speeds[0]:
        best = 0
    return all_of_them[
        best
    ], f"{all_of_them[best].name}, the fastest here ({speeds[best] / speeds[0]:.1f} times full); {why}"


def named(name: str, case: Case, canonical: FullEvaluator) -> Evaluator:
    """Return the evaluator that was asked for by name.

    Raises
    ------
    ModelError
        It cannot serve; the message says why and what does.
    """
    if name == "full":
        return canonical
    row = examine(name, case, canonical)
    if row.evaluator is None:
        raise ModelError(
            f"the {name} evaluator cannot serve this run: {row.reason}; leave --evaluator out, or see `mcprune evaluators`"
        )
    return row.evaluator


def survey(case: Case, canonical: FullEvaluator, mixtures: dict[str, moves.MovePlan], seconds: float) -> list[Row]:
    """Return what there is to know of every evaluator, the plain loop over candidates first.

    Parameters
    ----------
    case : Case
    canonical : FullEvaluator
    mixtures : dict of str to MovePlan
        What is timed, `seconds` for each evaluator.
    """
    loop = Row("plain loop", FullEvaluator(case.gated, case.objective, max_memory=1), difference=0.0)
    rows = [loop, *(examine(name, case, canonical) for name in NAMES)]
    serving = [row for row in rows if row.evaluator is not None]
    for name, plan in mixtures.items():
        speeds = rates([row.evaluator for row in serving if row.evaluator], case, seconds * len(serving), plan)
        for row, speed in zip(serving, speeds, strict=True):
            row.rates[name] = speed
    return rows


@torch.no_grad()
def refuse_random(model: nn.Module, features: torch.Tensor) -> None:
    """Refuse a model that gives the same candidate, all sites kept, two answers: its losses would be noise.

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
    # NaN is no answer at all and is met later. A GPU may sum in another order each time.
    worst = float(torch.nan_to_num(away, nan=0.0).max())
    if worst > (1e-3 if features.is_cuda else 1e-6):
        raise ModelError(
            f"{type(model).__name__} is random in evaluation mode: two passes over the same rows differ by {worst:.2g}; "
            "use modules such as nn.Dropout, which eval() turns off, or dropout(..., training=self.training)"
        )
