"""Sample weights through a whole run: what counts, what is reported, what is recorded."""

import json

import numpy as np
import pytest
import torch
from selection import long_but
from torch.utils.data import DataLoader, TensorDataset

import mcprune
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import run
from mcprune.storage.predictions import read_predictions
from mcprune.storage.pruned_model import load

QUICK = {"epochs": 6, "retrain_epochs": 6, "hidden": (16, 8), "threads": 1, "keep": 1}
ROWS = 900
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(ROWS, 6))
HEAVY = np.arange(ROWS) % 3 == 0
# The class is in column 2 for one row of three, in column 4 for the others.
Y = np.where(np.where(HEAVY, X[:, 2], X[:, 4]) > 0, "up", "down")
WEIGHTS = np.where(HEAVY, 20.0, 0.1) * DRAW.uniform(0.9, 1.1, ROWS)


@pytest.fixture
def file(tmp_path):
    rows = [[*map(repr, map(float, x)), repr(float(w)), y] for x, w, y in zip(X, WEIGHTS, Y, strict=True)]
    path = tmp_path / "events.csv"
    path.write_text("\n".join(",".join(row) for row in [[*"abcdef", "evt_weight", "kind"], *rows]) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    long_but(
        "the same under other options",
        [
            {},
            {"start": "f+pairs+mutual-information+forest+l1"},
            {"evaluator": "incremental"},
            {"evaluator": "full", "eval_on": "train"},
            {"objective": "auc"},
            {"objective": "error", "eval_on": "held-out"},
            {"temperature": "1se"},
            {"method": "gradient"},
            {"method": "importance", "measure": "loss", "epochs": 12},
            {"start": "obd"},
            {"proposals": "magnitude", "moves": "exchange=1,informed=1"},
        ],
        {},
        {"start": "f+pairs+mutual-information+forest+l1"},
        {"method": "gradient"},
        {"method": "importance", "measure": "loss", "epochs": 12},
    ),
    ids=str,
)
def test_the_weights_decide_which_column_is_kept(options):
    options = {**QUICK, **options}
    assert mcprune.prune(X, Y, sample_weight=WEIGHTS, **options).mask.indices.tolist() == [2]
    assert mcprune.prune(X, Y, **options).mask.indices.tolist() == [4]  # the control


@pytest.mark.slow
def test_weights_of_one_are_none_to_the_bit():
    plain = mcprune.prune(X, Y, **QUICK)
    for weights in (np.ones(ROWS), np.full(ROWS, 3)):
        weighted = mcprune.prune(X, Y, sample_weight=weights, **QUICK)
        np.testing.assert_array_equal(weighted.mask.weights, plain.mask.weights)
        assert [block.loss for block in weighted.history] == [block.loss for block in plain.history]
        assert weighted.metrics == plain.metrics


@pytest.mark.slow
def test_scores_are_weighted():
    problem = mcprune.Problem(None, (X, Y), keep=1, sample_weight=WEIGHTS, hidden=(16, 8))
    events = list(mcprune.run(problem, epochs=6, retrain_epochs=6, threads=1, compare="yes"))
    done = events[-1]
    model = done.outcome.model
    config = problem.config(None, {"epochs": 6, "threads": 1})
    splits = make_plan(config, problem.dataset(config)).splits
    right = model.predict(X[splits.parts.test]) == Y[splits.parts.test]
    by_name = {score.name: score.accuracy for score in done.scores}
    weights = WEIGHTS[splits.parts.test]
    np.testing.assert_array_equal(splits.test.weights, weights)
    assert by_name["hard mask, retrained"] == pytest.approx(np.average(right, weights=weights), abs=1e-6)
    assert abs(right.mean() - by_name["hard mask, retrained"]) > 0.1
    assert done.is_weighted
    assert "weighted test accuracy" in done.summary
    retrained = next(score for score in done.scores if score.name == "hard mask, retrained")
    error = np.sqrt(np.sum((weights * (right - retrained.accuracy)) ** 2)) / weights.sum()
    assert retrained.error == pytest.approx(error, rel=1e-3)
    result = mcprune.prune(X, Y, sample_weight=WEIGHTS, **QUICK)
    assert "weighted_test_accuracy" in result.metrics
    assert "test_accuracy" not in result.metrics


