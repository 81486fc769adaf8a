"""Leaps: they keep counts, costs and the last site of a layer, are judged by the loss, and shrink when they are rejected."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import mcprune
from mcprune.config.schema import make_config
from mcprune.methods.markov.probing.leaps import Leaps
from mcprune.methods.markov.probing.slopes import SlopesState
from mcprune.sites.budget import Budget, CountBudget
from mcprune.sites.site_map import site_map
from mcprune.sites.space import SearchSpace


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 40), nn.GELU(), nn.Linear(40, 24), nn.Tanh(), nn.Linear(24, 3))


def rows():
    x = np.random.default_rng(0).normal(size=(600, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] * x[:, 2] > 0)


def trained():
    model, (x, y) = net(), map(torch.from_numpy, rows())
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        adam.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        adam.step()
    return model


def drawn(budget, least, pairs, turns=200):
    sites = site_map(net(), "inputs,units", 6)
    space = SearchSpace(sites, budget, least=least)
    leaps, draw = Leaps(space), np.random.default_rng(1)
    size = space.size
    state = SlopesState(
        np.zeros(size),
        np.zeros(2, np.int64),
        draw.normal(size=size),
        draw.random(size),
        np.ones(1),
        np.zeros((0, 0), np.float32),
        leaps.first_pairs(),
    )
    state.pairs[:] = pairs
    position = np.where(np.arange(size) % 3 == 0, 4.0, -4.0)
    position[:6] = [4, -4, -4, -4, -4, -4]  # the layer of inputs keeps its last one
    for _ in range(turns):
        kind, leap = leaps.draw(state, position, draw)
        after = position.copy()
        count = int(leap.size[0, 0])
        after[leap.sites[0, 0, :count]] = leap.weights[0, 0, :count]
        yield leaps, kind, position, after


def test_counts_and_last_sites_stay():
    own = Budget((CountBudget("inputs", (0,), 1), CountBudget("units", (1, 2), 21)))
    moved = set()
    for leaps, kind, before, after in drawn(own, (1, 1, 1), 5.0):
        changed = np.flatnonzero(before != after)
        assert (leaps.kind[changed] == kind).all()
        assert (after[:6] > 0).sum() == 1
        assert (after > 0).sum() == (before > 0).sum()
        assert all((after[part] > 0).any() for part in (slice(0, 6), slice(6, 46), slice(46, 70)))
        moved.add((kind, changed.size))
    # The single kept input cannot go without emptying its layer; units go by five pairs.
    assert moved == {(int(leaps.kind[0]), 0), (int(leaps.kind[6]), 10)}


def test_without_floors_the_last_site_goes():
    """The control: the floor is what holds the last input."""
    one = Budget((CountBudget("sites", (0, 1, 2), 23),))
    assert any((after[:6] > 0).sum() != 1 for _, _, _, after in drawn(one, (0, 0, 0), 5.0))


def test_sites_with_the_lowest_estimates_go_first():
    one = Budget((CountBudget("sites", (0, 1, 2), 23),))
    sites = site_map(net(), "inputs,units", 6)
    leaps = Leaps(SearchSpace(sites, one, least=(0, 0, 0)))
    slope = np.zeros(70)
    slope[:3], slope[40:42] = 1.0, -1.0  # to drop the first lowers the loss, and to add the second
    state = SlopesState(
        np.zeros(70), np.zeros(2, np.int64), slope, np.zeros(70), np.ones(1), np.zeros((0, 0)), np.array([2.0])
    )
    position = np.where(np.arange(70) < 23, 4.0, -4.0)
    hits = 0
    for seed in range(50):
        _, leap = leaps.draw(state, position, np.random.default_rng(seed))
        chosen = set(leap.sites[0, 0].tolist())
        hits += chosen >= {40, 41} and len(chosen & {0, 1, 2}) == 2
    assert hits > 40


def test_sites_that_stand_in_for_each_other_are_not_dropped_together():
    """Sites 0 and 1 are copies: each can go alone, both together raise the loss."""
    sites = site_map(net(), "inputs,units", 6)
    leaps = Leaps(SearchSpace(sites, Budget((CountBudget("sites", (0, 1, 2), 23),)), least=(0, 0, 0)))
    square, slope = np.full(70, 1.0), np.zeros(70)
    square[:2] = 0.1
    outer = np.diag(square).astype(np.float32)
    position = np.where(np.arange(70) < 23, 4.0, -4.0)
    both = []
    for product in (0.0, 30.0):
        outer[0, 1] = outer[1, 0] = product
        state = SlopesState(np.zeros(70), np.zeros(2, np.int64), slope, square, np.ones(1), outer, np.array([2.0]))
        chosen = [set(leaps.draw(state, position, np.random.default_rng(seed))[1].sites[0, 0]) for seed in range(100)]
        both.append(sum({0, 1} <= sites for sites in chosen))
    assert both[0] > 15
    assert both[1] == 0


def test_pairs_grow_and_shrink():
    leaps = Leaps(SearchSpace(site_map(net(), "units", 6), Budget((CountBudget("sites", (0, 1), 20),)), least=(1, 1)))
    state = SlopesState(*np.zeros((2, 64)), *np.zeros((2, 64)), np.ones(1), np.zeros((0, 0)), np.array([1.0]))
    for _ in range(20):
        leaps.judged(state, 0, accepted=True)
    assert state.pairs[0] == 64 / 8
    for _ in range(20):
        leaps.judged(state, 0, accepted=False)
    assert state.pairs[0] == 1.0


OPTIONS = {
    "sites": "units", "keep": {"units": 16}, "proposals": "slopes", "frozen": True, "finetune": "none", "eval_on": "train",
    "validation": 0, "test": 0, "decisions": 2, "start": "random,after=0", "threads": 1, "compare": "no", "progress": False,
}  # fmt: skip


def search(**more):
    return mcprune.prune(*rows(), model=trained(), **(OPTIONS | {"epochs": 4} | more))


@pytest.mark.slow
def test_leaps_lower_the_loss(monkeypatch):
    with_leaps = [search(seed=seed) for seed in range(3)]
    monkeypatch.setattr("mcprune.methods.markov.block.LEAPS", 0)
    without = [search(seed=seed) for seed in range(3)]
    losses = [np.mean([run.history[-1].classification_loss for run in runs]) for runs in (with_leaps, without)]
    assert losses[0] < losses[1] - 0.02
    for run in with_leaps:
        assert run.mask.support.sum() == 16


@pytest.mark.slow
def test_evaluators_agree():
    """The fast evaluators follow a leap of many sites to the loss that `full` has there."""
    full, suffix = (search(evaluator=name) for name in ("full", "suffix"))
    np.testing.assert_array_equal(full.mask.support, suffix.mask.support)
    assert full.history[-1].classification_loss == pytest.approx(suffix.history[-1].classification_loss, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("gates", ["hard", "rank"])
def test_a_run_that_was_cut_off_goes_on_with_its_leaps(tmp_path, gates):
    options = {
        "data": "digits", "sites": "units", "keep": 16, "hidden": "24,16", "proposals": "slopes",
        "moves": "informed=1", "temperature": 0.0, "gates": gates, "epochs": 6, "threads": 1, "compare": "no",
        "checkpoint_every": "1",
    }  # fmt: skip
    whole = list(mcprune.run(make_config(**options, out=str(tmp_path / "whole"))))[-1]
    running = mcprune.run(make_config(**options, out=str(tmp_path / "cut")))
    for event in running:
        if event.kind == "progress" and event.block == 5:
            running.close()
            break
    assert tuple(mcprune.resume(str(tmp_path / "cut")).mask.indices) == whole.indices
