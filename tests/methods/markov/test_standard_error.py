"""The unit of the temperature against closed forms."""

import math

import numpy as np
import pytest
import torch

from mcprune.evaluators.folded import FoldedFullEvaluator, FoldedObjective
from mcprune.evaluators.full import FullEvaluator
from mcprune.methods.base import Batch
from mcprune.methods.markov import standard_error as unit
from mcprune.models.mlp import MLP
from mcprune.objectives.base import Rows
from mcprune.objectives.named import make_objective
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map


@pytest.fixture
def problem():
    torch.manual_seed(0)
    model = MLP((6, 8, 3))
    draw = np.random.default_rng(0)
    features = torch.from_numpy(draw.normal(size=(256, 6)).astype(np.float32))
    targets = torch.from_numpy(draw.integers(0, 3, 256))
    return GatedModel(model, site_map(model, "inputs", 6)), features, targets


def gates(*dropped):
    out = np.ones((len(dropped), 6), np.float32)
    for row, site in enumerate(dropped):
        if site is not None:
            out[row, site] = 0
    return out


def test_groups_of_four_rows_give_the_textbooks_standard_error(problem):
    gated, features, targets = problem
    measured = unit.measure(
        FullEvaluator(gated, make_objective("cross-entropy")), Batch(features, targets), gates(0, 1)
    )
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(gated(features, torch.from_numpy(one)), targets, reduction="none")
            for one in gates(0, 1)
        ]
    difference = (losses[1] - losses[0]).numpy().astype(np.float64)
    means = difference.reshape(64, 4).mean(axis=1)
    assert measured == pytest.approx(means.std(ddof=1) / 8, rel=1e-4)
    # By rows instead of groups the same within sampling error: 64 groups know a standard error to some 9%.
    assert measured == pytest.approx(difference.std(ddof=1) / 16, rel=0.3)


def test_four_times_the_rows_halve_it(problem):
    gated, features, targets = problem
    pairs = gates(0, 1, 2, 3, 4, 5)
    canonical = FullEvaluator(gated, make_objective("cross-entropy"))
    few = unit.measure(canonical, Batch(features[:64], targets[:64]), pairs)
    many = unit.measure(canonical, Batch(features, targets), pairs)
    assert 0.35 < many / few < 0.75


@pytest.mark.slow
def test_it_covers_the_differences_that_other_rows_show(problem):
    """Over 400 pairs of fresh samples of 64 rows, |difference - mean| is below 1.96 standard errors in about 95%."""
    gated, _, _ = problem
    draw = np.random.default_rng(1)
    canonical = FullEvaluator(gated, make_objective("cross-entropy"))
    differences, errors = [], []
    for _ in range(400):
        features = torch.from_numpy(draw.normal(size=(64, 6)).astype(np.float32))
        targets = torch.from_numpy(draw.integers(0, 3, 64))
        errors.append(unit.measure(canonical, Batch(features, targets), gates(0, 1)))
        with torch.no_grad():
            pair = [
                torch.nn.functional.cross_entropy(gated(features, torch.from_numpy(one)), targets)
                for one in gates(0, 1)
            ]
        differences.append(float(pair[1] - pair[0]))
    differences = np.array(differences) - np.mean(differences)
    covered = np.mean(np.abs(differences) < 1.96 * np.array(errors))
    assert 0.90 < covered < 0.98  # 16 groups: a t distribution covers .93
    assert np.mean(np.abs(differences) < 0.5 * np.array(errors)) < 0.6  # control: half of it covers far less


def test_each_fold_is_measured_by_its_own_classifier(problem):
    """Two folds of one classifier are that classifier; with another one in the second fold the figure changes."""
    gated, features, targets = problem

    def folded(*models):
        def bounds(rows):
            return np.array([0, rows // 2, rows])

        objective = FoldedObjective(make_objective("cross-entropy"), bounds)
        parts = [FullEvaluator(one, part) for one, part in zip(models, objective.parts, strict=True)]
        return FoldedFullEvaluator(parts, bounds, objective)

    batch, pairs = Batch(features, targets), gates(0, 1, 2, 3)
    alone = unit.measure(FullEvaluator(gated, make_objective("cross-entropy")), batch, pairs)
    assert unit.measure(folded(gated, gated), batch, pairs) == pytest.approx(alone, rel=1e-6)
    other = GatedModel(MLP((6, 8, 3), seed=1), gated.sites)
    assert unit.measure(folded(gated, other), batch, pairs) != pytest.approx(alone, rel=1e-3)


def test_what_cannot_be_measured_is_nan(problem):
    gated, features, targets = problem
    canonical = FullEvaluator(gated, make_objective("cross-entropy"))
    assert math.isnan(unit.measure(canonical, Batch(features[:7], targets[:7]), gates(0, 1)))
    assert math.isnan(unit.measure(canonical, Batch(features, targets), gates(0)))
    assert math.isnan(unit.measure(canonical, Batch(features, targets), gates(0, 0)))  # no row tells them apart
    assert unit.exchanged(np.ones(4, bool), 3, np.random.default_rng(0)).shape == (0, 4)


def test_exchanges_keep_the_count():
    mask = np.arange(10) < 4
    masks = unit.exchanged(mask, 20, np.random.default_rng(0))
    assert (masks.sum(axis=1) == 4).all()
    assert ((masks ^ mask).sum(axis=1) == 2).all()


def test_groups_that_lack_a_class_are_left_out(problem):
    gated, features, targets = problem
    canonical = FullEvaluator(gated, make_objective("auc", ("0", "1", "2")))
    measured = unit.measure(canonical, Batch(features, targets), gates(0, 1, 2))
    assert 0 < measured < 1
    # Sorted by class nearly every group has one class alone, on which no AUC is defined.
    order = torch.argsort(targets)
    assert math.isnan(unit.measure(canonical, Batch(features[order], targets[order]), gates(0, 1, 2)))


def test_weights_make_it_that_of_a_weighted_mean(problem):
    gated, features, targets = problem
    weights = np.random.default_rng(2).gamma(1.0, 1.0, 256)
    objective = make_objective("cross-entropy")
    canonical = FullEvaluator(gated, objective)
    of_rows = Rows(torch.from_numpy(weights))
    measured = unit.measure(canonical, Batch(features, targets, of_rows), gates(0, 1))
    draw = np.random.default_rng(3)
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(gated(features, torch.from_numpy(one)), targets, reduction="none")
            for one in gates(0, 1)
        ]
    difference = (losses[1] - losses[0]).numpy().astype(np.float64)
    resampled = []
    for _ in range(2000):  # the bootstrap
        rows = draw.integers(0, 256, 256)
        resampled.append(np.average(difference[rows], weights=weights[rows]))
    assert measured == pytest.approx(np.std(resampled), rel=0.25)
    assert torch.equal(objective.weights, of_rows.weights)  # those of the whole batch again
    groups = np.random.default_rng(4).normal(size=(3, 20))
    assert unit.standard_error(groups, np.full(20, 7.0)) == pytest.approx(unit.standard_error(groups), rel=1e-12)
    assert unit.standard_error(groups, np.r_[np.full(10, 9.0), np.full(10, 1.0)]) > unit.standard_error(groups)
