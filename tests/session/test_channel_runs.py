"""Runs on channels: from the options to a smaller network, by the chain and by the gradient."""

import json

import numpy as np
import pytest
import torch
from selection import long_but, slow_but
from torch import nn

from mcprune.api import prune
from mcprune.cli.main import main
from mcprune.config.files import read_options
from mcprune.config.schema import make_config
from mcprune.data.base import assemble
from mcprune.errors import ConfigError, ModelError
from mcprune.models.networks import NETWORKS
from mcprune.session.build.planner import make_plan
from mcprune.storage.events import BeforeAfter
from mcprune.storage.pruned_model import load

QUICK = {
    "epochs": 1, "retrain_epochs": 1, "batch_size": 16, "decisions": 8, "lookahead": 4, "threads": 1, "pool": 2, "compare": "no",
}  # fmt: skip


def images(shape, rows=90):
    """Images whose class is the brightest third of their first plane."""
    draw = np.random.default_rng(0)
    pixels = draw.random((rows, *shape)).astype(np.float32)
    target = draw.integers(0, 3, rows)
    third = shape[1] // 3
    for row, label in enumerate(target):
        pixels[row, 0, label * third : (label + 1) * third] += 1.0
    return assemble("stripes", pixels.reshape(rows, -1), target, image_shape=shape)


