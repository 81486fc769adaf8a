"""Runs to their end, each made once however many tests and workers compare with it."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import run_whole


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a finished run, by the name of its configuration; tests leave it as it is."""
    base = tmp_path_factory.getbasetemp()
    # The workers of pytest-xdist have folders beside each other: what one has run, the others find.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "goldens"
    folder.mkdir(exist_ok=True)

    def of(name: str) -> Path:
        done = folder / f"{name}.done"
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder / name, ignore_errors=True)  # of a run that failed
                run_whole(name, folder / name)
                done.touch()
        return folder / name

    return of
