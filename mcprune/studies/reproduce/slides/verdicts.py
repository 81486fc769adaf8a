"""When a run of the gradient path counts as working, and when its alpha rises gradually: thresholds and the tests against them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from mcprune.storage.run_metrics import RunFigures

# Pruning is complete when so large a share of n, at most, is missing or too many, and such a share of the gates is decided;
# it is well done when a fresh classifier on the mask is at most so much below the best mask of all these runs.
# A run that does not work and that had fewer than such a share of n open at some time was too drastic, wherever it ended.
COUNT, DECIDED, BELOW, DIP = 0.1, 0.9, 0.02, 0.5
# alpha rises gradually: its mean over an eighth of the run never falls by more than a tenth from one eighth to the next,
# never rises by more than a factor of ten, and is three times as high in the last as in the first.
PARTS, FALL, JUMP, RISE = 8, 0.9, 10.0, 3.0
START = 1 / (1 + math.exp(-4.0))  # the gates at the start
LITTLE, DRASTIC, WORKS = "too little", "too drastic", "works"
WORKING = (
    f"works: gates above one half within {COUNT:.0%} of n before hardening, at least {DECIDED:.0%} of the gates within .01 of 0 or 1, "
    f"and the retrained accuracy at most {BELOW:g} below the best of all runs; else too drastic: fewer than {DIP:.0%} of n open at some "
    "time, too few at the end, or sites so badly chosen that the accuracy is lower; else too little: more sites are left, or gates are "
    "undecided"
)
GRADUAL = (
    f"gradual: the mean of alpha over an eighth of the run falls by at most {1 - FALL:.0%} and rises by at most x{JUMP:g} to the next, and "
    f"rises by at least x{RISE:g} over the run"
)


def outcome(run: RunFigures, best: float) -> str:
    """Return `works`, `too little` or `too drastic`; `best` is the best retrained accuracy of all runs."""
    room = max(1.0, COUNT * run.n)
    is_complete = abs(run.kept_before - run.n) <= room and run.near_hard >= DECIDED
    if is_complete and run.retrained >= best - BELOW:
        return WORKS
    lowest = min(event.kept for event in run.progress)
    if is_complete or lowest < DIP * run.n or run.kept_before < run.n - room:
        return DRASTIC
    return LITTLE


def alpha_means(run: RunFigures) -> list[float]:
    """Return the mean of alpha over each eighth of the epochs that were made."""
    last = run.progress[-1].epoch
    parts: list[list[float]] = [[] for _ in range(PARTS)]
    for event in run.progress:
        if event.alpha is not None:
            parts[math.ceil(PARTS * event.epoch / last) - 1].append(
                event.alpha
            )  # an event describes the blocks before it
    return [math.fsum(part) / len(part) for part in parts if part]


def is_gradual(means: Sequence[float]) -> bool:
    """Tell whether alpha rises gradually, from its means over the eighths."""
    steps = [later / earlier for earlier, later in pairwise(means)]
    return bool(steps) and all(FALL <= step <= JUMP for step in steps) and means[-1] >= RISE * means[0]


def halfway(run: RunFigures) -> float | None:
    """Return the epoch at which the sum of the gates had come half of the way from N to n; None for never."""
    middle = (run.N + run.n) / 2
    return next(
        (event.epoch for event in run.progress if event.gate_sum is not None and event.gate_sum <= middle), None
    )


def slopes(sites: int, gate: float) -> tuple[float, float, float]:
    """Return prod_i s_i and N dL/ds_i of L_rej and of L_rej', where all gates are equal.

    L_rej: 1 - 2 s. L_rej': 1 - 2 s + N s^(N-1). Positive: descent closes the gate.
    """
    product = math.exp(sites * math.log(gate))
    plain = 1.0 - 2.0 * gate
    return product, plain, plain + sites * product / gate
