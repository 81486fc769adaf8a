"""Data-parallel training: each rank takes a part of the rows, and all ranks sum the same gradients in the same order."""

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
    """One rank's part of each training step.

    All ranks gather the gradients of all parts and add them in the order of the ranks. So all ranks have the same bits, and a run
    with the same number of ranks repeats them. They differ from those of one process, since floating-point sums depend on their
    order. Running statistics of batch-norms are computed by each rank over its part, as in torch's DistributedDataParallel, and
    averaged.

    Parameters
    ----------
    ranks : Ranks
    batch_size : int
        Rows of a training step, of all ranks together.

    Raises
    ------
    ConfigError
        There are too few rows for each rank.
    """

    def __init__(self, ranks: Ranks, batch_size: int) -> None:
        if batch_size < LEAST_ROWS * ranks.size:
            raise ConfigError(
                f"{batch_size} rows in a training step are too few for {ranks.size} processes, each of which needs {LEAST_ROWS}. "
                "Raise --batch-size, or use --train-ranks each."
            )
        self.ranks = ranks

    def local_rows(self, rows: int) -> slice:
        """Return the slice of a batch's rows that is this rank's part."""
        rank, size = self.ranks.rank, self.ranks.size
        return slice(rank * rows // size, (rank + 1) * rows // size)

    @contextmanager
    def local_noise(self, seed: int, step: int) -> Iterator[None]:
        """Seed torch's global random state by rank inside the context, so that the dropout of the parts differs; restore it after."""
        with step_noise(seed, step, self.ranks.rank):
            yield

    @torch.no_grad()
    def all_reduce(self, model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
        """Replace the model's gradients by their sum over all ranks, and return the sum of the losses.

        Raises
        ------
        RanksError
            A rank is gone or does not answer.
        """
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        # Not those of frozen batch-norms, which are in evaluation mode: a mean of equal numbers may be rounded.
        norms = [
            buffer
            for module in model.modules()
            if module.training
            for name, buffer in module.named_buffers(recurse=False)
            if name in ("running_mean", "running_var")
        ]
        parts = [*gradients, *norms, loss.detach()]
        kind = torch.float64 if any(one.dtype == torch.float64 for one in parts) else torch.float32
        total = self.ranks.all_reduce(torch.cat([one.reshape(-1).to("cpu", kind) for one in parts]))
        sums = list(torch.split(total, [one.numel() for one in parts]))
        for gradient, value in zip(gradients, sums, strict=False):
            gradient.copy_(value.view_as(gradient))
        for norm, value in zip(norms, sums[len(gradients) :], strict=False):
            norm.copy_(value.view_as(norm) / self.ranks.size)
        return sums[-1].view(())
