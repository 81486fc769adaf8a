"""From scores to masks: exactly so many, the most important of each group, no group emptied; and the rounds' counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.errors import ConfigError
from mcprune.methods.importance.selection import check_counts, round_fraction, select, telescoping_counts
from mcprune.sites.site_map import SiteGroup


def groups_of(sizes):
    ends = np.cumsum([0, *sizes])
    return [SiteGroup("units", f"layers.{k}", int(ends[k]), size) for k, size in enumerate(sizes)]


@st.composite
def selections(draw):
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    total = sum(sizes)
    # Few values: ties are the rule.
    scores = np.array(draw(st.lists(st.integers(-3, 3), min_size=total, max_size=total)), float)
    alive = np.array(draw(st.lists(st.booleans(), min_size=total, max_size=total)))
    floor = draw(st.integers(0, 3))
    return scores, groups_of(sizes), alive, floor, draw(st.sampled_from(["global", "layerwise"]))


@given(selections(), st.data())
def test_every_selection_is_exact_and_protects_the_most_important(case, data):
    scores, groups, alive, floor, how = case
    have = np.array([alive[group.start : group.stop].sum() for group in groups])
    least = np.minimum(have, floor)
    keep = data.draw(st.integers(int(least.sum()), int(have.sum())))
    try:
        mask = select(scores, groups, keep, how, floor, alive)
    except ConfigError as error:
        if floor or "would be dropped" not in str(error):
            raise
        return
    assert mask.sum() == keep
    assert not (mask & ~alive).any()
    for group, had, bound in zip(groups, have, least, strict=True):
        mine = slice(group.start, group.stop)
        kept, gone = scores[mine][mask[mine]], scores[mine][alive[mine] & ~mask[mine]]
        assert kept.size >= bound
        assert kept.size or not had
        if kept.size and gone.size:
            assert kept.min() >= gone.max()
    if how == "global":
        # A dropped site may stand above a kept one of another group only if that group was at its floor.
        for group, bound in zip(groups, least, strict=True):
            kept = np.flatnonzero(mask[group.start : group.stop]) + group.start
            if kept.size > bound and (alive & ~mask).any():
                assert scores[kept].min() >= scores[alive & ~mask].max()
    else:
        share = keep * have / max(have.sum(), 1)
        met = np.array([mask[group.start : group.stop].sum() for group in groups])
        if (share >= least).all():
            assert (np.abs(met - share) < 1).all()


@given(selections())
def test_the_order_of_equal_scores_is_that_of_their_index(case):
    scores, groups, alive, _, _ = case
    living = np.flatnonzero(alive)
    if len(groups) == 1 and living.size:
        mask = select(np.zeros_like(scores), groups, 1, alive=alive)
        assert np.flatnonzero(mask).tolist() == [living[0]]


def last_indexed(scores, groups, keep, floor):
    """The fault of published code: each group's floor protects the last sites by index, whatever their score."""
    mask = np.zeros(scores.size, bool)
    for group in groups:
        mask[group.stop - floor : group.stop] = True
    order = [site for site in np.argsort(-scores) if not mask[site]]
    mask[order[: keep - int(mask.sum())]] = True
    return mask


def test_floors_protect_the_best_and_not_the_last():
    groups = groups_of([4, 4])
    scores = np.array([9.0, 8, 7, 6, 0.4, 0.3, 0.2, 0.1])
    assert np.flatnonzero(select(scores, groups, 4, min_per_layer=2)).tolist() == [0, 1, 4, 5]
    assert np.flatnonzero(last_indexed(scores, groups, 4, 2)).tolist() != [0, 1, 4, 5]


def test_a_group_that_would_be_emptied_is_named():
    groups = groups_of([3, 3])
    scores = np.arange(6.0)
    with pytest.raises(ConfigError, match=r"all 3 sites of 'layers\.0' would be dropped"):
        select(scores, groups, 3, min_per_layer=0)
    with pytest.raises(ConfigError, match=r"keep=3 would empty a group: 'layers\.0', 'layers\.1' keep at least 2 each"):
        select(scores, groups, 3, min_per_layer=2)
    with pytest.raises(ConfigError, match=r"6 sites are left"):
        select(scores, groups, 7)
    with pytest.raises(ConfigError, match=r"not a way to rank"):
        select(scores, groups, 3, "sideways")


@given(st.integers(1, 5000), st.integers(1, 40), st.data())
def test_rounds_telescope_to_exactly_n(sites, rounds, data):
    keep = data.draw(st.integers(1, sites))
    left = telescoping_counts(sites, keep, rounds)
    assert len(left) == rounds
    assert left[-1] == keep
    assert all(a >= b for a, b in zip((sites, *left), left, strict=False))
    share, product = 1 - keep / sites, 1.0
    for number in range(1, rounds + 1):
        product *= 1 - round_fraction(share, number, rounds)
        assert left[number - 1] == max(keep, round(sites * product)) or number == rounds
    assert product == pytest.approx(keep / sites, rel=1e-9)


def test_dropping_the_whole_share_each_round_drops_too_much():
    """The fault of published code: the target share is taken again each round, so that 75% ends at .25^R and not at .25."""
    again = 1.0
    for _ in range(5):
        again *= 1 - 0.75
    assert telescoping_counts(1000, 250, 5)[-1] == 250
    assert round(1000 * again) == 1


def test_checked_counts_decrease_to_n():
    assert check_counts([40, 20, 10], 64, 10) == (40, 20, 10)
    for wrong in ([40, 40, 10], [10, 40], [70, 10], [40, 20], []):
        with pytest.raises(ConfigError, match=r"must decrease from at most 64 sites"):
            check_counts(wrong, 64, 10)
