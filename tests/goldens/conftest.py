"""Runs to their end, each made once however many tests compare with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import run_whole


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a finished run, by the name of its configuration; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("goldens")

    def of(name: str) -> Path:
        if not (folder / name).exists():
            run_whole(name, folder / name)
        return folder / name

    return of
