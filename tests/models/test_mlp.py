"""The MLP: its initialisation depends on the seed and on nothing else."""

import pytest
import torch
from torch import nn

from mcprune.errors import ConfigError
from mcprune.models.mlp import ACTIVATIONS, MLP
from mcprune.models.registry import build


def parameters(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_initialisation_is_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    first = parameters(MLP((7, 5, 3), seed=4))
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = parameters(MLP((7, 5, 3), seed=4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, second)
    assert not torch.equal(first, parameters(MLP((7, 5, 3), seed=5)))


def test_default_dtype_and_default_device_have_no_say():
    expected = parameters(MLP((7, 5, 3), seed=4))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            met = parameters(MLP((7, 5, 3), seed=4))
    finally:
        torch.set_default_dtype(torch.float32)
    assert met.dtype == torch.float32
    assert torch.equal(met, expected)


def test_initial_law_is_uniform_within_one_over_root_fan_in():
    layer = MLP((400, 500, 2), seed=0).layers[0]
    scaled = layer.weight.detach().flatten() * 20.0
    assert float(scaled.abs().max()) <= 1.0
    # The largest of 200,000 uniform numbers lies below 1 - 1e-4 with probability e**-20.
    assert float(scaled.abs().max()) > 1.0 - 1e-4
    # Standard error of the mean of squares: sqrt(4/45 / 200,000) = 6.7e-4.
    assert float(scaled.square().mean()) == pytest.approx(1.0 / 3.0, abs=5 * 6.7e-4)


def test_more_than_one_layer_order_and_names():
    plain = dict(MLP((4, 3, 2, 2), "tanh").named_modules())
    assert [name for name, layer in plain.items() if isinstance(layer, nn.Linear)] == [
        "layers.0",
        "layers.2",
        "layers.4",
    ]
    dropped = dict(MLP((4, 3, 2, 2), "tanh", dropout=0.5).named_modules())
    assert isinstance(dropped["layers.2"], nn.Dropout)
    assert isinstance(dropped["layers.6"], nn.Linear)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_is_the_formula(activation):
    model = MLP((6, 5, 3), activation, seed=1)
    first, _, last = model.layers
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    hidden = ACTIVATIONS[activation]()(x.reshape(4, 6) @ first.weight.T + first.bias)
    torch.testing.assert_close(model(x), hidden @ last.weight.T + last.bias)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"widths": (4,)}, "widths"),
        ({"widths": (4, 0, 2)}, "widths"),
        ({"widths": (4, 2), "activation": "rleu"}, "rleu"),
        ({"widths": (4, 2), "dropout": 1.0}, "dropout"),
        ({"widths": (4, 2), "dropout": float("nan")}, "dropout"),
        ({"widths": (4, 2), "seed": -1}, "seed"),
    ],
)
def test_impossible_arguments_are_named(arguments, cause):
    with pytest.raises(ConfigError, match=cause):
        MLP(**arguments)


def test_build_by_name():
    assert build("mlp", n_inputs=9, n_classes=4, hidden=(6, 5)).widths == (9, 6, 5, 4)
    assert build("mlp", n_inputs=9, n_classes=4, hidden=()).widths == (9, 4)
    with pytest.raises(ConfigError, match="vgg"):
        build("vgg")