@pytest.mark.slow
def test_a_column_of_a_file_is_no_feature_and_stands_in_the_record(file, tmp_path):
    folder = tmp_path / "run"
    config = mcprune.make_config(**QUICK, data=str(file), sample_weight="evt_weight", out=str(folder))
    done = list(run(config))[-1]
    assert done.names == ("c",)
    assert 'sample_weight = "evt_weight"' in (folder / "config.toml").read_text()
    stored = read_predictions(folder, ROWS // 5)
    assert len(stored.weights) == ROWS // 5
    assert set(np.round(stored.weights, 4)) <= set(np.round(WEIGHTS, 4))
    model = load(folder)
    assert model.feature_names == tuple("abcdef")
    assert model.target_name == "kind"
    same = mcprune.prune(file, keep=1, sample_weight="evt_weight", **{k: v for k, v in QUICK.items() if k != "keep"})
    arrays = mcprune.prune(X, Y, sample_weight=WEIGHTS, **QUICK)
    weights = json.loads((folder / "mask.json").read_text())["weights"]
    assert weights == same.mask.weights.tolist() == arrays.mask.weights.tolist()
    notes = [event.text for event in same.events if isinstance(event, mcprune.Note)]
    assert any("sample weights of" in note for note in notes)
    assert not any("looks like sample weights" in note for note in notes)
    plain = mcprune.prune(file, epochs=1, retrain_epochs=1, keep=1, threads=1)
    notes = [event.text for event in plain.events if isinstance(event, mcprune.Note)]
    assert any(
        "'evt_weight' looks like sample weights" in note and "--sample-weight evt_weight" in note for note in notes
    )


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_with_its_weights(file, tmp_path):
    options = {**QUICK, "checkpoint_every": 1}
    whole = mcprune.prune(file, sample_weight="evt_weight", **QUICK)
    arrays = mcprune.Problem(None, (X, Y), keep=1, sample_weight=WEIGHTS, hidden=(16, 8))
    rest = {name: value for name, value in options.items() if name not in ("keep", "hidden")}
    folders = [tmp_path / "file", tmp_path / "arrays"]
    runs = [
        run(mcprune.make_config(**options, data=str(file), sample_weight="evt_weight", out=str(folders[0]))),
        mcprune.run(arrays, out=str(folders[1]), **rest),
    ]
    for events in runs:
        for event in events:
            if isinstance(event, mcprune.Progress) and event.block > 2:
                break
        events.close()
    assert mcprune.resume(folders[0]).mask.weights.tolist() == whole.mask.weights.tolist()
    with pytest.raises(mcprune.McpruneError, match="sample weights of this run came from Python"):
        mcprune.resume(folders[1], (X, Y))
    with pytest.raises(mcprune.McpruneError, match=r"The data of .* came from Python"):
        mcprune.resume(folders[1], sample_weight=WEIGHTS)
    with pytest.raises(mcprune.McpruneError, match="are not those that the run"):
        mcprune.resume(folders[1], (X, Y), sample_weight=WEIGHTS[::-1])
    assert (
        mcprune.resume(folders[1], (X, Y), sample_weight=WEIGHTS).mask.weights.tolist() == whole.mask.weights.tolist()
    )


def test_rows_of_weight_0_are_left_out():
    weights = np.where(DRAW.random(ROWS) < 0.2, 0.0, WEIGHTS)
    kept = weights > 0
    result = mcprune.prune(X, Y, sample_weight=weights, **QUICK)
    same = mcprune.prune(X[kept], Y[kept], sample_weight=weights[kept], **QUICK)
    np.testing.assert_array_equal(result.mask.weights, same.mask.weights)
    assert result.metrics == same.metrics
    assert any("sample weight 0" in event.text for event in result.events if isinstance(event, mcprune.Note))


@pytest.mark.slow
def test_what_takes_no_weights_is_refused_with_the_remedy():
    def plain(predictions, targets):
        return float(1 - predictions[np.arange(len(targets)), targets].mean())

    def weighted(predictions, targets, sample_weight=None):
        return 1 - float(np.average(predictions[np.arange(len(targets)), targets], weights=sample_weight))

    with pytest.raises(mcprune.McpruneError, match=r"'plain' counts all rows alike.*a parameter sample_weight"):
        mcprune.prune(X, Y, sample_weight=WEIGHTS, objective=plain, **QUICK)
    assert mcprune.prune(X, Y, sample_weight=WEIGHTS, objective=weighted, **QUICK).mask.indices.tolist() == [2]
    assert mcprune.prune(X, Y, objective=weighted, **QUICK).mask.indices.tolist() == [4]
    loader = DataLoader(TensorDataset(torch.from_numpy(X).float(), torch.from_numpy((Y == "up").astype(int))), 50)
    with pytest.raises(mcprune.McpruneError, match=r"sample_weight beside a DataLoader.*Give arrays"):
        mcprune.prune(loader, sample_weight=WEIGHTS, **QUICK)
    with pytest.raises(mcprune.McpruneError, match=r"'w' names a column of a table, but 'digits' has none"):
        mcprune.prune("digits", sample_weight="w", **QUICK)


def test_weights_of_a_data_set_by_name_come_as_an_array():
    weights = np.random.default_rng(0).uniform(0.5, 1.5, 178)
    result = mcprune.prune("wine", sample_weight=weights, **{**QUICK, "keep": 4})
    assert len(result.mask) == 4
    with pytest.raises(mcprune.McpruneError, match=r"sample weights of shape \(177,\), but there are 178 rows"):
        mcprune.prune("wine", sample_weight=weights[1:], **{**QUICK, "keep": 4})
