"""The contract of an objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mcprune.arrays import FloatArray

if TYPE_CHECKING:
    import torch


class Objective(Protocol):
    """Something to be minimised that can be computed from a classifier's outputs; no gradient is asked for.

    Attributes
    ----------
    name : str
    lower_bound : float or None
        No value can be smaller; None where nothing is known.
    """

    name: str
    lower_bound: float | None

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return one value for each candidate.

        Parameters
        ----------
        logits : tensor, shape (K, B, C)
            Outputs of K candidates on the same B rows.
        targets : tensor of int64, shape (B,)

        Returns
        -------
        ndarray of float64, shape (K,)
            A candidate's value must not depend on which others stand beside it, to the last bit.
        """
        ...
