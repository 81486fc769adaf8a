"""The threshold on statistics of a known law: no chains are run."""

import numpy as np
import pytest

from mcprune.fdr.threshold import select, shadow_sets

TABLES = 400


def drawn(rng, p, informative, *, sets=12, lead=4.0, leak=0.0):
    """Statistics (sets, p): a column without information has the law of its shadows; `leak` lowers that of the shadows."""
    own = rng.standard_normal(p)
    own[:informative] += lead
    columns = own + 0.3 * rng.standard_normal((sets, p))
    shadows = rng.standard_normal((sets, p)) + 0.3 * rng.standard_normal((sets, p)) - leak
    return columns, shadows


def rates(p, informative, q, **law):
    """Return the mean false discovery rate and power over the tables."""
    rng = np.random.default_rng(0)
    false, power = [], []
    for _ in range(TABLES):
        kept = select(*drawn(rng, p, informative, **law), q).columns
        wrong = int((kept >= informative).sum())
        false.append(wrong / max(1, kept.size))
        power.append((kept.size - wrong) / max(1, informative))
    return float(np.mean(false)), float(np.mean(power))


@pytest.mark.parametrize("informative", [0, 3, 15])
@pytest.mark.parametrize("q", [0.1, 0.25])
def test_the_measured_rate_is_at_most_the_stated_one(informative, q):
    false, power = rates(50, informative, q)
    assert false <= q + 3 * np.sqrt(q * (1 - q) / TABLES)
    assert power > 0.8 or not informative


@pytest.mark.parametrize("informative", [0, 3])
def test_shadows_that_are_worse_than_columns_without_information_break_the_rate(informative):
    """The control: the law of the shadows matters."""
    assert rates(50, informative, 0.1, leak=1.0)[0] > 0.2


def test_a_single_column_can_be_kept():
    columns, shadows = drawn(np.random.default_rng(1), 30, 1, lead=20.0)
    assert select(columns, shadows, 0.1).columns.tolist() == [0]


def test_the_largest_set_within_the_rate_is_kept():
    columns = np.array([[5.0, 4.0, 3.0, 2.0, 0.0, 0.0]])
    shadows = np.array([[3.5, 0.5, 0.0, 0.0, 0.0, 0.0]])
    # (1 + shadows at or above) / columns at or above: 1, 1/2, 2/3, 2/4, 1, 1.
    chosen = select(columns, shadows, 0.5)
    assert chosen.columns.tolist() == [0, 1, 2, 3]
    assert chosen.rate == 0.5
    assert chosen.threshold == 2.0
    assert chosen.rates.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]
    assert select(columns, shadows, 0.49).columns.size == 0


def test_columns_of_one_statistic_stand_or_fall_together():
    columns = np.array([[2.0, 1.0, 1.0, 0.0]] * 20)
    shadows = np.zeros((20, 4))
    chosen = select(columns, shadows, 0.1)
    assert chosen.columns.tolist() == [0, 1, 2]
    assert chosen.rate == pytest.approx(1 / 60)
    assert select(columns, np.where(np.arange(4) < 1, 1.0, shadows), 0.1).columns.tolist() == [0]


def test_an_empty_answer_has_a_rate_of_nothing():
    chosen = select(np.zeros((12, 5)), np.zeros((12, 5)), 0.1)
    assert (chosen.columns.size, chosen.rate, chosen.threshold) == (0, 0.0, np.inf)
    assert (chosen.rates == 1.0).all()


@pytest.mark.parametrize(("q", "sets"), [(0.5, 12), (0.1, 12), (0.05, 24), (0.01, 60)])
def test_enough_sets_for_one_column(q, sets):
    assert shadow_sets(q) == sets
    assert 1 / sets <= q or sets == 60
