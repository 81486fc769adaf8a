"""Gated classifiers by hand, in any number type: what the evaluators are held against."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.models.mlp import MLP
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteMap, site_map


@dataclass
class Problem:
    """A classifier with sites, and a batch."""

    model: nn.Module
    sites: SiteMap
    x: torch.Tensor
    y: torch.Tensor

    @property
    def gated(self) -> GatedModel:
        return GatedModel(self.model, self.sites)

    def losses(self, gates: np.ndarray) -> np.ndarray:
        """The plain loop: `model(x * mask)` for each row of the gates, in float64 if they are."""
        wide = gates.dtype == np.float64
        model = copy.deepcopy(self.model).double() if wide else self.model
        x = self.x.double() if wide else self.x
        was_training = model.training
        model.eval()
        with torch.no_grad():
            values = [self._rows(model, x, torch.from_numpy(row)).numpy().mean(dtype=np.float64) for row in gates]
        model.train(was_training)
        return np.array(values)

    def _rows(self, model: nn.Module, x: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        parts = {group.layer: gates[group.start : group.stop] for group in self.sites.groups}
        if "" in parts:
            x = (x.flatten(1) * parts.pop("")).reshape(x.shape)
        if not parts:
            x = model(x)
        else:
            prefix, chain = ("layers.", model.layers) if isinstance(model, MLP) else ("", model)
            for place, module in enumerate(chain):
                x = module(x)
                if f"{prefix}{place}" in parts:
                    x = x * parts[f"{prefix}{place}"]
        return nn.functional.cross_entropy(x, self.y, reduction="none")


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """A batch of random rows for a model; `transposed` lays it out as the session does, input by input."""

    def make(
        model: nn.Module, kinds: str, shape: tuple[int, ...], rows: int, transposed: bool = False, **more: Any
    ) -> Problem:
        draw = torch.Generator().manual_seed(rows)
        x = torch.randn(rows, *shape, generator=draw)
        # Zeros, as images have them: rows on which an input's gate changes nothing.
        x[torch.rand(x.shape, generator=draw) < 0.3] = 0.0
        if transposed:
            x = x.T.contiguous().T
        classes = more.get("classes", 3)
        y = torch.randint(0, classes, (rows,), generator=draw)
        return Problem(model, site_map(model, kinds, int(np.prod(shape))), x, y)

    return make


@pytest.fixture(autouse=True)
def two_threads():
    """Bits are compared: every test has the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
