"""Several chains over masks of exactly n sites at given temperatures, on frozen classifiers and fixed rows."""

from __future__ import annotations

import math

import numpy as np

from mcprune.chain import moves, tempering
from mcprune.chain import state as chain_state
from mcprune.chain.schedules import Schedule
from mcprune.chain.tempering import Ladder
from mcprune.evaluators.base import Canonical, Evaluator
from mcprune.methods.base import Batch
from mcprune.methods.markov import standard_error
from mcprune.methods.markov.method import Markov
from mcprune.methods.markov.rule import Rule
from mcprune.methods.markov.settings import ChainSettings
from mcprune.methods.markov.state import MarkovState, Tally
from mcprune.sampling.walks.companions import Companions
from mcprune.sampling.walks.expansion import Expansion, expand_loss
from mcprune.sampling.walks.loss_model import MOST_ACTIVE
from mcprune.sampling.walks.surrogate import SurrogateGates, Visits
from mcprune.sites.space import SearchSpace
from mcprune.types import BoolArray, FloatArray

# The random numbers of sampling are those of chains from here on: a search has used the first.
FIRST_CHAIN = 1 << 20
# Share of the proposals that exchange any kept site for any dropped one; the others draw sites by what burn-in has seen of them.
PLAIN = 0.2
# Draws of the prior in the estimate of P(kept) by which sites are drawn: each keeps a chance, seen or not.
PRIOR_DRAWS = 2.0


