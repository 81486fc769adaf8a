"""Blocks of proposals that are decided by any objective of mcprune, such as the background rejection at a trigger's rate.

Candidates are drawn as for the cross-entropy. The integer logits of all rows are computed for several of them from one state, the
objective values them together, and the first that is accepted is taken: what this gives is what one after the other would give.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np
import torch

from mcprune.data.prepare import Rows
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.chain import SCREENED, Chain, Walk, mean_loss
from mcprune.objectives.base import Objective
from mcprune.objectives.base import Rows as ObjectiveRows
from mcprune.objectives.ranking import EDGE, BackgroundAt
from mcprune.types import AnyArray, Float32Array, FloatArray, IntArray

LOOKAHEAD = 8  # candidates that are valued together


class Candidate(NamedTuple):
    """A drawn candidate, with the state of the random numbers after its draw."""

    move: int
    changes: IntArray
    cost_change: int
    threshold: float
    random_state: int
    is_changed: bool  # some logit is another


class Decisions(NamedTuple):
    """What a chain's candidates are decided by: an objective, or the cross-entropy where it is None.

    The cross-entropy is decided in compiled code and on parts of the rows where these suffice; any other objective on all rows.
    Where `is_guided`, the additions of a block are drawn by how they do alone before it, by the cross-entropy.
    """

    objective: Objective | None = None
    is_guided: bool = False

    def advance(self, chain: Chain, walk: Walk) -> int:
        """Make a block of proposals; return the number of candidates that were evaluated."""
        probed = chain.probe(walk.proposals) if self.is_guided else 0
        return probed + (chain.walk(walk) if self.objective is None else walk_by_objective(chain, walk, self.objective))

    def value(self, chain: Chain) -> float:
        """Return what is minimised, of the chain's network on its rows."""
        return chain.loss if self.objective is None else objective_value(chain, self.objective)

    def value_on(self, network: FixedNetwork, rows: Rows) -> float:
        """Return what is minimised, of a network on other rows."""
        if self.objective is None:
            return mean_loss(network, rows)
        logits = network.forward(network.quantize_inputs(rows.features)) * network.logit_scale
        return float(objective_values(rows, self.objective, logits[None].astype(np.float32))[0])


def objective_value(chain: Chain, objective: Objective) -> float:
    """Return the objective of the chain's network on its rows."""
    return float(objective_values(chain.data, objective, _scaled(chain)[None])[0])


def objective_values(rows: Rows, objective: Objective, logits: Float32Array) -> FloatArray:
    """Return the objective of several logits (K, B, classes) of some rows."""
    if has_fast_value(objective, rows):
        return np.array([fast_value(cast("BackgroundAt", objective), rows, one) for one in logits])
    if rows.weights is not None:
        objective.begin(ObjectiveRows(weights=torch.from_numpy(rows.weights)))
    return objective.losses(torch.from_numpy(logits), torch.from_numpy(rows.targets))


def has_fast_value(objective: Objective, rows: Rows) -> bool:
    """Return whether `fast_value` can take the place of an objective's losses."""
    return type(objective) is BackgroundAt and rows.weights is None


def fast_value(objective: BackgroundAt, rows: Rows, logits: Float32Array) -> float:
    """Return the background that passes at the objective's signal efficiency, without a sort; logits (B, classes).

    The tightest threshold that keeps k signal rows is the k-th largest score of the signal; rows of that score pass. Rows whose logits
    differ by a constant have one score here, also where the rounding of a logarithm would tell them apart.
    """
    wide = logits.astype(np.float64)
    others = np.delete(wide, objective.label, axis=1)
    top = others.max(axis=1)
    scores = wide[:, objective.label] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
    is_signal = rows.targets == objective.label
    signal = scores[is_signal]
    rank = max(math.ceil(objective.efficiency * len(signal) * (1 - EDGE)), 1)
    threshold = np.partition(signal, len(signal) - rank)[len(signal) - rank]
    passed = int((scores >= threshold).sum() - (signal >= threshold).sum())
    return passed / (len(scores) - len(signal))


