"""Candidates shared out over several processes: each judges its part, and only losses travel.

Proposals are a function of seed, chain and step, so every rank knows all candidates without being told of them. Each evaluates
every so manieth, all of them get all losses, and each decides, alike, and follows the decision with an evaluator of its own.
"""

from __future__ import annotations

import json
import time
import zlib
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from torch.distributed.rendezvous import rendezvous

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import RanksError
from mcprune.types import FloatArray

# What stands in front of the losses of a message: what they are losses of, the evaluator's error, how many they are.
HEAD = 3
# Numbers of the smallest message, 1 KiB: one packet. Larger ones are twice as large each, so that ranks that have come
# apart by a few candidates still find out from what they get.
LEAST = 128
# What is no message of losses, whose first number is a CRC-32, so not below 0.
BROADCAST_INT, BLOCK = -1.0, -2.0


class Ranks:
    """The processes of one run, and how they tell each other numbers; over gloo, since losses are on the host when one decides.

    Parameters
    ----------
    rank, size : int
        Which process this is, of how many.
    timeout : float
        Seconds after which a rank that says nothing is given up.
    local, local_size : int
        The same on this machine.
    job : str
        The same for all restarts of these processes, and for no others.
    attempt : int
        How often they were begun anew.

    Attributes
    ----------
    messages, seconds : int, float
        Messages sent so far, and the time spent in waiting for those of others.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        timeout: float,
        *,
        local: int = 0,
        local_size: int = 1,
        job: str = "",
        attempt: int = 0,
    ) -> None:
        self.job, self.attempt = job, attempt
        self.rank, self.size, self.timeout = rank, size, timeout
        self.local, self.local_size = local, local_size
        self.messages, self.seconds = 0, 0.0

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone writes, prints, and measures."""
        return self.rank == 0

    def start(self) -> None:
        """Meet the other ranks, where MASTER_ADDR and MASTER_PORT of the environment say.

        Raises
        ------
        RanksError
            They do not come.
        """
        try:
            patience = timedelta(seconds=self.timeout)
            # torchrun may keep its store over a restart, and with it the addresses of processes that are dead.
            store, _, _ = next(rendezvous("env://", self.rank, self.size, timeout=patience))
            distributed.init_process_group(
                "gloo",
                store=distributed.PrefixStore(f"mcprune-{self.attempt}", store),  # type: ignore[attr-defined]
                rank=self.rank,
                world_size=self.size,
                timeout=patience,
            )
        except (RuntimeError, ValueError) as error:
            raise self._gone(error, 0.0) from None

    def stop(self) -> None:
        """Leave the others."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def gather(self, values: FloatArray) -> FloatArray:
        """Return what all ranks gave, shape (size, n), for n numbers of each.

        Raises
        ------
        RanksError
            A rank is gone, or says nothing.
        """
        mine = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
        told = [torch.empty_like(mine) for _ in range(self.size)]
        began = time.monotonic()
        try:
            distributed.all_gather(told, mine)
        except RuntimeError as error:
            raise self._gone(error, time.monotonic() - began) from None
        self.messages += 1
        self.seconds += time.monotonic() - began
        return torch.stack(told).numpy()

    def all_reduce(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the ranks of numbers (n,), added in the order of the ranks: the same bits on all of them.

        Raises
        ------
        RanksError
            As `gather` does.
        """
        everyone = [torch.empty_like(values) for _ in range(self.size)]
        began = time.monotonic()
        try:
            distributed.all_gather(everyone, values)
        except RuntimeError as error:
            raise self._gone(error, time.monotonic() - began) from None
        self.messages += 1
        self.seconds += time.monotonic() - began
        total = everyone[0]
        for other in everyone[1:]:
            total += other
        return total

    def broadcast_bytes(self, data: bytes) -> bytes:
        """Return the bytes that rank 0 gives.

        Raises
        ------
        RanksError
            As `gather` does.
        """
        began = time.monotonic()
        try:
            size = torch.tensor([len(data)], dtype=torch.int64)
            distributed.broadcast(size, 0)
            if not int(size):
                return b""
            content = torch.empty(int(size), dtype=torch.uint8)
            if self.is_first:
                content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            distributed.broadcast(content, 0)
        except RuntimeError as error:
            raise self._gone(error, time.monotonic() - began) from None
        return content.numpy().tobytes()

    def broadcast_int(self, number: int) -> int:
        """Return rank 0's number."""
        return int(self.gather_same(BROADCAST_INT, [float(number)])[0, 0])

    def gather_same(self, kind: float, values: list[float]) -> FloatArray:
        """Return what all ranks gave, shape (size, n), of n numbers under a kind of message.

        Raises
        ------
        RanksError
            As `gather` does, or a rank gave another kind.
        """
        message = np.zeros(LEAST)  # as long as others: of two lengths the receiver would know nothing
        message[0], message[1 : 1 + len(values)] = kind, values
        found = self.gather(message)
        self.compare(found[:, 0], "messages")
        return found[:, 1 : 1 + len(values)]

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value: what JSON holds."""
        return json.loads(self.broadcast_bytes(json.dumps(value).encode() if self.is_first else b""))

    def all_gather(self, value: Any) -> list[Any]:
        """Return the value of each rank: what JSON holds."""
        mine = json.dumps(value).encode()
        sizes = self.gather(np.array([float(len(mine))]))[:, 0].astype(int)
        held = np.zeros(int(sizes.max()))
        held[: len(mine)] = np.frombuffer(mine, np.uint8)
        everyone = self.gather(held).astype(np.uint8)
        return [json.loads(row[:count].tobytes()) for row, count in zip(everyone, sizes, strict=True)]

    def compare(self, numbers: FloatArray, what: str) -> None:
        """Refuse to go on where the numbers (size,) of the ranks differ.

        Raises
        ------
        RanksError
            They do.
        """
        if (numbers != numbers[0]).any():
            others = ", ".join(map(str, np.flatnonzero(numbers != numbers[0]).tolist()))
            raise RanksError(
                f"the ranks have come apart: rank {others} and rank 0 have other {what}. All ranks need the same machine, versions "
                "and threads; nothing that is not in step was written: mcprune resume goes on from the last checkpoint"
            )

    def _gone(self, error: Exception, waited: float) -> RanksError:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        if waited >= 0.9 * self.timeout:
            return RanksError(
                f"rank {self.rank} has waited for {waited:.0f} s for the other ranks: one hangs, or is slower than --rank-timeout "
                f"allows ({said}). mcprune resume goes on from the last checkpoint"
            )
        return RanksError(
            f"rank {self.rank} has lost another rank, whose own message says why if it had time for one ({said}). "
            "mcprune resume goes on from the last checkpoint"
        )


class SharedEvaluator:
    """An evaluator that judges its part of the candidates, and asks the other ranks for theirs.

    All candidates that change something are counted through, replica by replica, and rank r judges those whose number is r modulo
    the number of ranks; a single one is judged by all, which takes no message. What an evaluator keeps of the position, every rank
    keeps. Each message says of what its losses are, so that ranks that have come apart end instead of mixing chains.

    Parameters
    ----------
    inner : Evaluator, possibly the canonical one
        Its losses must not depend on which other candidates are judged with one.
    ranks : Ranks
    """

    def __init__(self, inner: Any, ranks: Ranks) -> None:
        self.inner, self.ranks = inner, ranks
        self.name: str = inner.name
        self.objective = getattr(inner, "objective", None)

    @property
    def error(self) -> float:
        """That of the inner one, which may grow with what was met, on any rank."""
        return float(self.inner.error)

    @error.setter
    def error(self, value: float) -> None:
        self.inner.error = value

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        self.inner.begin(features, targets, position, sharpness)

    def current(self) -> FloatArray:
        """See `Evaluator.current`: each rank its own, which is cheaper than to ask."""
        found: FloatArray = self.inner.current()
        return found

    def at(self, weights: FloatArray) -> FloatArray:
        """See `FullEvaluator.at`: each rank its own, so that close decisions are alike."""
        found: FloatArray = self.inner.at(weights)
        return found

    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`."""
        self.inner.moved(position, moves, index)

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`.

        Raises
        ------
        RanksError
            A rank is gone, or judges other candidates.
        """
        ranks = self.ranks
        usual = moves.size > 0
        total = int(usual.sum())
        if total <= 1:
            found: FloatArray = self.inner.losses(state, moves, limits)
            return found
        owner = np.where(usual, (np.cumsum(usual.ravel()).reshape(usual.shape) - 1) % ranks.size, -1)
        mine = owner == ranks.rank
        message = np.full(_length(HEAD + -(-total // ranks.size)), np.nan)
        losses = self._part(state, moves, limits, mine)[mine]
        message[:HEAD] = digest(state, moves), self.inner.error, total
        message[HEAD : HEAD + losses.size] = losses
        everyone = ranks.gather(message)
        ranks.compare(everyone[:, 0], "candidates to judge")
        error = float(everyone[:, 1].max())
        if error != self.inner.error:
            self.inner.error = error
        out = np.full(usual.shape, np.nan)
        for rank, row in enumerate(everyone):
            theirs = owner == rank
            out[theirs] = row[HEAD : HEAD + int(theirs.sum())]
        return out

    def _part(self, state: ChainState, moves: Moves, limits: FloatArray | None, mine: np.ndarray) -> FloatArray:
        """Return losses (R, K) of the candidates that are this rank's; the others' values mean nothing."""
        columns = np.flatnonzero(mine.any(axis=0))
        out = np.full(mine.shape, np.nan)
        if columns.size:
            part = Moves(*(np.ascontiguousarray(one[:, columns]) for one in moves))
            part = part._replace(size=np.where(mine[:, columns], part.size, 0).astype(part.size.dtype))
            bounds = None if limits is None else np.ascontiguousarray(limits[:, columns])
            out[:, columns] = self.inner.losses(state, part, bounds)
        return out


def digest(state: ChainState, moves: Moves) -> float:
    """Return a CRC-32 of where the chains stand and of what they propose: enough of it to see that two ranks differ."""
    found = 0
    for part in (state.step, state.loss, moves.size, moves.sites[:, :, :1], moves.weights[:, :, :1]):
        found = zlib.crc32(np.ascontiguousarray(part).tobytes(), found)
    return float(found)


def _length(needed: int) -> int:
    length = LEAST
    while length < needed:
        length *= 2
    return length
