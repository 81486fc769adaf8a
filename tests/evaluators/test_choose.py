"""The chooser: who serves, who is picked, and the refusals."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.chain import moves
from mcprune.config.sections.runtime import Runtime
from mcprune.errors import ModelError
from mcprune.evaluators import choose as chooser
from mcprune.evaluators.choose import (
    NAMES,
    REGISTRY,
    EvaluationProblem,
    choose,
    examine,
    refuse_random,
    select_by_name,
    survey,
)
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy, ErrorRate

N = 12


class Random(nn.Module):
    """Dropout that eval() does not turn off, or does."""

    def __init__(self, always):
        super().__init__()
        self.first, self.last = nn.Linear(N, 9), nn.Linear(9, 3)
        self.always = always

    def forward(self, x):
        h = torch.relu(self.first(x))
        return self.last(nn.functional.dropout(h, 0.5, training=self.always or self.training))


def case_of(problem, model, kinds="inputs,units", shape=(N,), objective=CrossEntropy, **more):
    one = problem(model, kinds, shape, 60, transposed=len(shape) == 1)
    options = {"plan": moves.move_plan(exchange=1.0, toggle=1.0), "keep": 5, "sharpness": np.inf, **more}
    trial = EvaluationProblem(one.gated, objective(), one.x, one.y, start_weight=4.0, lookahead=8, **options)
    return trial, FullEvaluator(one.gated, objective())


def usable(trial, canonical):
    return {name for name in NAMES if examine(name, trial, canonical).evaluator is not None}


def test_the_option_takes_the_names_of_the_registry():
    names = get_args(Runtime.model_fields["evaluator"].annotation)
    assert set(names) == {"auto", *REGISTRY}


def cnn():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 9), nn.Tanh(), nn.Linear(9, 3))


@pytest.mark.parametrize(
    ("build", "kinds", "shape", "who"),
    [
        (lambda: MLP((N, 9, 3)), "inputs,units", (N,), set(NAMES)),
        (lambda: MLP((N, 9, 3), "gelu"), "inputs", (N,), set(NAMES) - {"fused"}),
        (cnn, "units", (1, 8, 8), {"full", "suffix", "incremental"}),
        (cnn, "inputs,units", (1, 8, 8), {"full", "suffix"}),
        (lambda: Random(always=False), "inputs", (N,), {"full", "suffix", "incremental"}),
        (lambda: Random(always=False), "units", (N,), {"full", "suffix"}),
    ],
)
def test_who_serves(build, kinds, shape, who, problem):
    torch.manual_seed(0)
    trial, canonical = case_of(problem, build(), kinds, shape)
    assert usable(trial, canonical) == who
    for name in set(NAMES) - who:
        assert examine(name, trial, canonical).reason
        with pytest.raises(
            ModelError, match=rf"The evaluator '{name}' cannot be used in this run: .*\. Leave --evaluator out"
        ):
            select_by_name(name, trial, canonical)


def test_another_objective_is_no_matter_for_those_that_see_outputs(problem):
    trial, canonical = case_of(problem, MLP((N, 9, 3)), objective=ErrorRate)
    assert usable(trial, canonical) == {"full", "suffix", "incremental"}


def test_a_plain_perceptron_gets_the_fused_one_without_timing(problem, monkeypatch):
    monkeypatch.setattr(chooser, "measure_rates", lambda *_: pytest.fail("timed"))
    trial, canonical = case_of(problem, MLP((N, 9, 3)))
    evaluator, why = choose(trial, canonical)
    assert (evaluator.name, why) == ("fused", "")


@pytest.mark.parametrize(("fast", "picked"), [("suffix", "suffix"), ("graph", "graph"), ("full", "full"), ("", "full")])
def test_otherwise_the_fastest_is_picked_and_it_is_said_why(fast, picked, problem, monkeypatch):
    """Without a clear winner the canonical one stays."""
    monkeypatch.setattr(
        chooser, "measure_rates", lambda some, *_: [300.0 if e.name == fast else 100.0 + i for i, e in enumerate(some)]
    )
    trial, canonical = case_of(problem, MLP((N, 9, 3), "gelu"))
    evaluator, why = choose(trial, canonical)
    assert evaluator.name == picked
    assert why.startswith(f"{picked}, the fastest here")
    assert "GELU" in why


def test_losses_that_are_further_away_than_stated_are_found_out(problem, monkeypatch):
    losses = IncrementalEvaluator.losses
    trial, canonical = case_of(problem, MLP((N, 9, 3), "gelu"))
    assert "incremental" in usable(trial, canonical)  # the control
    monkeypatch.setattr(IncrementalEvaluator, "losses", lambda self, *args: losses(self, *args) + 3e-5)
    assert "incremental" not in usable(trial, canonical)
    assert "e-05 from the canonical losses" in examine("incremental", trial, canonical).reason
    with pytest.raises(ModelError, match="more than its error of 1e-05"):
        select_by_name("incremental", trial, canonical)


def test_every_evaluator_that_serves_is_timed_on_every_mixture(problem):
    trial, canonical = case_of(problem, MLP((N, 9, 3), "gelu"))
    mixtures = {"toggle": moves.move_plan(toggle=1.0), "exchange": moves.move_plan(exchange=1.0)}
    rows = survey(trial, canonical, mixtures, 0.001)
    assert [row.name for row in rows] == ["plain loop", *NAMES]
    for row in rows:
        assert (row.evaluator is None) == (row.name == "fused") == (not row.rates)
        assert all(speed > 0 for speed in row.rates.values())
        if row.evaluator is not None:
            assert row.difference <= row.evaluator.error


def test_a_model_that_is_random_in_evaluation_mode_is_refused():
    torch.manual_seed(0)
    with pytest.raises(ModelError, match=r"Random is random in evaluation mode: two passes.*training=self\.training"):
        refuse_random(Random(always=True), torch.ones(20, N))
    for model in (Random(always=False), MLP((N, 9, 3), dropout=0.5)):
        model.train()
        refuse_random(model, torch.ones(20, N))  # the control: dropout that is off
        assert model.training
