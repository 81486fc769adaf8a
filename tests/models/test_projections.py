"""Matrix products whichever way their weight lies."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from mcprune.models.projections import is_projection, keep_inputs, keep_outputs, matrix, n_inputs, n_outputs


class Conv1D(nn.Module):
    """Written as in transformers."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.size()[:-1], self.nf)


Conv1D.__module__ = "transformers.pytorch_utils"


@pytest.mark.parametrize(
    "layer", [nn.Linear(4, 6), nn.Linear(4, 6, bias=False), Conv1D(6, 4)], ids=["linear", "bare", "conv"]
)
def test_kept_rows_and_columns(layer):
    assert is_projection(layer)
    assert (n_inputs(layer), n_outputs(layer)) == (4, 6)
    assert matrix(layer).shape == (6, 4)
    layer.weight.requires_grad_(False)
    x = torch.randn(3, 4)
    x[:, [0, 2]] = 0
    expected = layer(x)[:, [5, 1]]
    keep_outputs(layer, torch.tensor([5, 1]))
    keep_inputs(layer, torch.tensor([1, 3]))
    assert (n_inputs(layer), n_outputs(layer)) == (2, 2)
    torch.testing.assert_close(layer(x[:, [1, 3]]), expected)
    assert not layer.weight.requires_grad


def test_what_is_none():
    assert not is_projection(None)
    assert not is_projection(nn.Conv1d(4, 6, 1))
    assert not is_projection(nn.LayerNorm(4))
    assert not is_projection(weight_norm(nn.Linear(4, 6)))
