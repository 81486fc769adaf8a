"""A small model starts from that of a larger mask, and goes on when its level is retrained."""

import numpy as np
import pytest
import torch

import mcprune
from mcprune.path.folder import load_path
from mcprune.path.search.candidates import Candidate
from mcprune.path.search.validate import LevelModel, Validator, starts_from_others, take_over
from mcprune.problem import problem_and_rest
from mcprune.session.build.planner import make_plan
from mcprune.session.finish.retrain import Refit


def plan_of(**options):
    problem, others = problem_and_rest(
        None, "digits", {"keep": 8, "threads": 1, "seed": 0, "hidden": (12, 6), **options}
    )
    config = problem.config(None, others)
    return make_plan(config, problem.dataset(config))


def mask_of(columns, size=64):
    return np.isin(np.arange(size), columns)


def last_of(refit, mask):
    return LevelModel(mask, {name: tensor.clone() for name, tensor in refit.small(mask, 5).state_dict().items()})


def test_shared_inputs_keep_their_columns_and_the_others_are_as_drawn():
    refit = Refit(plan_of(), lambda: False)
    last, columns = last_of(refit, mask_of([1, 3, 5, 9])), np.array([3, 4, 9])
    drawn = refit.small(mask_of(columns), 0)
    small = refit.small(mask_of(columns), 0)
    assert take_over(small, columns, last, refit)
    first, *others = small.state_dict()
    assert torch.equal(small.state_dict()[first][:, [0, 2]], last.tensors[first][:, [1, 3]])
    assert torch.equal(small.state_dict()[first][:, 1], drawn.state_dict()[first][:, 1])
    assert all(torch.equal(small.state_dict()[name], last.tensors[name]) for name in others)


@pytest.mark.parametrize("widths", [(12, 6), (3, 6), (4, 6)])
def test_hidden_layers_of_as_many_units_as_there_are_inputs_are_no_inputs(widths):
    refit = Refit(plan_of(hidden=widths), lambda: False)
    last, columns = last_of(refit, mask_of([1, 3, 5, 9])), np.array([3, 5, 9])
    small = refit.small(mask_of(columns), 0)
    assert take_over(small, columns, last, refit)
    tensors = list(small.state_dict().values())
    assert torch.equal(tensors[2], list(last.tensors.values())[2])


def test_masks_of_one_size_do_not_start_from_each_other():
    refit = Refit(plan_of(), lambda: False)
    last, columns = last_of(refit, mask_of([1, 3, 5])), np.array([3, 4, 9])
    assert not take_over(refit.small(mask_of(columns), 0), columns, last, refit)


@pytest.mark.parametrize(
    ("options", "starts"),
    [({}, True), ({"sites": "units"}, False), ({"retrain_distill": 2.0}, False), ({"finetune": "warm"}, False)],
)
def test_what_starts_from_others(options, starts):
    assert starts_from_others(plan_of(**options)) is starts


@pytest.mark.slow
def test_a_part_of_the_epochs_is_enough_after_a_larger_mask():
    plan = plan_of(hidden=(32, 16), retrain_epochs=40)
    small, large = mask_of(range(10, 30)), mask_of(range(5, 35))
    validator = Validator(plan)
    first = validator.score(Candidate(1, "down", large))
    then = validator.score(Candidate(0, "down", small))
    alone = Validator(plan).score(Candidate(0, "down", small))  # with all epochs
    assert first.is_right.mean() > 0.85
    assert then.is_right.mean() > alone.is_right.mean() - 0.04


@pytest.mark.slow
def test_a_level_is_retrained_from_its_scored_model_and_the_folder_has_it(tmp_path):
    options = {"keep": "8,20", "epochs": 4, "retrain_epochs": 20, "seed": 0, "threads": 1, "progress": False}
    path = mcprune.prune_path("digits", out=str(tmp_path / "p"), **options)
    result, again = path.at(20), load_path(tmp_path / "p").at(20)
    stages = [event.text for event in result.events if event.kind == "stage"]
    assert any(text.startswith("training the pruned model: 6 epochs of") for text in stages)
    rows = np.random.default_rng(0).uniform(0, 16, (50, 64))
    assert (result.model.predict_proba(rows) == again.model.predict_proba(rows)).all()
    assert result.metrics["test_accuracy"] > 0.8
