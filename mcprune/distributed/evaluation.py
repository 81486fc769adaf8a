"""Evaluation of candidates by several processes: each rank evaluates a part of them, and only losses are sent.

Proposals are a function of seed, chain and step, so every rank knows all candidates without communication. The ranks evaluate the
candidates in turn, gather all losses, make the same decisions, and each updates its own evaluator.
"""

from __future__ import annotations

import json
import time
import zlib
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import RanksError
from mcprune.objectives.base import Objective
from mcprune.sites.gates import GatedModel
from mcprune.types import FloatArray

# Numbers before the losses in a message: digest of the candidates, error of the evaluator, number of losses.
HEAD = 3
# Numbers in the smallest message, 1 KiB: one packet. Sizes double, so that ranks that differ by a few candidates still exchange
# messages of one size, from which they see that they differ.
LEAST = 128
# Kinds of messages other than losses, whose first number is a CRC-32 and so not negative.
BROADCAST_INT, BLOCK = -1.0, -2.0


class Ranks:
    """The processes of one run, and their communication: over gloo, since losses are on the host when decisions are made.

    Parameters
    ----------
    rank, size : int
        Number of this process, and of all processes.
    timeout : float
        Seconds after which a rank that does not answer counts as gone.
    local, local_size : int
        The same among the processes of this machine.
    job : str
        Identifies the run: the same for all its processes and restarts.
    attempt : int
        Number of restarts so far.

    Attributes
    ----------
    messages, seconds : int, float
        Messages sent so far, and the time spent waiting for those of the others.
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
        """Whether this is rank 0, the only one that writes, prints and measures."""
        return self.rank == 0

    def start(self) -> None:
        """Connect to the other ranks at MASTER_ADDR and MASTER_PORT of the environment.

        Raises
        ------
        RanksError
            They cannot be reached in time.
        """
        try:
            patience = timedelta(seconds=self.timeout)
            # torchrun may keep its store over a restart, and with it the addresses of dead processes.
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
        """Disconnect from the other ranks."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def gather(self, values: FloatArray) -> FloatArray:
        """Return the numbers (n,) of all ranks, shape (size, n).

        Raises
        ------
        RanksError
            A rank is gone or does not answer.
        """
        mine = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        began = time.monotonic()
        try:
            distributed.all_gather(everyone, mine)
        except RuntimeError as error:
            raise self._gone(error, time.monotonic() - began) from None
        self.messages += 1
        self.seconds += time.monotonic() - began
        return torch.stack(everyone).numpy()

    def all_reduce(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the ranks of numbers (n,), added in the order of the ranks, so that the bits are the same on all.

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
        """Return the bytes of rank 0.

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
        """Return the number of rank 0."""
        return int(self.gather_same(BROADCAST_INT, [float(number)])[0, 0])

    def gather_same(self, kind: float, values: list[float]) -> FloatArray:
        """Return the n numbers of all ranks, shape (size, n), in a message of one kind.

        Raises
        ------
        RanksError
            As `gather` does, or a rank sent a message of another kind.
        """
        message = np.zeros(LEAST)  # all kinds have one length, so that different kinds can be told apart
        message[0], message[1 : 1 + len(values)] = kind, values
        everyone = self.gather(message)
        self.compare(everyone[:, 0], "messages")
        return everyone[:, 1 : 1 + len(values)]

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0, which JSON must be able to represent."""
        return json.loads(self.broadcast_bytes(json.dumps(value).encode() if self.is_first else b""))

    def all_gather(self, value: Any) -> list[Any]:
        """Return the value of each rank, which JSON must be able to represent."""
        mine = json.dumps(value).encode()
        sizes = self.gather(np.array([float(len(mine))]))[:, 0].astype(int)
        content = np.zeros(int(sizes.max()))
        content[: len(mine)] = np.frombuffer(mine, np.uint8)
        everyone = self.gather(content).astype(np.uint8)
        return [json.loads(row[:count].tobytes()) for row, count in zip(everyone, sizes, strict=True)]

    def compare(self, numbers: FloatArray, what: str) -> None:
        """Check that the numbers (size,) of the ranks are equal.

        Raises
        ------
        RanksError
            They differ.
        """
        if (numbers != numbers[0]).any():
            others = ", ".join(map(str, np.flatnonzero(numbers != numbers[0]).tolist()))
            raise RanksError(
                f"the ranks are out of step: rank {others} and rank 0 have different {what}. All ranks need the same kind of machine, "
                "versions and threads. Use mcprune resume to continue from the last checkpoint, which was written in step."
            )

    def _gone(self, error: Exception, waited: float) -> RanksError:
        message = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        if waited >= 0.9 * self.timeout:
            return RanksError(
                f"rank {self.rank} has waited for {waited:.0f} s for the other ranks: one hangs or is slower than --rank-timeout "
                f"allows ({message}). Use mcprune resume to continue from the last checkpoint."
            )
        return RanksError(
            f"rank {self.rank} has lost another rank, whose own message gives the reason if it could write one ({message}). "
            "Use mcprune resume to continue from the last checkpoint."
        )


class SharedEvaluator:
    """An evaluator that computes the losses of its part of the candidates and gathers the others from the other ranks.

    The candidates that change something are numbered, replica by replica, and rank r evaluates those whose number is r modulo the
    number of ranks. A single candidate is evaluated by all ranks, which takes no message. Every rank keeps its own copy of the
    position. Each message has a digest of its candidates, so that ranks that are out of step stop instead of mixing chains.

    Parameters
    ----------
    inner : Evaluator, possibly the canonical one
        The loss of a candidate must not depend on the other candidates of the batch.
    ranks : Ranks
    """

    def __init__(self, inner: Any, ranks: Ranks) -> None:
        self.inner, self.ranks = inner, ranks
        self.name: str = inner.name

    @property
    def error(self) -> float:
        """The error of the inner evaluator, which may grow on any rank."""
        return float(self.inner.error)

    @error.setter
    def error(self, value: float) -> None:
        self.inner.error = value

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        self.inner.begin(features, targets, position, sharpness)

    def current(self) -> FloatArray:
        """See `Evaluator.current`; computed by each rank, which is cheaper than a message."""
        losses: FloatArray = self.inner.current()
        return losses

    def at(self, weights: FloatArray) -> FloatArray:
        """See `FullEvaluator.at`; computed by each rank."""
        losses: FloatArray = self.inner.at(weights)
        return losses

    @property
    def objective(self) -> Objective:
        """See `Canonical.objective`."""
        objective: Objective = self.inner.objective
        return objective

    @property
    def gated(self) -> GatedModel:
        """See `Canonical.gated`."""
        gated: GatedModel = self.inner.gated
        return gated

    def pieces(self, rows: int) -> list[tuple[GatedModel, Objective, slice]]:
        """See `Canonical.pieces`."""
        pieces: list[tuple[GatedModel, Objective, slice]] = self.inner.pieces(rows)
        return pieces

    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`."""
        self.inner.moved(position, moves, index)

    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`.

        Raises
        ------
        RanksError
            A rank is gone or has other candidates.
        """
        ranks = self.ranks
        changed = moves.size > 0
        total = int(changed.sum())
        if total <= 1:
            alone: FloatArray = self.inner.losses(state, moves, limits)
            return alone
        owner = np.where(changed, (np.cumsum(changed.ravel()).reshape(changed.shape) - 1) % ranks.size, -1)
        mine = owner == ranks.rank
        message = np.full(_length(HEAD + -(-total // ranks.size)), np.nan)
        losses = self._part(state, moves, limits, mine)[mine]
        message[:HEAD] = digest(state, moves), self.inner.error, total
        message[HEAD : HEAD + losses.size] = losses
        everyone = ranks.gather(message)
        ranks.compare(everyone[:, 0], "candidates")
        error = float(everyone[:, 1].max())
        if error != self.inner.error:
            self.inner.error = error
        out = np.full(changed.shape, np.nan)
        for rank, row in enumerate(everyone):
            theirs = owner == rank
            out[theirs] = row[HEAD : HEAD + int(theirs.sum())]
        return out

    def _part(self, state: ChainState, moves: Moves, limits: FloatArray | None, mine: np.ndarray) -> FloatArray:
        """Return the losses (R, K) of this rank's candidates; the other values are not used."""
        columns = np.flatnonzero(mine.any(axis=0))
        out = np.full(mine.shape, np.nan)
        if columns.size:
            part = Moves(*(np.ascontiguousarray(one[:, columns]) for one in moves))
            part = part._replace(size=np.where(mine[:, columns], part.size, 0).astype(part.size.dtype))
            bounds = None if limits is None else np.ascontiguousarray(limits[:, columns])
            out[:, columns] = self.inner.losses(state, part, bounds)
        return out


def digest(state: ChainState, moves: Moves) -> float:
    """Return a CRC-32 of parts of the chains and of their proposals, by which ranks see whether they differ."""
    value = 0
    for part in (state.step, state.loss, moves.size, moves.sites[:, :, :1], moves.weights[:, :, :1]):
        value = zlib.crc32(np.ascontiguousarray(part).tobytes(), value)
    return float(value)


def _length(needed: int) -> int:
    length = LEAST
    while length < needed:
        length *= 2
    return length
