"""The trials of a sweep, without a command line."""

import importlib
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("optuna", reason="the extra sweep is not installed")

from mcprune.config.schema import make_config
from mcprune.data.load import load
from mcprune.session.build.planner import make_plan
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


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["retrained", "not-retrained"])
def test_max_time_bounds_each_search_with_its_classifier(objective, tmp_path, monkeypatch):
    epochs = {"epochs": 1_000_000, "retrain_epochs": 1_000_000}  # without a plan for the time this takes days
    options = {"keep": 4, "hidden": (16,), "threads": 1, "max_time": 1.0, **epochs}
    trained = []
    monkeypatch.setattr(
        "mcprune.session.finish.retrain.Refit.fit",
        lambda self, model, mask, seed, epochs, *more: trained.append(epochs),
    )
    score = Sweeper(Sweep(options, VARY, (0,), objective), load("wine"), tmp_path / "sweep")._score({}, 0)
    assert 0 <= score <= 1
    assert all(1 <= epochs < 1_000_000 for epochs in trained)
    assert len(trained) == (objective == "retrained")


@pytest.mark.parametrize(
    ("options", "name", "holds"),
    [
        ({}, "fit", lambda given: (given["amp"], given["distillation"], given["view"], given["weights"]) == (False,) + (None,) * 3),
        ({"amp": True}, "fit", lambda given: given["amp"]),
        ({"retrain_warp": 0.5}, "fit", lambda given: given["view"] is not None),
        ({"retrain_distill": 2.0}, "fit", lambda given: given["distillation"] is not None),
        ({"is_weighted": True}, "fit", lambda given: len(given["weights"]) == given["rows"]),
        ({"finetune": "short"}, "finetune_steps", lambda given: True),
    ],
    ids=["plain", "amp", "warp", "distill", "weights", "short"],
)  # fmt: skip
def test_a_score_is_of_the_pruned_model_that_a_run_would_make_of_the_training_rows(
    options, name, holds, tmp_path, monkeypatch
):
    calls, retrain = [], importlib.import_module("mcprune.session.finish.retrain")
    original = getattr(retrain, name)

    def watch(model, *more, **named):
        *_, targets = more[-2:]
        calls.append({**named, "rows": len(targets)})
        return original(model, *more, **named)

    monkeypatch.setattr(retrain, name, watch)
    short = {"keep": 16, "hidden": (8,), "epochs": 1, "retrain_epochs": 1, "threads": 1, "eval_on": "held-out"}
    data, options = load("digits"), dict(options)
    if options.pop("is_weighted", False):
        data = replace(data, weights=np.linspace(1.0, 2.0, len(data.targets)))
    sweeper = Sweeper(Sweep({**short, **options}, VARY, (0,)), data, tmp_path / "sweep")
    assert 0 < sweeper._score({}, 0) <= 1
    plan = make_plan(make_config(**short), data)
    assert {call["rows"] for call in calls} == {len(plan.splits.train.targets)}
    assert holds(calls[-1])


def test_a_journal_that_another_process_writes_during_the_check_is_shared(tmp_path, monkeypatch):
    from mcprune.errors import FolderError
    from mcprune.studies.sweep import study

    root, check = tmp_path / "shared", study.check_free

    def checked(path, *, force):
        monkeypatch.setattr(study, "check_free", check)
        Study(root, SETTING, VARY)  # the other process, between the look at the journal and the check
        check(path, force=force)

    monkeypatch.setattr(study, "check_free", checked)
    assert Study(root, SETTING, VARY).take(1).place == 0
    # The control: a folder of something else is refused as before.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match="exists"):
        Study(tmp_path / "other", SETTING, VARY)
