"""Columns compete with their shadows on the chains of a run; a control with shadows that know the classes must fail."""

from dataclasses import replace

import numpy as np
import pytest

from mcprune.config.schema import make_config
from mcprune.data.base import assemble
from mcprune.data.coding.coding import category_of
from mcprune.data.table_files import coded_dataset
from mcprune.errors import ConfigError
from mcprune.fdr import classifiers
from mcprune.fdr.copies import Shadows
from mcprune.session.shadows import compete as module
from mcprune.session.shadows.compete import compete


@pytest.fixture
def cheap(monkeypatch):
    """Few blocks of small classifiers, which are trained for a moment."""
    monkeypatch.setattr(module, "BLOCKS", 24)
    monkeypatch.setattr(module, "WIDTH", 16)
    monkeypatch.setattr(classifiers, "LEAST_STEPS", 120)
    monkeypatch.setattr(classifiers, "STEPS_A_ROW", 0.0)


def linear(seed, informative=4, rows=300, columns=16):
    """Rows whose class is told by the columns at the places of `informative`, each leaning on its neighbour."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns))
    for j in range(1, columns):
        x[:, j] = 0.5 * x[:, j - 1] + np.sqrt(0.75) * x[:, j]
    places = np.sort(rng.choice(columns, informative, replace=False))
    score = 2.0 * x[:, places] @ rng.choice([-1, 1], informative)
    return x.astype(np.float32), (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(int), places


def outcome(x, y, q=0.2, **options):
    dataset = assemble("table", x, y)
    return compete(dataset, make_config(data="table", fdr=q, test=0.0, validation=0.0, threads=1, **options))


@pytest.mark.slow
def test_informative_columns_win(cheap):
    x, y, places = linear(0)
    event = outcome(x, y)
    assert set(places) <= set(event.indices)
    assert len(event.indices) <= len(places) + 2
    assert 0 < event.rate <= event.fdr
    assert [column.is_kept for column in event.columns] == sorted((c.is_kept for c in event.columns), reverse=True)
    assert (event.rows, event.sets, len(event.columns)) == (300, 12, 16)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 10])
def test_a_single_informative_column_wins(cheap, columns):
    """A chain that ends with two sites keeps another one beside it to the end, in half of the sets a shadow."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, columns)).astype(np.float32)
    y = (x[:, 0] + 0.5 * rng.standard_normal(300) > 0).astype(int)
    assert outcome(x, y, q=0.1).indices == (0,)


@pytest.mark.long("the seconds of two more competitions")
def test_the_same_seed_gives_the_same_bits(cheap):
    x, y, _ = linear(1, columns=8)
    first, second = outcome(x, y, seed=3), outcome(x, y, seed=3)
    assert first.columns == second.columns
    assert outcome(x, y, seed=4).columns != first.columns


@pytest.mark.slow
def test_columns_of_noise_do_not_win(cheap):
    rng = np.random.default_rng(2)
    false = [
        bool(outcome(rng.standard_normal((200, 10)).astype(np.float32), rng.integers(0, 2, 200)).indices)
        for _ in range(2)
    ]
    assert sum(false) <= 1


@pytest.mark.slow
def test_shadows_that_are_not_permuted_let_nothing_win(cheap, monkeypatch):
    """The control: shadows that know the classes, as the columns themselves do, are no measure of chance."""
    x, y, places = linear(0, informative=2, columns=8)
    assert set(places) <= set(outcome(x, y).indices)
    monkeypatch.setattr(Shadows, "draw", lambda self, draw: self._x.copy())
    assert outcome(x, y).indices == ()


@pytest.mark.slow
def test_weights_count(cheap):
    """Rows of nearly no weight, whose class is drawn blindly, do not hide what the others tell."""
    x, y, places = linear(3, informative=2, columns=8)
    dataset = assemble("table", np.concatenate([x, x]), np.r_[y, np.random.default_rng(0).permutation(y)])
    config = make_config(data="table", fdr=0.2, test=0.0, validation=0.0, threads=1)
    weighted = replace(dataset, weights=np.r_[np.ones(300), np.full(300, 1e-6)])
    assert set(places) <= set(compete(weighted, config).indices)


def mixed(seed, rows=400):
    """A number, a category and a number with gaps tell the class; others of each kind lean on them."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((rows, 6))
    x[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]
    codes = draw.integers(0, 4, (rows, 4))
    codes[:, 1] = np.where(draw.random(rows) < 0.5, codes[:, 0], codes[:, 1])
    is_gap = draw.random((rows, 2)) < 0.2
    score = 2.5 * x[:, 0] + np.array([-2.5, 0, 0, 2.5])[codes[:, 0]] + np.where(is_gap[:, 0], 0.0, 2.5 * x[:, 4])
    y = (draw.random(rows) < 1 / (1 + np.exp(-score))).astype(int)
    names = ["n0", "n1", "n2", "n3", "g0", "g1", "c0", "c1", "c2", "c3"]
    cells = [*x[:, :4].T, *np.where(is_gap, np.nan, x[:, 4:]).T, *(category_of(map(str, one)) for one in codes.T)]
    return coded_dataset("mixed", names, cells, y, "y")


@pytest.mark.slow
def test_columns_with_gaps_and_categories_compete_whole(cheap):
    event = compete(mixed(0), make_config(data="table", fdr=0.2, test=0.0, validation=0.0, threads=1))
    assert [column.name for column in event.columns].count("c0") == len(event.columns) - 9 == 1
    assert {"n0", "g0", "c0"} <= set(event.kept)
    assert len(event.kept) <= 5
    assert sorted(column.index for column in event.columns) == list(range(10))


@pytest.mark.slow
def test_such_columns_do_not_win_against_shadows_that_are_not_permuted(cheap, monkeypatch):
    """The control."""
    monkeypatch.setattr(Shadows, "draw", lambda self, draw: self._x.copy())
    event = compete(mixed(0), make_config(data="table", fdr=0.2, test=0.0, validation=0.0, threads=1))
    assert event.indices == ()


def test_too_many_columns_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_COLUMNS", 15)
    x, y, _ = linear(0)
    with pytest.raises(ConfigError, match=r"has 16 columns, and shadows are drawn of 15 at most\. Leave some out"):
        outcome(x, y)
