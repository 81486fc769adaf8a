"""Finished runs to sample, of a second each."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mcprune.config.schema import make_config
from mcprune.session.loop import run

QUICK = {"data": "wine", "keep": 4, "epochs": 4, "retrain_epochs": 1, "threads": 1, "compare": "no"}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "wine"
    for _ in run(make_config(**QUICK, out=str(folder))):
        pass
    return folder


@pytest.fixture
def wine(finished: Path, tmp_path: Path) -> Path:
    """A folder of its own, in which samples are written."""
    return Path(shutil.copytree(finished, tmp_path / "wine"))


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(160, 6))
    return x, (x[:, 1] + x[:, 4] + 0.5 * draw.normal(size=160) > 0).astype(int)