class MaskChains(Markov):
    """C chains of L rungs each, all of whose moves exchange a kept item for a dropped one: n holds, and the law is on masks alone.

    An exchange of uniformly drawn items is symmetric, an informed one has its log q-ratio (`mcprune/chain/moves.py`), and so has a walk
    by a model of the loss (`mcprune/sampling/walks/surrogate.py`): masks A have the probability exp(-L(A) / T) / Z. There is no delta, no
    n(t), no L_pru and no backprop: nothing else moves.

    Parameters
    ----------
    space : SearchSpace
        Its budget is a single count.
    evaluator, canonical : Evaluator, Canonical
    lower_bound : float or None
        Of the objective.
    chains, rungs : int
        C and L: chain c has the replicas c L ... c L + L - 1. Rung 0 has the law of the loss, the others mixtures of it with the model.
    lookahead : int
    seed : int
    start_weight : float
    evaluates_items : bool
        As of `Markov`.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        canonical: Canonical,
        lower_bound: float | None,
        *,
        chains: int,
        rungs: int = 1,
        lookahead: int,
        seed: int,
        start_weight: float = 4.0,
        evaluates_items: bool = False,
    ) -> None:
        count = max(1, space.keep)
        settings = ChainSettings(
            plan=moves.move_plan(exchange=1.0),
            delta=_constant(1.0),
            temperature=_constant(1.0),
            alpha=_constant(0.0),
            sharpness=None,
            targets=(_constant(float(count)),),
            modified=False,
            pooled=False,
            pool=1,
            start_weight=start_weight,
            decisions=count,
            lookahead=lookahead,
            seed=seed,
            replicas=chains * rungs,
            hottest=math.inf,
        )
        super().__init__(space, settings, evaluator, canonical, lower_bound, evaluates_items=evaluates_items)
        self.evaluation.layers = space.layers_to_hold(space.final_least)
        self.gates: SurrogateGates = SurrogateGates()
        self.chains = FIRST_CHAIN + np.arange(chains * rungs)
        self.rungs = rungs

    def place(self, state: MarkovState, masks: BoolArray) -> None:
        """Put the replicas onto masks (R, N) of n sites, in place."""
        items = self.space.items_of(masks)
        state.chain.position[:] = np.where(items, self.settings.start_weight, -self.settings.start_weight)
        chain_state.refresh(state.chain, sharpness=math.inf)

    def load(self, state: MarkovState, batch: Batch) -> None:
        """Evaluate the masks as they are on the rows: before the first leg, and after a restored state."""
        self._begin(state, batch)
        self.evaluation.set_loss(state.chain, 0.0, self.space.keep, modified=False, block=state.blocks)

    def close(self, state: MarkovState) -> None:
        """End a chunk of legs: measure the error of the evaluator, and clear the rounding of running sums."""
        self.evaluation.audit(state.error, state.chain, state.blocks)
        chain_state.refresh(state.chain, sharpness=math.inf)
        state.blocks += 1

    def mixture(self, probability: FloatArray | None, drawn: float) -> moves.MovePlan:
        """Return exchanges of any sites, mixed with such of sites that are drawn by their odds.

        Parameters
        ----------
        probability : ndarray of float64, shape (F,), or None
            Estimate of P(kept) of each item; None: only plain exchanges.
        drawn : float
            Draws that it is worth.

        Notes
        -----
        With odds o_i = P_i / (1 - P_i) the scores are o^1/2 to add and o^-1/2 to remove. If items were independent but for their
        number, masks would have probabilities in proportion to the product of the odds of their items, and each such exchange would be
        accepted: a_j b_i / (a_i b_j) = o_i / o_j is the inverse of the ratio of the probabilities. Zanella (2020) calls such proposals
        locally balanced.
        """
        if probability is None:
            return self.settings.plan
        share = self.space.keep / self.space.size
        mean = (drawn * probability + PRIOR_DRAWS * share) / (drawn + PRIOR_DRAWS)
        root = np.sqrt(mean / (1.0 - mean))
        return moves.move_plan(exchange=PLAIN, informed=1.0 - PLAIN, add=root, remove=1.0 / root)

    def leg(
        self,
        state: MarkovState,
        ladders: list[Ladder],
        rungs: FloatArray,
        plan: moves.MovePlan,
        decisions: int,
        tally: Tally,
    ) -> None:
        """Let each replica make so many decisions at the temperature (L,) of its rung, then let neighbouring rungs swap."""
        at = np.concatenate([rungs[ladder.rung] for ladder in ladders])
        self._decide(state, self._rule(at), plan, decisions, tally)
        if self.rungs > 1:
            loss = state.chain.loss - self._from_model(state)
            for number, ladder in enumerate(ladders):
                own = loss[number * self.rungs : (number + 1) * self.rungs]
                # A seed for each chain: pairs draw by their place in the ladder alone.
                seed = (self.settings.seed + 1 + number) % 2**32
                tempering.swap(ladder, own, rungs, seed=seed, step=int(state.chain.step[0]))

    def visit(
        self,
        state: MarkovState,
        ladders: list[Ladder],
        rungs: FloatArray,
        plan: moves.MovePlan,
        companions: Companions,
        tally: Tally,
    ) -> None:
        """Let the companions roam, and ask the last rung of each chain to trade masks with the first of its companions."""
        model, last = self.gates.model, self.at_rung(ladders, self.rungs - 1)
        assert model is not None
        before = state.chain.position > 0
        here = before[:, model.active]
        is_inside = here.sum(axis=1) == before.sum(axis=1)
        if not companions.is_started and not is_inside[last].all():
            return
        companions.advance(model, here[last], float(rungs[0]), self.settings.seed, self.chains[:: self.rungs])
        masks, is_visited = np.zeros_like(here), np.zeros(len(here), bool)
        # A mask with items that have no terms is none that a companion could take over.
        masks[last], is_visited[last] = companions.masks[:, 0], is_inside[last]
        self.gates.visits = Visits(masks, is_visited, companions.scale)
        at = np.concatenate([rungs[ladder.rung] for ladder in ladders])
        try:
            self._decide(state, self._rule(at), plan, 1, tally)
        finally:
            self.gates.visits = None
        has_moved = (state.chain.position > 0)[last] != before[last]
        for chain, replica in enumerate(last):
            if has_moved[chain].any():
                companions.masks[chain, 0] = here[replica]
                companions.accepted += 1
        companions.asked += int(is_visited.sum())

    def at_rung(self, ladders: list[Ladder], rung: int = 0) -> list[int]:
        """Return the replica of each chain at a rung; 0 has the law of the loss."""
        return [number * self.rungs + int(np.argmax(ladder.rung == rung)) for number, ladder in enumerate(ladders)]

    def paired_error(self, masks: BoolArray, batch: Batch) -> float:
        """Return the standard error of the difference of the losses of the first of the masks (K, F) and each other one."""
        gates = masks if self._evaluates_items else np.asarray(self.space.expand(masks), bool)
        return standard_error.measure(self.evaluation.canonical, batch, gates.astype(np.float32))

    def expand_loss(self, masks: BoolArray, batch: Batch) -> Expansion | None:
        """Return the loss to second order around masks (K, F); None where there is none, or too many items."""
        if not self._evaluates_items or masks.shape[1] > MOST_ACTIVE:
            return None
        return expand_loss(self.evaluation.canonical, batch, masks)

    def evaluate(self, masks: BoolArray, batch: Batch) -> FloatArray:
        """Return the losses (K,) of masks (K, N) on the rows; the chains go on after the next `load`."""
        shown = self.space.items_of(masks) if self._evaluates_items else masks
        position = np.where(shown, self.settings.start_weight, -self.settings.start_weight)
        canonical = self.evaluation.canonical
        if batch.rows is not None:
            canonical.objective.begin(batch.rows)
        canonical.begin(batch.features, batch.targets, position[:1], math.inf)
        return canonical.at(position)

    def _uses_all_losses(self, rule: Rule) -> bool:
        """See `Markov`: the model would take estimates, which are too low, for losses."""
        return self.gates.log is not None or super()._uses_all_losses(rule)

    def _from_model(self, state: MarkovState) -> FloatArray:
        """Return the part (R,) of the energy that all rungs share: swaps depend on the rest alone."""
        model, mixture = self.gates.model, self.gates.mixture
        if model is None or mixture is None:
            return np.zeros_like(state.chain.loss)
        return mixture.scale * model.energy(state.chain.position[:, model.active] > 0)

    def _rule(self, temperatures: FloatArray) -> Rule:
        """Return the rule of a leg; `rungs` are by replica, since a state of MaskChains has each at a rung of its own."""
        return Rule(
            temperature=float(temperatures.min()),
            rungs=temperatures,
            delta=np.ones(temperatures.size),
            alpha=0.0,
            goal=self.space.goal,
            target=self.space.keep,
            is_falling=False,
            sharpness=math.inf,
            is_warm=False,
        )


def _constant(value: float) -> Schedule:
    return Schedule("constant", value, value)
