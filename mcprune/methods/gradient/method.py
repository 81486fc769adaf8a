"""The gradient path as a way to a mask: gates trained by backprop with the classifier, under L_tot = L_cla + alpha L_pru."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mcprune.chain import min_per_layer as floors
from mcprune.chain.schedules import Schedule
from mcprune.errors import NumericalError
from mcprune.methods.base import Batch, MaskUpdate
from mcprune.methods.gradient.alphas import Alpha
from mcprune.methods.gradient.gate_kinds import GATE_KINDS
from mcprune.methods.gradient.penalties import Pruning, pruning_losses
from mcprune.random import Stream, torch_generator
from mcprune.state import Saved, checked, copied, restore_optimizer, save_optimizer
from mcprune.types import BoolArray, Float32Array, FloatArray, IntArray


@dataclass(frozen=True)
class GradientSettings:
    """Everything that the path is a function of, besides the classifier, its batches and alpha."""

    keep: int
    gate_kind: str
    sharpness: Schedule
    modified: bool  # L_rej' instead of L_rej
    optimizer: str  # adam or sgd
    learning_rate: float
    start_weight: float
    steps: int  # of the whole run
    epoch_steps: int
    seed: int
    bound: float | None = None  # sharpness times a weight is put back into [-bound, bound] after each step


class Gradient:
    """Gates of N sites with an optimizer of their own.

    Parameters
    ----------
    sites : int
    settings : GradientSettings
    alpha : Alpha
        Told of every complete epoch.
    device : torch.device
    floor : ndarray of int, shape (N,), optional
        Groups of sites that keep one each in the hard mask, -1 for none. The sum of the gates says nothing of where they are: a penalty
        that rises fast may close all units of a layer together.

    Notes
    -----
    The weights are float64: near the end a gate is 1e-9 away from 1, and L_rej is made of such distances. The classifier sees the
    gates in its own dtype.
    """

    def __init__(
        self,
        sites: int,
        settings: GradientSettings,
        alpha: Alpha,
        device: torch.device | str = "cpu",
        floor: IntArray | None = None,
    ) -> None:
        self.settings = settings
        self.floor = floor
        self.alpha = alpha
        self.kind = GATE_KINDS[settings.gate_kind]()
        self.weights = torch.full((sites,), settings.start_weight, dtype=torch.float64, device=device)
        self.weights.requires_grad_()
        self.steps = 0
        self.crossed = np.zeros(sites, np.int64)
        self._crossed = torch.zeros(sites, dtype=torch.int64, device=device)
        self._above = self.weights.detach() > 0
        self._draw = torch_generator(settings.seed, Stream.GATE_NOISE, device)
        self._optimizer = _optimizer(self.weights, settings)
        self._now = (0.0, torch.zeros((), device=device), torch.zeros((), device=device))  # alpha, sel, rej
        self._epoch = torch.zeros(2, dtype=torch.float64, device=device)  # sums of L_cla and L_pru over this epoch
        self._block = torch.zeros(3, dtype=torch.float64, device=device)  # sums of L_cla, L_sel, L_rej since `update`
        self._block_steps = 0

    def gates(self, rows: int) -> torch.Tensor:
        """See `Joint.gates`."""
        return self.kind.training(self.weights, rows, self._sharpness(), self._draw).to(torch.float32)

    def penalty(self) -> torch.Tensor:
        """See `Joint.penalty`."""
        alpha = self.alpha.value(self.steps / self.settings.steps)
        losses = self.losses()
        self._now = (alpha, losses.sel.detach(), losses.rej.detach())
        return alpha * (losses.sel + losses.rej)

    def losses(self) -> Pruning:
        """Return L_sel and L_rej at the weights, with their gradients."""
        counted = self.kind.counted(self.weights, self._sharpness())
        return pruning_losses(*counted, n=float(self.settings.keep), modified=self.settings.modified)

    def stepped(self, cla: torch.Tensor) -> None:
        """See `Joint.stepped`."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self._block_steps += 1
        with torch.no_grad():
            if self.settings.bound is not None:
                # On what the sigmoid sees: annealed gates would lock in long before alpha has risen.
                bound = self.settings.bound / self._sharpness()
                self.weights.clamp_(-bound, bound)
            _, sel, rej = self._now
            self._block += torch.stack([cla.double(), sel, rej])
            self._epoch += torch.stack([cla.double(), sel + rej])
            above = self.weights > 0
            self._crossed[above != self._above] = self.steps
            self._above = above
        if self.steps % self.settings.epoch_steps == 0:
            cla_mean, pru_mean = (self._epoch / self.settings.epoch_steps).tolist()
            self.alpha.epoch_ended(cla_mean, pru_mean, float(self.weights.detach().var(correction=0)))
            self._epoch.zero_()

    def update(self, batch: Batch, progress: float) -> MaskUpdate:
        """See `Method.update`: nothing moves here, the losses are means over the training batches since the last call.

        Raises
        ------
        NumericalError
            A weight is not finite.
        """
        position = self.position()
        if not np.isfinite(position).all():
            raise NumericalError(
                f"a pruner weight is not finite at step {self.steps}; lower the rate of --gate-optimizer "
                f"(it is {self.settings.learning_rate:g}) or the weight of L_pru (alpha is {self._now[0]:g})"
            )
        cla, sel, rej = (self._block / max(self._block_steps, 1)).tolist()
        self._block.zero_()
        self._block_steps = 0
        self.crossed = self._crossed.cpu().numpy().copy()
        alpha = self._now[0]
        return MaskUpdate(
            loss=cla + alpha * (sel + rej),
            cla=cla,
            sel=sel,
            rej=rej,
            alpha=alpha,
            delta=math.nan,
            temperature=math.nan,
            gate_sum=float(self.training_gates().astype(np.float64).sum()),
            kept=int((position > 0).sum()),
            target=self.settings.keep,
            proposals=0,
            accepted=0,
            nonfinite=0,
            null_moves=0,
            rejected_by_bound=0,
            moves={},
            strength=self.alpha.strength,
        )

    def training_gates(self) -> Float32Array:
        """See `Method.training_gates`: the gates without noise."""
        with torch.no_grad():
            return np.asarray(self.kind.plain(self.weights, self._sharpness()).cpu().numpy(), np.float32)

    def position(self) -> FloatArray:
        """See `Method.position`."""
        return np.array(self.weights.detach().cpu().numpy())

    def harden(self, batch: Batch) -> BoolArray:
        """See `Method.harden`: the n largest weights stay."""
        return floors.hardened(self.position(), self.settings.keep, self.floor)

    def description(self) -> dict[str, Any]:
        """See `Method.description`."""
        return {"evaluator": f"none: backprop through {self.settings.gate_kind} gates", "canonical": "none"}

    def notes(self) -> list[str]:
        """See `Joint.notes`."""
        if not self.alpha.capped:
            return []
        return [
            f"alpha would have been infinite or above its cap in {self.alpha.capped} epochs, as L_pru went to 0: capped"
        ]

    def save(self) -> Saved:
        """See `Method.save`."""
        alpha, sel, rej = self._now
        return {
            "weights": copied(self.weights),
            "steps": self.steps,
            "crossed": self.crossed.copy(),
            "crossed_now": copied(self._crossed),
            "above": copied(self._above),
            "draw": copied(self._draw.get_state()),
            "optimizer": save_optimizer(self._optimizer),
            "alpha_now": alpha,
            "sel": copied(sel),
            "rej": copied(rej),
            "epoch": copied(self._epoch),
            "block": copied(self._block),
            "block_steps": self._block_steps,
            "alpha": self.alpha.save(),
        }

    def restore(self, saved: Saved) -> None:
        """See `Method.restore`."""
        device = self.weights.device
        with torch.no_grad():
            self.weights.copy_(saved["weights"])
            self._crossed.copy_(saved["crossed_now"])
            self._epoch.copy_(saved["epoch"])
            self._block.copy_(saved["block"])
        self._above = saved["above"].to(device)
        self.steps, self._block_steps = int(saved["steps"]), int(saved["block_steps"])
        self.crossed = np.array(checked(saved["crossed"], self.crossed, "crossed"))
        self._draw.set_state(saved["draw"])
        restore_optimizer(self._optimizer, saved["optimizer"])
        self._now = (float(saved["alpha_now"]), saved["sel"].to(device), saved["rej"].to(device))
        self.alpha.restore(saved["alpha"])

    def _sharpness(self) -> float:
        return self.settings.sharpness.value(self.steps / self.settings.steps)


def _optimizer(weights: torch.Tensor, settings: GradientSettings) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam([weights], lr=settings.learning_rate, fused=True)
    return torch.optim.SGD([weights], lr=settings.learning_rate)
