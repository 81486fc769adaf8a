"""--max-time is the time of the whole command: the search leaves room for retraining and comparisons."""

import time

import numpy as np
import pytest

import mcprune
from mcprune.session import retrain


def rows(number):
    x = np.random.default_rng(0).normal(size=(number, 12)).astype(np.float32)
    return x, x[:, 3] + x[:, 8] > 0


OPTIONS = {"keep": 2, "hidden": (64, 64), "threads": 1, "seed": 1}


def notes(result):
    return [event.text for event in result.events if isinstance(event, mcprune.Note)]


@pytest.mark.slow
def test_what_does_not_fit_is_left_out_and_listed_in_one_line():
    began = time.monotonic()
    result = mcprune.prune(*rows(40_000), **OPTIONS, epochs=100_000, retrain_epochs=100_000, max_time=8, compare="yes")
    # No bound on the clock of a busy machine: without a plan this run takes hours.
    assert time.monotonic() - began < 300
    (listed,) = [text for text in notes(result) if text.startswith("--max-time 8: no time for ")]
    assert "epochs of retraining" in listed
    assert result.metrics["test_accuracy"] > 0.6


def test_a_run_that_fits_is_the_run_without_a_limit():
    short = {**OPTIONS, "epochs": 4, "retrain_epochs": 2}
    free = mcprune.prune(*rows(600), **short)
    timed = mcprune.prune(*rows(600), **short, max_time=600)
    assert np.array_equal(free.mask.weights, timed.mask.weights)
    assert free.metrics == timed.metrics
    assert not [text for text in notes(timed) if "--max-time" in text]


@pytest.mark.parametrize(("seconds", "epochs"), [(3.0, 27), (1000.0, 50), (0.01, 1)])
def test_epochs_fit_into_what_is_left(seconds, epochs, monkeypatch):
    refit = retrain.Refit.__new__(retrain.Refit)
    refit.deadline, refit.shortened = 100.0 + seconds, []
    monkeypatch.setattr(retrain.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(retrain.Refit, "epoch_seconds", lambda self, model, mask: 0.1)
    assert refit.fitting_epochs(None, np.ones(3, bool), 50) == epochs
    assert len(refit.shortened) == (epochs < 50)
