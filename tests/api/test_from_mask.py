"""`mcprune.refine`: a mask from elsewhere becomes better, never worse, at the same number of sites."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import mcprune
from mcprune.cli.main import main
from mcprune.errors import ConfigError
from mcprune.session.build.mask_files import external_mask

ONE = {"threads": 1, "seed": 0}
QUICK = {**ONE, "retrain_epochs": 1}


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(size=(300, 10)).astype(np.float32)
    return x, np.where(x[:, 2] + x[:, 5] - x[:, 8] > 0, "up", "down")


@pytest.fixture(scope="module")
def trained(rows):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))
    x, y = torch.from_numpy(rows[0]), torch.from_numpy((rows[1] == "up").astype(np.int64))
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    return net


def test_a_poor_mask_of_columns_becomes_the_right_one(rows):
    start = np.isin(np.arange(10), [0, 1, 2])
    result = mcprune.refine(start, *rows, hidden=(16,), epochs=8, **QUICK)
    assert result.mask.indices.tolist() == [2, 5, 8]
    assert result.refined.exchanged == 2
    assert result.refined.loss < result.refined.start_loss
    assert result.refined.rows > 100


def test_the_best_mask_stays(rows):
    result = mcprune.refine([2, 5, 8], *rows, hidden=(16,), epochs=4, **QUICK)
    assert result.mask.indices.tolist() == [2, 5, 8]
    assert result.refined.exchanged == 0
    assert result.refined.loss == result.refined.start_loss


@pytest.mark.slow
def test_a_search_that_ends_worse_gives_the_start_back(rows, trained):
    """At a high temperature the chain ends anywhere; without the last comparison so would the result."""
    result = mcprune.refine([2, 5, 8], *rows, model=trained, temperature=10.0, epochs=3, **QUICK)
    assert result.mask.indices.tolist() == [2, 5, 8]
    chain = mcprune.prune(*rows, model=trained, keep=3, frozen=True, temperature=10.0, epochs=3, start="all", **QUICK)
    assert chain.mask.indices.tolist() != [2, 5, 8]


def kinds_kept(support):
    return {"inputs": int(support[:10].sum()), "units": int(support[10:].sum())}


SEVERAL = {"sites": "inputs,units", "finetune": "none", "compare": "no", "epochs": 3, **ONE}


def test_a_mask_of_several_kinds_keeps_the_number_of_each(rows, trained):
    start = np.isin(np.arange(26), [0, 1, 2, 10, 11, 12, 13])
    result = mcprune.refine(start, *rows, model=trained, **SEVERAL)
    assert kinds_kept(result.mask.support) == {"inputs": 3, "units": 4}
    assert result.refined.loss < result.refined.start_loss
    same = mcprune.refine(start, *rows, model=trained, keep={"inputs": 3, "units": 4}, **SEVERAL)
    assert same.mask.indices.tolist() == result.mask.indices.tolist()
    total = mcprune.refine(start, *rows, model=trained, keep=7, **SEVERAL)
    assert total.mask.support.sum() == 7
    says = r"keeps inputs=3,units=4, but this run keeps inputs=3,units=5\. Give --keep inputs=3,units=4"
    with pytest.raises(ConfigError, match=says):
        mcprune.refine(start, *rows, model=trained, keep={"inputs": 3, "units": 5}, **SEVERAL)


def test_a_mask_is_refined_under_a_bound_on_costs(rows, trained):
    start = np.isin(np.arange(26), [0, 1, 2, 10, 11, 12, 13])
    cost = 3 * 4 + 4 + 4 * 2 + 2
    result = mcprune.refine(start, *rows, model=trained, parameters=cost, **SEVERAL)
    kept = kinds_kept(result.mask.support)
    assert kept["inputs"] * kept["units"] + kept["units"] + kept["units"] * 2 + 2 <= cost
    assert result.refined.loss < result.refined.start_loss
    with pytest.raises(
        ConfigError, match=r"has 26 parameters, but parameters=20\. Raise parameters, or give a smaller mask"
    ):
        mcprune.refine(start, *rows, model=trained, parameters=20, **SEVERAL)
    with pytest.raises(
        ConfigError, match=r"--start MASK\+fisher needs one number of sites, but the budget is parameters=26"
    ):
        mcprune.prune(*rows, model=trained, parameters=cost, start=f"{external_mask(start).text()}+fisher", **SEVERAL)


def test_weights_that_torch_has_pruned(rows, trained):
    model = copy.deepcopy(trained)
    for layer in (model[0], model[2]):
        prune.random_unstructured(layer, "weight", amount=0.7)
    masks = [model[place].weight_mask.numpy().copy() for place in (0, 2)]
    result = mcprune.refine(model, *rows, finetune="none", epochs=4, **ONE)
    assert len(result.mask) == int(sum(mask.sum() for mask in masks))
    assert result.mask.support.size == 10 * 16 + 16 * 2
    assert result.refined.exchanged > 0
    assert result.refined.loss < 0.8 * result.refined.start_loss
    # The model that came in is as it was.
    assert prune.is_pruned(model)
    assert [model[place].weight_mask.tolist() for place in (0, 2)] == [mask.tolist() for mask in masks]
    # The small model has the weights of the trained one, where they are kept.
    weights = np.concatenate([trained[place].weight.detach().numpy().ravel() for place in (0, 2)])
    assert np.isin(np.float32(weights[result.mask.support]), np.float32(weights)).all()


@pytest.mark.slow
def test_the_same_by_command(rows, tmp_path, capsys):
    x, y = rows
    lines = [[f"c{j}" for j in range(10)], *x.tolist()]
    table = "\n".join(",".join([*map(str, line), way]) for line, way in zip(lines, ["way", *y], strict=True))
    (tmp_path / "rows.csv").write_text(table)
    np.save(tmp_path / "support.npy", np.isin(np.arange(10), [0, 1, 2]))
    (tmp_path / "mask").write_text(json.dumps(["c0", "c1", "c2"]))
    options = ["--hidden", "16", "--epochs", "8", "--retrain-epochs", "1", "--threads", "1"]
    source = ["--data", str(tmp_path / "rows.csv"), "--target", "way"]
    outs = []
    for name, out in (("support.npy", "a"), ("mask", "b")):
        assert main(["refine", str(tmp_path / name), *source, *options, "--out", str(tmp_path / out)]) == 0
        outs.append(json.loads((tmp_path / out / "mask.json").read_text())["names"])
        printed = capsys.readouterr().out
        assert "refined: loss " in printed
        assert "2 sites exchanged" in printed
    assert outs == [["c2", "c5", "c8"]] * 2
    # A record of it repeats, also of a mask from Python.
    start, options = np.isin(np.arange(10), [0, 1, 2]), {"target": "way", "hidden": (16,), "epochs": 8, **QUICK}
    result = mcprune.refine(start, str(tmp_path / "rows.csv"), out=str(tmp_path / "c"), **options)
    assert main(["run", "--config", str(tmp_path / "c" / "config.toml"), "--out", str(tmp_path / "d")]) == 0
    assert (
        json.loads((tmp_path / "d" / "mask.json").read_text())["indices"] == result.mask.indices.tolist() == [2, 5, 8]
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "there is no mask to refine. Give its file"),
        (["nowhere.npy"], "nowhere.npy cannot be read"),
        (["{mask}", "--start", "f"], "--start beside"),
        (["{mask}", "--fdr", "0.1"], "--fdr chooses how many columns are kept"),
        (["{mask}", "--keep", "5"], "keeps 3 sites, but this run keeps 5. Give --keep 3"),
        (["{mask}", "--must-keep", "7"], "which must be kept. Give a mask that keeps it"),
        (["{mask}", "--must-drop", "1"], "which must be dropped. Give a mask without it"),
        (["{mask}", "--sites", "units", "--hidden", "4,2"], "keeps no site of layer"),
        (["{mask}", "--method", "gradient"], "--start does nothing under --method gradient"),
    ],
)
def test_what_cannot_be_refined_is_one_line(words, says, tmp_path, capsys):
    (tmp_path / "mask.json").write_text("[0, 1, 2]")
    words = [word.format(mask=tmp_path / "mask.json") for word in words]
    assert main(["refine", *words, "--data", "wine", "--out", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert printed.count("\n") == 1
    with pytest.raises(ConfigError, match=r"start is the mask that is refined\. Leave it out"):
        mcprune.refine([0], "wine", start="f")
    with pytest.raises(ConfigError, match=r"fdr chooses how many .*\. Leave fdr out"):
        mcprune.refine([0], "wine", fdr=0.1)
