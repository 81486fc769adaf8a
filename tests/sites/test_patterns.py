"""Patterns of weights: their groups and blocks, the best mask, exchanges, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mcprune.config.schema import make_config
from mcprune.errors import ConfigError
from mcprune.sites.patterns import pattern_of
from mcprune.sites.site_map import SiteGroup, SiteMap, site_map


def weights(*shapes):
    starts = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    return SiteMap(
        tuple(
            SiteGroup("weights", f"w{k}", int(start), int(np.prod(shape)), shape=shape)
            for k, (start, shape) in enumerate(zip(starts, shapes, strict=False))
        )
    )


def test_groups_lie_along_the_inputs_and_blocks_across():
    sites = weights((2, 4), (4, 8))
    assert pattern_of("2:4", sites).cells[:3].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert pattern_of("2x1", weights((4, 2))).cells.tolist() == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert pattern_of("1x2", weights((2, 4))).cells.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    # Of a convolution the inputs are its channels, at each place of the kernel.
    assert pattern_of("1:2", weights((1, 2, 1, 3))).cells.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_every_site_is_in_one_group():
    sites = site_map(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)), "weights", 8)
    for text in ("2:4", "1:2", "4x1", "2x2", "1x4"):
        assert np.sort(pattern_of(text, sites).cells.ravel()).tolist() == list(range(sites.size))


def test_the_best_mask_by_hand():
    scores = np.array([1.0, 4.0, 3.0, 2.0, 0.0, 0.0, 5.0, 0.0])
    pattern = pattern_of("2:4", weights((2, 4)))
    assert np.flatnonzero(pattern.best(scores, 4)).tolist() == [1, 2, 4, 6]  # of equal ones the first
    blocks = pattern_of("2x1", weights((2, 4)))
    assert np.flatnonzero(blocks.best(scores, 4)).tolist() == [1, 2, 5, 6]


@given(
    st.sampled_from([("2:4", None), ("1:4", None), ("3:4", None), ("2x1", 8), ("2x2", 12), ("1x4", 4)]),
    st.integers(0, 99),
)
def test_an_exchange_keeps_the_pattern_and_changes_the_mask(kind, seed):
    draw = np.random.default_rng(seed)
    sites = weights((2, 4), (4, 4))
    pattern = pattern_of(kind[0], sites)
    keep = pattern.count(kind[1])
    mask = pattern.best(draw.normal(size=sites.size), keep)
    assert pattern.holds(mask)
    assert mask.sum() == keep
    assert not pattern.holds(mask ^ (np.arange(sites.size) == draw.integers(sites.size)))
    exchange = pattern.exchanges(mask, draw.random((50, 3)))
    for out, into in zip(*exchange, strict=True):
        assert mask[out].all()
        assert not mask[into].any()
        changed = mask.copy()
        changed[out], changed[into] = False, True
        assert pattern.holds(changed)
        assert changed.sum() == keep


def test_all_exchanges_are_drawn_equally_often():
    pattern = pattern_of("2:4", weights((2, 4)))
    exchange = pattern.exchanges(pattern.best(np.arange(8.0), 4), np.random.default_rng(0).random((8000, 3)))
    _, counts = np.unique(np.concatenate(exchange, axis=1), axis=0, return_counts=True)
    assert len(counts) == 2 * 2 * 2
    assert abs(counts - 1000).max() < 150


@pytest.mark.parametrize("value", ["2", "2:2", "4:2", "0:4", "2-4", "2:4:8", "2x", "x2", "2x0", "9999x1", 4, True])
def test_what_is_no_pattern_is_refused(value):
    with pytest.raises(ConfigError, match=r"pattern: .*got .*\. (Write N:M for N of every M|Choose another)"):
        make_config(sites="weights", pattern=value)


@pytest.mark.parametrize(
    ("text", "sites", "says"),
    [
        (
            "2:4",
            weights((2, 4), (3, 6)),
            r"'w1' are 3 x 6, which do not divide so. Name the layers that do: --sites weights:w0\.",
        ),
        ("4x1", weights((2, 4)), r"'w0' are 2 x 4, which do not divide so. Choose another pattern\."),
        ("2x2", weights((2, 2, 1, 1)), "do not divide so"),
        (
            "2:4",
            SiteMap((SiteGroup("units", "w", 0, 4),)),
            r"is for single weights, but the sites are units. Choose --sites weights\.",
        ),
    ],
)
def test_layers_that_do_not_divide_are_refused(text, sites, says):
    with pytest.raises(ConfigError, match=says):
        pattern_of(text, sites)


def test_numbers_that_the_pattern_does_not_allow_are_refused():
    with pytest.raises(ConfigError, match=r"keep=5, but pattern=2:4 keeps 4 of 8 weights. Leave keep out"):
        pattern_of("2:4", weights((2, 4))).count(5)
    with pytest.raises(ConfigError, match=r"keep=5, but pattern=2x1 keeps blocks of 2 of 8 weights. Choose keep=4"):
        pattern_of("2x1", weights((2, 4))).count(5)
    assert pattern_of("2x1", weights((2, 4))).count(None) == 2
