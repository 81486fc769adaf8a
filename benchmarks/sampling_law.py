"""The law of samples of masks: beside Boltzmann's over all masks, with a control (a part of `benchmarks/sampling.py`)."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numba
import numpy as np

from mcprune.chain import state as chain_state
from mcprune.chain.engine import run_table
from mcprune.chain.kernels import ACCEPT, pair
from mcprune.sampling.samples import Samples
from mcprune.sampling.walks.surrogate import SurrogateGates, walk

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "shared"))
from laws import boltzmann
from table_masks import burnt_in, masks_of, table_sampler, uneven_table

SITES, KEEP, TEMPERATURES = 20, 5, (0.1, 0.2, 0.5)
STEPS, WALKS = 2_500_000, 500_000  # of each compiled chain of single exchanges, and of walks, at each temperature


def law() -> dict[str, object]:
    """Total variation from Boltzmann's law over all 15,504 masks, with a control, and how honest the errors of P are."""
    table = uneven_table(SITES)
    masks = masks_of(SITES, KEEP)
    codes = masks @ (1 << np.arange(SITES))
    lines = []
    for number, temperature in enumerate(TEMPERATURES):
        exact = boltzmann(table[codes], temperature)
        sampler = table_sampler(table, KEEP, temperature=temperature, seed=number)
        state = burnt_in(sampler)
        plan = sampler.method.mixture(state.probability, state.drawn)
        seen = _visits(table, codes, state.chains.chain.position, plan, temperature, number)
        walked = _walks(table, codes, state, temperature, number)
        floor = float(np.sqrt(exact / (4 * STEPS)).sum() * math.sqrt(2 / math.pi) / 2)
        draws, losses = sampler.draw(state, 400).arrays()
        samples = Samples(draws, losses, temperature, math.nan, tuple(map(str, range(SITES))))
        wrong = _without_ratio(sampler, temperature)
        away, wrong_away = (np.abs(one.probability - exact @ masks) / one.monte_carlo_error for one in (samples, wrong))
        lines.append(
            {
                "temperature": temperature,
                "total_variation": _variation(seen, exact),
                "total_variation_of_independent_masks": floor,
                "total_variation_of_walks": _variation(walked, exact),
                "total_variation_of_as_many_independent_masks": floor * math.sqrt(STEPS / WALKS),
                "sites_within_two_errors_with_a_broken_q_ratio": int((wrong_away <= 2).sum()),
                "sites_within_two_errors": int((away <= 2).sum()),
                "sites": SITES,
                "ess": float(samples.ess.min()),
                "r_hat": samples.loss_r_hat,
            }
        )
    inside = sum(line["sites_within_two_errors"] for line in lines)
    return {"masks": len(codes), "steps": 4 * STEPS, "lines": lines, "within_two_errors": inside / (SITES * len(lines))}


def _without_ratio(sampler, temperature):
    """Samples by a wrong chain, the control: informed exchanges and walks are accepted as if they were symmetric."""
    propose = SurrogateGates.propose

    def broken(*arguments):
        out = propose(*arguments)
        return out._replace(log_ratio=np.zeros_like(out.log_ratio))

    SurrogateGates.propose = broken
    try:
        draws, losses = sampler.draw(burnt_in(sampler), 400).arrays()
    finally:
        SurrogateGates.propose = propose
    return Samples(draws, losses, temperature, math.nan, tuple(map(str, range(SITES))))


def _walks(table, codes, state, temperature, seed):
    """Steps spent on each mask by chains of walks alone."""
    model, visits = state.model, np.zeros(len(table), np.int64)
    for chain, position in enumerate(state.chains.chain.position):
        terms = model.active, model.items, model.pairs, model.share, np.cumsum(model.share)
        _walk_on(position.copy(), terms, temperature, min(model.tries, 40), WALKS, table, seed, chain, visits)
    return visits[codes]


@numba.njit
def _walk_on(position, terms, temperature, tries, steps, table, seed, chain, visits):
    active, items, pairs = terms[0], terms[1], terms[2]
    room = np.empty(active.size), np.empty(active.size, np.int64), np.empty(active.size, np.bool_)
    sites, changed, base = np.empty(64, np.int64), np.empty(64), np.empty(active.size)
    code = 0
    for m in range(active.size):
        if position[m] > 0:
            code |= 1 << m
    for step in range(steps):
        base[:] = items
        for m in range(active.size):
            if position[m] > 0:
                base += pairs[m]
        count, energy = walk(position, terms, base, temperature, tries, (seed, chain, step), room, sites, changed)
        new = code
        for k in range(count):
            new ^= 1 << sites[k]
        if np.log(pair((seed, chain, step), ACCEPT, 0)[0]) <= energy - (table[new] - table[code]) / temperature:
            code = new
            for k in range(count):
                position[sites[k]] = changed[k]
        visits[code] += 1


def _visits(table, codes, position, plan, temperature, seed):
    """Steps spent on each mask by the engine's serial chain."""
    state = chain_state.new_state(position, sharpness=math.inf)
    _, info = run_table(
        state, STEPS, table=table, plan=plan, delta=1.0, temperature=temperature, alpha=0.0, n=KEEP, sharpness=math.inf, seed=seed,
        chains=np.arange(len(position)) + 100,
    )  # fmt: skip
    return info.visits.sum(axis=0)[codes]


def _variation(counts, law):
    return float(np.abs(counts / counts.sum() - law).sum() / 2)
