"""Chains over masks whose losses are in a table: what a law on masks is compared with."""

import itertools
import math

import numpy as np
import torch

from mcprune.methods.base import Batch
from mcprune.sampling.sampler import Sampler
from mcprune.sampling.walks.chains import MaskChains
from mcprune.sites.budget import Budget, CountBudget
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.sites.space import SearchSpace


class TableEvaluator:
    """Looks losses up: the evaluator and the canonical one."""

    name, error = "table", 0.0
    objective = None  # no derivatives

    def __init__(self, table):
        self.table = table
        self.powers = 1 << np.arange(int(math.log2(len(table))))

    def begin(self, features, targets, position, sharpness):
        self.codes = (position > 0) @ self.powers

    def current(self):
        return self.table[self.codes]

    def losses(self, state, moves, limits=None):
        used = moves.sites >= 0
        change = np.where(used, np.where(moves.weights > 0, 1, -1) * self.powers[np.maximum(moves.sites, 0)], 0)
        return self.table[self.codes[:, None] + change.sum(axis=2)]

    def moved(self, position, moves, index):
        self.codes = (position > 0) @ self.powers

    def at(self, weights):
        return self.table[(weights > 0) @ self.powers]

    def pieces(self, rows):
        return []


def masks_of(sites, n):
    """All masks of n of N sites, shape (masks, N)."""
    out = np.zeros((math.comb(sites, n), sites), bool)
    for row, kept in zip(out, itertools.combinations(range(sites), n), strict=True):
        row[list(kept)] = True
    return out


def uneven_table(sites, seed=0):
    """Losses of all masks: sites of unlike worth, some of which stand in for one another."""
    draw = np.random.default_rng(seed)
    bits = (np.arange(2**sites)[:, None] >> np.arange(sites)) & 1
    worth = np.sort(draw.exponential(0.3, sites))
    pairs = np.triu(draw.normal(0.0, 0.15, (sites, sites)), 1)
    return 2.0 - bits @ worth + np.einsum("ki,ij,kj->k", bits, pairs, bits, optimize=True)


def table_space(sites, n):
    return SearchSpace(SiteMap((SiteGroup("inputs", "", 0, sites),)), Budget((CountBudget("sites", (0,), n),)))


def table_sampler(table, n, *, chains=4, rungs=1, temperature=0.3, seed=1, lookahead=8, hottest=4.0):
    sites = int(math.log2(len(table)))
    space, evaluator = table_space(sites, n), TableEvaluator(table)
    method = MaskChains(space, evaluator, evaluator, None, chains=chains, rungs=rungs, lookahead=lookahead, seed=seed)
    draw = np.random.default_rng(seed)
    starts = np.stack([space.enforce(draw.random(sites)) for _ in range(chains)])
    batch = Batch(torch.zeros(1, sites), torch.zeros(1, dtype=torch.int64))
    return Sampler(method, batch, starts, temperature, hottest)


def burnt_in(sampler):
    state = sampler.init()
    while not state.is_burnt_in:
        sampler.burn_in(state)
    return state
