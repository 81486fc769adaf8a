"""`mcprune.prune` on a user's own data and models."""

import importlib
import pkgutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mcprune
from mcprune.errors import ConfigError, DataError, ModelError, NumericalError
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.storage.events import BeforeAfter

FEW = {"epochs": 15, "retrain_epochs": 15, "hidden": (24, 12), "threads": 1}


def sequential():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(10, 14), nn.ReLU(), nn.Linear(14, 9), nn.ReLU(), nn.Linear(9, 2))


class Skipping(nn.Module):
    """A module of a user's own that no evaluator but the canonical one can look into."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(10, 8), nn.Linear(18, 2)

    def forward(self, x):
        return self.two(torch.cat([nn.functional.silu(self.one(x)), x], dim=1))


def test_arrays_give_a_mask_a_model_figures_and_history_and_write_nothing(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = table
    result = mcprune.prune((x, y), keep=2, **FEW)
    assert list(tmp_path.iterdir()) == []
    assert result.folder is None
    assert result.mask.indices.tolist() == [3, 8]
    assert np.flatnonzero(result.mask.support).tolist() == [3, 8]
    assert result.mask.weights.shape == (10,)
    answers = result.model.predict(x)
    assert set(answers) == {"up", "down"}
    assert (answers == y).mean() > 0.9
    assert result.metrics.keys() == {"test_accuracy", "test_accuracy_before_retraining"}
    assert result.metrics["test_accuracy"] > 0.9
    assert result.events[0].kind == "run_started"
    assert result.model(result.model.transform(x)).shape == (600, 2)


def test_the_history_holds_each_moment_as_it_was(table):
    result = mcprune.prune(table, keep=2, **FEW)
    proposed = [sum(pair[0] for pair in step.moves.values()) for step in result.history]
    assert proposed == [step.proposals for step in result.history]
    assert len(set(proposed)) == len(proposed) > 5
    assert [step.kept for step in result.history] == [step.target for step in result.history]


@pytest.mark.slow
def test_a_frame_gives_its_names_and_lists_are_as_good(table):
    x, y = table
    names = [f"column {number}" for number in range(10)]
    frame = mcprune.prune((pd.DataFrame(x, columns=names), pd.Series(y)), keep=2, **FEW)
    assert frame.mask.names == ("column 3", "column 8")
    shuffled = pd.DataFrame(x, columns=names)
    assert (frame.model.predict(shuffled) == y).mean() > 0.9
    lists = mcprune.prune((x.tolist(), list(y)), keep=np.int64(2), **FEW)
    assert lists.mask.indices.tolist() == frame.mask.indices.tolist()
    np.testing.assert_array_equal(lists.mask.weights, frame.mask.weights)


@pytest.mark.parametrize("sites", ["units", "units:0", "inputs,units"])
def test_units_of_a_users_own_sequential(sites, table):
    model = sequential()
    planned = site_map(model, sites, 10)
    result = mcprune.prune(table, keep=5, model=model, sites=sites, **FEW)
    assert result.mask.support.shape == (planned.size,)
    assert result.mask.support.sum() == 5
    count = sum(parameter.numel() for parameter in result.model.parameters())
    assert count < sum(parameter.numel() for parameter in model.parameters())
    assert result.events[-1].parameters == BeforeAfter(before=309, after=count)
    x, _ = table
    assert len(result.model.predict(x)) == 600
    # It was trained in place: the hard-masked original is what the figure of the mask as found was taken on.
    with torch.no_grad():
        gated = GatedModel(model, planned)
        assert gated(torch.zeros(3, 10), gated.hard_gates(result.mask.support)).shape == (3, 2)
    assert not torch.equal(model[0].weight, sequential()[0].weight)


def test_inputs_of_any_module_through_the_canonical_evaluator(table):
    model = Skipping()
    result = mcprune.prune(table, keep=2, model=model, **FEW)
    assert result.mask.indices.tolist() == [3, 8]
    assert result.events[0].evaluator == "full"
    assert any(
        "evaluator: full, since no other is usable" in event.text for event in result.events if event.kind == "note"
    )
    assert (result.model.predict(table[0]) == table[1]).mean() > 0.9


def test_a_folder_is_written_where_one_is_named(table, tmp_path):
    result = mcprune.prune(table, keep=2, out=str(tmp_path / "run"), **FEW)
    assert result.folder == tmp_path / "run"
    loaded = mcprune.load(result.folder)
    np.testing.assert_array_equal(loaded.predict(table[0]), result.model.predict(table[0]))


@pytest.mark.slow
@pytest.mark.parametrize("option", [{"checkpoint_every": "1"}, {"force": True}], ids=str)
def test_options_of_a_folder_need_one(option, table, tmp_path):
    (name,) = option
    with pytest.raises(ConfigError, match=f"{name}=.* does nothing here: this run writes no folder"):
        mcprune.prune(table, keep=2, **FEW, **option)
    with pytest.raises(ConfigError, match=f"options names {name}, but a fit writes no folder"):
        mcprune.MarkovSelector(2, options=option).fit(*table)
    assert mcprune.prune(table, keep=2, out=str(tmp_path / "run"), **FEW, **option).folder == tmp_path / "run"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: nn.Sequential(nn.Linear(10, 3)), r"\(2, 3\) for 2 rows; it must return \(2, 2\)"),
        (lambda: nn.Sequential(nn.Linear(9, 2)), "cannot be run on float32 rows of 10 features"),
        (lambda: nn.LSTM(10, 2), r"mixes the rows of a batch: .* order of the rows"),
        (lambda: nn.Sequential(nn.Linear(10, 3), nn.Flatten(0)), r"\(6,\) for 2 rows"),
    ],
)
def test_a_model_of_the_wrong_shape_is_refused(model, words, table):
    with pytest.raises(ModelError, match=words):
        mcprune.prune(table, keep=2, model=model(), **FEW)


def test_what_is_no_model_no_data_or_no_option_is_refused(table):
    with pytest.raises(ConfigError, match=r"model is a int.*nn\.Module"):
        mcprune.prune(table, keep=2, model=3)
    with pytest.raises(ConfigError, match=r"model: .*resnet56 or FILE\.py:NAME is needed, got 'resnet'"):
        mcprune.prune(table, keep=2, model="resnet")
    with pytest.raises(ConfigError, match="data is a dict"):
        mcprune.prune({"X": 1}, keep=2)
    with pytest.raises(ConfigError, match=r"'kep'.*'keep'"):
        mcprune.prune(table, kep=2)
    with pytest.raises(ConfigError, match=r"keep=11.*10 sites"):
        mcprune.prune(table, keep=11)
    with pytest.raises(ModelError, match="none is hidden"):
        mcprune.prune(table, keep=2, model=nn.Sequential(nn.Linear(10, 2)), sites="units")
    x, y = table
    with pytest.raises(DataError):
        mcprune.prune((np.where(x > 3, np.inf, x), y), keep=2)
    with pytest.raises(DataError):
        mcprune.prune((x, np.zeros(600)), keep=2)
    with pytest.raises(NumericalError, match=r"step.*--learning-rate"):
        mcprune.prune(table, keep=2, **{**FEW, "learning_rate": 1e30})


def test_public_names_are_no_sub_packages_and_importing_costs_nothing():
    modules = {module.name for module in pkgutil.iter_modules(mcprune.__path__)}
    assert not modules & set(mcprune.__all__)
    for name in mcprune.__all__:
        assert getattr(mcprune, name) is not None
    assert importlib.import_module("mcprune.api").run is mcprune.run
    code = "import mcprune, sys; print(*(sys.modules.keys() & {'torch', 'numpy', 'numba', 'pydantic'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
