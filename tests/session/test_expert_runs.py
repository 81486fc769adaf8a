"""Runs over the experts of a mixture: the folder is loaded again, costs are exact, other methods are refused."""

import numpy as np
import pytest
import torch

import mcprune
from mcprune.errors import ModelError
from tests.shared.mixtures import Dense, TopTwo, net

SHORT = {"epochs": 1, "retrain_epochs": 1, "compare": "no", "threads": 1, "decisions": 12, "seed": 0}


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(size=(160, 32)).astype(np.float32)
    return x, np.digitize(x[:, :8].sum(axis=1), [-1.5, 1.5])


@pytest.mark.slow
def test_experts_are_cut_and_the_folder_is_loaded_again(rows, tmp_path):
    model = net(TopTwo, TopTwo)
    result = mcprune.prune(*rows, model=model, sites="experts", keep=5, out=str(tmp_path / "run"), **SHORT)
    small = result.model.model
    assert sum(len(layer.experts) for layer in small.layers) == 5
    assert all(layer.num_experts == len(layer.experts) == layer.gate.out_features for layer in small.layers)
    again = mcprune.load(tmp_path / "run", model=net(TopTwo, TopTwo))
    np.testing.assert_array_equal(again.predict_proba(rows[0]), result.model.predict_proba(rows[0]))
    assert not list((tmp_path / "run").rglob("*.pkl"))


@pytest.mark.slow
def test_a_bound_of_parameters_holds(rows):
    model = net(Dense)
    whole = sum(p.numel() for p in model.parameters())
    result = mcprune.prune(*rows, model=model, sites="experts", parameters=whole - 500, frozen=True, **SHORT)
    assert sum(p.numel() for p in result.model.model.parameters()) == whole - 3 * 221 <= whole - 500


@pytest.mark.slow
@pytest.mark.parametrize("evaluator", ["suffix", "full"])
def test_every_evaluator_gives_the_same_mask(rows, evaluator):
    torch.manual_seed(0)
    options = {key: value for key, value in SHORT.items() if key != "retrain_epochs"}
    masks = [
        mcprune.prune(
            *rows,
            model=net(TopTwo, Dense),
            sites="experts",
            keep=6,
            frozen=True,
            evaluator=each,
            finetune="none",
            **options,
        ).mask.indices.tolist()
        for each in (evaluator, "full")
    ]
    assert masks[0] == masks[1]


@pytest.mark.parametrize("method", ["gradient", "importance"])
def test_methods_that_need_gradients_are_refused(rows, method):
    with pytest.raises(
        ModelError, match=r"no token takes a dropped expert of 'layers\.0', so it has none. Use method="
    ):
        mcprune.prune(*rows, model=net(TopTwo), sites="experts", keep=3, method=method, epochs=2)


def test_multiply_accumulates_are_refused(rows):
    with pytest.raises(ModelError, match="depend on which experts the tokens of a row take"):
        mcprune.prune(*rows, model=net(TopTwo), sites="experts", macs=1000, **SHORT)
