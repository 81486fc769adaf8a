"""Laws over masks of a few sites that are known exactly, and samples of them."""

from __future__ import annotations

import itertools
import math

import numpy as np

from mcprune.sampling.samples import Samples
from mcprune.types import BoolArray, FloatArray


def all_masks(sites: int, keep: int) -> BoolArray:
    """Return all masks (M, sites) of `keep` sites."""
    return np.array([[site in kept for site in range(sites)] for kept in itertools.combinations(range(sites), keep)])


def boltzmann(losses: FloatArray, temperature: float) -> FloatArray:
    """Return the probability of each loss."""
    weights = np.exp(-(losses - losses.min()) / temperature)
    return weights / weights.sum()


def samples_of(
    masks: BoolArray,
    losses: FloatArray,
    *,
    temperature: float = 1.0,
    chains: int = 4,
    draws: int = 1000,
    repeats: int = 1,
    paired_error: float = 1.0,
    seed: int = 0,
) -> Samples:
    """Return samples of Boltzmann's law over the masks; chains repeat each independent draw `repeats` times, as slow chains do."""
    rng = np.random.default_rng(seed)
    size = chains, math.ceil(draws / repeats)
    rows = np.repeat(rng.choice(len(losses), size, p=boltzmann(losses, temperature)), repeats, axis=1)[:, :draws]
    names = tuple("abcdefghijklmnopqrstuvwxyz"[: masks.shape[1]])
    return Samples(masks[rows], losses[rows], temperature, paired_error, names)
