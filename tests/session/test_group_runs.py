"""Runs among groups of tied sites: whole layers, costs held, names in the files; what cannot be says why in one line."""

import json

import numpy as np
import pytest

import mcprune
from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.data.load import load
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import run

# The rows of an 8 x 8 image as layers of a detector.
LAYERS = {f"layer{row}": {"sites": [f"{8 * row}-{8 * row + 7}"], "cost": 2 + row % 3} for row in range(8)}


def layers_of(keep):
    """The kept layers; it fails where one is kept in part."""
    rows = np.isin(np.arange(64), keep).reshape(8, 8)
    assert (rows.all(axis=1) == rows.any(axis=1)).all()
    return [f"layer{row}" for row in np.flatnonzero(rows.all(axis=1))]


@pytest.mark.slow
def test_layers_are_read_out_whole_within_their_costs(quick, tmp_path):
    limit = 11
    config = quick(keep=limit, groups=LAYERS, must_keep=["layer3"], must_drop=["pixel_4_0"], out=str(tmp_path / "run"))
    told = list(run(config))
    done = told[-1]
    layers = layers_of(done.indices)
    price = {name: group["cost"] for name, group in LAYERS.items()}
    cost = sum(price[name] for name in layers)
    assert cost == done.costs[0].used <= limit
    assert "layer3" in layers
    assert "layer4" not in layers
    assert set(done.costs[0].names) == set(layers) - {"layer3"}
    assert all(cost + price[name] > limit for name in price if name not in (*layers, "layer4"))
    progress = [event for event in told if event.kind == "progress"]
    assert all(data.costs <= data.cost_targets for data in progress)
    assert mcprune.load(tmp_path / "run").columns.tolist() == list(done.indices)
    again = str(tmp_path / "again")
    assert main(["run", "--quiet", "--config", str(tmp_path / "run" / "config.toml"), "--out", again]) == 0
    assert json.loads((tmp_path / "again" / "result.json").read_text())["indices"] == list(done.indices)


@pytest.mark.slow
def test_without_costs_the_budget_is_in_sites_and_single_sites_fill_it(quick, tmp_path):
    groups = {"top": ["0-15"], "bottom": ["pixel_7_*"]}
    config = quick(keep=19, groups=groups, epochs=3, out=str(tmp_path / "run"), compare="yes", retrain_epochs=1)
    done = list(run(config))[-1]
    kept = np.isin(np.arange(64), done.indices)
    assert len(done.indices) == 19  # single sites cost 1: the budget is met exactly
    assert kept[:16].all() == kept[:16].any()
    assert kept[56:].all() == kept[56:].any()
    assert {row.name for row in done.scores} > {"random masks", "first-layer magnitude"}


def test_the_same_groups_from_text_file_and_python(tmp_path):
    wanted = make_config(groups={"a": {"sites": ["x", "y"], "cost": 3}, "b": ["z"]}).problem.groups
    assert make_config(groups="a=x,y:3; b=z").problem.groups == wanted
    file = tmp_path / "layers.toml"
    file.write_text('[a]\nsites = ["x", "y"]\ncost = 3\n[b]\nsites = ["z"]\n')
    assert make_config(groups=str(file)).problem.groups == wanted
    file.write_text('[groups]\nb = ["z"]\na = {sites = ["x", "y"], cost = 3}\n')
    assert make_config(groups=str(file)).problem.groups == wanted


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--keep 4 --groups a=0-7:5", ("'a'", "costs 5", "keep=4", "--must-drop a")),
        ("--keep 9 --groups a=0-7:5;b=7-9:2", ("'a'", "'b'", "pixel_0_7", "one group")),
        ("--keep 9 --groups a=0,pixel_9_9:5", ("pixel_9_9", "did you mean")),
        ("--keep 9 --groups a=0-7:-5", ("'a'", "-5", "not negative")),
        ("--keep 9 --groups a=0-7:1.5", ("1.5", "whole number")),
        ("--keep 9 --groups a=0-7;a=8", ("two groups of one name",)),
        ("--keep 9 --groups a=", ("names no sites",)),
        ("--keep 9 --groups =0-3", ("no name",)),
        ("--keep 9 --groups nowhere.toml", ("nowhere.toml", "cannot be read")),
        ("--keep 99 --groups a=0-7:5", ("keep=99", "61")),
        ("--keep 6 --groups a=0-7:5 --must-keep a --must-drop 3", ("both name", "'a'")),
        ("--keep 4 --groups a=0-7:5 --must-keep a", ("must_keep costs 5", "keep=4")),
        ("--keep 5 --groups a=0-7:5 --must-keep a", ("leave nothing to choose", "keep=5")),
        ("--keep 6 --groups a=0-7:5 --method gradient", ("--groups", "--method markov")),
        ("--keep 6 --groups a=0-7:5 --macs 99", ("macs=99", "8,960")),
        ("--keep 6 --groups a=0-7:5 --alpha 2", ("--alpha",)),
        ("--keep 6 --groups a=0-7:5 --start fisher", ("--start",)),
    ],
)
def test_groups_that_cannot_be_are_one_line(given, words, tmp_path, capsys):
    assert main(["run", "--out", str(tmp_path / "run"), *given.split()]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("\n") == 1
    assert all(word in said for word in words), said
    assert not (tmp_path / "run").exists()


def test_training_trades_whole_groups_and_never_what_must_be_dropped(quick):
    from mcprune.session.search import Search

    config = quick(keep=11, groups=LAYERS, must_drop=["layer4"], mask_noise=0.5)
    plan = make_plan(config, load("digits"))
    from mcprune.session.build.markov import make_method

    search = Search(plan, make_method(plan))
    seen = []
    plain = plan.gated.forward
    plan.gated.forward = lambda rows, gates: (seen.append(gates.detach().clone()), plain(rows, gates))[1]
    mask = plan.space.expand(np.arange(plan.space.size) < 3)
    search.trainer.run(search.state.trainer, 3, mask.astype(np.float32), np.where(mask, 4.0, -4.0), 0.5)
    gates = np.concatenate([one.reshape(-1, 64).numpy() for one in seen])
    assert len(np.unique(gates, axis=0)) > 3
    assert not gates[:, 32:40].any()
    for row in gates:
        layers_of(np.flatnonzero(row))
