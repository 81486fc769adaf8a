"""The wider classifier that searches, training on live columns, waves and noise: what becomes of the options, and what they compute."""

import numpy as np
import pytest
import torch

from mcprune.chain.schedules import Schedule, Waves
from mcprune.config import rules
from mcprune.config.schema import make_config
from mcprune.data.load import load
from mcprune.errors import ConfigError
from mcprune.models.mlp import MLP
from mcprune.session.build import planner
from mcprune.session.build.markov import budget_over_time
from mcprune.session.build.planner import make_plan
from mcprune.session.finish.retrain import Refit
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.training.classifiers import describe_classifier
from mcprune.training.fit import fit
from mcprune.training.trainer import Trainer


def planned(**options):
    return make_plan(make_config(data="digits", keep=16, **options), load("digits"))


def test_few_rows_search_with_the_classifier_that_is_kept():
    plan = planned(eval_on="held-out")
    assert plan.config.model.search_hidden == plan.config.model.hidden == (128, 64)
    assert plan.config.chain.keep_schedule.regrow == 0
    assert isinstance(budget_over_time(plan.chain.keep_schedule, plan.space)[0], Schedule)


def test_many_rows_search_with_a_wide_layer_and_waves(monkeypatch):
    monkeypatch.setattr(rules, "LARGE", 1000)
    monkeypatch.setattr(planner, "BLACK", 0.4)  # half of the digits' pixels are
    plan = planned()
    assert plan.config.model.search_hidden == (512,)
    assert plan.model.widths == (64, 512, 10)
    assert (
        describe_classifier(plan.settings.model, plan.model, 64, is_users_model=False)
        == "MLP 64-128-64-10, searched with 64-512-10"
    )
    assert plan.config.chain.keep_schedule.regrow == 40
    assert plan.config.chain.keep_schedule.until == 0.3
    assert isinstance(budget_over_time(plan.chain.keep_schedule, plan.space)[0], Waves)
    # What has units as sites, warmth or a gradient keeps its own classifier and rests once at n.
    assert planned(sites="units").config.model.search_hidden == (128, 64)
    assert planned(temperature="1e-4").config.chain.keep_schedule.regrow == 0
    assert planned(method="gradient").config.model.search_hidden == (128, 64)


def test_grey_images_are_searched_plainly_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(rules, "LARGE", 1000)
    config = planned().config
    assert (
        config.model.search_hidden,
        config.chain.keep_schedule.regrow,
        config.train.input_noise,
        config.retrain.input_noise,
    ) == (
        (128, 64),
        0,
        0.0,
        0.0,
    )
    assert (config.train.epochs, config.chain.pool.size, config.chain.evaluation_rows.early) == (30, 8, 1024)
    assert (config.retrain.dropout, config.retrain.epochs) == (0.2, 60)
    told = planned(keep_schedule="geometric,regrow=7", input_noise=0.05, epochs=3, pool=4).config
    assert (
        told.chain.keep_schedule.regrow,
        told.train.input_noise,
        told.train.epochs,
        told.chain.pool.size,
        told.retrain.input_noise,
    ) == (
        7,
        0.05,
        3,
        4,
        0.0,
    )
    # Units, the gradient path, and rows that are no images are left as they were, but for the noise on pixels.
    assert planned(sites="units").config.chain.keep_schedule.regrow == 40
    assert planned(method="gradient").config.train.input_noise == 0.0
    assert planned(sites="units").config.retrain.dropout == 0.0
    assert planned(retrain_dropout=0.0, retrain_epochs=2).config.retrain.epochs == 2
    assert (
        make_plan(
            make_config(data="breast-cancer", keep=3, eval_on="held-out"), load("breast-cancer")
        ).config.chain.pool.size
        == 32
    )


@pytest.mark.parametrize(
    "options",
    [
        {"sites": "units", "search_hidden": "64"},
        {"keep_schedule": "constant,regrow=3"},
        {"keep_schedule": "geometric:0.95,regrow=3"},
        {"keep_schedule": "geometric,regrow=3", "pool": "none", "moves": "toggle=1"},
    ],
)
def test_options_that_nothing_could_follow_are_refused(options):
    with pytest.raises(ConfigError):
        planned(**options)


