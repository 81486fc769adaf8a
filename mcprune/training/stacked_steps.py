"""Steps of backprop of several classifiers of one shape at once: batched products in place of a loop over small ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mcprune.random import Stream, hash_seed, step_noise
from mcprune.training.adam import AdamW
from mcprune.training.compiled.nets import PackedNets, can_compile, dropout_of, widths_of
from mcprune.training.stacked_mlp import StackedMLP, have_one_shape
from mcprune.training.steps import threads_of_steps
from mcprune.training.trainer import Trainer, TrainerState, swap_inputs
from mcprune.types import Float32Array, FloatArray, IntArray


class _StackedBatch(NamedTuple):
    """The rows of a step of F classifiers: features (F, B, n) of the columns (F, n), or of all; targets (F, B, ...); weights (F, B)."""

    seen: torch.Tensor
    columns: torch.Tensor | None
    targets: torch.Tensor
    weights: torch.Tensor | None


class StackedSteps:
    """Makes the steps of several trainers, each with its own draws, to rounding as they would make them one after the other.

    Compiled steps alone drop other units.

    The parameters of the classifiers and their moments become views of stacked tensors, in which they are updated.

    Parameters
    ----------
    trainers : sequence of Trainer
        Those for which `can_stack` holds.
    members : sequence of TrainerState
    """

    def __init__(self, trainers: Sequence[Trainer], members: Sequence[TrainerState]) -> None:
        self.trainers, self.members = tuple(trainers), tuple(members)
        first = self.trainers[0]
        self._features, self._targets = first.features, first.targets
        weights = [one.weights for one in self.trainers]
        self._weights = None if weights[0] is None else torch.stack([one for one in weights if one is not None])
        self._model = StackedMLP([one.gated.model for one in self.trainers])
        self._optimizer = AdamW(self._model.parameters, first.learning_rate, first.weight_decay)
        self._hash_seeds = [hash_seed(trainer.seed, Stream.STEP_DROPOUT) for trainer in self.trainers]
        for place, moments in enumerate(self._optimizer.moments):
            own = [member.optimizer.moments[place] for member in members]
            moments.exp_avg.copy_(torch.stack([one.exp_avg for one in own]))
            moments.exp_avg_sq.copy_(torch.stack([one.exp_avg_sq for one in own]))
            moments.step.copy_(own[0].step)  # all have made as many
            for number, one in enumerate(own):
                one.exp_avg, one.exp_avg_sq, one.step = (
                    moments.exp_avg[number], moments.exp_avg_sq[number], moments.step,
                )  # fmt: skip

    def run(self, count: int, gates: Float32Array, weights: FloatArray, progress: float) -> None:
        """Make `count` steps, in place; see `Trainer.run`."""
        first, members = self.trainers[0], self.members
        kept, dropped, swaps = first.swappable(weights)
        self._optimizer.learning_rate = first.rate_at(progress)
        is_swapped = swaps > 0 and dropped.size > 0
        plain = torch.from_numpy(gates).to(self._features)
        models = [trainer.gated.model for trainer in self.trainers]
        batches = (self._batch(gates, plain, kept, dropped, swaps if is_swapped else 0) for _ in range(count))
        if can_compile(models, first.row_loss, first.batch_size):
            loss = self._compiled_steps(list(batches))
        else:
            with threads_of_steps(models, self._features[0].numel(), first.batch_size):
                loss = self._torch_steps(batches, self._dropout_scales(count))
        for member in members:
            member.steps += count
        first.check(loss, members[0].steps)

    def _batch(
        self, gates: Float32Array, plain: torch.Tensor, kept: IntArray, dropped: IntArray, swaps: int
    ) -> _StackedBatch:
        """Draw the rows of a step and the sites that they swap."""
        rows = torch.stack(
            [trainer.next_rows(member) for trainer, member in zip(self.trainers, self.members, strict=True)]
        )
        shown, columns = plain, None
        if swaps:
            drawn = [
                swap_inputs(member.draw, rows.shape[1], gates, kept, dropped, swaps, may_leave_out=True)
                for member in self.members
            ]
            shown = torch.from_numpy(np.stack([one for one, _ in drawn])).to(self._features)
            live = [one for _, one in drawn if one is not None]
            columns = torch.from_numpy(np.stack(live)).to(rows.device) if live else None
        seen = self._features[rows] if columns is None else self._features[rows[:, :, None], columns[:, None, :]]
        weights = None if self._weights is None else self._weights.gather(1, rows)
        return _StackedBatch(seen * shown, columns, self._targets[rows], weights)

    def _torch_steps(self, batches: Iterable[_StackedBatch], scales: list[list[torch.Tensor]]) -> torch.Tensor:
        """Make a step on each batch; return the last loss."""
        loss = torch.zeros(())
        for batch, of_step in zip(batches, scales, strict=True):
            logits = self._model.forward(batch.seen, batch.columns, of_step)
            loss = self.trainers[0].row_loss.rows(logits.flatten(0, 1), batch.targets.flatten(0, 1))
            loss = loss.view(batch.seen.shape[:2])
            if batch.weights is not None:
                loss = loss * batch.weights
            loss = loss.mean(dim=1).sum()
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()
        return loss.detach()

    def _compiled_steps(self, batches: Sequence[_StackedBatch]) -> torch.Tensor:
        """Make the steps of `_torch_steps`, but for which units are dropped, in compiled code."""
        first, moments = self.trainers[0], self._optimizer.moments
        done = int(moments[0].step.item())
        nets = PackedNets(len(self.members), widths_of(first.gated.model), first.row_loss, first.weight_decay, done)
        tensors = (
            (nets.parameters, self._model.parameters),
            (nets.means, [one.exp_avg for one in moments]),
            (nets.squares, [one.exp_avg_sq for one in moments]),
        )
        for packed, parts in tensors:
            nets.load(packed, parts)
        columns = [one.columns for one in batches if one.columns is not None]
        weights = [one.weights for one in batches if one.weights is not None]
        losses = nets.train(
            torch.stack([one.seen for one in batches], dim=1).numpy(),
            torch.stack([one.targets for one in batches], dim=1).numpy(),
            rates=np.full(len(batches), self._optimizer.learning_rate),
            betas=np.full(len(batches), self._optimizer.beta),
            dropout=dropout_of(first.gated.model),
            seeds=self._hash_seeds,
            columns=torch.stack(columns, dim=1).numpy() if columns else None,
            shares=torch.stack(weights, dim=1).numpy() if weights else None,
        )
        for packed, parts in tensors:
            nets.store(packed, parts)
        for one in moments:
            one.step += len(batches)
        return torch.tensor(losses.sum())

    def _dropout_scales(self, count: int) -> list[list[torch.Tensor]]:
        """Return what dropout multiplies the units with (F, rows, units), for each step and layer: as torch's dropout draws it."""
        layers = self._model.dropouts
        if not layers:
            return [[] for _ in range(count)]
        drawn = []
        for trainer, member in zip(self.trainers, self.members, strict=True):
            with step_noise(trainer.seed, member.steps):
                drawn.append([self._model.draw_scales(trainer.batch_size) for _ in range(count)])
        return [
            [torch.stack([one[step][place] for one in drawn]) for place in range(len(layers))] for step in range(count)
        ]


def can_stack(trainers: Sequence[Trainer]) -> bool:
    """Whether the steps of trainers can be made at once: plain MLPs of one shape on the same rows, without noise on the inputs."""
    first = trainers[0]
    return have_one_shape([one.gated.model for one in trainers]) and all(
        one.gated.takes_columns
        and one.is_plain
        and one.features is first.features
        and one.batch_size == first.batch_size
        for one in trainers
    )
