"""--max-time is the time of the whole command: the search leaves room for retraining and comparisons."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from ranked import ROOT, free_port

import mcprune
from mcprune.session.finish import retrain


def rows(number):
    x = np.random.default_rng(0).normal(size=(number, 12)).astype(np.float32)
    return x, x[:, 3] + x[:, 8] > 0


OPTIONS = {"keep": 2, "hidden": (64, 64), "threads": 1, "seed": 1}


def notes(result):
    return [event.text for event in result.events if isinstance(event, mcprune.Note)]


@pytest.mark.long("waits for its time to pass")
def test_what_does_not_fit_is_left_out_and_listed_in_one_line():
    began = time.monotonic()
    result = mcprune.prune(*rows(40_000), **OPTIONS, epochs=100_000, retrain_epochs=100_000, max_time=8, compare="yes")
    # No bound on the clock of a busy machine: without a plan this run takes hours.
    assert time.monotonic() - began < 300
    (listed,) = [text for text in notes(result) if text.startswith("--max-time 8: no time for ")]
    assert "epochs of retraining" in listed
    assert result.metrics["test_accuracy"] > 0.6


@pytest.mark.slow
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


@pytest.mark.long("waits for its time to pass")
def test_two_ranks_of_torchrun_end_together_in_time(tmp_path):
    """Rank 0 resolves the time of the search for both: a rank without it would search on, or wait for a message."""
    folder = tmp_path / "run"
    options = [
        "--data",
        "digits",
        "--keep",
        "16",
        "--hidden",
        "16,8",
        "--epochs",
        "100000",
        "--retrain-epochs",
        "2",
        "--start",
        "all",
    ]
    options += ["--compare", "no", "--threads", "1", "--max-time", "20", "--rank-timeout", "60", "--out", str(folder)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    began = time.monotonic()
    done = subprocess.run(
        [*launch, "-m", "mcprune", "run", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 300  # without a limit: hours
    assert len(json.loads((folder / "mask.json").read_text())["indices"]) == 16
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert 0 < events[0]["config"]["search_time"] < 20
    assert [event for event in events if event["event"] == "replanned"]
    assert events[-1]["event"] == "run_done"
    assert "blocks fitted into the time" in done.stdout
