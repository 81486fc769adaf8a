"""Steps of backprop shared by the ranks: each takes its part of the rows, and all add up the same gradients in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mcprune.distributed.evaluation import Ranks
from mcprune.errors import ConfigError
from mcprune.random import step_noise

# A norm over the batch needs two rows.
LEAST_ROWS = 2


class DataParallel:
    """What one rank does of each step.

    The parts' gradients are gathered by all and added in the order of the ranks, so all ranks hold the same bits, and a run with as
    many ranks repeats them. They are not those of one process: floating-point sums depend on their order. Running statistics of
    batch-norms, which each rank takes over its part as in torch's DistributedDataParallel, are averaged.

    Parameters
    ----------
    ranks : Ranks
    batch_size : int
        Rows of a step.

    Raises
    ------
    ConfigError
        There are too few rows for each.
    """

    def __init__(self, ranks: Ranks, batch_size: int) -> None:
        if batch_size < LEAST_ROWS * ranks.size:
            raise ConfigError(
                f"{batch_size} rows in a step of backprop are too few for {ranks.size} processes, of which each needs {LEAST_ROWS}; "
                "raise --batch-size, or use --train-ranks each"
            )
        self.ranks = ranks

    def local_rows(self, rows: int) -> slice:
        """Return which rows of a batch are this rank's."""
        rank, size = self.ranks.rank, self.ranks.size
        return slice(rank * rows // size, (rank + 1) * rows // size)

    @contextmanager
    def local_noise(self, seed: int, step: int) -> Iterator[None]:
        """Set torch's global random state, from which dropout draws, by rank too inside: parts must not drop alike; put it back after."""
        with step_noise(seed, step, self.ranks.rank):
            yield

    @torch.no_grad()
    def all_reduce(self, model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
        """Put the sum of all ranks' gradients into the model's, and return the sum of their losses.

        Raises
        ------
        RanksError
            A rank is gone, or says nothing.
        """
        slopes = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        # Frozen ones are in evaluation mode: a mean of equal numbers may be rounded.
        norms = [
            buffer
            for module in model.modules()
            if module.training
            for name, buffer in module.named_buffers(recurse=False)
            if name in ("running_mean", "running_var")
        ]
        held = [*slopes, *norms, loss.detach()]
        kind = torch.float64 if any(one.dtype == torch.float64 for one in held) else torch.float32
        total = self.ranks.all_reduce(torch.cat([one.reshape(-1).to("cpu", kind) for one in held]))
        places = list(torch.split(total, [one.numel() for one in held]))
        for slope, found in zip(slopes, places, strict=False):
            slope.copy_(found.view_as(slope))
        for norm, found in zip(norms, places[len(slopes) :], strict=False):
            norm.copy_(found.view_as(norm) / self.ranks.size)
        return places[-1].view(())
