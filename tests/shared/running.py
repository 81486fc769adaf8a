"""A method and its state, advanced together."""

from typing import Any

import numpy as np

from mcprune.methods.base import Batch, BlockInfo, Method


class Running:
    """A method and where it is.

    Parameters
    ----------
    method : Method
    """

    def __init__(self, method: Method) -> None:
        self.method, self.state = method, method.init()

    @property
    def evaluation(self) -> Any:
        """The losses that a chain decides by."""
        return self.method.evaluation

    def step(self, batch: Batch, progress: float) -> BlockInfo:
        """Advance by one block."""
        self.state, info = self.method.step(self.state, batch, progress)
        return info

    def finish(self, batch: Batch) -> np.ndarray:
        """Return the mask of the result."""
        self.state, mask = self.method.finish(self.state, batch)
        return mask

    def position(self) -> np.ndarray:
        """Return the pruner weights."""
        return self.method.position(self.state)

    def training_gates(self) -> np.ndarray:
        """Return the gates of training."""
        return self.method.training_gates(self.state)
