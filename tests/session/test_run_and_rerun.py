"""A run's folder: what is in it, that it repeats, that it is not lost, and that its model answers."""

import json
import os

import numpy as np
import pytest
import torch
from commands import Command

import mcprune
from mcprune.config.files import read_options
from mcprune.config.schema import make_config
from mcprune.data.load import load as load_data
from mcprune.data.prepare import prepare
from mcprune.errors import ConfigError, DataError, FolderError, NumericalError
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import run
from mcprune.storage.event_log import read_result
from mcprune.storage.events import KINDS
from mcprune.storage.layout import FILES


def test_the_events_and_the_files_of_a_run(finished):
    folder, told = finished
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES) == sorted(told[-1].files)
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    recorded = [event for event in told if event.kind != "stage"]  # which is for the screen alone
    assert [line["event"] for line in lines] == [event.kind for event in recorded]
    assert lines == [json.loads(event.to_json()) for event in recorded]
    kinds = [event.kind for event in told]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_done"
    assert set(kinds) <= set(KINDS)
    progress = [event for event in told if event.kind == "progress"]
    assert progress[-1].block == progress[-1].blocks == told[0].blocks
    assert progress[-1].kept == progress[-1].target == 16
    assert progress[0].kept > 16
    assert progress[-1].decisions <= progress[-1].blocks * 64 < progress[-1].proposals
    assert sum(proposed for proposed, *_ in progress[-1].moves.values()) == progress[-1].proposals


def test_the_mask_is_n_sites_in_order_without_times_or_paths(finished):
    folder, told = finished
    text = (folder / "mask.json").read_text()
    mask = json.loads(text)
    assert list(mask) == ["n_sites", "indices", "names", "weights", "gates"]
    assert (len(mask["indices"]), mask["n_sites"]) == (16, 64)
    assert len(mask["indices"]) == len(set(mask["indices"])) == 16
    assert mask["indices"] == sorted(mask["indices"]) == list(told[-1].indices)
    weights = np.array(mask["weights"])
    assert set(np.argsort(-weights, kind="stable")[:16]) == set(mask["indices"])
    assert mask["gates"] == (weights > 0).astype(float).tolist()  # hard gates, the default
    assert str(folder) not in text


@pytest.mark.slow
def test_the_written_configuration_reruns_to_the_same_bytes_in_another_process(finished, tmp_path):
    folder, _ = finished
    written = read_options(folder / "config.toml")
    assert {"keep", "epochs", "batch_size", "retrain_epochs", "threads", "eval_on", "device"} <= set(written)
    assert written["eval_on"] != "auto"
    assert "out" not in written
    again = tmp_path / "again"
    process = Command("run", "--config", str(folder / "config.toml"), "--out", str(again), "--quiet")
    assert process.communicate() == (f"{again}\n", "")
    assert process.returncode == 0
    assert (again / "mask.json").read_bytes() == (folder / "mask.json").read_bytes()
    assert (again / "config.toml").read_bytes() == (folder / "config.toml").read_bytes()
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert read_result(again).scores[0].accuracy == read_result(folder).scores[0].accuracy


@pytest.mark.slow
def test_speed_options_do_not_change_the_mask_and_another_seed_does(quick, tmp_path):
    list(run(quick(out=str(tmp_path / "usual"))))
    wanted = (tmp_path / "usual" / "mask.json").read_bytes()
    for name, changes in [("full", {"evaluator": "full", "lookahead": 1}), ("wide", {"lookahead": 64})]:
        list(run(quick(out=str(tmp_path / name), **changes)))
        assert (tmp_path / name / "mask.json").read_bytes() == wanted
    list(run(quick(out=str(tmp_path / "other"), seed=1)))
    assert json.loads((tmp_path / "other" / "mask.json").read_text())["indices"] != json.loads(wanted)["indices"]


