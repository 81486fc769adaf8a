"""Any Python function as a model: it is judged on masked inputs, so no gradient is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from mcprune.types import AnyArray


class FunctionModel(nn.Module):
    """A model whose outputs a Python function computes from rows, such as an ONNX session or a classifier of another library.

    It has no parameters, so nothing of it is trained: pass ``frozen=True``. Inputs are its only sites; a dropped one is 0.

    Parameters
    ----------
    function : callable
        float32 (B, N) -> (B, C), one logit or one probability a class, or one number a target. It is shared by all copies of the model.

    Examples
    --------
    >>> model = mcprune.FunctionModel(forest.predict_proba)  # doctest: +SKIP
    >>> mcprune.prune(X, y, keep=8, model=model, frozen=True)  # doctest: +SKIP
    """

    def __init__(self, function: Callable[[AnyArray], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N) -> (B, C), on the CPU and back."""
        rows = np.ascontiguousarray(x.detach().cpu().numpy())
        return torch.as_tensor(np.asarray(self.function(rows), np.float32)).to(x.device)

    def __deepcopy__(self, memo: Mapping[int, object]) -> FunctionModel:
        """Return a copy with the same function, which may hold what cannot be copied."""
        out = type(self)(self.function)
        out.training = self.training
        return out
