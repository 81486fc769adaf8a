"""Weights as sites and trained, frozen classifiers, from the options to the files."""

import copy
import json

import numpy as np
import pytest
import torch
from selection import long_but, slow_but

from mcprune.api import prune
from mcprune.cli.main import main
from mcprune.config.files import read_options
from mcprune.config.schema import make_config
from mcprune.data.load import load as load_data
from mcprune.errors import ConfigError, ModelError
from mcprune.models.registry import build
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import run
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.sites.weights import nonzero_weights
from mcprune.storage.pruned_model import load
from mcprune.training.finetune import finetune_least_squares, finetune_steps
from mcprune.training.fit import fit

SHORT = {
    "pretrain": 12,
    "frozen": True,
    "epochs": 6,
    "hidden": (16, 12),
    "threads": 1,
    "compare": "no",
    "decisions": 96,
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs without a folder of their own write below the current one."""
    monkeypatch.chdir(tmp_path)


def figures(events):
    return {row.name: row.accuracy for row in events[-1].scores}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A run on single weights of a trained net without biases."""
    folder = tmp_path_factory.mktemp("oneshot") / "run"
    longer = {"pretrain": 20, "epochs": 24, "decisions": 512}
    options = {**SHORT, **longer, "sites": "weights", "keep": 300, "bias": False, "compare": "yes"}
    return folder, list(run(make_config(**options, out=str(folder))))


@pytest.mark.slow
def test_weights_of_a_trained_net(weights):
    folder, events = weights
    found = figures(events)
    assert list(found) == [
        *(
            "dense",
            "hard mask, not retrained",
            "hard mask, fine-tuned",
            "magnitude, not retrained",
            "magnitude, fine-tuned",
        ),
    ]
    assert found["hard mask, not retrained"] > found["magnitude, not retrained"]
    assert found["hard mask, fine-tuned"] > found["hard mask, not retrained"] > 0.5
    result = json.loads((folder / "result.json").read_text())
    total = 64 * 16 + 16 * 12 + 12 * 10
    assert result["nonzero_weights"] == {"before": total, "after": 300}
    assert result["names"][0].startswith("layers.0.weight[")
    assert len(json.loads((folder / "mask.json").read_text())["indices"]) == 300
    progress = [event for event in events if event.kind == "progress"]
    assert progress[-1].moves["informed"][0] > 0
    # Nothing was trained in the search: the work is that of the dense training and of the judged rows.
    assert events[-1].hardened.steps == 0


@pytest.mark.slow
@pytest.mark.parametrize("unit", long_but("the other unit", ["parameters", "macs"], "parameters"))
def test_a_budget_of_weights_in_a_cost_is_met_exactly(unit):
    whole = 64 * 16 + 16 * 12 + 12 * 10
    biases = {"parameters": 16 + 12 + 10, "macs": 0}[unit]
    events = list(run(make_config(**SHORT, sites="weights", **{unit: 300 + biases})))
    done = events[-1]
    assert done.nonzero_weights.after == len(done.indices) == 300
    assert done.costs[0].used == done.costs[0].limit == 300 + biases
    assert done.costs[0].total == whole + biases
    costs = [event.costs for event in events if event.kind == "progress"]
    assert costs[0] > costs[-1]


def test_weights_beside_inputs_are_counted_in_sites():
    with pytest.raises(ModelError, match="weights beside inputs"):
        make_plan(make_config(**SHORT, sites="inputs,weights", macs=300), load_data("digits"))


def test_the_small_model_loads_predicts_and_stays_sparse(weights, tmp_path, capsys):
    folder, _ = weights
    small = load(folder)
    assert nonzero_weights(small.model) == 300
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    assert (small.predict(x) == y).mean() > 0.8
    optimizer = torch.optim.Adam(small.parameters(), 0.01)
    torch.nn.functional.cross_entropy(small(small.transform(x)), torch.from_numpy(y)).backward()
    optimizer.step()
    assert nonzero_weights(small.model) == 300
    table = tmp_path / "rows.csv"
    table.write_text(",".join(small.feature_names) + "\n" + "\n".join(",".join(map(str, row)) for row in x[:5]) + "\n")
    assert main(["predict", str(folder), str(table)]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 6


@pytest.mark.slow
def test_a_run_repeats_from_its_configuration(weights):
    folder, events = weights
    options = read_options(folder / "config.toml")
    assert "mask_noise" not in options
    options = {name: value for name, value in options.items() if not name.startswith("retrain_")}
    again = list(
        run(
            make_config(
                **{
                    **options,
                    "out": str(folder.parent / "again"),
                    "compare": "no",
                    "finetune": "none",
                }
            )
        )
    )
    assert again[-1].indices == events[-1].indices


@pytest.mark.slow
@pytest.mark.parametrize("finetune", slow_but(["none", "least-squares"], "least-squares"))
def test_other_updates(finetune):
    events = list(run(make_config(**SHORT, sites="weights:layers.0,layers.2", keep=300, finetune=finetune, out=None)))
    found = figures(events)
    assert ("hard mask, fine-tuned" in found) == (finetune != "none")
    if finetune != "none":
        assert found["hard mask, fine-tuned"] > found["hard mask, not retrained"] - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("sites", long_but("other sites", ["inputs", "units", "inputs,weights:layers.2"], "inputs"))
def test_frozen_classifiers_with_other_sites(sites):
    events = list(run(make_config(**SHORT, sites=sites, keep=20)))
    found = figures(events)
    assert list(found) == ["dense", "hard mask, not retrained", "hard mask, fine-tuned"]
    assert events[-1].hardened.steps == 0


@pytest.mark.slow
def test_weights_while_the_classifier_trains():
    options = {**SHORT, "pretrain": None, "frozen": False, "epochs": 20}
    events = list(run(make_config(**options, sites="weights", keep=500)))
    found = figures(events)
    assert "dense" not in found
    assert found["hard mask, fine-tuned"] > 0.8
    assert events[-1].hardened.steps > 0


@pytest.mark.slow
def test_a_trained_model_is_taken_as_it_is():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(600, 10)).astype(np.float32)
    y = (x[:, 3] * x[:, 8] > 0).astype(np.int64)
    model = build("mlp", 10, 2, (12,), seed=1, bias=False)
    fit(
        model,
        torch.from_numpy(x),
        torch.from_numpy(y),
        epochs=40,
        batch_size=64,
        learning_rate=0.01,
        weight_decay=0.0,
        seed=0,
    )
    before = copy.deepcopy(model.state_dict())
    result = prune((x, y), keep=40, model=model, sites="weights", frozen=True, epochs=6, threads=1, scale="none")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert result.mask.support.sum() == 40
    assert result.metrics["test_accuracy"] > 0.75
    assert nonzero_weights(result.model.model) == 40


@pytest.mark.parametrize("how", ["gradient", "least-squares"])
def test_updates_change_what_is_kept_and_nothing_else(how):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 8, generator=draw)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    model = build("mlp", 8, 3, (10,), seed=2)
    sites = site_map(model, "weights", 8)
    mask = torch.rand(sites.size, generator=draw) < 0.6
    if how == "gradient":
        options = {"epochs": 3, "batch_size": 50, "learning_rate": 0.01, "weight_decay": 0.0, "seed": 0}
        after = finetune_steps(model, sites, mask, x, y, **options)
    else:
        after = finetune_least_squares(model, sites, mask, x, ridge=1e-9)
    flat = [torch.cat([layer.weight.flatten() for layer in (m.layers[0], m.layers[2])]) for m in (model, after)]
    assert torch.equal(flat[0][~mask], flat[1][~mask])
    assert (flat[0] != flat[1])[mask].float().mean() > 0.7  # but for dead units
    if how == "least-squares":  # no other weights of the first layer come nearer to what it gave
        gated = zero = torch.where(mask[:80].view(10, 8), after.layers[0].weight, 0.0)
        wanted = model.layers[0](x)
        best = (x @ gated.T + after.layers[0].bias - wanted).square().sum()
        for _ in range(20):
            other = zero + 0.01 * torch.randn(10, 8, generator=draw) * mask[:80].view(10, 8)
            assert (x @ other.T + after.layers[0].bias - wanted).square().sum() > best
    else:
        held = GatedModel(after, sites)
        first = GatedModel(model, sites)
        with torch.no_grad():
            loss = [float(torch.nn.functional.cross_entropy(g(x, g.hard_gates(mask)), y)) for g in (held, first)]
        assert loss[0] < loss[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frozen": True}, "starts untrained. Give --pretrain"),
        ({"frozen": True, "pretrain": 2, "mask_noise": 0.1}, "--mask-noise does nothing under --frozen"),
        ({"method": "gradient", "pretrain": 2}, "--pretrain with --method gradient"),
        ({"sites": "weights", "finetune": "scratch"}, "stay at 0"),
        ({"finetune": "none", "retrain_epochs": 3}, "does nothing under --finetune none"),
        ({"moves": {"exchange": 1}, "proposals": "probes"}, "no move is informed"),
        ({"sites": "weights", "keep": 10**6}, "Choose 1 <= keep <="),
    ],
)
def test_what_does_not_go_together(options, message, quick):
    with pytest.raises(ConfigError, match=message):
        list(run(quick(**options)))


def test_a_measure_of_the_trained_net_starts_the_chain():
    options = {**SHORT, "epochs": 1, "decisions": 1, "sites": "weights", "keep": 300, "compare": "yes"}
    events = list(run(make_config(**options, start="magnitude", keep_schedule="constant", finetune="none")))
    found, first = figures(events), next(event for event in events if event.kind == "progress")
    assert first.kept == 300
    assert abs(found["hard mask, not retrained"] - found["magnitude, not retrained"]) < 0.1


def test_a_weight_in_least_squares_is_a_repeated_row():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 8, generator=draw)
    times = torch.randint(1, 4, (200,), generator=draw)
    model = build("mlp", 8, 3, (10,), seed=2)
    sites = site_map(model, "inputs", 8)
    mask = torch.arange(8) < 5
    weighted = finetune_least_squares(model, sites, mask, x, weights=times.float())
    repeated = finetune_least_squares(model, sites, mask, x.repeat_interleave(times, dim=0))
    for one, other in zip(weighted.parameters(), repeated.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    alike = finetune_least_squares(model, sites, mask, x)
    assert not torch.allclose(alike.layers[0].weight, weighted.layers[0].weight, atol=1e-3)  # the control
