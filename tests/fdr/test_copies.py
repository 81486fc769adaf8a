"""Shadows: the values of their column, the dependence on the others, and nothing of the classes."""

import numpy as np
import pytest

from mcprune.fdr.copies import Shadows, entropy_diagonal, shrunken_correlation
from mcprune.fdr.scores import normal_scores

ROWS, COLUMNS = 4000, 6


@pytest.fixture(scope="module")
def table():
    """Rows (4000, 6) in which each column leans on the one before; the last is of three levels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, COLUMNS))
    for j in range(1, COLUMNS):
        x[:, j] = 0.7 * x[:, j - 1] + np.sqrt(1 - 0.49) * x[:, j]
    x[:, -1] = np.digitize(x[:, -1], [-0.5, 0.5])
    return np.exp(x).astype(np.float32)


def correlation(x):
    return np.corrcoef(normal_scores(x, np.random.default_rng(9)), rowvar=False)


def test_a_shadow_holds_the_values_of_its_column(table):
    shadows = Shadows(table).draw(np.random.default_rng(1))
    assert (np.sort(shadows, axis=0) == np.sort(table, axis=0)).all()
    assert (shadows != table).any(axis=0).all()
    assert shadows.dtype == np.float32


def test_exchanging_columns_with_their_shadows_leaves_the_correlations(table):
    both = np.concatenate([table, Shadows(table).draw(np.random.default_rng(2))], axis=1)
    before = correlation(both)
    for swapped in ([0], [2, 3], range(COLUMNS)):
        order = np.arange(2 * COLUMNS)
        for j in swapped:
            order[j], order[j + COLUMNS] = j + COLUMNS, j
        assert np.abs(correlation(both[:, order]) - before).max() < 0.06


def test_plain_permutations_do_not(table):
    """The control: they lose the dependence on the other columns."""
    rng = np.random.default_rng(3)
    both = np.concatenate([table, np.column_stack([rng.permutation(column) for column in table.T])], axis=1)
    order = np.arange(2 * COLUMNS)
    order[2], order[2 + COLUMNS] = 2 + COLUMNS, 2
    assert np.abs(correlation(both[:, order]) - correlation(both)).max() > 0.4


def test_the_diagonal_is_the_best_one(table):
    of_table = shrunken_correlation(normal_scores(table, np.random.default_rng(4)))
    s = entropy_diagonal(of_table)
    assert ((s > 0) & (s <= 1)).all()

    def entropy(diagonal):
        sign, value = np.linalg.slogdet(2 * of_table - np.diag(diagonal))
        return value + np.log(diagonal).sum() if sign > 0 else -np.inf

    for j in range(COLUMNS):
        for change in (-0.02, 0.02):
            other = s.copy()
            other[j] += change
            assert other[j] > 1 or entropy(other) < entropy(s)


def test_independent_columns_get_independent_shadows():
    assert entropy_diagonal(np.eye(4)) == pytest.approx(np.ones(4), abs=1e-3)


def test_constant_columns_and_more_columns_than_rows_have_shadows():
    x = np.random.default_rng(5).standard_normal((20, 30)).astype(np.float32)
    x[:, 3] = 1.0
    shadows = Shadows(x).draw(np.random.default_rng(6))
    assert np.isfinite(shadows).all()
    assert (shadows[:, 3] == 1.0).all()
