"""Losses of rows against their formulas, and R2 against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
    r2_score,
)

from mcprune.errors import ConfigError
from mcprune.objectives.base import Rows
from mcprune.objectives.losses import CROSS_ENTROPY, MeanLoss, r2_rows
from mcprune.objectives.named import make_loss, make_objective
from mcprune.objectives.specs import objective_of_task

DRAW = np.random.default_rng(0)
OUTPUTS, Y = DRAW.normal(size=(50, 3)), DRAW.normal(size=(50, 3))
COUNTS = DRAW.poisson(1.5, (50, 3)).astype(float)
WEIGHTS = DRAW.random(50) + 0.1


def huber(y, f, distance):
    away = np.abs(y - f)
    return np.where(away <= distance, 0.5 * away**2, distance * (away - 0.5 * distance))


FORMULAS = {
    "squared": (Y, lambda y, f, w: mean_squared_error(y, f, sample_weight=w)),
    "absolute": (Y, lambda y, f, w: mean_absolute_error(y, f, sample_weight=w)),
    "huber": (Y, lambda y, f, w: np.average(huber(y, f, 1.0).mean(axis=1), weights=w)),
    "huber:0.3": (Y, lambda y, f, w: np.average(huber(y, f, 0.3).mean(axis=1), weights=w)),
    "quantile:0.8": (Y, lambda y, f, w: mean_pinball_loss(y, f, alpha=0.8, sample_weight=w)),
    "poisson": (
        COUNTS,
        lambda y, f, w: (
            np.mean([mean_poisson_deviance(a, np.exp(b), sample_weight=w) for a, b in zip(y.T, f.T, strict=True)]) / 2
        ),
    ),
    "binary-cross-entropy": (
        (Y > 0).astype(float),
        lambda y, f, w: np.mean(
            [log_loss(a, 1 / (1 + np.exp(-b)), sample_weight=w) for a, b in zip(y.T, f.T, strict=True)]
        ),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_mean_of_each_loss_is_that_of_its_formula(name, weights):
    y, formula = FORMULAS[name]
    objective = make_objective(name, ())
    objective.begin(Rows(None if weights is None else torch.from_numpy(weights)))
    stack = torch.from_numpy(np.stack([OUTPUTS, 2.0 * OUTPUTS]))
    values = objective.losses(stack, torch.from_numpy(y))
    expected = [formula(y, OUTPUTS, weights), formula(y, 2.0 * OUTPUTS, weights)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert objective.lower_bound == 0.0
    assert not objective.is_stepped
    assert (values >= 0).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_mean_total_and_stack_agree_and_have_a_gradient(name):
    y = torch.from_numpy(FORMULAS[name][0])
    loss = make_loss(name, "multilabel" if "binary" in name else "regression")
    outputs = torch.from_numpy(OUTPUTS).requires_grad_()
    rows = loss.rows(outputs, y)
    assert rows.shape == (50,)
    torch.testing.assert_close(loss.mean(outputs, y), rows.mean())
    torch.testing.assert_close(loss.total(outputs, y), rows.sum())
    torch.testing.assert_close(loss.stacked(outputs[None], y)[0], rows)
    loss.mean(outputs, y).backward()
    assert torch.isfinite(outputs.grad).all()
    assert outputs.grad.abs().max() > 0


def test_a_candidate_has_the_same_value_whatever_stands_beside_it():
    objective = make_objective("huber", ())
    stack, y = torch.from_numpy(DRAW.normal(size=(9, 50, 3))).float(), torch.from_numpy(Y).float()
    together = objective.losses(stack, y)
    assert together.tolist() == [objective.losses(one[None], y)[0] for one in stack]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_mean_of_the_rows_is_r2(weights):
    rows = r2_rows(OUTPUTS, Y, weights)
    assert np.average(rows, weights=weights) == pytest.approx(r2_score(Y, OUTPUTS, sample_weight=weights), rel=1e-9)
    squared = make_loss("squared", "regression")
    scores = squared.scores(torch.from_numpy(OUTPUTS)[None], torch.from_numpy(Y), weights)[0]
    np.testing.assert_allclose(scores, rows)


def test_cross_entropy_is_that_of_torch():
    logits, classes = torch.randn(20, 4), torch.randint(4, (20,))
    plain = torch.nn.functional.cross_entropy
    assert torch.equal(CROSS_ENTROPY.rows(logits, classes), plain(logits, classes, reduction="none"))
    assert torch.equal(CROSS_ENTROPY.mean(logits, classes), plain(logits, classes))
    torch.testing.assert_close(CROSS_ENTROPY.stacked(logits[None], classes)[0], CROSS_ENTROPY.rows(logits, classes))
    assert CROSS_ENTROPY.scores(logits[None], classes)[0].tolist() == (logits.argmax(1) == classes).double().tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantile", "needs one number"),
        ("quantile:1.5", "between 0 and 1"),
        ("huber:0", "above 0"),
        ("huber:x", "no finite number"),
        ("squared:2", "takes no parameter"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        make_objective(text, ())


@pytest.mark.parametrize(
    "text", ["cross-entropy", "auc", "rejection:0.5", "significance", "error", "worst-group", "cost:0"]
)
def test_objectives_of_classes_are_refused_for_numbers(text):
    with pytest.raises(ConfigError, match=r"but the task is regression\. Choose squared, absolute"):
        objective_of_task(text, "regression")
    assert objective_of_task(text, "classification") == text


def test_auto_is_the_default_of_the_task():
    assert [objective_of_task("auto", task) for task in ("classification", "regression", "multilabel")] == [
        "cross-entropy",
        "squared",
        "binary-cross-entropy",
    ]
    with pytest.raises(ConfigError, match="but the task is classification"):
        objective_of_task("poisson", "classification")
    assert isinstance(make_objective("poisson", ()), MeanLoss)
