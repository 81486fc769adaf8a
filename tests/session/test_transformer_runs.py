"""Runs over heads, neurons and sub-blocks of a transformer of one's own, from rows to the folder that is loaded again."""

import numpy as np
import pytest
import torch

import mcprune
from mcprune.errors import ConfigError, ModelError
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.models.attention import NarrowAttention, Skipped
from mcprune.models.flops import multiply_accumulates
from tests.shared.transformers_nets import NETS, TorchNet

SHORT = {"epochs": 1, "retrain_epochs": 1, "compare": "no", "threads": 1, "start": "all", "decisions": 12}


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(size=(160, 64)).astype(np.float32)
    return x, np.where(x[:, :8].sum(axis=1) > 0, "up", "down")


class Two(TorchNet):
    """Two classes."""

    def forward(self, x):
        return super().forward(x)[:, :2]


def trained():
    torch.manual_seed(0)
    return Two(layers=1)


@pytest.mark.slow
def test_heads_are_cut_and_the_folder_is_loaded_again(rows, tmp_path):
    result = mcprune.prune(*rows, model=trained(), sites="heads", keep=2, out=str(tmp_path / "run"), **SHORT)
    assert result.mask.indices.size == 2
    attention = result.model.model.encoder.layers[0].self_attn
    assert isinstance(attention, NarrowAttention)
    assert attention.heads == tuple(result.mask.indices)
    again = mcprune.load(tmp_path / "run", model=Two(layers=1))
    np.testing.assert_array_equal(again.predict_proba(rows[0]), result.model.predict_proba(rows[0]))
    assert not list((tmp_path / "run").rglob("*.pkl"))


@pytest.mark.slow
def test_a_frozen_network_keeps_its_weights(rows):
    model = trained().requires_grad_(False)
    before = model.encoder.layers[0].linear1.weight.clone()
    result = mcprune.prune(*rows, model=model, frozen=True, sites="neurons", keep=10, **SHORT)
    kept = result.mask.indices
    assert result.model.model.encoder.layers[0].linear1.weight.equal(before[kept])


@pytest.mark.slow
def test_the_mask_is_that_of_full_with_narrow_layers_and_with_activations_of_16_bits(rows, monkeypatch):
    monkeypatch.setitem(SuffixEvaluator.__init__.__kwdefaults__, "widest", 16)  # in parts
    masks = {}
    for evaluator in ("full", "suffix", "suffix-bfloat16", "suffix-float16"):
        result = mcprune.prune(*rows, model=trained(), sites="heads,neurons", keep=12, evaluator=evaluator, **SHORT)
        masks[evaluator] = result.mask.indices.tolist()
    assert all(mask == masks["full"] for mask in masks.values())


def test_a_sub_block_is_removed(rows):
    result = mcprune.prune(*rows, model=trained(), sites="blocks", keep=1, **SHORT)
    layer = result.model.model.encoder.layers[0]
    assert isinstance(layer.self_attn, Skipped) != isinstance(layer.linear2, Skipped)
    assert result.mask.names[0] in ("encoder.layers.0.self_attn", "encoder.layers.0.linear1")


@pytest.mark.slow
def test_all_kinds_under_a_bound_of_macs(rows):
    model = trained()
    whole = multiply_accumulates(model, (64,))
    bound = int(0.6 * whole)
    result = mcprune.prune(*rows, model=model, sites="heads,neurons,blocks", macs=bound, **SHORT)
    assert multiply_accumulates(result.model.model, (64,)) <= bound


@pytest.mark.slow
def test_a_number_of_each_kind(rows):
    result = mcprune.prune(
        *rows, model=trained(), sites="heads,neurons", keep={"heads": 3, "neurons": 12}, frozen=True, **SHORT
    )
    assert (result.mask.indices < 4).sum() == 3
    assert result.mask.indices.size == 15


@pytest.mark.slow
def test_comparisons_by_magnitude_know_heads_and_blocks(rows):
    options = {**SHORT, "compare": "yes", "finetune": "scratch", "retrain_epochs": 1}
    with pytest.raises(ConfigError, match="keep"):
        mcprune.prune(*rows, model=trained(), sites="heads", keep=9, **options)
    result = mcprune.prune(
        *rows, model=trained(), sites="heads,blocks", keep=3, frozen=True, **{**SHORT, "compare": "yes"}
    )
    assert "test_accuracy_magnitude_fine_tuned" in result.metrics


def test_importance_scores_of_heads(rows):
    result = mcprune.prune(
        *rows,
        model=trained(),
        sites="heads,neurons",
        keep=9,
        method="importance",
        epochs=1,
        retrain_epochs=1,
        compare="no",
    )
    assert result.mask.indices.size == 9


def test_inspect_lists_them():
    text = str(mcprune.inspect(TorchNet(layers=1), (64,)))
    assert "heads    encoder.layers.0.self_attn" in text
    assert "blocks   encoder.layers.0.linear1" in text


def test_a_model_without_heads_is_refused(rows):
    net = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    with pytest.raises(ModelError, match="has no attention that mcprune knows"):
        mcprune.prune(*rows, model=net, sites="heads", keep=2, **SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grouped queries", "fused, causal"])
def test_own_blocks(rows, name):
    net = NETS[name]()
    net.head = torch.nn.Linear(16, 2)
    result = mcprune.prune(*rows, model=net, sites="heads,neurons", keep=8, **SHORT)
    assert result.mask.indices.size == 8
