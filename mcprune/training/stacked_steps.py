"""Steps of backprop of several classifiers of one shape at once: batched products in place of a loop over small ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mcprune.random import step_noise
from mcprune.training.adam import AdamW
from mcprune.training.stacked_mlp import StackedMLP, have_one_shape
from mcprune.training.steps import threads_of_steps
from mcprune.training.trainer import Trainer, TrainerState, swap_inputs
from mcprune.types import Float32Array, FloatArray


class StackedSteps:
    """Makes the steps of several trainers, each with its own draws, to rounding as they would make them one after the other.

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
        scales = self._dropout_scales(count)
        is_swapped = swaps > 0 and dropped.size > 0
        plain = torch.from_numpy(gates).to(self._features)
        loss = torch.zeros(())
        models = [trainer.gated.model for trainer in self.trainers]
        with threads_of_steps(models, self._features[0].numel(), first.batch_size):
            for number in range(count):
                rows = torch.stack(
                    [trainer.next_rows(member) for trainer, member in zip(self.trainers, members, strict=True)]
                )
                columns = None
                if is_swapped:
                    drawn = [
                        swap_inputs(member.draw, rows.shape[1], gates, kept, dropped, swaps, may_leave_out=True)
                        for member in members
                    ]
                    shown = torch.from_numpy(np.stack([one for one, _ in drawn])).to(self._features)
                    live = [one for _, one in drawn if one is not None]
                    columns = torch.from_numpy(np.stack(live)).to(rows.device) if live else None
                else:
                    shown = plain
                seen = (
                    self._features[rows] if columns is None else self._features[rows[:, :, None], columns[:, None, :]]
                )
                logits = self._model.forward(seen * shown, columns, scales[number])
                loss = first.row_loss.rows(logits.flatten(0, 1), self._targets[rows].flatten(0, 1))
                loss = loss.view(rows.shape)
                if self._weights is not None:
                    loss = loss * self._weights.gather(1, rows)
                loss = loss.mean(dim=1).sum()
                self._optimizer.zero_grad()
                torch.autograd.backward(loss)
                self._optimizer.step()
        for member in members:
            member.steps += count
        first.check(loss.detach(), members[0].steps)

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