class Small(nn.Module):
    """A network that is fast enough to be trained in a test."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Unflatten(1, (1, 9, 9)), nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(150, 3)),
        )

    def forward(self, x):
        return self.body(x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "width", "groups"),
    long_but(
        "other networks of the same kind of layers",
        [("vgg13", (1, 32, 32), 0.03, 10), ("mobilenet_v1", (1, 9, 9), 0.05, 14), ("resnet56", (1, 9, 9), 0.15, 30)],
        "mobilenet_v1",
    ),
)
def test_networks_by_name_are_pruned_to_exactly_n_channels(name, shape, width, groups, tmp_path):
    data = images(shape)
    # The maps of so many rows fit; n is near the least that there can be.
    result = prune(data, keep=groups + 3, sites="channels", model=name, width=width, out=str(tmp_path / "run"), **QUICK)
    assert result.mask.indices.size == groups + 3
    start, done = (next(e for e in result.events if e.kind == kind) for kind in ("run_started", "run_done"))
    assert start.classifier == f"{name}, width {width}"
    assert len(start.sites) == groups
    assert start.config["finetune"] == "warm"
    assert start.config["evaluation_rows"] == "1024,early=512"
    for cost in ("parameters", "macs"):
        assert 0 < getattr(done, cost).after < getattr(done, cost).before
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (BeforeAfter(**stored["macs"]), BeforeAfter(**stored["parameters"])) == (done.macs, done.parameters)
    # The files alone give the small network back, and the options leave out what such a network does not read.
    again = load(tmp_path / "run")
    assert sum(p.numel() for p in again.model.parameters()) == done.parameters.after
    rows = np.asarray(data.features)[:5]
    np.testing.assert_array_equal(again.predict(rows), result.model.predict(rows))
    assert {"hidden", "activation", "dropout", "bias"}.isdisjoint(read_options(tmp_path / "run" / "config.toml"))


@pytest.mark.slow
def test_a_users_network_is_pruned_and_retrained_on_what_was_found(monkeypatch):
    torch.manual_seed(0)
    data = images((1, 9, 9), 400)
    options = {**QUICK, "epochs": 12, "retrain_epochs": 4, "learning_rate": 0.01}
    result = prune(data, keep=5, sites="channels", model=Small(), **options)
    assert {event.evaluator for event in result.events if event.kind == "run_started"} <= {"suffix", "full"}
    # Chance is a third; two layers share what they cut, the depthwise one with the first.
    assert result.metrics["test_accuracy"] > 0.8
    layers = [layer for layer in result.model.model.modules() if isinstance(layer, nn.Conv2d)]
    assert layers[0].out_channels == layers[1].out_channels == layers[1].groups == layers[2].in_channels
    assert layers[0].out_channels + layers[2].out_channels == 5


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "share"), slow_but([("macs", 0.3), ("parameters", 0.45)], "macs"))
def test_a_budget_in_a_cost_is_held_by_the_cut_network_and_no_channel_more_fits(unit, share):
    from mcprune.exporters.footprint import macs, parameters
    from mcprune.sites.costs.count import model_costs
    from mcprune.sites.site_map import site_map

    torch.manual_seed(0)
    whole = Small()
    costs = model_costs(whole, site_map(whole, "channels", 81), unit, input_shape=(81,))
    limit = round(share * costs.whole)
    options = {**QUICK, "epochs": 6, unit: limit, "moves": "exchange=1,toggle=1"}
    result = prune(images((1, 9, 9)), keep=None, sites="channels", model=whole, **options)
    done = result.events[-1]
    small = result.model.model
    met = parameters(small) if unit == "parameters" else macs(small, 81)
    assert met == done.costs[0].used == getattr(done, unit).after <= limit
    kept = np.array(done.costs[0].groups)
    assert (met + costs.steps(kept, 1)[kept < costs.sizes] > limit).all()
    told = [event for event in result.events if event.kind == "progress"]
    assert all(data.costs <= data.cost_targets for data in told)
    assert told[-1].rejected_by_cost > 0


@pytest.mark.slow
def test_found_weights_are_where_retraining_starts_and_fresh_ones_where_asked(monkeypatch):
    """With nothing trained after the search, what is found has the masked accuracy; fresh weights forget it."""
    from mcprune.session.finish import retrain as refit

    monkeypatch.setattr(refit, "fit", lambda *_, **__: None)
    data = images((1, 9, 9), 400)
    figures = {}
    for way in ("warm", "scratch"):
        torch.manual_seed(0)
        options = {**QUICK, "epochs": 12, "learning_rate": 0.01, "finetune": way, "compare": "no"}
        figures[way] = prune(data, keep=8, sites="channels", model=Small(), **options).metrics
    assert figures["warm"]["test_accuracy"] == figures["warm"]["test_accuracy_before_retraining"] > 0.8
    assert figures["scratch"]["test_accuracy_before_retraining"] == figures["warm"]["test_accuracy_before_retraining"]
    assert figures["scratch"]["test_accuracy"] < 0.7


@pytest.mark.slow
def test_found_weights_of_a_perceptron_too():
    options = {**QUICK, "epochs": 4, "hidden": (12,), "compare": "no", "evaluator": "full"}
    result = prune("digits", keep=16, sites="inputs", finetune="warm", **options)
    assert result.model.model.widths == (16, 12, 10)


@pytest.mark.slow
def test_rivals_of_fresh_networks_keep_a_channel_in_each_layer():
    torch.manual_seed(0)
    options = {**QUICK, "finetune": "scratch", "compare": "yes"}
    result = prune(images((1, 9, 9)), keep=2, sites="channels", model=Small(), **options)
    assert {"test_accuracy_all_sites", "test_accuracy_random_masks", "test_accuracy_weight_magnitude"} <= set(
        result.metrics
    )


def test_the_gradient_path_keeps_a_channel_in_each_layer():
    torch.manual_seed(0)
    options = {key: value for key, value in QUICK.items() if key not in ("decisions", "lookahead", "pool")}
    result = prune(images((1, 9, 9)), keep=3, sites="inputs,channels", model=Small(), method="gradient", **options)
    kept = result.mask.support
    assert kept[:81].any()  # nothing passes without an input either
    assert kept[81:89].any()
    assert kept[89:].any()
    assert kept.sum() == 3


@pytest.mark.slow
@pytest.mark.parametrize("moves", [{"uniform": 1.0}, {"toggle": 1.0}, {"exchange": 1.0, "block": 1.0}])
def test_no_move_of_the_chain_empties_a_layer(moves):
    torch.manual_seed(0)
    options = {**QUICK, "epochs": 3, "moves": moves, "temperature": "0.5"}
    if "toggle" not in moves:
        options["delta"] = "8"
    result = prune(images((1, 9, 9)), keep=3, sites="channels", model=Small(), **options)
    for event in result.events:
        if event.kind == "hardened":
            assert event.kept == 3
    kept = result.mask.support
    assert kept[:8].any()
    assert kept[8:].any()


def test_a_shared_memory_bound_leaves_fewer_rows():
    data = images((1, 32, 32))
    config = make_config(model="vgg13", width=0.1, sites="channels", keep=40, max_memory=2**20, threads=1)
    plan = make_plan(config, data)
    # By hand: the first two layers have 6 maps of 32 x 32 behind three layers each, more than half of all.
    assert 1 <= plan.evaluation.rows < 2**20 / (4 * 6 * 3 * 2 * 1024)
    assert any(note.startswith(f"evaluation rows, end: {plan.evaluation.rows:,} of ") for note in plan.notes)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": "vgg13", "sites": "channels"}, ModelError, "vgg13 needs images of 32 x 32 or more, but 64 inputs"),
        (
            {"model": "resnet56", "width": 0.1, "sites": "channels", "keep": 9},
            ConfigError,
            "keep=9, but 30 layers must keep one",
        ),
        (
            {"model": "resnet56", "width": 0.1, "sites": "channels", "macs": 99},
            ConfigError,
            "macs=99, but the smallest model, of one site of conv0",
        ),
        ({"model": "resnet56", "hidden": (4,)}, ConfigError, "--hidden does nothing under --model resnet56"),
        ({"model": "lenet-300-100", "hidden": (4,)}, ConfigError, "--hidden does nothing under --model lenet-300-100"),
        ({"width": 0.5}, ConfigError, "--width does nothing under --model mlp"),
        ({"sites": "channels"}, ModelError, "MLP has no convolution whose channels another layer reads"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(options, error, words):
    from mcprune.data.load import load as load_data

    with pytest.raises(error, match=words):
        make_plan(make_config(**options), load_data("digits"))


@pytest.mark.slow
def test_the_report_of_a_network_has_its_costs_and_times(tmp_path, capsys):
    folder = tmp_path / "run"
    given = [f"--{key.replace('_', '-')}={value}" for key, value in QUICK.items()]
    options = ["--model", "mobilenet_v1", "--width", ".05", "--sites", "channels", "--keep", "40", "--out", str(folder)]
    assert main(["run", *options, *given]) == 0
    done = json.loads((folder / "result.json").read_text())
    assert (
        f"multiply-accumulates of a row: {done['macs']['before']:,} before, {done['macs']['after']:,}"
        in capsys.readouterr().out
    )
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert f"{done['macs']['before']:,}" in page
    assert "a batch of 256, microseconds" in page
    assert "Left out" not in page
    assert NETWORKS.keys() == {"vgg13", "mobilenet_v1", "resnet56"}
