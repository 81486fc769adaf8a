"""Several processes of one run: how torchrun starts them, what they compare first, and what they agree on after each block.

Every rank trains the same classifier, on the same rows or on its part of them (distributed/data_parallel.py), and has the same chain.
The candidates are shared (distributed/evaluation.py). Rank 0 alone writes, reports and measures. What depends on clocks and signals is
decided on rank 0 and broadcast: when to stop, how many candidates are evaluated ahead, and which evaluator is used.
"""

from __future__ import annotations

import math
import os
import socket
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from mcprune.config.files import recorded_options
from mcprune.config.options import in_flat
from mcprune.config.schema import Config
from mcprune.config.sections.settings import RankSettings
from mcprune.data.fingerprint import fingerprint
from mcprune.distributed.evaluation import BLOCK, Ranks
from mcprune.environment import cores, describe_machine, versions
from mcprune.errors import ConfigError, DeviceError, RanksError
from mcprune.methods.markov.state import MarkovState
from mcprune.session.build.plan import Plan
from mcprune.session.interrupt import CODES, Interrupt
from mcprune.session.search_state import SearchState

TIMEOUT = 300.0  # seconds
# Blocks between two comparisons of the classifiers, which also follow the first and the last block. Chains are compared each time.
CHECK = 16
REASONS = ("", *CODES)


class Place(NamedTuple):
    """The place of this process in a torchrun.

    Attributes
    ----------
    rank, size, local, local_size : int
        Among all processes, and among those on this machine.
    restarts : int
        How often torchrun has restarted the processes.
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
    """Return the place of this process in a torchrun; None outside of one.

    Raises
    ------
    ConfigError
        Variables are missing, or contradict each other.
    """
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        one = next((name for name in ("RANK", "WORLD_SIZE") if name in environment), None)
        if one is None or environment["WORLD_SIZE" if one == "WORLD_SIZE" else "RANK"] in ("0", "1"):
            return None  # some clusters set it for a process that is alone
        raise ConfigError(
            f"the environment has {one}={environment[one]}, but not the other of RANK and WORLD_SIZE. Start the processes "
            "with torchrun --nproc-per-node=N -m mcprune run ..., or unset it."
        )
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    usual = (None, None, environment["RANK"], environment["WORLD_SIZE"], "0")
    numbers = []
    for name, default in zip(names, usual, strict=True):
        text = environment.get(name, default) or ""
        if not text.isdecimal() or len(text) > 9:
            raise ConfigError(f"the environment has {name}={text[:40]!r}, which is not a count. Start with torchrun.")
        numbers.append(int(text))
    rank, size, local, local_size, restarts = numbers
    if not (rank < size and local < local_size <= size):
        raise ConfigError(
            f"the environment has RANK={rank}, WORLD_SIZE={size}, LOCAL_RANK={local}, LOCAL_WORLD_SIZE={local_size}: ranks count "
            "from 0 and are below the number of ranks. Start with torchrun."
        )
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        raise ConfigError(f"the environment has no {missing[0]}, so the ranks cannot connect. Start with torchrun.")
    run_id = environment.get("TORCHELASTIC_RUN_ID", "none")
    job = run_id if run_id != "none" else f"{socket.gethostname()}-{os.getppid()}"
    return Place(rank, size, local, local_size, restarts, job)


@contextmanager
def join_ranks(place: Place, options: Mapping[str, object], settings: RankSettings) -> Iterator[Ranks]:
    """Connect to the other ranks, and disconnect in the end.

    Parameters
    ----------
    place : Place
    options : mapping
        Plain values that must be the same on all ranks; versions are added.
    settings : RankSettings
        The device `cuda` gives each process of a machine a GPU of its own. The timeout is 300 seconds by default.

    Raises
    ------
    RanksError
        Other ranks do not connect, or have other options.
    DeviceError
        There are fewer GPUs than processes.
    """
    if settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available()):
        if torch.cuda.is_available() and place.local >= torch.cuda.device_count():
            raise DeviceError(
                f"{place.local_size} processes on this machine, but {torch.cuda.device_count()} GPUs. Start with "
                f"torchrun --nproc-per-node={torch.cuda.device_count()}."
            )
        if torch.cuda.is_available():
            torch.cuda.set_device(place.local)
    ranks = Ranks(
        place.rank,
        place.size,
        TIMEOUT if settings.timeout is None else settings.timeout,
        local=place.local,
        local_size=place.local_size,
        job=place.job,
        attempt=place.restarts,
    )
    ranks.start()
    try:
        compare(ranks, {**options, **versions()}, "were started with")
        yield ranks
    finally:
        ranks.stop()


def shared_options(config: Config) -> dict[str, object]:
    """Return the options that must be the same on all ranks: every one but the folder, which is rank 0's."""
    return in_flat(recorded_options(config.replace(out=None, force=False, rank_timeout=None)))


