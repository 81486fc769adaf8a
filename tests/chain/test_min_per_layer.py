"""One site a layer at least: which candidates empty one, and masks that never do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcprune.chain import min_per_layer, moves, state
from mcprune.errors import ConfigError
from mcprune.methods.base import whole
from mcprune.methods.markov.enforce.budget import enforce_count

GROUP = np.array([0, 0, 0, -1, -1, 1, 1, 2, 2, 2, 2])
PLAN = moves.move_plan(uniform=0.2, block=0.2, site=0.2, exchange=0.2, toggle=0.2, block_size=3)


def kept_somewhere(mask):
    return all(mask[..., group == GROUP].any(axis=-1).all() for group in range(3))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_emptied_is_what_counting_the_masks_says(seed):
    draw = np.random.default_rng(seed)
    position = draw.normal(-0.8, 1.0, (2, GROUP.size))
    for number in range(3):  # every group keeps one
        position[:, np.flatnonzero(number == GROUP)[0]] = abs(position[:, 0]) + 0.01
    current = state.new_state(position, sharpness=np.inf)
    batch = moves.propose(current, 20, plan=PLAN, delta=3.0, sharpness=np.inf, seed=seed, chains=np.arange(2))
    masks = moves.dense(current, batch) > 0
    wanted = ~np.array([[kept_somewhere(mask) for mask in row] for row in masks])
    np.testing.assert_array_equal(min_per_layer.emptied(current.position, batch, GROUP), wanted)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(scores=st.lists(st.floats(-5, 5), min_size=GROUP.size, max_size=GROUP.size), n=st.integers(3, GROUP.size))
def test_the_best_mask_has_n_sites_and_none_of_the_groups_empty(scores, n):
    score = np.array(scores)
    mask = min_per_layer.best_mask(score, n, GROUP)
    assert mask.sum() == n
    assert kept_somewhere(mask)
    # Nothing better is left outside, unless a group's last one stands for it.
    free = mask & ~min_per_layer.last_ones(mask, GROUP)
    if free.any() and not mask.all():
        assert score[free].min() >= score[~mask].max()


def test_ties_are_spread_over_the_groups_in_proportion():
    """Gates that have all come to one bound: by index alone the first group would have them all."""
    group = np.repeat([0, 1, 2], [8, 16, 8])
    mask = min_per_layer.best_mask(np.full(32, 7.0), 8, group)
    assert min_per_layer.counts(mask, group).tolist() == [2, 4, 2]
    score = np.full(32, 7.0)
    score[:8] += 1.0  # no tie
    assert min_per_layer.counts(min_per_layer.best_mask(score, 10, group), group).tolist() == [8, 1, 1]


def test_more_groups_than_sites_to_keep_are_refused():
    with pytest.raises(ConfigError, match="3 layers must keep one site each"):
        min_per_layer.best_mask(np.zeros(GROUP.size), 2, GROUP)


class Likes:
    """Losses that rise with the sites of the first groups, so that a pool without a least number would empty them."""

    def losses(self, current, batch, limits=None):
        return np.where(batch.sites[..., 0] >= 0, batch.sites[..., 0], 0).astype(float)


@pytest.mark.parametrize("temperature", [0.0, 10.0])
def test_the_pool_spares_the_last_of_a_group(temperature):
    for block in range(20):
        current = state.new_state(np.full((2, GROUP.size), 4.0), sharpness=np.inf)
        for turn in range(200):
            done = whole(enforce_count(
                *(current, Likes()), target=3, pool=4, temperature=temperature, sharpness=np.inf, seed=0,
                block=block * 200 + turn, layers=GROUP,
            ))  # fmt: skip
            if not done:
                break
        mask = current.position > 0
        assert mask.sum(axis=1).tolist() == [3, 3]
        assert kept_somewhere(mask)
    # The control: without a least number the first groups go.
    current = state.new_state(np.full((2, GROUP.size), 4.0), sharpness=np.inf)
    for turn in range(200):
        if not whole(
            enforce_count(*(current, Likes()), target=3, pool=4, temperature=0.0, sharpness=np.inf, seed=0, block=turn)
        ):
            break
    assert not kept_somewhere(current.position > 0)
