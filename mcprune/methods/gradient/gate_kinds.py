"""Kinds of gates that a gradient can train: functions of the pruner weights w."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch.nn import functional


class Counted(NamedTuple):
    """The terms of L_pru, each (N,) with a gradient."""

    selected: torch.Tensor  # L_sel counts these
    gates: torch.Tensor | None  # L_rej drives these to 0 or 1; None where there is no L_rej
    log_gates: torch.Tensor | None


class GateKind(Protocol):
    """Gates as a function of the pruner weights w, shape (N,); `sharpness` is the inverse temperature."""

    def training(self, w: torch.Tensor, rows: int, sharpness: float, draw: torch.Generator) -> torch.Tensor:
        """Return the gates of a training batch, (N,) or (rows, N), with a gradient."""
        ...

    def plain(self, w: torch.Tensor, sharpness: float) -> torch.Tensor:
        """Return the gates (N,) without noise; above 1/2 exactly where w > 0."""
        ...

    def counted(self, w: torch.Tensor, sharpness: float) -> Counted:
        """Return the terms of L_pru."""
        ...


class Sigmoid:
    """s = sigmoid(sharpness w): plain gates at a sharpness of 1, annealed gates where the sharpness rises over the run."""

    def training(self, w: torch.Tensor, rows: int, sharpness: float, draw: torch.Generator) -> torch.Tensor:
        """See `GateKind.training`."""
        return torch.sigmoid(sharpness * w)

    def plain(self, w: torch.Tensor, sharpness: float) -> torch.Tensor:
        """See `GateKind.plain`."""
        return torch.sigmoid(sharpness * w)

    def counted(self, w: torch.Tensor, sharpness: float) -> Counted:
        """See `GateKind.counted`."""
        gates = torch.sigmoid(sharpness * w)
        return Counted(gates, gates, functional.logsigmoid(sharpness * w))


class StraightThrough:
    """Hard gates that are drawn for each training row: 1 with probability sigmoid(w), with the gradient of sigmoid(w) [1]_.

    L_sel counts [w > 0], so that it is 0 at exactly n sites; L_rej is that of sigmoid(w). Where |w| is bounded, each row swaps some kept
    sites for dropped ones, so that the classifier keeps training its weights for these.

    References
    ----------
    .. [1] Bengio, Leonard & Courville (2013), arXiv:1308.3432.
    """

    def training(self, w: torch.Tensor, rows: int, sharpness: float, draw: torch.Generator) -> torch.Tensor:
        """See `GateKind.training`."""
        soft = torch.sigmoid(w).to(torch.float32)
        drawn = torch.rand((rows, w.numel()), generator=draw, device=w.device) < soft.detach()
        return drawn.to(soft.dtype) + (soft - soft.detach())

    def plain(self, w: torch.Tensor, sharpness: float) -> torch.Tensor:
        """See `GateKind.plain`."""
        return (w > 0).to(w.dtype)

    def counted(self, w: torch.Tensor, sharpness: float) -> Counted:
        """See `GateKind.counted`."""
        soft = torch.sigmoid(w)
        return Counted((w > 0).to(w.dtype) + (soft - soft.detach()), soft, functional.logsigmoid(w))


class HardConcrete:
    """Stretched and clipped binary concrete gates, which are drawn for each training row [1]_.

    s = clip(sigmoid((logit(u) + w) / b) (r - l) + l, 0, 1) with u uniform, b = 2/3, l = -.1, r = 1.1. L_pru counts the
    probabilities that a gate is not 0, sigmoid(w - b log(-l/r)): their sum is the expected number of kept sites. There is no
    L_rej: the noise drives these gates to 0 or 1, and L_rej would cancel the slope of L_sel where most gates are open.

    References
    ----------
    .. [1] Louizos, Welling & Kingma, Learning Sparse Neural Networks through L0 Regularization, ICLR 2018; Yamada et al.
       (ICML 2020) gate inputs in the same way with clipped normal noise.
    """

    temperature, low, high = 2.0 / 3.0, -0.1, 1.1
    shift = -temperature * math.log(-low / high)

    def training(self, w: torch.Tensor, rows: int, sharpness: float, draw: torch.Generator) -> torch.Tensor:
        """See `GateKind.training`."""
        # float32 is enough for noise and twice as fast. The logit is infinite at 0 and 1.
        noise = torch.rand((rows, w.numel()), generator=draw, device=w.device).clamp_(1e-6, 1 - 1e-6)
        return self._stretched((noise.logit_() + w.to(noise.dtype)) / self.temperature)

    def plain(self, w: torch.Tensor, sharpness: float) -> torch.Tensor:
        """See `GateKind.plain`; as the authors compute gates for the test."""
        return self._stretched(w)

    def counted(self, w: torch.Tensor, sharpness: float) -> Counted:
        """See `GateKind.counted`."""
        open_ = torch.sigmoid(w + self.shift)
        return Counted(open_, None, None)

    def _stretched(self, logits: torch.Tensor) -> torch.Tensor:
        return (torch.sigmoid(logits) * (self.high - self.low) + self.low).clamp(0.0, 1.0)


GATE_KINDS: dict[str, type[GateKind]] = {
    "sigmoid": Sigmoid,
    "annealed": Sigmoid,
    "hard-concrete": HardConcrete,
    "straight-through": StraightThrough,
}
