"""The pruner's losses on gates that carry a gradient.

    L_sel  = |sum_i s_i - n| / N
    L_rej  = sum_i s_i (1 - s_i) / N
    L_rej' = (sum_i s_i (1 - s_i) + N prod_i s_i) / N, the product as exp(sum_i log s_i)
    L_pru  = L_sel + L_rej (or + L_rej')

`chain/budget.py` has the same losses without torch, for the chain.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Pruning(NamedTuple):
    """The two parts of L_pru, scalars with a gradient."""

    sel: torch.Tensor
    rej: torch.Tensor


def selection_loss(gates: torch.Tensor, n: float) -> torch.Tensor:
    """Return L_sel of gates (N,); where their sum is exactly n, the gradient is 0."""
    return (gates.sum() - n).abs() / gates.numel()


def rejection_loss(gates: torch.Tensor) -> torch.Tensor:
    """Return L_rej of gates (N,)."""
    return (gates * (1.0 - gates)).sum() / gates.numel()


def modified_rejection_loss(gates: torch.Tensor, log_gates: torch.Tensor) -> torch.Tensor:
    """Return L_rej' of gates (N,) and their logarithms.

    The product of N gates underflows factor by factor. The sum of logarithms does not, nor does its gradient prod_j s_j / s_i, which
    automatic differentiation computes as the product times d log s_i.

    Parameters
    ----------
    gates : tensor, shape (N,)
    log_gates : tensor, shape (N,)
        log s_i by logsigmoid rather than from `gates`, since a gate that rounds to 0 still has a finite logarithm.
    """
    return rejection_loss(gates) + log_gates.sum().exp()


def pruning_losses(
    selected: torch.Tensor, gates: torch.Tensor | None, log_gates: torch.Tensor | None, *, n: float, modified: bool
) -> Pruning:
    """Return L_sel of `selected`, and L_rej or L_rej' of `gates`; the latter is 0 where `gates` is None.

    Parameters
    ----------
    selected, gates, log_gates : tensor, shape (N,)
    n : float
        Sites to keep.
    modified : bool
        L_rej' instead of L_rej.
    """
    if gates is None or log_gates is None:
        return Pruning(selection_loss(selected, n), torch.zeros_like(selected[0]))
    rej = modified_rejection_loss(gates, log_gates) if modified else rejection_loss(gates)
    return Pruning(selection_loss(selected, n), rej)
