"""The trials of a sweep, without a command line."""

import os
import signal
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna", reason="the extra sweep is not installed")

from mcprune.data.load import load
from mcprune.session.interrupt import own_signals
from mcprune.studies.sweep.runs import Sweep, Sweeper
from mcprune.studies.sweep.study import Study
from mcprune.studies.sweep.vary import read_all

VARY = read_all(["temperature=log:1e-5:1e-2", "gates=hard,sharpened"], {})
SETTING = {"options": {}, "seeds": [0]}
RELEASED = ".rename"  # the last file of a lock: removing it ends the release


def sweeper(root):
    """A sweeper whose trials cost nothing."""
    made = Sweeper.__new__(Sweeper)
    made.root, made.study = root, Study(root, SETTING, VARY)
    made.sweep = SimpleNamespace(seeds=(0, 1), prune=True)
    made._score = lambda values, seed: 0.5
    return made


def releases(monkeypatch, at):
    """Send SIGINT inside of the `at`-th release of the journal's lock; the list that is returned grows at each release."""
    seen, unlink = [], os.unlink

    def unlinked(path, *more, **named):
        if str(path).endswith(RELEASED):
            seen.append(path)
            if len(seen) == at:
                signal.raise_signal(signal.SIGINT)
        unlink(path, *more, **named)

    monkeypatch.setattr(os, "unlink", unlinked)
    return seen


def test_an_interrupt_comes_between_the_writes_to_the_journal(tmp_path, monkeypatch):
    with monkeypatch.context() as patched, own_signals():
        seen = releases(patched, 0)
        values = [trial.values for trial in sweeper(tmp_path / "plain").run(2)]
    assert (
        len(seen) >= 14
    )  # the study and its setting; of each trial: its start, owner, place, two values, a report, the result
    for at in range(1, len(seen) // 2 + 2):
        root = tmp_path / str(at)
        with monkeypatch.context() as patched, own_signals():
            seen = releases(patched, at)
            with pytest.raises(KeyboardInterrupt):
                list(sweeper(root).run(2))
            assert len(seen) >= at
        assert sorted(path.name for path in root.iterdir()) == ["journal.log"]  # neither a lock nor a part of one
        again = sweeper(root)
        list(again.run(2))
        assert {trial["place"]: trial["values"] for trial in again.study.trials()} == dict(enumerate(values))


@pytest.mark.parametrize("objective", ["retrained", "not-retrained"])
def test_max_time_bounds_each_search_with_its_classifier(objective, tmp_path, monkeypatch):
    epochs = {"epochs": 1_000_000, "retrain_epochs": 1_000_000}  # without a plan for the time this takes days
    options = {"keep": 4, "hidden": (16,), "threads": 1, "max_time": 1.0, **epochs}
    trained = []
    monkeypatch.setattr("mcprune.studies.sweep.runs.fit", lambda *_, epochs, **more: trained.append(epochs))
    score = Sweeper(Sweep(options, VARY, (0,), objective), load("wine"), tmp_path / "sweep")._score({}, 0)
    assert 0 <= score <= 1
    assert all(1 <= epochs < 1_000_000 for epochs in trained)
    assert len(trained) == (objective == "retrained")
