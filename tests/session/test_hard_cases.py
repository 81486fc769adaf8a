"""Cases that once went wrong without a word: each would pass silently if its guard were removed."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.cli.arguments import run_options
from mcprune.config.files import read_options, write_config
from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays
from mcprune.errors import ConfigError, DataError, FolderError, ModelError
from mcprune.session.loop import run_on
from mcprune.storage.folder import RunFolder

QUICK = {"epochs": 3, "retrain_epochs": 3, "compare": "no"}


def table(rows=200, inputs=6, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, inputs))
    return x, (x[:, 1] + x[:, 4] > 0).astype(int)


def test_two_runs_that_begin_in_one_folder_do_not_mix(tmp_path):
    first, second = (RunFolder(tmp_path / "run", make_config(seed=seed), force=False) for seed in (1, 2))
    first.start()
    with pytest.raises(FolderError, match="another run has started"):
        second.start()
    first.close()
    assert read_options(tmp_path / "run" / "config.toml")["seed"] == 1


def test_a_run_that_fails_under_force_brings_the_earlier_one_back(tmp_path):
    out = tmp_path / "run"
    mcprune.prune(table(), keep=2, out=str(out), **QUICK)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(mcprune.McpruneError):
        mcprune.prune(table(), keep=2, out=str(out), force=True, **{**QUICK, "epochs": 30, "weight_decay": 1e6})
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_chain_that_could_never_change_the_count_is_refused():
    with pytest.raises(ConfigError, match="never change how many"):
        mcprune.prune(table(), keep=2, pool="none", gates="hard", **QUICK)
    by_rank = mcprune.prune(table(), keep=2, pool="none", **QUICK)  # the lowest weights go
    assert by_rank.mask.indices.size == 2
    found = mcprune.prune(table(), keep=2, pool="none", moves="toggle=1", **QUICK)
    assert found.mask.indices.size == 2


def test_a_preset_on_the_command_line_stands_above_the_file_and_below_other_options(tmp_path):
    write_config(make_config(), tmp_path / "run.toml")
    arguments = ["--config", str(tmp_path / "run.toml"), "--preset", "slides", "--gates", "hard"]
    config = make_config(**run_options(arguments)[0])
    assert (config.chain.moves, config.chain.keep_schedule.kind, config.chain.gates.kind) == (
        {"uniform": 1.0},
        "constant",
        "hard",
    )
    assert make_config(preset="slides").chain.moves == {"uniform": 1.0}


def test_a_frame_is_read_by_its_names():
    pandas = pytest.importorskip("pandas")
    x, y = table()
    frame = pandas.DataFrame(x, columns=list("abcdef"))
    model = mcprune.prune((frame, y), keep=2, **QUICK).model
    np.testing.assert_array_equal(model.predict(frame), model.predict(frame[list("fedcba")]))
    dropped = [name for name in frame if name not in model.names]
    np.testing.assert_array_equal(model.predict(frame), model.predict(frame.drop(columns=dropped)))
    with pytest.raises(DataError, match=rf"columns are missing: '{model.names[0]}'"):
        model.predict(frame.drop(columns=model.names[0]))


class Raw(nn.Module):
    """A classifier whose parameters no layer resets."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 2))

    def forward(self, x):
        return x @ self.weight


def test_retraining_starts_where_the_users_model_started(monkeypatch):
    from mcprune.session.finish import retrain as refit

    seen = []
    fresh = refit.Refit.fresh
    monkeypatch.setattr(refit.Refit, "fresh", lambda self, seed: seen.append(fresh(self, seed)) or seen[-1])
    model = Raw()
    mcprune.prune(table(), keep=2, model=model, **QUICK)
    assert seen
    assert not seen[0].weight.any()
    assert model.weight.any()  # the search has trained it


def test_units_that_cannot_be_cut_are_refused_before_the_search():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)) + 1.0)

    events = run_on(make_config(sites="units", keep=2, **QUICK), from_arrays(*table()), None, model=Own())
    with pytest.raises(ModelError):
        next(events)


def test_a_run_with_dropout_is_a_function_of_its_seed_and_leaves_torch_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    runs = [mcprune.prune(table(), keep=2, dropout=0.4, seed=seed, **QUICK) for seed in (0, 0, 1)]
    losses = [[event.classification_loss for event in run.history] for run in runs]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_an_early_end_writes_the_gates_of_its_mask(tmp_path):
    mcprune.prune("digits", keep=16, max_time=0.05, compare="no", retrain_epochs=1, out=str(tmp_path / "run"))
    mask = json.loads((tmp_path / "run" / "mask.json").read_text())
    assert sum(mask["gates"]) == len(mask["indices"]) == 16


def test_masked_values_are_missing_values():
    x, y = table()
    masked = np.ma.masked_greater(x, 2.0)
    dataset = from_arrays(masked, y)
    np.testing.assert_array_equal(np.isnan(dataset.features).sum(axis=1), masked.mask.sum(axis=1))
    assert dataset.coding is not None


def test_a_table_with_one_training_row_a_class_judges_on_it():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(40, 3)), np.repeat(np.arange(10), 4)
    result = mcprune.prune((x, y), keep=1, test=0.5, validation=0.25, **QUICK)
    assert result.mask.indices.size == 1
