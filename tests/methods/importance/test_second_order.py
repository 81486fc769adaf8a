"""Measures of second order against finite differences and whole Hessians, each with a rule that must fail."""

import warnings

import numpy as np
import pytest
import torch
from scored_networks import convolutions, mlp, single_weights
from torch import nn

from mcprune.methods.importance import second_order
from mcprune.methods.importance.scorer import Scorer, ScoreSettings
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.site_map import site_map
from tests.shared.transformers_nets import TorchNet


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_grasp_is_the_change_of_the_gradients_norm(net, temperature):
    """|g|^2 changes by -2 e sum theta (H g): the lowest score raises it most, so the sign matters."""
    fade = 1e-4

    def norm():
        return sum(float((value**2).sum()) for value in net.gradient(temperature=temperature).values())

    rises = np.array([
        (net.scaled(site, 1 - fade, norm) - net.scaled(site, 1 + fade, norm)) / (2 * fade)
        for site in range(net.sites.size)
    ])  # fmt: skip
    scores = net.score("grasp", temperature=temperature)
    np.testing.assert_allclose(-2 * scores, rises, rtol=1e-4, atol=1e-7)
    assert np.argmin(scores) == np.argmax(rises)
    if (rises > 0).any():
        assert np.abs(-2 * np.abs(scores) - rises).max() > 1e-2 * np.abs(rises).max()


def test_obd_is_the_curvature_of_the_loss_along_a_weight():
    """L((1 + e) theta_k) + L((1 - e) theta_k) - 2 L = 2 e^2 score + O(e^4); the loss's own change is of another order."""
    net, fade = single_weights(), 1e-3
    now = net.value()
    curve = [
        (net.scaled(site, 1 + fade, net.value) + net.scaled(site, 1 - fade, net.value) - 2 * now) / (2 * fade**2)
        for site in range(net.sites.size)
    ]
    np.testing.assert_allclose(net.score("obd"), curve, rtol=1e-3, atol=1e-7)
    gone = np.array([net.scaled(site, 0.0, net.value) - now for site in range(net.sites.size)])
    first = net.sums({key: net.parameters[key].detach() * g for key, g in net.gradient().items()})
    both = net.score("obd") - first
    # To second order the loss without a weight is what both measures say together; one alone is further away.
    assert np.abs(both - gone).mean() < 0.5 * np.abs(net.score("obd") - gone).mean()


@pytest.mark.slow
@pytest.mark.parametrize("make", [mlp, lambda: single_weights(nn.ReLU), convolutions])
def test_the_gauss_newton_diagonal_is_the_hessians_where_the_net_is_piecewise_linear(make):
    """Batch-norm in evaluation mode is linear too; tanh is not, and there they differ."""
    net = make()
    assert second_order.is_piecewise_linear(net.model)
    whole, names, sizes = net.hessian()
    near = second_order.gauss_newton_diagonal(net.evidence())
    exact = second_order.exact_diagonal(net.evidence())
    for name, value in net.split(whole.diagonal(), names, sizes).items():
        torch.testing.assert_close(near[name], value, rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(exact[name], value, rtol=1e-8, atol=1e-12)
        assert (near[name] >= 0).all()


def test_the_gauss_newton_diagonal_is_not_the_hessians_behind_a_tanh(monkeypatch):
    net = single_weights(nn.Tanh)
    assert not second_order.is_piecewise_linear(net.model)
    whole, names, sizes = net.hessian()
    true = net.split(whole.diagonal(), names, sizes)["0.weight"]
    exact = second_order.hessian_diagonal(net.evidence())["0.weight"]
    torch.testing.assert_close(exact, true)
    monkeypatch.setattr(second_order, "EXACT_UP_TO", 3)
    evidence = net.evidence()
    near = second_order.hessian_diagonal(evidence)["0.weight"]
    assert (near - true).abs().max() > 1e-3
    assert "Gauss-Newton" in evidence.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["grasp", "obd", "obd-row-sum", "gradient-norm", "fisher", "loss"])
def test_measures_of_attention_need_no_fused_operator(measure):
    net = TorchNet(layers=1, heads=2).eval()
    rows, classes = torch.randn(16, 64, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer = Scorer(
            net, site_map(net, "heads,neurons,blocks", 64), rows, classes, CrossEntropy(), ScoreSettings(measure)
        )
        values = np.asarray(scorer.scores().values)
    assert np.isfinite(values).all()
    assert values.any()
