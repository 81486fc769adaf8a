"""Several processes of one run: how torchrun starts them, what they make sure of first, and what they agree on behind each block.

Every rank trains the same classifier on the same rows, or on its part of them (sharing.py), and holds the same chain; the candidates
are shared out (distributed/evaluation.py).
Rank 0 alone writes, tells and measures. What clocks and signals decide is decided once: when to stop, how many candidates are
judged ahead, which evaluator judges.
"""

from __future__ import annotations

import math
import os
import socket
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from mcprune.config.files import recorded_options
from mcprune.config.options import in_flat
from mcprune.config.schema import Config
from mcprune.data.fingerprint import fingerprint
from mcprune.distributed.evaluation import BLOCK, Ranks
from mcprune.environment import circumstances, cores, versions
from mcprune.errors import ConfigError, DeviceError, RanksError
from mcprune.session.build.plan import Plan
from mcprune.session.interrupt import CODES, Interrupt

if TYPE_CHECKING:
    from mcprune.session.search import Search

TIMEOUT = 300.0  # seconds
# Blocks after which the classifiers are compared, behind the first and the last one too; the chains are behind every block.
CHECK = 16
REASONS = ("", *CODES)


class Place(NamedTuple):
    """Where torchrun has put this process.

    Attributes
    ----------
    rank, size, local, local_size : int
        Of all processes, of those on this machine.
    restarts : int
        How many times torchrun has begun anew.
    job : str
        The same for all restarts of one torchrun, and for no other.
    """

    rank: int
    size: int
    local: int
    local_size: int
    restarts: int
    job: str


def place_of(environment: Mapping[str, str]) -> Place | None:
    """Return where torchrun has put this process; None where it has not.

    Raises
    ------
    ConfigError
        Variables of it are missing, or do not fit together.
    """
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        one = next((name for name in ("RANK", "WORLD_SIZE") if name in environment), None)
        if one is None or environment["WORLD_SIZE" if one == "WORLD_SIZE" else "RANK"] in ("0", "1"):
            return None  # what some cluster has set for a process that is alone
        raise ConfigError(
            f"the environment has {one}={environment[one]}, but not the other of RANK and WORLD_SIZE; begin the processes with "
            "torchrun --nproc-per-node=N -m mcprune run ..., or unset it"
        )
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    usual = (None, None, environment["RANK"], environment["WORLD_SIZE"], "0")
    numbers = []
    for name, default in zip(names, usual, strict=True):
        text = environment.get(name, default) or ""
        if not text.isdecimal() or len(text) > 9:
            raise ConfigError(f"the environment has {name}={text[:40]!r}, which is no count; begin with torchrun")
        numbers.append(int(text))
    rank, size, local, local_size, restarts = numbers
    if not (rank < size and local < local_size <= size):
        raise ConfigError(
            f"the environment has RANK={rank}, WORLD_SIZE={size}, LOCAL_RANK={local}, LOCAL_WORLD_SIZE={local_size}: a rank counts "
            "from 0 and is below the number of ranks; begin with torchrun"
        )
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        raise ConfigError(f"the environment has no {missing[0]}, so the ranks cannot meet; begin with torchrun")
    run_id = environment.get("TORCHELASTIC_RUN_ID", "none")
    job = run_id if run_id != "none" else f"{socket.gethostname()}-{os.getppid()}"
    return Place(rank, size, local, local_size, restarts, job)


@contextmanager
def met(place: Place, about: Mapping[str, Any], device: str, timeout: float | None) -> Iterator[Ranks]:
    """Meet the other ranks, and leave them in the end.

    Parameters
    ----------
    place : Place
    about : mapping
        What all ranks must have been asked for alike, as JSON holds it; versions are added.
    device : str
        `cuda` gives each process of a machine a GPU of its own.
    timeout : float or None
        Seconds; None for 300.

    Raises
    ------
    RanksError
        They do not come, or are asked for something else.
    DeviceError
        There are fewer GPUs than processes.
    """
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        if torch.cuda.is_available() and place.local >= torch.cuda.device_count():
            raise DeviceError(
                f"{place.local_size} processes on this machine, but {torch.cuda.device_count()} GPUs; begin with "
                f"torchrun --nproc-per-node={torch.cuda.device_count()}"
            )
        if torch.cuda.is_available():
            torch.cuda.set_device(place.local)
    ranks = Ranks(
        place.rank,
        place.size,
        timeout or TIMEOUT,
        local=place.local,
        local_size=place.local_size,
        job=place.job,
        attempt=place.restarts,
    )
    ranks.start()
    try:
        compare(ranks, {**about, **versions()}, "were begun with")
        yield ranks
    finally:
        ranks.stop()


