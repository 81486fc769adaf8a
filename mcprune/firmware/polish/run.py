"""Polish a network: the blocks of the chain over digits from a start to an exact budget, with a state that can be stored between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mcprune.data.prepare import Rows
from mcprune.errors import ConfigError
from mcprune.firmware.counting.costs import Unit, costs
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.polish.bit_moves import bit_round
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.arrays import fast_cost
from mcprune.firmware.polish.engine.chain import Chain, Walk, check_rows, mixture_of
from mcprune.firmware.polish.objective_walk import Decisions
from mcprune.firmware.polish.settings import PolishSettings
from mcprune.firmware.polish.shares import blended_rates, gain_rates, shares_of
from mcprune.firmware.polish.unit_moves import walk_with_drops
from mcprune.objectives.base import Objective
from mcprune.random import Stream, generator
from mcprune.types import FloatArray

SolverCount = Callable[[FixedNetwork], int]
Steering = Callable[["PolishState"], "PolishState"]
SOLVED_UNITS: tuple[Unit, ...] = ("adders", "luts")  # that a solver counts after its sharing of common parts
BIT_UNITS: tuple[Unit, ...] = ("digit-bits", "ebops", "luts")  # in which a bit of a signal has a price
BITS_UNTIL, BITS_EVERY = 0.85, 2  # bits are tried in every second block until this part of them
EXTRA_BLOCKS = 20  # to come below a budget that the blocks left unreached


@dataclass(frozen=True, eq=False)
class PolishState:
    """What a chain over digits is between two blocks.

    Attributes
    ----------
    network : FixedNetwork
    block : int
        Blocks done.
    random_state : int
        Of the compiled chain.
    start_cost : int
        Of the first network in the unit of the budget, without sharing.
    inner_budget : int
        What the chain keeps to: the budget, or the cost without sharing at which a solver's count keeps to it.
    best : FixedNetwork or None
        The best network within the budget so far.
    best_value : float
        Its objective on the validation rows.
    evaluated : int
        Candidates.
    dropped : int
        Accepted unit moves.
    bits_moved : int
        Accepted moves of bits.
    statistics : ndarray, shape (MOVES, COUNTERS)
    rates : ndarray, shape (MOVES,)
        What the moves have gained for their work, the later blocks with more weight.
    temperature : float or None
        In place of that of the settings, where somebody has changed it.
    """

    network: FixedNetwork
    block: int
    random_state: int
    start_cost: int
    inner_budget: int
    best: FixedNetwork | None = None
    best_value: float = np.inf
    evaluated: int = 0
    dropped: int = 0
    bits_moved: int = 0
    statistics: FloatArray = field(default_factory=lambda: np.zeros((kernels.MOVES, kernels.COUNTERS)))
    rates: FloatArray = field(default_factory=lambda: np.zeros(kernels.MOVES))
    temperature: float | None = None


class Polisher:
    """The chain over digits of one network on some rows, block by block.

    Parameters
    ----------
    rows : Rows
        Training rows: whole rows of the data, scaled.
    settings : PolishSettings
    validation : Rows, optional
        They choose among the networks that the blocks leave within the budget; without them the training rows do.
    objective : Objective, optional
        By default the cross-entropy, which is far faster than any other.
    solver_count : callable, optional
        A solver's count of a network. With a budget in adders or luts the result then keeps to it by this count; without it by the
        count of sums that share nothing.
    """

    def __init__(
        self,
        rows: Rows,
        settings: PolishSettings,
        validation: Rows | None = None,
        objective: Objective | None = None,
        solver_count: SolverCount | None = None,
    ) -> None:
        rows = with_noise(rows, settings.input_noise, settings.seed)
        order = generator(settings.seed, Stream.POLISH_ORDER).permutation(len(rows.targets))
        weights = None if rows.weights is None else rows.weights[order]
        self.rows = Rows(np.ascontiguousarray(rows.features[order]), rows.targets[order], weights)
        self.judging = validation if validation is not None and len(validation.targets) else self.rows
        self.settings, self.decisions = settings, Decisions(objective, settings.guided)
        self.solver_count = solver_count if settings.unit in SOLVED_UNITS else None

    def start(self, network: FixedNetwork) -> PolishState:
        """Return the state before the first block.

        Raises
        ------
        DataError
            Rows that do not fit the network.
        ModelError
            A network that the chain cannot hold.
        """
        check_rows(network, self.rows)
        whole = remove_dead(network)
        cost = self._cost(whole)
        start = costs(whole).of(self.settings.unit)
        state = PolishState(whole, 0, self.settings.seed, start, self._inner_budget(whole, cost))
        return self._with_best(state, whole)

    def step(self, state: PolishState) -> PolishState:
        """Make one block."""
        settings, block = self.settings, state.block
        rng = generator(settings.seed, Stream.POLISH, block)
        chain = Chain(state.network, self.rows, settings.unit, state.random_state)
        chain.mixture = shares_of(mixture_of(settings.moves), state.rates)
        start = state.start_cost
        walk = Walk(
            settings.block_proposals(),
            settings.budget_at(block, start, state.inner_budget),
            settings.budget_at(block + 1, start, state.inner_budget),
            settings.temperature_at(block, fast_cost(state.network, "digits"))
            if state.temperature is None
            else state.temperature,
        )
        bits = 0
        if self._tries_bits(block):
            bits = bit_round(chain, chain.price(), rng)
        is_dropped = False
        if settings.tries_drops(block):
            chain, evaluated, is_dropped = walk_with_drops(chain, walk, self.decisions, settings.drops, rng)
        else:
            evaluated = self.decisions.advance(chain, walk)
        rates = state.rates
        if settings.adaptive and self.decisions.objective is None:
            rates = blended_rates(rates, gain_rates(chain.statistics, chain.price()))
        network = chain.result()
        state = replace(
            state,
            network=network,
            block=block + 1,
            random_state=int(chain.random_state[0]),
            evaluated=state.evaluated + evaluated,
            dropped=state.dropped + is_dropped,
            bits_moved=state.bits_moved + bits,
            statistics=state.statistics + chain.statistics,
            rates=rates,
        )
        return self._with_best(state, network)

    def is_done(self, state: PolishState) -> bool:
        """Return whether all blocks are made and a network within the budget is there."""
        return state.block >= self.settings.blocks and state.best is not None

    def run(self, state: PolishState, steer: Steering | None = None) -> Iterator[PolishState]:
        """Make the blocks that are left, and yield the state after each.

        Parameters
        ----------
        state : PolishState
        steer : callable, optional
            Asked before each block: the block starts from the state that it returns.

        Raises
        ------
        ConfigError
            No network within the budget was reached.
        """
        while not self.is_done(state):
            if steer is not None and self.is_done(state := steer(state)):
                return
            if state.block >= self.settings.blocks + EXTRA_BLOCKS:
                raise ConfigError(
                    f"The network still costs {self._cost(state.network)} {self.settings.unit} where the budget is "
                    f"{self.settings.budget}. Raise the budget."
                )
            state = self.step(state)
            yield state

    def _tries_bits(self, block: int) -> bool:
        """Return whether a block tries bits: where these have a price, and the cross-entropy decides."""
        is_priced = self.settings.unit in BIT_UNITS and self.decisions.objective is None
        return is_priced and block % BITS_EVERY == 0 and block < BITS_UNTIL * self.settings.blocks

    def _cost(self, network: FixedNetwork) -> int:
        """Return the cost that must keep to the budget."""
        if self.solver_count is not None:
            return self.solver_count(network)
        counted = fast_cost(network, self.settings.unit)
        return counted if counted >= 0 else costs(network).of(self.settings.unit)

    def _inner_budget(self, network: FixedNetwork, cost: int) -> int:
        """Return what the chain keeps to, from the cost of a network that it has."""
        if self.solver_count is None or cost == 0:
            return self.settings.budget
        return max(int(self.settings.budget * costs(network).of(self.settings.unit) / cost), 1)

    def _with_best(self, state: PolishState, network: FixedNetwork) -> PolishState:
        """Return the state with the network as its best, if it is that and keeps to the budget."""
        cost = self._cost(network)
        if self.solver_count is not None:
            inner = self._inner_budget(network, cost)
            if cost > self.settings.budget and state.block >= self.settings.blocks:
                inner = min(
                    inner, state.inner_budget - max(state.inner_budget // 100, 1)
                )  # sharing has become worse: go on below
            state = replace(state, inner_budget=inner)
        if cost > self.settings.budget:
            return state
        value = self.decisions.value_on(network, self.judging)
        return replace(state, best=network, best_value=value) if value < state.best_value else state


def with_noise(rows: Rows, deviation: float, seed: int) -> Rows:
    """Return rows, each followed by a copy with normal noise on its inputs; the rows alone where the deviation is 0."""
    if deviation == 0:
        return rows
    drawn = generator(seed, Stream.POLISH_NOISE).normal(scale=deviation, size=rows.features.shape)
    features = np.concatenate([rows.features, (rows.features + drawn).astype(rows.features.dtype)])
    weights = None if rows.weights is None else np.tile(rows.weights, 2)
    return Rows(features, np.tile(rows.targets, 2), weights)
