"""The end of a run: what is scored, and what is not where there are no rows for it."""

import json

import numpy as np
import pytest
from selection import long_but

import mcprune
from mcprune.cli.main import main
from mcprune.session.loop import run
from mcprune.storage.events import Hardened, Note, Playoff, Progress, RunDone, RunStarted, Scored, Stage
from mcprune.storage.predictions import read_predictions

WAYS = {
    "markov": {},
    "gradient": {"method": "gradient"},
    "auto": {"method": "gradient", "alpha": "auto"},
    "importance": {"method": "importance"},
    "frozen": {"pretrain": 2, "frozen": True},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "test", "validation"),
    long_but(
        "rows of one part alone are left out by the chain too",
        [(way, *parts) for parts in [(0, 0.15), (0.2, 0), (0, 0)] for way in WAYS],
        *((way, 0, 0) for way in WAYS), ("markov", 0, 0.15), ("markov", 0.2, 0), ("auto", 0.2, 0),
    ),
)  # fmt: skip
def test_without_test_or_validation_rows_nothing_is_measured_on_them_and_it_is_said(
    quick, tmp_path, way, test, validation, capsys
):
    options = {"epochs": 2, "compare": "yes", "data": "wine", "keep": 4, "test": test, "validation": validation}
    folder = tmp_path / "run"
    told = list(run(quick(out=str(folder), **options, **WAYS[way])))
    start = next(event for event in told if isinstance(event, RunStarted))
    assert (start.rows["test"] == 0) == (test == 0)
    assert (start.rows["validation"] == 0) == (validation == 0)
    assert sum(start.rows.values()) == 178
    scores = [event for event in told if isinstance(event, Scored)]
    assert scores
    assert all((score.accuracy is None) == (test == 0) for score in scores)
    notes = " | ".join(event.text for event in told if isinstance(event, Note))
    assert ("no test rows (test=0)" in notes) == (test == 0)
    if way == "auto":
        assert ("no validation rows (validation=0)" in notes) == (validation == 0)
    looks = [event.validation_accuracy for event in told if isinstance(event, Progress | Hardened)]
    assert all(value is None for value in looks) == (validation == 0)
    assert isinstance(told[-1], RunDone)
    assert len(json.loads((folder / "mask.json").read_text())["indices"]) == 4
    assert mcprune.load(folder).columns.size == 4
    capsys.readouterr()
    assert main(["show", str(folder)]) == 0
    assert "nan" not in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0


def test_from_python_all_rows_can_train(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    X = rng.normal(size=(60, 5)) + 3 * np.outer(y, [0, 0, 1, 0, 0])
    result = mcprune.prune(X, y, keep=1, test=0, validation=0, epochs=8, retrain_epochs=150, threads=1, hidden=(16,))
    assert result.mask.names == ("column 2",)
    assert result.metrics == {}
    assert (result.model.predict(X) == y).mean() > 0.9
    result._repr_html_()


def test_a_comparison_needs_test_rows(tmp_path, capsys):
    options = ["--data", "wine", "--test", "0", "--keep", "4", "--time", "1", "--seeds", "0", "--quick"]
    assert main(["bench", *options, "--out", str(tmp_path / "bench")]) == 2
    assert "test=0 leaves no test rows" in capsys.readouterr().err


def test_the_folder_has_the_sentence_and_the_predictions_of_the_test_rows(quick, tmp_path):
    folder = tmp_path / "run"
    events = list(run(quick(out=str(folder), data="wine", keep=4, epochs=4, compare="yes")))
    done = events[-1]
    result = json.loads((folder / "result.json").read_text())
    assert result["summary"] == done.summary
    assert done.summary.startswith("4 of 13 columns keep ")
    accuracies = {score.name: score.accuracy for score in done.scores}
    predictions = read_predictions(folder, events[0].rows["test"])
    for probabilities, name in ((predictions.pruned, "hard mask, retrained"), (predictions.whole, "all sites")):
        assert (probabilities.argmax(axis=1) == predictions.targets).mean() == accuracies[name]
    # Stages are for screens alone.
    kinds = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert "stage" not in kinds
    stages = [event.name for event in events if isinstance(event, Stage)]
    assert list(dict.fromkeys(stages)) == ["compile", "search", "retrain", "compare"]
    assert kinds == [event.kind for event in events if not isinstance(event, Stage)]


@pytest.mark.slow
def test_chains_from_several_starts_and_the_playoff_announce_themselves(quick, tmp_path):
    events = list(run(quick(out=str(tmp_path / "run"), data="wine", keep=4, eval_on="folds", start="all+forest")))
    stages = [event for event in events if isinstance(event, Stage)]
    assert [stage.name for stage in stages if stage.name in ("start", "playoff")] == ["start", "start", "playoff"]
    assert "forest" in stages[1].text
    playoff = next(event for event in events if isinstance(event, Playoff))
    assert all(len(one.indices) == 4 for one in playoff.finalists)
    assert playoff.finalists[0].indices == events[-1].indices