def about_options(config: Config) -> dict[str, Any]:
    """Return what all ranks must have been given alike: every option but the folder, which is rank 0's."""
    return in_flat(recorded_options(config.replace(out=None, force=False, rank_timeout=None)))


def compare(ranks: Ranks, mine: Mapping[str, Any], what: str) -> None:
    """Refuse ranks that differ in something; the message names it, and the ranks.

    Raises
    ------
    RanksError
        They differ.
    """
    everyone = ranks.all_gather(dict(mine))
    for rank, other in enumerate(everyone):
        for name in sorted({*other, *everyone[0]}):
            if other.get(name) != everyone[0].get(name):
                raise RanksError(
                    f"rank {rank} and rank 0 {what} different {name.replace('_', ' ')}: {other.get(name)!r} and "
                    f"{everyone[0].get(name)!r}; begin all ranks alike"
                )


def enter(plan: Plan, given: Config, ranks: Ranks | None) -> None:
    """Make a plan one of several ranks': the same threads, data and machine, or none begins.

    Raises
    ------
    ConfigError
        Nothing can be shared out on this way to a mask.
    RanksError
        The ranks differ.
    """
    if ranks is None:
        return
    if plan.method != "markov":
        raise ConfigError(
            f"method={plan.method!r} has no candidates that {ranks.size} processes could share; run it without torchrun"
        )
    threads = plan.runtime.threads
    if given.runtime.threads is None:  # the cores of this machine are for all of its processes
        threads = min(threads, max(1, cores() // ranks.local_size))
    threads = ranks.broadcast_int(threads)
    plan.settings = plan.settings.with_threads(threads)
    compare(ranks, {"data": fingerprint(plan.prepared), **circumstances(threads, plan.device.type)}, "have")
    plan.ranks = ranks
    also = ", and the rows of each step of backprop" if plan.runtime.train_ranks == "shared" else ""
    plan.notes.append(f"ranks: {ranks.size} processes share the candidates{also}, {threads} threads each")


def agreed(ranks: Ranks, search: Search, interrupt: Interrupt, *, is_late: bool, blocks: int) -> tuple[bool, int, str]:
    """Make sure that the ranks are in step behind a block, and stop all of them if one is asked to, or the time of rank 0 is up.

    Parameters
    ----------
    ranks : Ranks
    search : Search
        Whose block is done.
    interrupt : Interrupt
        Is asked if that of any rank is.
    is_late : bool
        Whether this rank's time is up.
    blocks : int
        How many this rank would plan from here on.

    Returns
    -------
    is_late : bool
        Whether rank 0's is.
    blocks : int
        How many rank 0 would plan.
    reason : str
        Why all stop, as of now: what comes to one rank a moment later counts behind the next block. Empty if nobody is asked.

    Raises
    ------
    RanksError
        The ranks have come apart, or one is gone.
    """
    is_check = search.blocks_done % CHECK == 0 or search.blocks_done in (1, search.pace.blocks)
    mine = [
        float(REASONS.index(interrupt.reason)),
        float(is_late),
        float(search.blocks_done),
        chain_digest(search.state.method),
        classifier_digest(search.plan.model) if is_check else 0.0,
        float(blocks),
    ]
    told = ranks.gather_same(BLOCK, mine)
    for place, what in ((2, "numbers of blocks"), (3, "chains"), (4, "classifiers")):
        ranks.compare(told[:, place], f"{what} behind block {search.blocks_done:,}")
    reason = REASONS[int(told[:, 0].max())]
    if reason:
        interrupt.ask(reason)
    return bool(told[0, 1]), int(told[0, 5]), reason


def chain_digest(state: Any) -> float:
    """Return a CRC-32 of where the replicas of a `MarkovState` are, on which rungs, and of the evaluator's error."""
    digest = 0
    for name, value in sorted({**state.chain._asdict(), **state.ladder._asdict()}.items()):
        digest = zlib.crc32(np.ascontiguousarray(value).tobytes(), zlib.crc32(name.encode(), digest))
    error = state.error.measured
    return float(zlib.crc32(np.float64(math.nan if error is None else error).tobytes(), digest))


def classifier_digest(model: torch.nn.Module) -> float:
    """Return a CRC-32 of parameters and buffers."""
    found = 0
    for part in (*model.parameters(), *model.buffers()):
        values = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        found = zlib.crc32(values.data, found)
    return float(found)
