"""Normalisations over some of their channels: as if the dropped ones were there with 0."""

import pytest
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.kinds import build_layer, describe_layer
from mcprune.models.narrow.norms import NarrowNorm, narrow

C = 6


def drawn(layer):
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -1.0, 2.0, generator=generator)
    return layer.double()


LAYERS = {
    "LayerNorm": (lambda: nn.LayerNorm(C), (5, C)),
    "LayerNorm without bias": (lambda: nn.LayerNorm(C, bias=False), (5, C)),
    "LayerNorm without parameters": (lambda: nn.LayerNorm(C, elementwise_affine=False), (5, C)),
    "RMSNorm": (lambda: nn.RMSNorm(C), (5, C)),
    "RMSNorm with eps": (lambda: nn.RMSNorm(C, eps=0.1), (5, C)),
    "GroupNorm": (lambda: nn.GroupNorm(2, C), (5, C, 4, 3)),
    "GroupNorm of one group": (lambda: nn.GroupNorm(1, C, affine=False), (5, C, 7)),
    "GroupNorm of rows": (lambda: nn.GroupNorm(3, C), (5, C)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kept", [(0, 1, 2, 3, 4, 5), (1, 2, 5), (0, 3), (4,), (0, 1, 2)])
def test_what_is_left_normalises_as_the_whole_one_does_with_zeros(name, kept):
    make, shape = LAYERS[name]
    layer, kept = drawn(make()), torch.tensor(kept)
    x = torch.randn(shape, dtype=torch.float64) + 1
    zeros = torch.zeros_like(x).index_copy(1, kept, x[:, kept])
    small = narrow(layer, kept)
    torch.testing.assert_close(small(x[:, kept]), layer(zeros)[:, kept])
    # The control: a plain one of the kept channels gives something else.
    if len(kept) == 3 and name in ("LayerNorm", "RMSNorm with eps"):
        plain = type(layer)(3, layer.eps).double()
        plain.load_state_dict({key: tensor[kept] for key, tensor in layer.state_dict().items()})
        assert not torch.allclose(plain(x[:, kept]), layer(zeros)[:, kept], atol=1e-3)
    assert [p.shape[0] for p in small.parameters()] == [len(kept)] * len(list(layer.parameters()))


def test_whole_groups_stay_a_plain_normalisation():
    small = narrow(nn.GroupNorm(3, C), torch.tensor([0, 1, 4, 5]))
    assert type(small) is nn.GroupNorm
    assert (small.num_groups, small.num_channels) == (2, 4)
    assert type(narrow(nn.GroupNorm(3, C), torch.tensor([0, 1, 4]))) is NarrowNorm


@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm", "LayerNorm without bias"])
def test_it_is_described_and_built_again_without_code(name):
    small = narrow(LAYERS[name][0](), torch.tensor([1, 4]))
    description = describe_layer(small)
    again = build_layer(description)
    assert again.kept == (1, 4)
    assert {key: tensor.shape for key, tensor in again.state_dict().items()} == {
        key: tensor.shape for key, tensor in small.state_dict().items()
    }
    again.load_state_dict(small.state_dict(), assign=True)
    x = torch.randn(3, 2)
    torch.testing.assert_close(again(x), small(x))


@pytest.mark.parametrize("kept", [(2, 1), (0, 6), (1, 1)])
def test_channels_that_are_no_rising_numbers_are_refused(kept):
    with pytest.raises(ModelError, match="keeps rising channels of 6 in groups of one size"):
        NarrowNorm(kept, 6, 1, 1e-5, True, True, True)
