"""One chain over the signed digits of a network: the arrays of the compiled moves, and what a block of them gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from mcprune.data.prepare import Rows
from mcprune.errors import DataError
from mcprune.firmware.counting.costs import UNITS, Unit
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.arrays import make_state, network_of
from mcprune.types import AnyArray, FloatArray

# Probabilities of the moves, in the order of `digit_kernels`.
MIXTURE = {"exchange": 0.4, "neighbour": 0.15, "within": 0.15, "bias": 0.1, "swap": 0.1, "remove": 0.1}
STAGES = (256, 1024, 4096)  # rows that a decision has seen by the end of each stage but the last, which has all
REJECT_ERRORS = (1.5, 1.0, 0.5)  # standard errors by which each of them rejects
SCREENED = 1024  # rows on which the candidates of a forced removal are compared
FORCED_CANDIDATES = 32
PROBED, PROBE_ROWS = 2048, 512  # additions that are tried alone before a block at most, and rows that each is tried on
PROBE_SHARE = 8  # one for so many proposals of the block
HEAD = 8  # the k-th best of them is drawn with a probability of about 1 / (k + HEAD)


class Walk(NamedTuple):
    """Of a block: proposals, budget at its beginning and from its half on, temperature."""

    proposals: int
    budget_from: float
    budget_to: float
    temperature: float

    def budget_at(self, done: int) -> float:
        """Return the budget after so many proposals, as `digit_kernels.walk` has it."""
        return self.budget_from + (self.budget_to - self.budget_from) * min(1.0, 2.0 * done / self.proposals)


class Chain:
    """A network and its rows as the compiled moves change them.

    Parameters
    ----------
    network : FixedNetwork
        Without dead units: a unit that nothing reads would take proposals.
    rows : Rows
        Whole rows of the data, scaled. In an order of chance: parts of them are looked at first.
    unit : Unit
        Of the budget.
    random_state : int
        64 bits.
    """

    def __init__(self, network: FixedNetwork, rows: Rows, unit: Unit, random_state: int) -> None:
        self.network, self.data, self.unit, self.mode = network, rows, unit, UNITS.index(unit)
        weights = None if rows.weights is None else rows.weights.astype(np.float32)
        self.arrays = make_state(network, network.quantize_inputs(rows.features), rows.targets, weights)
        self.random_state: AnyArray = np.array([random_state], np.uint64)
        self.statistics = np.zeros((kernels.MOVES, kernels.COUNTERS))
        self.totals = np.zeros(2)
        self.mixture: FloatArray = mixture_of("all")
        self.guide = kernels.Guide(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        self.refresh()

    def refresh(self) -> None:
        """Compute the state of all rows, the loss and the cost from the integers of the network."""
        self.totals[0] = kernels.refresh(*self.arrays, self.mode)
        self.totals[1] = self.arrays.net.costs.sum()

    @property
    def loss(self) -> float:
        """Mean cross-entropy of the rows."""
        return float(self.totals[0]) / len(self.data.targets)

    @property
    def cost(self) -> int:
        """In the unit of the budget."""
        return int(self.totals[1])

    def walk(self, walk: Walk) -> int:
        """Make a block of proposals; return the number of candidates that were evaluated."""
        return kernels.walk(
            *self.arrays,
            self.guide,
            walk.proposals,
            self.mode,
            np.array([walk.budget_from, walk.budget_to], np.float64),
            float(walk.temperature),
            np.array([*STAGES, SCREENED, FORCED_CANDIDATES], np.int64),
            np.array(REJECT_ERRORS),
            self.mixture,
            self.random_state,
            self.statistics,
            self.totals,
        )

    def probe(self, proposals: int) -> int:
        """Try additions of powers of two, each alone, and let the block draw those that did well more often.

        At a temperature above 0 such a draw is not as likely forth as back: the chain then seeks, and follows no law.

        Parameters
        ----------
        proposals : int
            Of the block.

        Returns
        -------
        int
            Candidates that were evaluated.
        """
        tries = min(PROBED, proposals // PROBE_SHARE)
        weights, deltas, scores = np.zeros(tries, np.int64), np.zeros(tries, np.int64), np.zeros(tries)
        changes, seen = np.zeros((kernels.MOST_CHANGES, 4), np.int64), min(PROBE_ROWS, len(self.data.targets))
        done = kernels.probe(
            *self.arrays, self.mode, seen, self.price(1), self.random_state, changes, weights, deltas, scores
        )
        _, first = np.unique(np.stack([weights[:done], deltas[:done]]), axis=1, return_index=True)
        order = first[np.argsort(scores[first], kind="stable")]
        odds = np.cumsum(1.0 / (np.arange(len(order)) + HEAD))
        self.guide = kernels.Guide(weights[order], deltas[order], odds / odds[-1] if len(odds) else odds)
        return done

    def fill(self, budget: float, misses: int = 2) -> int:
        """Add digits, each the one of several that gains most for what it costs, until the budget is used or nothing gains.

        Parameters
        ----------
        budget : float
        misses : int
            It ends with so many additions that are none on all rows.

        Returns
        -------
        int
            Candidates that were evaluated.
        """
        changes, best = np.zeros((kernels.MOST_CHANGES, 4), np.int64), np.zeros((kernels.MOST_CHANGES, 4), np.int64)
        net, rows, scratch = self.arrays
        count, evaluated = len(self.data.targets), 0
        while misses and self.cost < budget:
            sums, room = np.zeros(2), budget - self.cost
            seen = min(SCREENED, count)
            evaluated += kernels.grow(
                net, rows, scratch, self.mode, FORCED_CANDIDATES, seen, room, self.random_state, changes, best, sums
            )
            gain = np.zeros(2)
            if sums[0] < 0:
                kernels.apply(net, changes, 1, 1)
                kernels.evaluate(net, rows, scratch, changes, 1, 0, count, -1, False, gain)
            if gain[0] >= 0:
                misses -= 1
                kernels.apply(net, changes, 1, -int(sums[0] < 0))
                continue
            change, _ = kernels.cost_change(net, changes, 1, self.mode, True)
            kernels.evaluate(net, rows, scratch, changes, 1, 0, count, -1, True, np.zeros(2))
            self.totals += (gain[0], change)
        return evaluated

    def price(self, tries: int = 5) -> float:
        """Return the mean loss that the cheapest digit of several costs for each unit of the budget, the median of some tries."""
        changes, best = np.zeros((kernels.MOST_CHANGES, 4), np.int64), np.zeros((kernels.MOST_CHANGES, 4), np.int64)
        sums, prices = np.zeros(2), []
        seen = min(SCREENED, len(self.data.targets))
        net, rows, scratch = self.arrays
        for _ in range(tries):
            if kernels.force(
                net, rows, scratch, self.mode, FORCED_CANDIDATES, seen, self.random_state, changes, best, sums
            ):
                prices.append(sums[0] / seen)
        return max(float(np.median(prices)), 0.0) if prices else 0.0

    def logits(self) -> AnyArray:
        """Return the integer logits of all rows, (classes, B); a view."""
        return self.arrays.rows.accumulators[-self.network.widths[-1] :]

    def result(self) -> FixedNetwork:
        """Return the network as it stands, without dead units, its logit scale fitted to the rows."""
        scale = fit_scale(self.logits(), self.data, float(self.arrays.net.options[0]))
        return remove_dead(network_of(self.arrays, self.network).but(logit_scale=scale))


def mixture_of(moves: str) -> FloatArray:
    """Return the probabilities of the moves, in the order of `digit_kernels`, (MOVES,).

    Parameters
    ----------
    moves : str
        Names of `MIXTURE`, separated by commas, whose probabilities keep their ratios; or "all".
    """
    names = MIXTURE if moves == "all" else moves.split(",")
    chosen = np.array([share if name in names else 0.0 for name, share in MIXTURE.items()])
    return np.append(chosen / chosen.sum(), 0.0)


def check_rows(network: FixedNetwork, rows: Rows) -> None:
    """Refuse rows that are not whole rows of the network's data, or of unknown classes.

    Raises
    ------
    DataError
    """
    if not len(rows.targets):
        raise DataError("There are no training rows. Give one at least.")
    if rows.features.shape[1] != network.origin.width:
        raise DataError(
            f"Rows have {rows.features.shape[1]} columns, and the network was made for data of {network.origin.width}. Give the data "
            "set that it was trained on."
        )
    if rows.targets.max() >= network.widths[-1]:
        raise DataError(
            f"Rows have {rows.targets.max() + 1} classes, and the network has {network.widths[-1]} outputs. Give the data set that it "
            "was trained on."
        )


def fit_scale(logits: AnyArray, rows: Rows, start: float) -> float:
    """Return the logit scale of least mean cross-entropy.

    Parameters
    ----------
    logits : ndarray of int, shape (classes, B)
    rows : Rows
    start : float
        Sought within a factor of 2 of it; it stays where nothing better is found.
    """
    values = logits - logits.max(axis=0)
    own = values[rows.targets, np.arange(len(rows.targets))]
    weights = rows.weights

    def loss(power: float) -> float:
        scale = start * 2.0**power
        return float(np.average(np.log(np.exp(values * scale).sum(axis=0)) - own * scale, weights=weights))

    fitted = minimize_scalar(loss, bounds=(-1.0, 1.0), method="bounded", options={"xatol": 1e-3})
    return start * 2.0 ** float(fitted.x) if fitted.fun < loss(0.0) else start


def mean_loss(network: FixedNetwork, rows: Rows) -> float:
    """Return the mean cross-entropy of rows, in float64."""
    logits = network.forward(network.quantize_inputs(rows.features)) * network.logit_scale
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(rows.targets)), rows.targets]
    return float(np.average(losses, weights=rows.weights))


def accuracy(network: FixedNetwork, rows: Rows) -> float:
    """Return the (weighted) share of rows whose largest logit is their class."""
    is_right = network.forward(network.quantize_inputs(rows.features)).argmax(axis=1) == rows.targets
    return float(np.average(is_right, weights=rows.weights))
