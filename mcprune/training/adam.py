"""AdamW, bit for bit that of torch, without what torch's class costs: a second of imports and half the time of a small step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

BETAS, EPSILON = (0.9, 0.999), 1e-8
# Of one cycle of the learning rate: the share of its rise, the first rate and the last one in parts of the peak and of the first,
# and the ends of beta 1, which falls while the rate rises.
RISE, FIRST, LAST, LEAST_BETA, MOST_BETA = 0.3, 25.0, 1e4, 0.85, 0.95


@dataclass
class Moments:
    """Running means of one parameter's gradients; updated in place.

    Attributes
    ----------
    step : tensor of float32
        Steps so far.
    exp_avg, exp_avg_sq : tensor, shape of the parameter
        Of the gradients and of their squares.
    """

    step: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor


@dataclass(init=False)
class AdamW:
    """Adam with decoupled weight decay, in one fused kernel.

    Parameters
    ----------
    parameters : iterable of tensor
        Possibly none, as of a frozen classifier.
    learning_rate, weight_decay : float

    Attributes
    ----------
    learning_rate, beta : float
        Beta is that of the mean of the gradients. Both may be changed between two steps.
    moments : tuple of Moments
        One for each parameter: the state that a checkpoint holds.
    """

    moments: tuple[Moments, ...]

    def __init__(self, parameters: Iterable[torch.Tensor], learning_rate: float, weight_decay: float) -> None:
        self.parameters = tuple(parameters)
        self.learning_rate, self.beta = learning_rate, BETAS[0]
        self._weight_decay = weight_decay
        self.moments = tuple(
            Moments(
                torch.zeros((), dtype=torch.float32, device=one.device),
                torch.zeros_like(one, memory_format=torch.preserve_format).detach(),
                torch.zeros_like(one, memory_format=torch.preserve_format).detach(),
            )
            for one in self.parameters
        )
        kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for place, one in enumerate(self.parameters):
            kinds.setdefault((one.device, one.dtype), []).append(place)
        self._groups = tuple(kinds.values())  # the fused kernel takes tensors of one kind

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for one in self.parameters:
            one.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have a gradient, in place."""
        for group in self._groups:
            used = [place for place in group if self.parameters[place].grad is not None]
            if not used:
                continue
            parameters = [self.parameters[place] for place in used]
            moments = [self.moments[place] for place in used]
            gradients = [one.grad for one in parameters if one.grad is not None]
            steps = [one.step for one in moments]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters,
                gradients,
                [one.exp_avg for one in moments],
                [one.exp_avg_sq for one in moments],
                [],
                steps,
                lr=self.learning_rate,
                beta1=self.beta,
                beta2=BETAS[1],
                weight_decay=self._weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )


def one_cycle(step: int, total: int, peak: float) -> tuple[float, float]:
    """Return the learning rate and beta 1 of a step of one cycle, bit for bit those of torch's OneCycleLR.

    Parameters
    ----------
    step : int
        From 0.
    total : int
        Steps of the cycle.
    peak : float
        The largest rate.
    """
    first, top, end = peak / FIRST, float(RISE * total) - 1, float(total - 1)
    last = first / LAST
    if step <= top:
        share = step / top
        return _cosine(first, peak, share), _cosine(MOST_BETA, LEAST_BETA, share)
    share = (step - top) / (end - top)
    return _cosine(peak, last, share), _cosine(LEAST_BETA, MOST_BETA, share)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
