"""Sample masks: burn-in, in which temperature and proposals are adapted, then draws, for which nothing changes any more."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from mcprune.chain import tempering
from mcprune.chain.tempering import Ladder
from mcprune.errors import ConfigError
from mcprune.methods.base import Batch
from mcprune.methods.markov import standard_error
from mcprune.methods.markov.state import MarkovState, Tally
from mcprune.random import Stream, generator
from mcprune.sampling.walks.chains import MaskChains
from mcprune.sampling.walks.companions import Companions
from mcprune.sampling.walks.expansion import ROWS
from mcprune.sampling.walks.loss_model import CandidateLog, LossModel
from mcprune.sampling.walks.surrogate import Mixture
from mcprune.types import AnyArray, BoolArray, FloatArray

# Rounds of burn-in, the legs of the first, and the factor by which they grow; the most rounds where chains have not come together.
ROUNDS, FIRST_LEGS, GROWTH, MOST_ROUNDS = 8, 10, 1.35, 16
# The first part of a round is left out of what is estimated from it.
SETTLING = 1 / 3
# Chains have come together where their mean losses in a round differ by less than so many standard deviations within one.
TOGETHER = 1.0
# A round changes the logarithm of the temperature by this at most.
MOST_CHANGE = 1.5
# Decisions of a leg, after each of which a mask is recorded, as long as the model of the loss proposes no walks: as many as kept items.
LEAST_LEG, MOST_LEG = 16, 256
# Legs of a chunk, between two of which a sample can be stopped and resumed.
CHUNK = 25
# Masks of a round around which the loss is expanded, more where they are needed for each row to count once, and at most.
EXPANDED, MOST_EXPANDED = 4, 16
# Draws of a round at which the paired error is measured.
PAIRS = 5


@dataclass
class SamplerState:
    """Chains between two chunks; updated in place. What is stored of a sample is this tree, and the draws.

    Attributes
    ----------
    chains : MarkovState
        All replicas.
    ladders : Ladder
        Of all chains: each of its arrays has a first axis of C.
    rounds : int
        Rounds of burn-in done.
    is_burnt_in : bool
    temperature : float
        Of the law; NaN before it is known.
    paired_error : float
        Standard error of the difference of the losses of two masks of different chains; NaN before it is known.
    spread : float
        Standard deviation of the losses within the chains, in the last round.
    probability : ndarray of float64, shape (F,)
        Share of the draws of the last round that keep each item.
    drawn : float
        Draws of that round; 0 before the first.
    model : LossModel
        Of the loss, by which walks are made.
    companions : Companions
        Masks under the law of the model, with which chains trade places.
    draws : int
        Legs after the burn-in.
    decisions, accepted : int
        Of all replicas after the burn-in.
    """

    chains: MarkovState
    ladders: Ladder
    rounds: int
    is_burnt_in: bool
    temperature: float
    paired_error: float
    spread: float
    probability: FloatArray
    drawn: float
    model: LossModel
    companions: Companions
    draws: int
    decisions: int
    accepted: int

    def each_ladder(self) -> list[Ladder]:
        """Return the ladder of each chain: views, which change with the state."""
        return [Ladder(*(part[chain] for part in self.ladders)) for chain in range(len(self.ladders.rung))]


@dataclass
class Draws:
    """Masks (C, draws, F) of items, and their losses (C, draws), of the first rungs."""

    masks: list[BoolArray] = field(default_factory=list)
    losses: list[FloatArray] = field(default_factory=list)

    def add(self, masks: BoolArray, losses: FloatArray) -> None:
        """Add the masks (C, F) of one leg."""
        self.masks.append(masks)
        self.losses.append(losses)

    def arrays(self) -> tuple[BoolArray, FloatArray]:
        """Return all of them, the chains first."""
        return np.stack(self.masks, axis=1), np.stack(self.losses, axis=1)


class Sampler:
    """Draws masks of n sites with probability exp(-loss / temperature) / Z.

    Parameters
    ----------
    method : MaskChains
    batch : Batch
        The evaluation rows.
    starts : ndarray of bool, shape (C, N)
        The first mask of each chain.
    temperature : float, optional
        By default that at which the losses of masks under the law spread by the standard error of a paired loss difference.
    hottest : float
        In the last law of a ladder the loss counts 1 / hottest, and its model the rest.
    """

    def __init__(
        self,
        method: MaskChains,
        batch: Batch,
        starts: BoolArray,
        temperature: float | None = None,
        hottest: float = 4.0,
    ) -> None:
        if temperature is not None and not 0 < temperature < math.inf:
            raise ConfigError(f"temperature={temperature:g}. Sampling needs a temperature above 0, such as 0.01.")
        self.method, self.batch, self.starts = method, batch, starts
        self.temperature, self.hottest = temperature, hottest

    def init(self) -> SamplerState:
        """Return the state before the burn-in."""
        method = self.method
        state, model = method.init(), LossModel.of(method.space.size)
        method.place(state, np.repeat(self.starts, method.rungs, axis=0))
        return SamplerState(
            chains=state,
            ladders=_several(tempering.new_ladder(method.rungs), len(self.starts)),
            rounds=0,
            is_burnt_in=False,
            temperature=math.nan,
            paired_error=math.nan,
            spread=math.nan,
            probability=np.zeros(method.space.size),
            drawn=0.0,
            model=model,
            companions=Companions.of(len(self.starts), method.space.keep, model.active.size),
            draws=0,
            decisions=0,
            accepted=0,
        )

    def burn_in(self, state: SamplerState) -> None:
        """Do one round of burn-in; after the last one temperature and proposals are frozen."""
        if state.is_burnt_in:
            raise ValueError("the burn-in is over")
        if not state.rounds:
            self._guess_temperature(state)
        draws = self._learn(state, round(FIRST_LEGS * GROWTH ** min(state.rounds, ROUNDS)))
        masks, losses = draws.arrays()
        settled = int(SETTLING * losses.shape[1])
        masks, losses = masks[:, settled:], losses[:, settled:]
        state.rounds += 1
        state.probability[:] = masks.mean(axis=(0, 1))
        state.drawn = float(losses.size)
        within = math.sqrt(float(losses.var(axis=1, ddof=1).mean()))
        is_together = float(losses.mean(axis=1).std(ddof=1)) <= TOGETHER * within
        # Chains that are still on their way down would seem to spread more than they do.
        state.spread = float(losses.std(ddof=1)) if is_together else within
        self._measure(state, masks)
        is_last = state.rounds >= ROUNDS and (is_together or state.rounds >= MOST_ROUNDS)
        self._adapt(state)
        state.companions.end_round(is_last=is_last)
        if is_last:
            state.is_burnt_in = True
            for ladder in state.each_ladder():
                tempering.forget(ladder)
        elif self.method.rungs > 1:
            self._adapt_ladder(state)

    def draw(self, state: SamplerState, legs: int = CHUNK) -> Draws:
        """Return the masks of the next legs after the burn-in."""
        if not state.is_burnt_in:
            raise ValueError("the burn-in is not over")
        draws = self._legs(state, legs)
        state.draws += legs
        return draws

    def explore(self, state: SamplerState, multiple: float, legs: int, settling: float) -> BoolArray:
        """Return the masks (K, F) of legs before the burn-in, at about a multiple of the temperature that the burn-in would come to.

        Parameters
        ----------
        state : SamplerState
            In place; of no use for samples afterwards.
        multiple : float
        legs : int
        settling : float
            Share of the legs that is left out.
        """
        if not state.rounds:
            self._guess_temperature(state)
            state.temperature *= multiple
        elif self.temperature is not None:
            state.temperature = multiple * self.temperature
        elif state.paired_error > 0 and state.spread > 0:
            change = math.log(multiple * state.paired_error / state.spread)
            state.temperature *= math.exp(float(np.clip(change, -MOST_CHANGE, MOST_CHANGE)))
        masks, losses = self._learn(state, legs).arrays()
        first = int(settling * losses.shape[1])
        masks, losses = masks[:, first:], losses[:, first:]
        state.rounds += 1
        state.probability[:] = masks.mean(axis=(0, 1))
        state.drawn = float(losses.size)
        state.spread = math.sqrt(float(losses.var(axis=1, ddof=1).mean()))
        self._measure(state, masks)
        state.companions.end_round(is_last=False)
        return masks.reshape(-1, masks.shape[2])

    def evaluate(self, masks: BoolArray) -> FloatArray:
        """Return the losses (K,) of masks (K, N) by the classifiers and rows of the samples."""
        return self.method.evaluate(masks, self.batch)

    def swap_rates(self, state: SamplerState) -> tuple[float, ...]:
        """Return the accepted share of the swaps of neighbouring rungs since the burn-in, all chains together."""
        swaps, attempts = state.ladders.swaps.sum(axis=0), state.ladders.attempts.sum(axis=0)
        return tuple((swaps / np.maximum(attempts, 1)).tolist())

    def _learn(self, state: SamplerState, count: int) -> Draws:
        """Return the masks of legs, from whose candidates the model learns what the next ones are proposed by."""
        gates, model, keep = self.method.gates, state.model, self.method.space.keep
        gates.log = log = CandidateLog(len(self.method.chains))
        try:
            draws = self._legs(state, count)
        finally:
            gates.log = None
        masks = np.stack(draws.masks, axis=1)
        around = _last_ones(masks, max(EXPANDED, -(-len(self.batch.targets) // ROWS)))
        model.learn(log, state.temperature, self.method.expand_loss(around, self.batch))
        model.aim(log, keep)
        late = masks[:, masks.shape[1] // 2 :]
        losses = np.stack(draws.losses, axis=1)[:, masks.shape[1] // 2 :]
        state.companions.learn(model.energy(late.reshape(-1, late.shape[2])[:, model.active]), losses.ravel())
        model.follow(masks.mean(axis=(0, 1)), float(masks.shape[0] * masks.shape[1]), keep)
        return draws

    def _legs(self, state: SamplerState, count: int) -> Draws:
        method, chain = self.method, state.chains.chain
        method.gates.model = state.model
        method.gates.mixture = Mixture(state.temperature, state.companions.scale) if method.rungs > 1 else None
        leg = state.model.leg if state.model.tries else int(np.clip(method.space.keep, LEAST_LEG, MOST_LEG))
        method.load(state.chains, self.batch)
        plan = method.mixture(state.probability if state.drawn else None, state.drawn)
        draws, tally, ladders = Draws(), Tally.empty(len(method.chains)), state.each_ladder()
        rungs = tempering.temperatures(ladders[0], state.temperature, self.hottest * state.temperature)
        for _ in range(count):
            method.leg(state.chains, ladders, rungs, plan, leg, tally)
            if state.model.tries and state.companions.is_on:
                method.visit(state.chains, ladders, rungs, plan, state.companions, tally)
            cold = method.at_rung(ladders)
            draws.add(chain.position[cold] > 0, chain.loss[cold].copy())
        method.close(state.chains)
        if state.is_burnt_in:
            _, decided, accepted = tally.by_rung.sum(axis=(1, 2)).tolist()
            state.decisions += decided
            state.accepted += accepted
        return draws

    def _guess_temperature(self, state: SamplerState) -> None:
        """Begin with the given temperature, or with the standard error of a difference between one start and the others."""
        self.method.load(state.chains, self.batch)
        self._measure(state, self.method.space.items_of(self.starts)[:, None])
        if self.temperature is not None:
            state.temperature = self.temperature
            return
        mask = self.method.space.items_of(self.starts)[0]
        draw = generator(self.method.settings.seed, Stream.SAMPLING)
        others = standard_error.exchanged(mask, standard_error.EXCHANGES, draw)
        error = self.method.paired_error(np.concatenate([mask[None], others]), self.batch)
        state.temperature = error if error > 0 else state.paired_error
        if not state.temperature > 0:
            raise ConfigError(
                "The standard error of a loss difference cannot be measured on the evaluation rows, so there is no default temperature. "
                "Give one, such as --temperature 0.01."
            )

    def _measure(self, state: SamplerState, masks: BoolArray) -> None:
        """Measure the paired error between masks (C, draws, F) of the first chain and of the others, at some of the draws."""
        places = np.unique(np.linspace(0, masks.shape[1] - 1, PAIRS).round().astype(int))
        known = [error**2 for place in places if (error := self.method.paired_error(masks[:, place], self.batch)) > 0]
        if not known:
            return
        square, gain = sum(known) / len(known), self._gain(state)
        before = state.paired_error**2
        state.paired_error = math.sqrt(gain * square + (1.0 - gain) * before if before > 0 else square)

    def _gain(self, state: SamplerState) -> float:
        """Return the weight of what the last round says: all of it at first, then that of a mean over rounds."""
        return 1.0 if state.rounds <= ROUNDS // 2 else 1.0 / (state.rounds - ROUNDS // 2)

    def _adapt_ladder(self, state: SamplerState) -> None:
        """Bring the swap rates of neighbouring rungs nearer to each other, by those of all chains: they share their temperatures."""
        first, *others = state.each_ladder()
        for other in others:
            first.chance[:] += other.chance
            other.chance[:] = 0.0
        tempering.adapt(first)
        for other in others:
            other.gaps[:] = first.gaps

    def _adapt(self, state: SamplerState) -> None:
        """Bring the temperature nearer to that of the default spread: the spread grows in proportion to it, or more slowly."""
        if self.temperature is not None or not state.paired_error > 0:
            return
        # Chains that stand still have no spread.
        change = math.log(state.paired_error / state.spread) if state.spread > 0 else MOST_CHANGE
        state.temperature *= math.exp(self._gain(state) * float(np.clip(change, -MOST_CHANGE, MOST_CHANGE)))


def _last_ones(masks: BoolArray, count: int) -> BoolArray:
    """Return so many of the masks (C, draws, F), at most `MOST_EXPANDED`: of all chains, from the last one back over the second half."""
    chains, draws, _ = masks.shape
    number = np.arange(min(count, MOST_EXPANDED, chains * draws))
    turns = -(-number.size // chains)
    back = number // chains * max(1, draws // 2 // turns)
    return np.asarray(masks[number % chains, draws - 1 - back], bool)


def _several(ladder: Ladder, count: int) -> Ladder:
    """Return copies of a ladder, each of whose arrays gets a first axis."""
    parts: list[AnyArray] = [np.repeat(part[None], count, axis=0) for part in ladder]
    return Ladder(*parts)
