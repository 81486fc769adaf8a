"""Several classifiers trained at once are those that `fit` trains, to rounding."""

import pytest
import torch

from mcprune.errors import NumericalError
from mcprune.models.mlp import MLP
from mcprune.training.fit import fit
from mcprune.training.fit_several import can_fit_at_once, fit_several

SETTINGS = dict(epochs=3, batch_size=16, learning_rate=0.01, weight_decay=0.1)


def data(models):
    draw = torch.Generator().manual_seed(0)
    features = torch.randn((models, 70, 5), generator=draw)
    return features, torch.randint(0, 3, (70,), generator=draw), torch.rand(70, generator=draw)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_all_at_once_is_one_after_the_other(is_weighted, noise, dropout):
    features, targets, weights = data(3)
    used = weights if is_weighted else None
    together, alone = ([MLP((5, 8, 4, 3), dropout=dropout, seed=seed) for seed in range(3)] for _ in range(2))
    assert can_fit_at_once(together)
    fit_several(together, features, targets, seeds=(4, 5, 6), weights=used, input_noise=noise, **SETTINGS)
    for place, (one, other) in enumerate(zip(together, alone, strict=True)):
        fit(other, features[place], targets, seed=4 + place, weights=used, input_noise=noise, **SETTINGS)
        assert not one.training
        for own, parameter in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(own, parameter, rtol=1e-4, atol=1e-5)


def test_models_draw_their_own_dropout():
    features, targets, _ = data(2)
    features[1] = features[0]
    models = [MLP((5, 8, 3), dropout=0.4, seed=0) for _ in range(2)]
    fit_several(
        models, features, targets, seeds=(4, 5), **{**SETTINGS, "batch_size": 70}
    )  # one batch: the order has no say
    assert not torch.allclose(models[0].layers[0].weight, models[1].layers[0].weight, atol=1e-3)


def test_other_models_are_not_trained_at_once():
    assert not can_fit_at_once([MLP((5, 8, 3))])
    assert not can_fit_at_once([MLP((5, 8, 3)), MLP((5, 9, 3))])
    assert not can_fit_at_once([MLP((5, 8, 3)), MLP((5, 8, 3), "tanh")])
    assert not can_fit_at_once([MLP((5, 8, 3), dropout=0.5), MLP((5, 8, 3), dropout=0.4)])
    assert not can_fit_at_once([torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)])


def test_it_stops_and_refuses_as_fit_does():
    features, targets, _ = data(2)
    models = [MLP((5, 8, 3), seed=seed) for seed in range(2)]
    with pytest.raises(KeyboardInterrupt):
        fit_several(models, features, targets, seeds=(0, 1), should_stop=lambda: True, **SETTINGS)
    features[1] = torch.nan
    with pytest.raises(NumericalError, match="Lower --learning-rate"):
        fit_several(models, features, targets, seeds=(0, 1), **SETTINGS)
