"""Named random streams: a run draws for many purposes from one seed, and no two purposes share their numbers.

The chain itself draws from counter-based streams of its own (`chain/philox.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, unique
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # loading data and the chain need no torch
    import torch


@unique
class Stream(IntEnum):
    """What random numbers are drawn for. The numbers are part of a run's definition: a new purpose takes a new one."""

    SPLIT = 0  # training, validation and test rows
    MASK_NOISE = 1  # sites that training rows swap
    TRAINING_ORDER = 2  # rows of the steps of the search
    FIT_ORDER = 3  # rows of pretraining and retraining
    EVALUATION_SPLIT = 4  # rows held out for evaluation
    EVALUATION_ORDER = 5
    EVALUATION_BATCHES = 6
    EVALUATION_NOISE = 7
    GATE_NOISE = 8
    BASELINE_MASKS = 9  # random masks that a result is compared with
    TRIALS = 10  # rows and candidates that something is tried on; no result depends on them
    SCORE_ROWS = 11
    RANDOM_SCORES = 12
    STANDARD_ERROR = 17  # exchanges whose loss differences are the unit of the temperature
    STEP_NOISE = 13  # dropout and noise on the inputs in the steps of backprop
    START_ROWS = 14  # rows that choose a start
    CLASSIFIERS = 16  # seeds of the further classifiers of a stack
    PLAYOFF = 15  # folds and batches of a round of the playoff
    PLAYOFF_MASKS = 19  # random masks that the finalists are compared with
    PLAYOFF_ROWS = 20  # rows of the playoff, where there are too many
    STORED_ROWS = 18  # test rows whose predictions are stored
    STUDY_ROWS = 21
    SAMPLING = 23  # starts of the chains that sample masks, and exchanges of their first temperature
    PATH_ROWS = 25  # rows that score the masks of a path, where there are too many
    PATH_FOLDS = 26  # folds and batches of a round of scoring them
    SETTLING = 24  # masks under which classifiers go on training before masks are sampled
    SHADOWS = 27  # shadows of columns, and the batches and masks of their classifiers
    POLISH_ORDER = 28  # order of the rows of a chain over digits
    POLISH = 29  # units and bits that a block of it tries
    POLISH_NOISE = 35  # on the inputs of its rows
    COLUMN_HASHES = 22  # factors by which equal columns are recognised
    SOLVER_ROWS = 30  # rows on which a solver's program is compared with a network
    STUDY_SUBSET = 31
    FIT_DROPOUT = 32  # dropped units in compiled steps of pretraining and retraining
    STEP_DROPOUT = 33  # and in those of the search
    LEAPS = 34  # exchanges of several sites at once in a block


# Streams of which there are several by a number, such as the epoch. numpy pads what it is given with zeros, so that a stream without
# a number would be number 0 of the same stream: each is used in one way alone.
NUMBERED = frozenset(
    {
        Stream.SCORE_ROWS,
        Stream.STANDARD_ERROR,
        Stream.CLASSIFIERS,
        Stream.PLAYOFF,
        Stream.STUDY_ROWS,
        Stream.PATH_FOLDS,
        Stream.POLISH,
        Stream.LEAPS,
    }
)


def generator(seed: int, stream: Stream, number: int | None = None) -> np.random.Generator:
    """Return numpy's generator of a stream.

    Parameters
    ----------
    seed : int, at least 0
    stream : Stream
    number : int, optional
        Such as the number of an epoch: each has random numbers of its own. For the streams of `NUMBERED`, and for no others.

    Raises
    ------
    ValueError
        A number for a stream that has none, or none for one that has.
    """
    if (stream in NUMBERED) != (number is not None):
        raise ValueError(f"stream {stream.name} {'needs a' if number is None else 'has no'} number")
    return np.random.default_rng([seed, stream] if number is None else [seed, stream, number])


def torch_generator(seed: int, stream: Stream, device: torch.device | str = "cpu") -> torch.Generator:
    """Return torch's generator of a stream."""
    import torch

    return torch.Generator(device).manual_seed(_torch_number(seed, stream))


def weights_generator(seed: int) -> torch.Generator:
    """Return torch's generator for the initial weights of a built-in classifier, on the CPU."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)


@contextmanager
def torch_seed(number: int) -> Iterator[None]:
    """Set torch's global state, from which dropout and new layers draw, inside; put it back after."""
    import torch

    state = torch.get_rng_state()
    torch.default_generator.manual_seed(number)  # torch.manual_seed formats a traceback each time
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(number)
    try:
        yield
    finally:
        torch.set_rng_state(state)


@contextmanager
def step_noise(seed: int, step: int, rank: int | None = None) -> Iterator[None]:
    """Set torch's global state by the step of training inside; put it back after.

    Parameters
    ----------
    seed : int
    step : int
        Training steps made before, by the trainer that draws.
    rank : int, optional
        Of several processes that each draw for their own rows.
    """
    with torch_seed(_torch_number(seed, Stream.STEP_NOISE, step, 0 if rank is None else rank + 1)):
        yield


def noise_generator(seed: int) -> torch.Generator:
    """Return a generator of torch on the CPU that draws what the global state does inside `step_noise(seed, 0)`."""
    import torch

    return torch.Generator().manual_seed(_torch_number(seed, Stream.STEP_NOISE, 0, 0))


def hash_seed(seed: int, stream: Stream) -> np.uint64:
    """Return the 64 bits from which kernels hash random numbers."""
    return np.uint64(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0])


def hash_seeds(drawn: int, count: int) -> list[np.uint64]:
    """Return so many times 64 bits for kernels, from a number that was drawn for their purpose."""
    return list(np.random.SeedSequence(drawn).generate_state(count, np.uint64))


def _torch_number(seed: int, stream: Stream, *more: int) -> int:
    """Return a seed for torch of 32 mixed bits: its generator on the CPU reads no others."""
    return int(np.random.SeedSequence([seed, stream, *more]).generate_state(1, np.uint32)[0])
