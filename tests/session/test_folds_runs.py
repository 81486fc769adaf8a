"""Runs whose candidates are evaluated by a classifier for each fold."""

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.config.files import recorded_options
from mcprune.config.options import in_flat
from mcprune.config.schema import make_config
from mcprune.errors import ConfigError
from mcprune.session.build.dataset import dataset_of, load_dataset
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.search import Search
from mcprune.sites.gates import GatedModel

OPTIONS = {
    "data": "wine",
    "keep": 4,
    "eval_on": "folds",
    "eval_folds": 3,
    "epochs": 48,
    "seed": 3,
    "threads": 1,
    "device": "cpu",
}


def table(rows=90, columns=8):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(rows, columns)).astype(np.float32)
    return x, (x[:, 2] + x[:, 5] > 0).astype(np.int64)


def plan_of(data=None, model=None, **options):
    settings = {**OPTIONS, **options}
    if data is not None:
        settings.pop("data")
    config = make_config(**settings)
    return make_plan(config, load_dataset(config) if data is None else dataset_of(data, config), model)


def test_no_row_evaluates_with_a_classifier_that_it_trains_and_all_rows_do_both():
    plan = plan_of()
    assert len(plan.stack) == 3
    search = Search(plan, make_method(plan))
    rows = len(plan.splits.train.targets)
    assert sorted(np.concatenate(plan.folds.evaluation)) == list(range(rows))
    for trainer, evaluating in zip(search.trainer.trainers, plan.folds.evaluation, strict=True):
        assert len(trainer.training_rows()[1]) == rows - len(evaluating)
    before = [[value.clone() for value in gated.model.parameters()] for gated in plan.stack]
    search.start()
    info = search.advance(0)
    assert info.proposals
    batch = search.rows.last(search.state.evaluation)
    assert len(batch.targets) == rows
    assert all(
        not torch.equal(old[0], next(gated.model.parameters())) for old, gated in zip(before, plan.stack, strict=True)
    )
    # The loss that the block reports is the mean over all rows, each by the classifier of its fold.
    gates = plan.gated.hard_gates(search.position() > 0)
    total = 0.0
    for gated, evaluating in zip(plan.stack, plan.folds.evaluation, strict=True):
        gated.eval()
        with torch.no_grad():
            logits = gated(plan.rows(plan.splits.train.features[evaluating]), gates)
            targets = torch.from_numpy(plan.splits.train.targets[evaluating])
            total += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
    assert info.cla == pytest.approx(total / rows, rel=1e-5)


def test_the_classifiers_of_the_folds_are_small_and_regularised_and_the_result_is_retrained_as_ever():
    plan = plan_of()
    assert [tuple(gated.model.widths) for gated in plan.stack] == [(13, 64, 3)] * 3
    assert {gated.model.dropout for gated in plan.stack} == {0.3}
    assert (plan.train.weight_decay, plan.train.mask_noise, plan.train.steps) == (0.01, 0.1, 4)
    assert (plan.retrain.weight_decay, plan.retrain.dropout) == (0.0, 0.3)
    assert plan.settings.model.hidden == (128, 64)
    given = plan_of(dropout=0.1, weight_decay=0.2, mask_noise=0.3, train_steps=5, search_hidden="9")
    assert (given.gated.model.dropout, given.train.weight_decay, given.train.mask_noise, given.train.steps) == (
        0.1,
        0.2,
        0.3,
        5,
    )
    assert tuple(given.model.widths) == (13, 9, 3)
    assert (given.retrain.weight_decay, given.retrain.dropout) == (0.2, 0.1)


def test_what_a_run_records_repeats_it():
    plan = plan_of()
    again = make_plan(make_config(**in_flat(recorded_options(plan.config))), plan.splits)
    assert again.settings._replace(notes=(), config=None) == plan.settings._replace(notes=(), config=None)


@pytest.mark.slow
@pytest.mark.parametrize("sites", ["inputs", "inputs,units"])
def test_a_run_that_was_cut_off_ends_in_the_same_mask(tmp_path, sites):
    options = {
        **OPTIONS,
        "sites": sites,
        "checkpoint_every": "1",
        "compare": "no",
        "retrain_epochs": 1,
        "hidden": "8,6",
    }
    whole = list(mcprune.run(make_config(**options, out=str(tmp_path / "whole"))))[-1]
    running = mcprune.run(make_config(**options, out=str(tmp_path / "cut")))
    for event in running:
        if event.kind == "progress" and event.block == 7:
            running.close()
            break
    resumed = mcprune.resume(str(tmp_path / "cut"))
    assert tuple(resumed.mask.indices) == whole.indices


class Scaled(nn.Module):
    """A module whose parameter nothing draws afresh."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.scale


@pytest.mark.slow
def test_an_own_model_is_copied_for_each_fold_and_trained_from_scratch():
    x, y = table()
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    before = [value.clone() for value in model.parameters()]
    plan = plan_of((x, y), model, keep=3)
    assert len(plan.stack) == 3
    firsts = [next(gated.model.parameters()) for gated in plan.stack]
    assert not any(torch.equal(one, before[0]) for one in firsts)
    assert not torch.equal(firsts[0], firsts[1])
    result = mcprune.prune(x, y, keep=3, model=model, eval_on="folds", epochs=60, retrain_epochs=2, threads=1)
    assert {2, 5} <= set(result.mask.indices)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("model", "options", "cause", "remedy"),
    [
        (
            nn.Sequential(Scaled(), nn.Linear(8, 2)),
            {},
            "draws '0.scale' afresh",
            "reset_parameters, or use eval_on='held-out'",
        ),
        (nn.Linear(8, 2), {"frozen": True}, "the classifier is frozen", "Use --eval-on held-out"),
        (None, {"early_reject": 0.1}, "early_reject=0.1 looks at a part", "Leave --early-reject out"),
    ],
)
def test_what_cannot_be_cross_fitted_is_refused_with_a_remedy(model, options, cause, remedy):
    with pytest.raises(ConfigError, match=cause) as caught:
        plan_of(table(), model, keep=3, **options)
    assert remedy in str(caught.value)


@pytest.mark.slow
def test_weights_of_rows_and_other_objectives_work_with_folds():
    x, y = table()
    result = mcprune.prune(x, y, keep=3, objective="auc", eval_on="folds", epochs=6, retrain_epochs=1, threads=1)
    assert len(result.mask.indices) == 3


def test_trial_searches_start_from_copies_of_all_classifiers():
    plan = plan_of()
    copies = plan.new_stack()
    assert [isinstance(one, GatedModel) for one in copies] == [True] * 3
    for one, other in zip(copies, plan.stack, strict=True):
        assert one.model is not other.model
        assert all(torch.equal(*pair) for pair in zip(one.model.parameters(), other.model.parameters(), strict=True))
