"""Every measure against brute force in float64, with a rule that must fail; scores that are not finite."""

import numpy as np
import pytest
import torch
from scored_networks import brute, convolutions, mlp
from torch import nn

from mcprune.config.measures import MEASURES
from mcprune.errors import ConfigError, NumericalError
from mcprune.methods.importance.registry import REGISTRY, measure, ranked, score

COMPARED = [name for name in MEASURES if name not in ("bn-scale", "loss-tracked", "random")]


@pytest.mark.parametrize("name", COMPARED)
def test_each_measure_is_what_its_formula_says(net, name):
    scores = net.score(name, temperature=1.0)
    np.testing.assert_allclose(scores, brute(net, name), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", COMPARED)
def test_no_measure_passes_for_another(name):
    """The comparison above tells measures apart: every other formula is off by far more than its tolerance."""
    net = mlp(nn.Tanh)
    scores = net.score(name, temperature=1.0)
    for other in COMPARED:
        if other != name:
            assert np.abs(scores - brute(net, other)).max() > 1e-3 * np.abs(scores).max(), other


def test_the_model_is_left_as_it_was():
    net = convolutions()
    net.model.train()
    net.model[1].eval()
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    for name in COMPARED:
        net.score(name)
    assert net.model.training
    assert not net.model[1].training
    assert all(torch.equal(value, before[name]) for name, value in net.model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.model.parameters())
    assert not any(module._forward_hooks for module in net.model.modules())


def test_what_is_not_finite_is_named_and_last():
    values = np.array([3.0, np.nan, -2.0, np.inf, 1.0])
    found = ranked("loss", values, tuple("abcde"))
    assert found.nonfinite.tolist() == [1, 3]
    assert set(np.argsort(found.values)[:2]) == {1, 3}
    assert np.isfinite(found.values).all()
    assert "2 of 5 scores were not finite and count as the lowest: b, d" in found.notes[0]
    with pytest.raises(NumericalError, match=r"no score of the measure 'loss' is finite"):
        ranked("loss", np.full(3, np.nan), tuple("abc"))


def test_a_row_that_overflows_is_met_with_its_name():
    net = mlp()
    with torch.no_grad():
        net.parameters["2.weight"][3] = 1e200
    scores = score("magnitude", net.evidence())
    assert scores.nonfinite.tolist() == [12]


def test_a_name_that_is_none_has_its_nearest():
    with pytest.raises(ConfigError, match=r"no measure 'fischer' \(did you mean 'fisher'\?\)"):
        measure("fischer")
    assert measure("l2") is REGISTRY["magnitude"]
