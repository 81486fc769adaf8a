"""The contract of an objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from mcprune.types import BoolArray, FloatArray

if TYPE_CHECKING:
    import torch


class Rows(NamedTuple):
    """What an objective may read of the rows of a batch, besides their classes; None where the data have none."""

    weights: torch.Tensor | None = None  # (B,), not negative
    groups: torch.Tensor | None = None  # (B,) int64, for objectives that compare groups of rows
    inputs: torch.Tensor | None = None  # (B, N), scaled, for objectives that read them

    def part(self, rows: slice) -> Rows:
        """Return those of some rows of the batch."""
        return Rows(*(None if one is None else one[rows] for one in self))


class Objective(Protocol):
    """Something to be minimised that can be computed from a classifier's outputs; no gradient is needed.

    Attributes
    ----------
    name : str
    lower_bound : float or None
        No value can be smaller; None where nothing is known.
    description : str
        What the value is, for people.
    is_stepped : bool
        One row on the other side of a threshold changes the value by more than rounding: evaluators that are not exact
        cannot be used.
    reads_mask : bool
        It has `masked_losses` too, which is to be called with the masks (K, N); only the full evaluator does.
    reads_inputs : bool
        `begin` needs the rows' inputs.
    """

    name: str
    lower_bound: float | None
    description: str
    is_stepped: bool
    reads_mask: bool
    reads_inputs: bool

    def begin(self, rows: Rows) -> None:
        """Take the weights and groups of the rows of the next calls of `losses`; not called where there are none."""
        ...

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
            A candidate's value must not depend on the other candidates, to the last bit.
        """
        ...


class RowWeighted:
    """What objectives share that are means over rows, under the rows' weights, and read no mask."""

    reads_mask = False
    reads_inputs = False
    weights: torch.Tensor | None = None

    def begin(self, rows: Rows) -> None:
        """Take the rows' weights; see `Objective.begin`."""
        self.weights = rows.weights


class MaskedObjective(Objective, Protocol):
    """An objective that reads the mask."""

    def masked_losses(self, logits: torch.Tensor, targets: torch.Tensor, masks: BoolArray | None) -> FloatArray:
        """Return what `losses` returns, with the masks (K, N)."""
        ...


def losses_of(objective: Objective, logits: torch.Tensor, targets: torch.Tensor, masks: BoolArray) -> FloatArray:
    """Return the value of each candidate, shape (K,), of an objective that may read the masks (K, N)."""
    if objective.reads_mask:
        return cast(MaskedObjective, objective).masked_losses(logits, targets, masks)
    return objective.losses(logits, targets)
