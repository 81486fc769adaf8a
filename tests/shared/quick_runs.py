"""Short runs: whole in kind, few epochs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcprune.config.schema import Config, make_config
from mcprune.session.loop import run
from mcprune.storage.events import Event

QUICK: dict[str, Any] = {
    "epochs": 12,
    "retrain_epochs": 8,
    "compare": "no",
    "hidden": (24, 12),
    "keep": 16,
    "threads": 1,
}


@pytest.fixture
def quick() -> Callable[..., Config]:
    """Options of a run on digits that takes a third of a second: with one classifier and one start, where a default run has several."""

    def make(**changes: Any) -> Config:
        one = {} if "method" in changes else {"eval_on": "held-out", "start": "all"}
        return make_config(**{**QUICK, **one, **changes})

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A short run on digits under the defaults: its folder, which tests leave as it is, and its events."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return folder, list(run(make_config(**QUICK, out=str(folder))))


@pytest.fixture(scope="session")
def table() -> tuple[np.ndarray, np.ndarray]:
    """Rows (600, 10) whose class, a word, is told by columns 3 and 8."""
    x = np.random.default_rng(0).normal(size=(600, 10))
    return x, np.where(x[:, 3] + x[:, 8] > 0, "up", "down")