def test_the_loaded_model_repeats_the_runs_own_test_accuracy(finished):
    folder, told = finished
    model = mcprune.load(folder)
    data = load_data("digits")
    test = prepare(data, seed=0, validation=0.15, test=0.2, scale="auto").parts.test
    accuracy = {event.name: event.accuracy for event in told if event.kind == "scored"}
    answers = model.predict(data.features[test])
    truth = np.asarray(data.labels)[data.targets[test]]
    assert (answers == truth).mean() == accuracy["hard mask, retrained"]
    assert accuracy["hard mask, retrained"] > 0.5
    assert model.transform(data.features[test]).shape == (len(test), 16)
    np.testing.assert_allclose(model.predict_proba(data.features[:5]).sum(axis=1), 1.0, rtol=1e-5)
    # Only the kept inputs are looked at, and they are.
    spoilt = data.features[test].copy()
    dropped = np.setdiff1d(np.arange(64), model.columns)
    spoilt[:, dropped] = 255
    np.testing.assert_array_equal(model.predict(spoilt), answers)
    spoilt[:, model.columns] = 0
    assert (model.predict(spoilt) != answers).any()


def test_loading_and_selecting_refuse_what_does_not_fit(finished, tmp_path):
    with pytest.raises(FolderError):
        mcprune.load(tmp_path)
    model = mcprune.load(finished[0])
    with pytest.raises(DataError, match=r"\(3, 63\).*64"):
        model.transform(np.zeros((3, 63)))
    rows = np.zeros((3, 64))
    rows[1, model.columns[2]] = np.nan
    with pytest.raises(DataError, match=rf"row 1 \(counted from 0\), column '{model.names[2]}'"):
        model.transform(rows)


