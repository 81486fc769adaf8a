"""Networks of firmware.py that later jobs start from, in a folder for each set and seed."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from firmware_ways import Trained

from mcprune.firmware.counting.costs import costs
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.network_files import load_network, save_network

NOTE, WEIGHTS = "note.json", "weights.npz"


def save_hgq2(trained: Trained, folder: Path, parts: Collection[float]) -> None:
    """Write the networks nearest to some parts of HGQ2's epochs, with the weights of its model and the seconds that it had left."""
    for part in parts:
        place = int(np.argmin([abs(progress - part) for progress in trained.progress]))
        target = folder / f"hgq2-{part}"
        save_network(remove_dead(trained.networks[place]), target)
        _, weights = trained.states[place]
        np.savez(target / WEIGHTS, *weights)
        before = trained.seconds[place]
        note = {"seconds_before": round(before, 1), "seconds_left": round(trained.total - before, 1)}
        (target / NOTE).write_text(json.dumps(note))


def load_hgq2(folder: Path, part: float) -> tuple[FixedNetwork, dict[str, Any]]:
    """Return the network of a part, and the seconds before and after it."""
    target = folder / f"hgq2-{part}"
    return load_network(target), json.loads((target / NOTE).read_text())


def load_weights(folder: Path, part: float) -> list[Any]:
    """Return the weights of HGQ2's model at a part of its epochs."""
    with np.load(folder / f"hgq2-{part}" / WEIGHTS) as stored:
        return [stored[f"arr_{number}"] for number in range(len(stored.files))]


def save_own(networks: Sequence[FixedNetwork], folder: Path, digits: int) -> None:
    """Write the network of mcprune's own training that is nearest to a number of digits."""
    save_network(min(networks, key=lambda one: abs(costs(one).digits - digits)), folder / "own")


def load_own(folder: Path) -> FixedNetwork:
    """Return the network that `save_own` wrote."""
    return load_network(folder / "own")