def walk_by_objective(chain: Chain, walk: Walk, objective: Objective) -> int:
    """Make a block of proposals as `Chain.walk` does, decided by an objective on all rows; return the number of evaluations.

    Digits that must go because of a falling budget are still chosen by the cross-entropy, on a part of the rows.
    """
    current = objective_value(chain, objective)
    ahead = 1 if has_fast_value(objective, chain.data) else LOOKAHEAD
    logits = np.empty((ahead, len(chain.data.targets), chain.network.widths[-1]), np.float32)
    done, evaluated = 0, 0
    while done < walk.proposals:
        if chain.cost > walk.budget_at(done):
            if not _force(chain):
                break
            current = objective_value(chain, objective)
            continue
        candidates: list[Candidate] = []
        for place in range(min(ahead, walk.proposals - done)):
            budget = walk.budget_at(done + place)
            if chain.cost > budget:
                break
            candidates.append(_draw(chain, walk, budget, logits[place]))
        changed = [place for place, candidate in enumerate(candidates) if candidate.is_changed]
        values = np.full(len(candidates), current)
        if changed:
            values[changed] = objective_values(chain.data, objective, logits[changed])
        for candidate, value in zip(candidates, values, strict=True):
            done += 1
            evaluated += len(candidate.changes) > 0
            chain.statistics[candidate.move, kernels.PROPOSED] += 1
            if len(candidate.changes) == 0:
                continue
            chain.statistics[candidate.move, [kernels.EVALUATED, kernels.FULL]] += 1
            is_dearer = candidate.cost_change > 0 and not candidate.is_changed
            if not is_dearer and value - current <= candidate.threshold:  # not of a value that is not a number
                _take(chain, candidate, value - current)
                current = float(value)
                break
    return evaluated


def _draw(chain: Chain, walk: Walk, budget: float, out: Float32Array) -> Candidate:
    """Draw a candidate and write its logits; the chain's random numbers go on, its network stays."""
    net, rows, scratch = chain.arrays
    changes, drawn = np.zeros((kernels.MOST_CHANGES, 4), np.int64), np.zeros(2, np.int64)
    cost = float(chain.cost)
    count = kernels.draw(net, chain.guide, chain.mode, budget, cost, chain.mixture, chain.random_state, changes, drawn)
    threshold = 0.0
    if walk.temperature > 0:
        threshold = -walk.temperature * float(np.log(1.0 - kernels.random(chain.random_state)))
    is_changed = False
    if count:
        kernels.apply(net, changes, count, 1)
        is_changed = kernels.new_logits(net, rows, scratch, changes, count, -1, out)
        kernels.apply(net, changes, count, -1)
    return Candidate(
        int(drawn[0]), changes[:count], int(drawn[1]), threshold, int(chain.random_state[0]), bool(is_changed)
    )


def _take(chain: Chain, candidate: Candidate, change: float) -> None:
    """Make a candidate's changes; the random numbers go on from its draw."""
    net, rows, scratch = chain.arrays
    count = len(candidate.changes)
    kernels.apply(net, candidate.changes, count, 1)
    kernels.cost_change(net, candidate.changes, count, chain.mode, True)
    sums = np.zeros(2)
    kernels.evaluate(net, rows, scratch, candidate.changes, count, 0, len(chain.data.targets), -1, True, sums)
    chain.totals += (sums[0], candidate.cost_change)
    chain.random_state[0] = candidate.random_state
    chain.statistics[candidate.move, [kernels.ACCEPTED, kernels.GAIN]] += (1, change)


def _force(chain: Chain) -> bool:
    """Take away the digit that costs least cross-entropy for what it frees; return whether one was there."""
    net, rows, scratch = chain.arrays
    changes, best = np.zeros((kernels.MOST_CHANGES, 4), np.int64), np.zeros((kernels.MOST_CHANGES, 4), np.int64)
    seen, sums = min(SCREENED, len(chain.data.targets)), np.zeros(2)
    if not kernels.force(net, rows, scratch, chain.mode, 32, seen, chain.random_state, changes, best, sums):
        return False
    kernels.apply(net, changes, 1, 1)
    change, _ = kernels.cost_change(net, changes, 1, chain.mode, True)
    sums[:] = 0
    kernels.evaluate(net, rows, scratch, changes, 1, 0, len(chain.data.targets), -1, True, sums)
    chain.totals += (sums[0], change)
    chain.statistics[kernels.FORCED, kernels.ACCEPTED] += 1
    return True


def _scaled(chain: Chain) -> Float32Array:
    """Return the scaled logits of all rows, (B, classes)."""
    values: AnyArray = chain.logits().T * float(chain.arrays.net.options[0])
    return np.ascontiguousarray(values, np.float32)