@pytest.mark.slow
def test_an_existing_folder_is_kept_without_force_and_with_it_if_others_files_are_in_it(quick, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    list(run(quick(out=str(folder), epochs=1)))  # an empty folder is free
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FolderError, match=r"exists.*--force"):
        next(run(quick(out=str(folder), epochs=1)))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"'notes\.txt'.*no run wrote"):
        next(run(quick(out=str(folder), epochs=1, force=True)))
    (folder / "notes.txt").unlink()
    (folder / "small.onnx").write_text("an export of the earlier model")
    before["small.onnx"] = (folder / "small.onnx").read_bytes()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    list(run(quick(out=str(folder), epochs=1, force=True, seed=3)))
    assert (folder / "mask.json").read_bytes() != before["mask.json"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    with pytest.raises(FolderError, match="is a file"):
        next(run(quick(out=str(folder / "mask.json"))))
    with pytest.raises(FolderError, match="is a file"):
        next(run(quick(out=str(folder / "mask.json" / "deeper"))))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_refused(quick, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FolderError, match="cannot be written"):
            next(run(quick(out=str(tmp_path / "run"))))
    finally:
        tmp_path.chmod(0o700)


BAD = [
    ({"data": "nowhere.csv"}, DataError),
    ({"data": "gap.csv", "target": "y"}, DataError),
    ({"data": "gap.csv", "target": "z"}, DataError),
    ({"keep": 65}, ConfigError),
    ({"sites": "unit"}, ConfigError),
    ({"evaluator": "fused", "activation": "gelu"}, mcprune.McpruneError),
    ({"learning_rate": 1e30}, NumericalError),
]


@pytest.mark.parametrize(("changes", "error"), BAD)
def test_what_cannot_be_run_writes_nothing(changes, error, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gap.csv").write_text("a,b,y\n1,2,0\n,3,1\n4,5,0\n6,7,1\n")
    with pytest.raises(error):
        list(run(quick(out="made/run", **changes)))
    assert not (tmp_path / "made" / "run").exists()


@pytest.mark.parametrize(("changes", "error"), BAD)
def test_what_cannot_be_run_does_not_cost_the_run_that_force_would_replace(
    changes, error, finished, quick, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gap.csv").write_text("a,b,y\n1,2,0\n,3,1\n4,5,0\n6,7,1\n")
    (tmp_path / "run").mkdir()
    for path in finished[0].iterdir():
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(error):
        list(run(quick(out="run", force=True, **changes)))
    for path in finished[0].iterdir():
        assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes()


def test_the_default_folder_is_named_after_the_data(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events = run(quick(data="wine", keep=3))
    assert next(events).folder == os.path.join("runs", "wine")
    events.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "slides"},
        {"preset": "slides", "temperature": 0.01},
        {"gates": "sigmoid", "moves": "site=1,block=1,exchange=1,toggle=1", "temperature": "geometric:0.1:0.001"},
        {"gates": "sharpened", "moves": "uniform=1", "delta": "linear:2:0.1", "pool": "none"},
        {"moves": "informed=1", "sites": "inputs,units", "keep": 20},
        {"sites": "units", "keep": 5, "rejection": "modified", "alpha": 5},
        {"keep": 64},
        {"keep": 1, "keep_schedule": "constant", "pool": "none", "moves": "site=1"},
        {"hidden": (), "eval_on": "train"},
        {"activation": "gelu", "dropout": 0.2, "weight_decay": 0.01},
    ],
)
def test_every_way_to_a_mask_keeps_exactly_n(changes, quick, tmp_path):
    config = quick(epochs=1, decisions=16, out=str(tmp_path / "run"), **{"keep": 9, **changes})
    list(run(config))
    mask = json.loads((tmp_path / "run" / "mask.json").read_text())
    assert len(set(mask["indices"])) == len(mask["indices"]) == config.problem.keep
    result = read_result(tmp_path / "run")
    assert len(result.indices) == config.problem.keep
    model = mcprune.load(tmp_path / "run")
    with torch.no_grad():
        assert model(model.transform(np.zeros((2, 64)))).shape == (2, 10)


def test_options_of_the_chain_reach_it(quick):
    options = {
        "delta": "linear:2.0:0.5",
        "temperature": "geometric:0.5:0.01:0.7",
        "alpha": "3",
        "gates": "sharpened:geometric:2.0:4.0",
        "rejection": "modified",
        "keep_schedule": "geometric:0.3",
        "pool": "none",
        "moves": "site=1,block=3",
        "move_sites": 6,
        "weight_bound": 7.0,
        "start_weight": 2.5,
        "decisions": 33,
        "lookahead": 9,
        "seed": 11,
    }
    method = make_method(make_plan(quick(**options), load_data("digits")))
    settings = method.settings
    for name in (
        "delta",
        "temperature",
        "alpha",
        "start_weight",
        "decisions",
        "seed",
    ):
        value = getattr(settings, name)
        assert str(value) == str(quick(**options).value(name)), name
    assert str(settings.sharpness) == "geometric:2:4"
    assert [str(target) for target in settings.targets] == ["geometric:64:16:0.3"]
    assert (settings.modified, settings.pooled, method.space.n) == (True, False, 16)
    assert settings.plan.probabilities.tolist() == [0, 0.75, 0.25, 0, 0, 0]
    assert (settings.plan.block_size, settings.plan.box) == (6, 7.0)


@pytest.mark.slow
def test_staged_decisions_are_said_and_need_what_can_make_them(quick, tmp_path):
    told = list(run(quick(out=str(tmp_path / "run"), early_reject=0.03)))
    assert any("0.03" in event.text for event in told if event.kind == "note")
    assert len(told[-1].indices) == 16
    for changes in ({"evaluator": "full"}, {"objective": "error"}):
        with pytest.raises(mcprune.McpruneError, match="--early-reject"):
            next(run(quick(out=str(tmp_path / "other"), early_reject=0.01, **changes)))
    assert not (tmp_path / "other").exists()


def test_the_comparisons_stand_beside_the_result(quick, tmp_path):
    told = list(run(quick(data="wine", keep=3, compare="yes", out=str(tmp_path / "run"))))
    rows = told[-1].scores
    assert [row.name for row in rows] == [
        *("all sites", "hard mask, not retrained", "hard mask, retrained", "random masks", "first-layer magnitude"),
    ]
    assert [row.kept for row in rows] == [13, 3, 3, 3, 3]
    assert [row.count for row in rows] == [1, 1, 1, 5, 1]
    assert rows[3].spread > 0
    assert all(0 <= row.accuracy <= 1 for row in rows)


def test_a_configuration_from_python_is_the_same_as_from_the_file(finished, quick):
    """A run leaves its configuration as a value; nothing is read from the environment."""
    written = make_config(**read_options(finished[0] / "config.toml"))
    given = quick(eval_on="auto", start=None)
    settled = make_plan(given, load_data("digits")).config
    assert written.value("moves") == settled.value("moves") is not None
    for name in ("keep", "epochs", "hidden", "delta", "seed", "compare"):
        assert written.value(name) == given.value(name) is not None, name
