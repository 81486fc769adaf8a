"""Objectives of a trained network: the divergence from its dense outputs, exact matches, functions that read the inputs."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import mcprune
from mcprune.errors import ObjectiveError
from mcprune.objectives.base import Rows
from mcprune.objectives.dense import DenseDivergence
from mcprune.objectives.named import make_objective
from mcprune.types import InputField

SHORT = {"epochs": 3, "threads": 1, "seed": 0}


def test_the_divergence_is_torchs():
    torch.manual_seed(0)
    objective, rows = DenseDivergence(), torch.randn(40, 5)
    objective.dense = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5)).train()
    logits = torch.randn(3, 40, 4)
    weights = torch.rand(40)
    objective.begin(Rows(weights, None, rows))
    dense = functional.log_softmax(objective.dense[0](rows), 1)
    own = functional.log_softmax(logits, 2)
    expected = [
        functional.kl_div(each, dense, log_target=True, reduction="none").sum(1) @ weights / weights.sum()
        for each in own
    ]
    np.testing.assert_allclose(objective.losses(logits, torch.zeros(40)), torch.stack(expected).detach(), rtol=1e-5)
    assert objective.dense.training
    objective.begin(Rows(inputs=rows))
    assert objective.losses(dense.detach()[None], torch.zeros(40)) == pytest.approx([0.0], abs=1e-9)


def test_without_a_dense_network_it_is_refused():
    with pytest.raises(ObjectiveError, match="which this search does not have"):
        DenseDivergence().begin(Rows(inputs=torch.zeros(2, 3)))


def test_exact_matches():
    objective = make_objective("exact-match")
    logits = torch.tensor([[[1.0, -1.0], [1.0, 1.0]], [[-1.0, 1.0], [1.0, float("nan")]]])
    losses = objective.losses(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert losses[0] == 0.5
    assert np.isnan(losses[1])


def trained():
    """A network of eight inputs of which it reads three."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight[:, [0, 2, 3, 5, 7]] = 0
    x = torch.randn(300, 8)
    return model, x.numpy(), model(x).argmax(1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"frozen": True}, {"frozen": True, "eval_on": "held-out"}, {}])
def test_the_chain_finds_the_inputs_that_a_network_reads(options):
    model, x, _ = trained()
    y = np.random.default_rng(0).integers(0, 3, len(x))  # the classes play no part
    result = mcprune.prune(x, y, keep=3, model=model, objective="kl", scale="none", **SHORT, **options)
    if "frozen" in options:
        assert result.mask.indices.tolist() == [1, 4, 6]
    assert any("divergence from the dense outputs" in event.text for event in result.events if event.kind == "note")


@pytest.mark.slow
def test_the_divergence_of_folds_is_that_of_each_classifier():
    _, x, y = trained()
    result = mcprune.prune(x, y, keep=3, hidden=(6,), objective="kl", eval_on="folds", **SHORT)
    assert result.mask.indices.size == 3


@pytest.mark.slow
def test_a_function_gets_the_inputs_of_its_rows():
    seen = []

    def objective(predictions, targets, inputs):
        assert predictions.shape == (len(inputs), 3)
        assert inputs.dtype == np.float32
        assert not inputs.flags.writeable
        seen.append(inputs)
        return float((predictions.argmax(1) != (inputs[:, 1] > 0)).mean())

    model, x, y = trained()
    mcprune.prune(x, y, keep=3, model=model, objective=objective, frozen=True, scale="none", **SHORT)
    rows = {row.tobytes() for row in x}
    assert all(row.tobytes() in rows for row in np.concatenate(seen[:3]))


def test_inputs_by_name():
    objective = make_objective(lambda predictions, targets, inputs: float(inputs["ids"].sum() + inputs["x"].sum()))
    objective.fields = (InputField("ids", 0, (2,), "int"), InputField("x", 2, (1, 2), "float"))
    objective.begin(Rows(inputs=torch.tensor([[1.0, 2.0, 0.5, 0.25]])))
    assert objective.losses(torch.zeros(1, 1, 3), torch.zeros(1)).tolist() == [3.75]


def test_inputs_that_are_not_at_hand_are_refused():
    objective = make_objective(lambda predictions, targets, inputs: 0.0)
    with pytest.raises(ObjectiveError, match="reads the inputs of the rows"):
        objective.losses(torch.zeros(1, 1, 3), torch.zeros(1))
