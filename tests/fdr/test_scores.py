"""Scores behind gaps and categories: shadows have the cells of their column, and depend on the other columns as it does."""

import numpy as np
import pytest

from mcprune.data.coding.coding import category_of, code_table
from mcprune.fdr.copies import Shadows
from mcprune.fdr.scores import CategoryColumn, GappedColumn, decision_bounds, rank_bounds, within

ROWS = 4000


@pytest.fixture(scope="module")
def mixed():
    """A number, a category that follows it, a number with gaps that the category makes, and a category of its own."""
    draw = np.random.default_rng(0)
    number = draw.standard_normal(ROWS)
    codes = np.digitize(number + 0.8 * draw.standard_normal(ROWS), [-0.8, 0.1, 1.0])
    gapped = 0.8 * number + 0.6 * draw.standard_normal(ROWS)
    gapped[(codes == 3) & (draw.random(ROWS) < 0.7)] = np.nan
    kind = category_of(["adbc"[code] for code in codes])
    other = category_of(draw.choice(["u", "v", "w"], ROWS, p=[0.6, 0.3, 0.1]).tolist())
    coded = code_table("t", ["number", "kind", "gapped", "other"], [number, kind, gapped, other])
    x = np.where(np.isnan(coded.features), 0.0, coded.features).astype(np.float32)
    return x, coded.coding.owner


def shadows_of(x, owner, seed=1):
    return Shadows(x, owner, [1, 3]).draw(np.random.default_rng(seed))


def sorted_rows(numbers):
    return numbers[np.lexsort(numbers.T)]


def test_a_shadow_has_the_cells_of_its_column_each_as_often(mixed):
    x, owner = mixed
    shadows = shadows_of(x, owner)
    assert shadows.dtype == np.float32
    for column in range(4):
        own = owner == column
        np.testing.assert_array_equal(sorted_rows(shadows[:, own]), sorted_rows(x[:, own]))
        assert (shadows[:, own] != x[:, own]).any()


def test_exchanging_columns_with_their_shadows_leaves_the_correlations(mixed):
    x, owner = mixed
    both = np.concatenate([x, shadows_of(x, owner)], axis=1)
    before = np.corrcoef(both, rowvar=False)
    for swapped in ([0], [1], [2], [3], [1, 2]):
        assert np.abs(np.corrcoef(exchanged(both, owner, swapped), rowvar=False) - before).max() < 0.1


def test_plain_permutations_of_the_rows_do_not(mixed):
    """The control: they lose the dependence on the other columns."""
    x, owner = mixed
    draw = np.random.default_rng(2)
    blind = np.concatenate([x[draw.permutation(ROWS)][:, owner == column] for column in range(4)], axis=1)
    both = np.concatenate([x, blind], axis=1)
    changed = np.abs(np.corrcoef(exchanged(both, owner, [1]), rowvar=False) - np.corrcoef(both, rowvar=False))
    assert changed.max() > 0.4


def exchanged(both, owner, columns):
    """Return a table and its shadows with some columns exchanged."""
    width = owner.size
    order = np.arange(2 * width)
    places = np.flatnonzero(np.isin(owner, columns))
    order[places], order[places + width] = places + width, places
    return both[:, order]


def test_first_scores_make_the_cells_that_they_are_of():
    draw = np.random.default_rng(3)
    numbers = np.eye(4, dtype=np.float32)[draw.integers(0, 4, 60)]
    category = CategoryColumn(numbers, draw.standard_normal((60, 3)).astype(np.float32))
    np.testing.assert_array_equal(category.cells(category.first(draw)), numbers)
    values = draw.standard_normal(60).astype(np.float32)
    is_missing = draw.random(60) < 0.3
    gapped = np.stack([np.where(is_missing, 0, values), is_missing], axis=1).astype(np.float32)
    column = GappedColumn(gapped)
    np.testing.assert_array_equal(column.cells(column.first(draw)), gapped)


def test_a_decision_binds_later_rows_and_leaves_earlier_ones_free():
    bounds = decision_bounds(np.array([0, 1, 1, 2, 2, 2, 2, 2, 2]), 1)
    assert np.isinf(bounds[0]).all()
    cut = bounds[1, 0]
    assert (bounds[1:3] == [cut, np.inf]).all()
    assert (bounds[3:] == [-np.inf, cut]).all()
    assert cut == pytest.approx(0.674, abs=1e-3)  # three quarters of the rows that are left are below


def test_scores_lie_within_their_bounds():
    bounds = rank_bounds(np.array([3.0, 1.0, 1.0, 2.0], np.float32))
    scores = within(bounds, np.random.default_rng(0))
    assert ((scores >= bounds[:, 0]) & (scores <= bounds[:, 1])).all()
    assert scores[1:3].max() < scores[3] < scores[0]


@pytest.mark.parametrize("gaps", [0, 30])
def test_gaps_in_no_row_or_in_all_rows_are_no_fault(gaps):
    """Of the rows that take part."""
    draw = np.random.default_rng(4)
    x = np.stack([draw.standard_normal(30), np.zeros(30), draw.standard_normal(30)], axis=1).astype(np.float32)
    if gaps:
        x[:, 0], x[:, 1] = 0, 1
    shadows = Shadows(x, np.array([0, 0, 1])).draw(draw)
    np.testing.assert_array_equal(sorted_rows(shadows[:, :2]), sorted_rows(x[:, :2]))
