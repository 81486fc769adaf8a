"""The loss to second order: exact derivatives for a linear classifier, and none for what has none."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mcprune.methods.base import Batch
from mcprune.objectives.classification import CrossEntropy, ErrorRate
from mcprune.sampling.walks.expansion import expand_loss
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteGroup, SiteMap


@pytest.fixture
def problem():
    torch.manual_seed(0)
    gated = GatedModel(nn.Linear(5, 3), SiteMap((SiteGroup("inputs", "", 0, 5),)))
    batch = Batch(torch.randn(40, 5), torch.randint(0, 3, (40,)))
    objective = CrossEntropy()
    canonical = SimpleNamespace(
        objective=objective,
        gated=gated,
        pieces=lambda rows: [(gated, objective, slice(0, 25)), (gated, objective, slice(25, rows))],
    )
    return canonical, batch


def test_it_is_taylors_for_a_linear_classifier(problem):
    canonical, batch = problem
    mask = np.array([True, False, True, True, False])

    def loss(gates):
        return functional.cross_entropy(canonical.gated(batch.features, gates), batch.targets)

    at = torch.tensor(mask, dtype=torch.float32)
    gradient = torch.autograd.functional.jacobian(loss, at).numpy()
    curvature = torch.autograd.functional.hessian(loss, at).numpy()
    expansion = expand_loss(canonical, batch, mask[None])
    np.testing.assert_allclose(expansion.pairs, curvature - np.diag(curvature.diagonal()), atol=1e-6)
    # Of gates of 0 and 1 the square of a gate is the gate.
    np.testing.assert_allclose(expansion.items, gradient - curvature @ mask + curvature.diagonal() / 2, atol=1e-6)


def test_several_masks_give_the_mean_of_their_expansions(problem):
    canonical, batch = problem
    masks = np.random.default_rng(0).random((3, 5)) < 0.5
    several, single = expand_loss(canonical, batch, masks), [expand_loss(canonical, batch, one[None]) for one in masks]
    np.testing.assert_allclose(several.items, np.mean([one.items for one in single], axis=0), atol=1e-7)
    np.testing.assert_allclose(several.pairs, np.mean([one.pairs for one in single], axis=0), atol=1e-7)


def test_an_objective_without_derivatives_has_none(problem):
    canonical, batch = problem
    canonical.objective = ErrorRate()
    assert expand_loss(canonical, batch, np.ones((1, 5), bool)) is None
