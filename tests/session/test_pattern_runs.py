"""Whole runs with a pattern of weights."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.cli.main import main
from mcprune.errors import ConfigError

QUICK = {"epochs": 4, "retrain_epochs": 1, "threads": 1, "hidden": (16, 8), "compare": "no"}


def trained(rows, classes):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(200):
        adam.zero_grad()
        nn.functional.cross_entropy(net(rows), classes).backward()
        adam.step()
    return net


@pytest.mark.slow
def test_one_shot_2_of_4_is_better_than_the_largest_weights():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, 8, generator=draw)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] * x[:, 2] > 0).long()
    net = trained(x, y)
    options = {"model": net, "sites": "weights", "pattern": "2:4", "frozen": True, "finetune": "none", "threads": 1}
    result = mcprune.prune(x.numpy(), y.numpy(), epochs=20, **options)
    matrices = [net[place].weight.detach().numpy() for place in (0, 2)]
    largest = np.zeros(result.mask.support.size, bool)
    start = 0
    for matrix in matrices:
        groups = np.abs(matrix).reshape(-1, 4)
        top = np.argsort(-groups, axis=1)[:, :2] + start + 4 * np.arange(len(groups))[:, None]
        largest[top] = True
        start += matrix.size
    groups = result.mask.support.reshape(-1, 4)
    assert (groups.sum(axis=1) == 2).all()
    assert result.history[-1].classification_loss < result.history[0].classification_loss
    # The mask is that of the largest weights but for exchanges, and its loss on the rows of the search is lower.
    assert 0 < (result.mask.support & ~largest).sum() < largest.sum() / 2
    refined = mcprune.refine(
        largest, x.numpy(), y.numpy(), model=net, sites="weights", pattern="2:4", finetune="none", epochs=20, threads=1
    )
    assert refined.refined.loss < 0.9 * refined.refined.start_loss
    assert (refined.mask.support.reshape(-1, 4).sum(axis=1) == 2).all()


@pytest.mark.slow
def test_blocks_by_command_and_the_same_again(tmp_path, capsys):
    out, again = str(tmp_path / "a"), str(tmp_path / "b")
    words = "--data digits --sites weights:layers.0 --pattern 4x1 --keep 200 --hidden 16 --pretrain 4 --frozen"
    words += " --epochs 3 --finetune none --threads 1"
    assert main(["run", *words.split(), "--out", out]) == 0
    mask = json.loads((tmp_path / "a" / "mask.json").read_text())
    kept = np.isin(np.arange(mask["n_sites"]), mask["indices"]).reshape(4, 4, 64)
    assert (kept == kept[:, :1]).all()
    assert kept.sum() == 200
    assert main(["run", "--config", f"{out}/config.toml", "--out", again]) == 0
    assert json.loads((tmp_path / "b" / "mask.json").read_text())["indices"] == mask["indices"]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sites": "inputs"}, "is for single weights, but the sites are inputs"),
        ({"method": "importance"}, "--pattern does nothing under --method importance"),
        ({"must_keep": [1]}, "--must-keep with --pattern 2:4, but a fixed weight"),
        ({"moves": "toggle=1"}, "--moves toggle=1 with --pattern 2:4, which only exchanges"),
        ({"gates": "rank"}, "--gates rank with --pattern 2:4, whose gates are hard"),
        ({"start": "all"}, "n.t. cannot fall from all of them"),
        ({"keep_schedule": "geometric:0.5"}, "n.t. cannot fall from all of them"),
        ({"keep": 3}, "keep=3, but pattern=2:4 keeps"),
        ({"start": "mask.json"}, "has not pattern=2:4. Give a mask that has it"),
    ],
)
def test_what_contradicts_a_pattern_is_refused(options, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mask.json").write_text(json.dumps(list(range((64 * 16 + 16 * 8 + 80) // 2))))
    with pytest.raises(ConfigError, match=says):
        mcprune.prune("digits", **{"sites": "weights", "pattern": "2:4", "pretrain": 1, **QUICK, **options})
