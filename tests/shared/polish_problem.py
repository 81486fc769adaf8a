"""A small network and rows to polish it on."""

import numpy as np
from digit_chains import some_rows
from fixed_networks import random_network

from mcprune.data.prepare import Parts, Rows, Splits
from mcprune.data.scale import Scaler
from mcprune.firmware.polish.settings import PolishSettings

NOTHING = np.zeros(0, np.int64)


def splits_of(seed=1, count=600):
    """Return rows whose classes depend on several columns."""
    features, targets, _ = some_rows(seed, count, 6, 3)[:3]
    third = count // 3
    parts = [Rows(features[at : at + third], targets[at : at + third]) for at in (0, third, 2 * third)]
    scaler = Scaler("none", np.zeros(6), np.ones(6))
    names = tuple(f"x{column}" for column in range(6))
    return Splits(*parts, scaler, (0, 1, 2), names, "made", None, Parts(NOTHING, NOTHING, NOTHING))


def start_network(seed=1):
    return random_network(seed, zeros=0, density=0.9).but(logit_scale=2.0**-9)


def settings_of(budget, unit="digits", **more):
    return PolishSettings(budget, unit, **({"proposals": 1500, "blocks": 6} | more))
