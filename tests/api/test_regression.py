"""A regression through the whole way: from rows or a file to numbers in the unit of the target."""

import csv
import json

import numpy as np
import pandas
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import nn

import mcprune
from mcprune.cli.main import main
from mcprune.data.load import from_arrays
from mcprune.data.prepare import prepare
from mcprune.errors import ConfigError, McpruneError, ModelError
from mcprune.storage.predictions import read_predictions

QUICK = {"epochs": 8, "retrain_epochs": 20, "threads": 1, "seed": 0}


def table(rows=240, columns=8, seed=0, unit=100.0):
    """Columns of which three tell: y = unit (2 x1 - x4 + exp(.8 x6) + 5) + noise."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, columns))
    y = 2.0 * x[:, 1] - x[:, 4] + np.exp(0.8 * x[:, 6]) + 0.2 * draw.normal(size=rows)
    return x, unit * (y + 5.0)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    x, y = table()
    return x, y, mcprune.prune(x, y, keep=3, out=str(folder), compare="yes", **QUICK)


def test_the_columns_that_tell_are_kept(done):
    assert done[2].mask.indices.tolist() == [1, 4, 6]


def test_metrics_are_those_of_the_test_rows_in_the_unit_of_the_target(done):
    x, y, result = done
    rows = prepare(from_arrays(x, y), seed=0, validation=0.15, test=0.2).parts.test
    predicted = result.model.predict(x[rows])
    assert predicted.shape == (len(rows),)
    assert result.metrics["test_r2"] == pytest.approx(r2_score(y[rows], predicted), abs=1e-5)
    assert result.metrics["test_rmse"] == pytest.approx(mean_squared_error(y[rows], predicted) ** 0.5, rel=1e-4)
    assert result.metrics["test_mae"] == pytest.approx(mean_absolute_error(y[rows], predicted), rel=1e-4)
    assert result.metrics["test_r2"] > 0.9 > result.metrics["test_r2_random_masks"]
    assert not [name for name in result.metrics if "accuracy" in name]


def test_the_answer_is_in_r2(done):
    summary = done[2].summary
    assert summary.startswith(("3 of 8 columns keep ", "3 of 8 columns reach "))
    assert "test R2" in summary
    assert "; RMSE " in summary
    assert "accuracy" not in summary


def test_what_was_written_says_it_and_is_read_back(done, tmp_path, capsys):
    x, _, result = done
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    start = events[0]
    assert (start["task"], start["targets"], start["loss"], start["n_classes"]) == (
        "regression",
        ["target"],
        "squared error",
        0,
    )
    assert (start["config"]["task"], start["config"]["objective"]) == ("regression", "squared")
    loaded = mcprune.load(result.folder)
    np.testing.assert_array_equal(loaded.predict(x), result.model.predict(x))
    np.testing.assert_array_equal(loaded.predict(x[:, [1, 4, 6]]), loaded.predict(x))
    with pytest.raises(ModelError, match="no probabilities"):
        loaded.predict_proba(x)
    stored = read_predictions(result.folder, start["rows"]["test"])
    assert r2_score(stored.targets[:, 0], stored.pruned[:, 0]) == pytest.approx(result.metrics["test_r2"], abs=1e-4)
    assert main(["show", str(result.folder)]) == 0
    shown = capsys.readouterr().out
    assert "test R2" in shown
    assert "RMSE" in shown
    assert main(["report", str(result.folder), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Predicted and true target" in page
    assert "Residuals of target" in page
    assert "Confusion" not in page
    assert "R2 beside comparisons" in page
    assert "Accuracy beside comparisons" not in page


def test_the_same_run_again_from_its_record_has_the_same_bits(done, tmp_path):
    x, y, result = done
    again = mcprune.prune(x, y, keep=3, out=str(tmp_path / "b"), compare="yes", **QUICK)
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == (result.folder / "model.safetensors").read_bytes()
    assert again.metrics == result.metrics


def test_the_target_is_only_a_unit():
    x, y = table()
    other = mcprune.prune(x, 1e-3 * y - 7.0, keep=3, **QUICK)
    one = mcprune.prune(x, y, keep=3, **QUICK)
    assert other.mask.indices.tolist() == one.mask.indices.tolist()
    assert other.metrics["test_r2"] == pytest.approx(one.metrics["test_r2"], abs=0.02)
    assert other.metrics["test_rmse"] == pytest.approx(1e-3 * one.metrics["test_rmse"], rel=0.1)


def test_from_a_file_by_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = load_diabetes(as_frame=True).frame
    frame.to_csv("diabetes.csv", index=False)
    command = "run --data diabetes.csv --task regression --keep 5 --epochs 4 --retrain-epochs 8 --threads 1 --compare no --out r"
    assert main(command.split()) == 0
    out = capsys.readouterr().out
    assert "regression of target by squared error" in out
    assert "5 of 10 columns reach" in out
    frame[:5].drop(columns="target").to_csv("new.csv", index=False)
    assert main(["predict", "r", "new.csv"]) == 0
    lines = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert lines[0] == ["row", "prediction"]
    assert len(lines) == 6
    assert all(0 < float(value) < 400 for _, value in lines[1:])


def test_auto_says_what_it_took(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    load_diabetes(as_frame=True).frame.to_csv("diabetes.csv", index=False)
    command = "run --data diabetes.csv --keep 5 --epochs 1 --retrain-epochs 1 --threads 1 --compare no --out r"
    assert main(command.split()) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "task: regression, since the target 'target' has 214 different numbers in 442 rows" in out


@pytest.mark.parametrize("objective", ["absolute", "huber:0.5", "quantile:0.5", "poisson"])
def test_each_loss_learns_and_is_reported_on_the_test_rows(objective):
    x, y = table(unit=1.0)
    y = np.clip(y, 0, None)
    result = mcprune.prune(x, y, keep=3, objective=objective, **QUICK)
    assert set(result.mask.indices) >= {1, 4}
    assert result.metrics["test_r2"] > 0.6
    last = result.events[-1]
    assert last.objective is not None
    assert next(score for score in last.scores if "retrained" in score.name).objective > 0
    assert (result.model.predict(x) >= 0).all() or objective != "poisson"


def test_several_targets():
    x, y = table()
    both = np.stack([y, 3.0 * x[:, 2] + 0.001 * y], axis=1)
    result = mcprune.prune(x, both, keep=4, **QUICK)
    assert result.mask.indices.tolist() == [1, 2, 4, 6]
    rows = prepare(from_arrays(x, both), seed=0, validation=0.15, test=0.2).parts.test
    predicted = result.model.predict(x[rows])
    assert predicted.shape == (len(rows), 2)
    assert result.metrics["test_r2"] == pytest.approx(r2_score(both[rows], predicted), abs=1e-4)


@pytest.mark.slow
def test_several_labels(tmp_path):
    x, _ = table(seed=3)
    labels = np.stack([x[:, 1] > 0.2, x[:, 4] < 0], axis=1).astype(int)
    result = mcprune.prune(x, labels, keep=2, out=str(tmp_path / "r"), **QUICK)
    assert result.mask.indices.tolist() == [1, 4]
    predicted = result.model.predict(x)
    assert set(np.unique(predicted)) == {0, 1}
    assert (predicted == labels).mean() > 0.9
    assert ((result.model.predict_proba(x) > 0.5) == predicted).all()
    assert "label accuracy" in result.summary
    assert main(["report", str(tmp_path / "r"), "--out", str(tmp_path / "page.html")]) == 0
    assert main(["predict", str(tmp_path / "r"), str(_rows(tmp_path, x))]) == 0


def _rows(folder, x):
    pandas.DataFrame(x[:4], columns=[f"column {place}" for place in range(x.shape[1])]).to_csv(
        folder / "new.csv", index=False
    )
    return folder / "new.csv"


def test_sample_weights_count():
    x, y = table(rows=300)
    y[:150] = 100.0 * (x[:150, 0] + 5.0)  # another law, of little weight
    weights = np.where(np.arange(300) < 150, 0.01, 1.0)
    result = mcprune.prune(x, y, keep=3, sample_weight=weights, **QUICK)
    assert result.mask.indices.tolist() == [1, 4, 6]
    assert result.metrics["weighted_test_r2"] > 0.8


def test_a_function_gets_numbers_in_the_unit_of_the_target():
    x, y = table()
    seen = []

    def relative(predictions, targets, mask):
        seen.append((predictions.shape, targets.shape, float(targets.mean())))
        return float(np.mean(np.abs(predictions - targets) / targets.mean()))

    mcprune.prune(x, y, keep=3, objective=relative, epochs=2, retrain_epochs=2, threads=1)
    assert all(predictions == targets and len(targets) == 1 for predictions, targets, _ in seen)
    assert all(y.min() < mean < y.max() for _, _, mean in seen)


@pytest.mark.slow
def test_a_trained_model_of_the_user_predicts_the_target_as_it_is():
    x, y = table(unit=10.0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    rows, goals = torch.from_numpy(x).float(), torch.from_numpy(y).float()[:, None]
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(400):
        optimizer.zero_grad()
        (model(rows) - goals).square().mean().backward()
        optimizer.step()
    result = mcprune.prune(x, y, model=model, keep=4, frozen=True, epochs=4, threads=1)
    assert {1, 4} <= set(result.mask.indices)
    assert result.metrics["test_r2"] > 0.5
    untrained = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    longer = QUICK | {"epochs": 20, "retrain_epochs": 60}
    assert mcprune.prune(x, y, model=untrained, keep=4, **longer).metrics["test_r2"] > 0.5


@pytest.mark.parametrize("method", ["gradient", "importance"])
def test_the_other_ways_to_a_mask(method):
    x, y = table()
    options = {"alpha": "10"} if method == "gradient" else {"measure": "obd"}
    result = mcprune.prune(x, y, keep=3, method=method, objective="huber", **QUICK, **options)
    assert result.mask.indices.size == 3
    assert result.metrics["test_r2"] > (0.5 if method == "gradient" else 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "auc"}, "but the task is regression"),
        ({"objective": "rejection:0.5"}, "but the task is regression"),
        ({"objective": "cross-entropy"}, "but the task is regression"),
        ({"retrain_distill": 2.0}, "probabilities of classes"),
        ({"task": "multilabel"}, "other numbers than 0 and 1"),
    ],
)
def test_what_makes_no_sense_for_numbers_is_refused_in_one_line(options, message):
    x, y = table()
    with pytest.raises(McpruneError, match=message) as caught:
        mcprune.prune(x, y, keep=3, **options, **QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.long("the competition of session/shadows/test_compete with numbers as targets")
def test_columns_at_a_stated_error_rate():
    x, y = table(rows=400, columns=16)
    result = mcprune.prune(x, y, fdr=0.2, retrain_epochs=10, threads=1, seed=0)
    assert {1, 4} <= set(result.mask.indices)
    assert len(result.mask) <= 5
    assert result.metrics["test_r2"] > 0.6


def test_a_model_with_another_number_of_outputs_is_refused():
    x, y = table()
    with pytest.raises(ModelError, match=r"must return \(2, 1\)"):
        mcprune.prune(x, y, model=nn.Linear(8, 3), keep=3, **QUICK)


def test_named_data_have_their_task():
    with pytest.raises(ConfigError, match="of a regression"):
        mcprune.prune("diabetes", keep=3, task="classification", **QUICK)
    with pytest.raises(ConfigError, match="of a classification"):
        mcprune.prune("wine", keep=3, task="regression", **QUICK)


def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(tmp_path):
    x, y = table()
    whole = mcprune.prune(x, y, keep=3, out=str(tmp_path / "whole"), **QUICK)

    class Stop(mcprune.Callback):
        def on_block(self, search, info):
            if search.blocks_done == 2:
                raise RuntimeError("cut off")

    with pytest.raises(RuntimeError):
        mcprune.prune(x, y, keep=3, callbacks=[Stop(), mcprune.Checkpoint(str(tmp_path / "cut"), every="1")], **QUICK)
    resumed = mcprune.resume(tmp_path / "cut", data=(x, y))
    assert resumed.mask.indices.tolist() == whole.mask.indices.tolist()
    assert resumed.metrics == whole.metrics