def trained(takes_columns, monkeypatch, input_noise=0.0):
    """Return the first weights after ten steps on masks that keep 8 of 300 inputs."""
    draw = np.random.default_rng(0)
    model = MLP((300, 16, 3), seed=1)
    gated = GatedModel(model, site_map(model, "inputs", 300))
    assert gated.takes_columns
    monkeypatch.setattr(GatedModel, "takes_columns", takes_columns)
    weights = np.where(np.arange(300) < 8, 4.0, -4.0)
    trainer = Trainer(
        gated, torch.from_numpy(draw.random((64, 300), dtype=np.float32)), torch.arange(64) % 3,
        batch_size=16, learning_rate=1e-2, weight_decay=0.0, mask_noise=0.25, seed=0, input_noise=input_noise,
    )  # fmt: skip
    trainer.run(trainer.init(), 10, (weights > 0).astype(np.float32), weights, 0.0)
    return model.layers[0].weight.detach().clone(), MLP((300, 16, 3), seed=1).layers[0].weight


def test_training_on_live_columns_only_traded_and_kept_weights_move(monkeypatch):
    moved, fresh = trained(True, monkeypatch)
    changed = (moved != fresh).any(dim=0)
    assert changed[:8].all()
    assert 8 < int(changed.sum()) < 300  # the pools of ten steps


def test_live_columns_give_the_logits_of_the_whole_rows():
    draw = np.random.default_rng(3)
    model = MLP((300, 16, 3), seed=1)
    gated = GatedModel(model, site_map(model, "inputs", 300))
    rows = torch.from_numpy(draw.random((20, 300), dtype=np.float32))
    gates = torch.zeros(300)
    live = torch.from_numpy(np.sort(draw.choice(300, 40, replace=False)))
    gates[live] = 1.0
    torch.testing.assert_close(gated.of_columns(rows[:, live], live), gated(rows, gates), rtol=1e-5, atol=1e-6)
    # The control: without one of the columns they differ.
    assert not torch.allclose(gated.of_columns(rows[:, live[1:]], live[1:]), gated(rows, gates), atol=1e-4)


def test_a_user_s_model_or_units_as_sites_have_no_columns():
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    assert not GatedModel(model, site_map(model, "inputs", 8)).takes_columns
    own = MLP((8, 4, 2), seed=0)
    assert not GatedModel(own, site_map(own, "inputs,units", 8)).takes_columns


def test_noise_is_a_function_of_the_seed_and_does_something():
    x = torch.from_numpy(np.random.default_rng(0).random((40, 6), dtype=np.float32))
    y = torch.arange(40) % 2

    def weights(input_noise):
        model = MLP((6, 5, 2), seed=0)
        fit(model, x, y, epochs=2, batch_size=8, learning_rate=1e-2, weight_decay=0.0, seed=3, input_noise=input_noise)
        return model.layers[0].weight.detach()

    assert torch.equal(weights(0.1), weights(0.1))
    assert not torch.equal(weights(0.1), weights(0.0))


def test_only_images_are_retrained_with_noise():
    assert planned().config.retrain.input_noise == 0.1
    table = make_plan(make_config(data="breast-cancer", keep=5), load("breast-cancer"))
    assert table.config.retrain.input_noise == 0.0
    assert planned(retrain_input_noise=0.0).config.retrain.input_noise == 0.0


def test_dropout_while_retraining_is_that_of_the_small_classifier_alone():
    plan = planned(dropout=0.1, retrain_dropout=0.4)
    mask = np.arange(64) < 16
    small = Refit(plan, lambda: False).small(mask, 0)
    assert plan.model.dropout == 0.1
    assert small.dropout == 0.4
    assert [module.p for module in small.modules() if isinstance(module, torch.nn.Dropout)] == [0.4, 0.4]
    # Where it is not given it is that of the search.
    assert Refit(planned(dropout=0.1), lambda: False).small(mask, 0).dropout == 0.1