def compare(ranks: Ranks, mine: Mapping[str, object], what: str) -> None:
    """Refuse ranks that differ in a value; the message names the value and the ranks.

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
                    f"{everyone[0].get(name)!r}. Start all ranks alike."
                )


def share_plan(plan: Plan, asked: Config, ranks: Ranks | None) -> None:
    """Share a plan with the other ranks, after comparing threads, data and machine.

    Parameters
    ----------
    plan : Plan
    asked : Config
        Before it was resolved.
    ranks : Ranks or None
        None leaves the plan as it is.

    Raises
    ------
    ConfigError
        The method has no candidates to share.
    RanksError
        The ranks differ.
    """
    if ranks is None:
        return
    if plan.method != "markov":
        raise ConfigError(
            f"method={plan.method!r} has no candidates that {ranks.size} processes could share. Run it without torchrun."
        )
    if asked.problem.latency is not None:
        raise ConfigError(
            f"latency={asked.problem.latency:g} with {ranks.size} processes, each of which would measure other times. Run it without "
            "torchrun."
        )
    threads = plan.runtime.threads
    if asked.runtime.threads is None:  # the cores of this machine are for all of its processes
        threads = min(threads, max(1, cores() // ranks.local_size))
    threads = ranks.broadcast_int(threads)
    plan.settings = plan.settings.with_threads(threads)
    compare(ranks, {"data": fingerprint(plan.splits), **describe_machine(threads, plan.device.type)}, "have")
    plan.ranks = ranks
    also = ", and the rows of each step of backprop" if plan.runtime.train_ranks == "shared" else ""
    plan.notes.append(f"ranks: {ranks.size} processes share the candidates{also}, {threads} threads each")


def end_block_together(
    ranks: Ranks, plan: Plan, state: SearchState, interrupt: Interrupt, *, is_late: bool, blocks: int
) -> tuple[bool, int, str]:
    """Check after a block that all ranks are in the same state, and agree on stopping and on the planned blocks.

    Parameters
    ----------
    ranks : Ranks
    plan : Plan
    state : SearchState
        After the block.
    interrupt : Interrupt
        Set if that of any rank is.
    is_late : bool
        Whether the time is up, by the clock of this rank.
    blocks : int
        The planned blocks, by the clock of this rank; 0 for no change.

    Returns
    -------
    is_late : bool
        As of rank 0.
    blocks : int
        As of rank 0.
    reason : str
        Why all ranks stop; empty if none was interrupted. A signal that comes a moment later counts after the next block.

    Raises
    ------
    RanksError
        The states of the ranks differ, or a rank is gone.
    """
    is_check = state.blocks_done % CHECK == 0 or state.blocks_done in (1, state.pace.blocks)
    mine = [
        float(REASONS.index(interrupt.reason)),
        float(is_late),
        float(state.blocks_done),
        chain_digest(state.method),
        classifier_digest(torch.nn.ModuleList(gated.model for gated in plan.stack)) if is_check else 0.0,
        float(blocks),
    ]
    everyone = ranks.gather_same(BLOCK, mine)
    for place, name in ((2, "numbers of blocks"), (3, "chains"), (4, "classifiers")):
        ranks.compare(everyone[:, place], f"{name} after block {state.blocks_done:,}")
    reason = REASONS[int(everyone[:, 0].max())]
    if reason:
        interrupt.ask(reason)
    return bool(everyone[0, 1]), int(everyone[0, 5]), reason


def chain_digest(state: object) -> float:
    """Return a CRC-32 of the replicas of a `MarkovState`, their rungs and the error of the evaluator."""
    assert isinstance(state, MarkovState)  # no other method has candidates to share
    digest = 0
    for name, value in sorted({**state.chain._asdict(), **state.ladder._asdict()}.items()):
        digest = zlib.crc32(np.ascontiguousarray(value).tobytes(), zlib.crc32(name.encode(), digest))
    error = state.error.measured
    return float(zlib.crc32(np.float64(math.nan if error is None else error).tobytes(), digest))


def classifier_digest(model: torch.nn.Module) -> float:
    """Return a CRC-32 of parameters and buffers."""
    digest = 0
    for part in (*model.parameters(), *model.buffers()):
        values = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest = zlib.crc32(values.data, digest)
    return float(digest)
