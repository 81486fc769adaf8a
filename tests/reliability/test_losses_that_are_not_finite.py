"""Losses that are not finite, wherever they come up: rejected and counted, or one error; what was saved stays good."""

import json
import math

import numpy as np
import pytest

from mcprune.config.schema import make_config
from mcprune.errors import NumericalError
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.finish import retrain as refit
from mcprune.session.loop import run
from mcprune.session.resume import resume_run
from mcprune.storage.layout import CHECKPOINT
from mcprune.training.trainer import Trainer

SHORT = {
    "epochs": 8,
    "retrain_epochs": 1,
    "compare": "no",
    "hidden": (8,),
    "keep": 16,
    "threads": 1,
    "checkpoint_every": "1",
}


def config(folder, **changes):
    return make_config(**{**SHORT, "eval_on": "held-out", "out": str(folder), **changes})


def at_call(number, real, broken):
    """Do what `real` does, but at one call what `broken` does."""
    count = 0

    def doing(*given, **named):
        nonlocal count
        count += 1
        return broken(*given, **named) if count == number else real(*given, **named)

    return doing


def not_finite(*_, **__):
    raise NumericalError("the classifier's loss is nan at training step 48. Lower --learning-rate")


PLACES = {
    "classifier": (Trainer, "run", not_finite, r"\. Lower --learning-rate"),
    "evaluation batch": (FusedEvaluator, "current", lambda self: np.array([math.nan]), r"\. Lower --learning-rate"),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_search_that_diverges_keeps_its_checkpoint(place, tmp_path, monkeypatch):
    owner, name, broken, said = PLACES[place]
    list(run(config(tmp_path / "whole")))
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, at_call(9, getattr(owner, name), broken))
        with pytest.raises(NumericalError, match=said):
            list(run(config(folder)))
    opened = open_run(folder)
    assert 0 < opened.checkpoint["search"]["blocks_done"] <= 8
    list(resume_run(opened))
    assert (folder / "mask.json").read_bytes() == (tmp_path / "whole" / "mask.json").read_bytes()


def test_a_search_that_diverges_at_once_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "run", not_finite)
    with pytest.raises(NumericalError):
        list(run(config(tmp_path / "run")))
    assert list(tmp_path.iterdir()) == []


def test_candidates_that_are_not_finite_are_rejected_and_counted(tmp_path, monkeypatch):
    real = FusedEvaluator.losses

    def every_third(self, state, moves, limits=None):
        found = real(self, state, moves, limits)
        found[:, state.step[0] % 3 == 0] = np.inf
        return found

    running = run(config(tmp_path / "run", lookahead=1))
    told = [next(running)]  # the evaluator has been checked: such a one would not have been taken
    monkeypatch.setattr(FusedEvaluator, "losses", every_third)
    told += running
    last = [event for event in told if event.kind == "progress"][-1]
    assert last.nonfinite > 0
    assert math.isfinite(last.loss)
    assert all(math.isfinite(weight) for weight in json.loads((tmp_path / "run" / "mask.json").read_text())["weights"])


def test_a_retraining_that_diverges_keeps_the_mask_and_goes_on(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(refit, "fit", not_finite)
        with pytest.raises(NumericalError):
            list(run(config(folder)))
    mask = (folder / "mask.json").read_bytes()
    assert (folder / CHECKPOINT).exists()
    told = list(resume_run(open_run(folder)))
    assert told[-1].kind == "run_done"
    assert (folder / "mask.json").read_bytes() == mask
