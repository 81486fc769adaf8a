"""The state of a chain over digits in a folder: two networks and a few numbers, without pickle."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mcprune.errors import FolderError
from mcprune.firmware.network_files import load_network, save_network
from mcprune.firmware.polish.run import PolishState
from mcprune.firmware.polish.settings import PolishSettings
from mcprune.storage.atomic import write_whole

NEWEST, OLDER, STATE = "checkpoint", "checkpoint-older", "state.json"
NUMBERS = ("block", "random_state", "start_cost", "inner_budget", "best_value", "evaluated", "dropped", "bits_moved")


def save_state(state: PolishState, settings: PolishSettings, digest: str, folder: Path) -> None:
    """Write a checkpoint into a folder; the one before stays until it is complete.

    Parameters
    ----------
    state : PolishState
    settings : PolishSettings
    digest : str
        Of the start network and the rows: another chain's checkpoint is not taken.
    folder : Path
    """
    target, older = folder / NEWEST, folder / OLDER
    try:
        if target.is_dir():
            shutil.rmtree(older, ignore_errors=True)
            target.rename(older)
        save_network(state.network, target / "network")
        if state.best is not None:
            save_network(state.best, target / "best")
        content = {
            "settings": asdict(settings),
            "digest": digest,
            "statistics": state.statistics.tolist(),
            "rates": state.rates.tolist(),
            "has_best": state.best is not None,
            **{name: getattr(state, name) for name in NUMBERS if name != "best_value"},
            "best_value": state.best_value if state.best is not None else None,
            "temperature": state.temperature,
        }
        write_whole(target / STATE, json.dumps(content).encode())  # the last: with it the checkpoint is complete
    except OSError as error:
        raise FolderError(
            f"the checkpoint cannot be written to {folder}: {error.strerror}. Choose a folder that can be written."
        ) from error
    shutil.rmtree(older, ignore_errors=True)


def load_state(settings: PolishSettings, digest: str, folder: Path) -> PolishState | None:
    """Return the state of the newest complete checkpoint of the same settings, start and rows; None if there is none."""
    for name in (NEWEST, OLDER):
        place = folder / name
        try:
            content = json.loads((place / STATE).read_text())
        except (OSError, ValueError):
            continue
        if content.get("settings") != asdict(settings) or content.get("digest") != digest:
            return None
        best = load_network(place / "best") if content["has_best"] else None
        numbers = {name: content[name] for name in NUMBERS if name != "best_value"}
        value = float(content["best_value"]) if best is not None else np.inf
        statistics = np.array(content["statistics"], np.float64)
        return PolishState(
            load_network(place / "network"),
            best=best,
            best_value=value,
            statistics=statistics,
            rates=np.array(content["rates"], np.float64),
            temperature=content["temperature"],
            **numbers,
        )
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a chain that is done."""
    for name in (NEWEST, OLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
