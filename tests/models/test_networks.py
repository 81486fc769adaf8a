"""The papers' networks: their shapes, what they refuse, and descriptions that give them back."""

import json

import pytest
import torch
from torch import nn

from mcprune.errors import ConfigError, FolderError, ModelError
from mcprune.models.mlp import MLP
from mcprune.models.networks import NETWORKS, Residual
from mcprune.models.registry import build, describe, from_description
from mcprune.surgery.model_files import _digest, load_model, save_model

CIFAR = {"n_inputs": 3072, "n_classes": 10, "image_shape": (3, 32, 32)}


@pytest.mark.parametrize(
    ("name", "convolutions", "parameters"),
    # Parameters as published with the CIFAR versions, convolutions without biases: vgg13 9,416,010 less 2,944 biases, mobilenet_v1
    # 3,217,226, resnet56 853,018 with 2,752 of its two projections (512 + 64 and 2,048 + 128).
    [("vgg13", 10, 9_416_010 - 2_944), ("mobilenet_v1", 27, 3_217_226), ("resnet56", 57, 855_770)],
)
def test_the_full_networks_are_those_of_the_papers(name, convolutions, parameters):
    model = build(name, **CIFAR)
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == convolutions
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    with torch.no_grad():
        assert model.eval()(torch.rand(2, 3072)).shape == (2, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_a_function_of_its_arguments_alone(name):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, other, third = (build(name, **CIFAR, width=0.1, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    first, second, unlike = (torch.cat([p.flatten() for p in model.parameters()]) for model in (one, other, third))
    assert torch.equal(first, second)
    assert not torch.equal(first, unlike)
    assert one.training


@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_through_json_gives_the_network_back(name, tmp_path):
    model = build(name, **CIFAR, width=0.1, seed=1).eval()
    again = from_description(json.loads(json.dumps(describe(model))))
    again.load_state_dict(model.state_dict())
    rows = torch.rand(3, 3072)
    with torch.no_grad():
        assert torch.equal(again.eval()(rows), model(rows))
        save_model(model, tmp_path)
        assert torch.equal(load_model(tmp_path)[0](rows), model(rows))


def test_a_residual_that_is_not_plain_has_no_description():
    block = Residual(nn.Sequential(nn.Conv2d(2, 2, 1)), nn.Identity())
    assert describe(block)["shortcut"] == {"kind": "identity"}
    block.activation = nn.Tanh()  # its description would give a rectifier back
    with pytest.raises(ModelError, match="own code"):
        describe(block)


def test_a_broken_residual_in_a_file_is_told_with_the_file(tmp_path):
    save_model(Residual(nn.Sequential(nn.Conv2d(2, 2, 1)), nn.Identity()), tmp_path)
    path = tmp_path / "model.json"
    content = json.loads(path.read_text().replace('"shortcut"', '"longcut"'))
    content["sha256"] = _digest(content)  # the file is whole: what it says is broken
    path.write_text(json.dumps(content))
    with pytest.raises(FolderError, match=r"model.json is broken: a layer's description must be a table"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "inputs", "words"),
    [
        ("vgg13", (8, 8), 64, "vgg13 needs images of 32 x 32 or more, but 64 inputs are 1 x 8 x 8"),
        ("vgg13", (28, 28), 784, "but 784 inputs are 1 x 28 x 28.*'mobilenet_v1' or 'resnet56' or 'mlp'"),
        ("vgg13", None, 64, "vgg13 takes images, but the rows are 64 inputs without the shape"),
        ("resnet56", (3, 32, 32), 64, "resnet56 takes images, but the rows are 64 inputs of shape"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_one_line(name, shape, inputs, words):
    with pytest.raises(ModelError, match=words):
        build(name, inputs, 10, image_shape=shape)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), 17.0])
def test_a_width_that_cannot_be_is_refused(width):
    with pytest.raises(ConfigError, match="is no multiplier"):
        build("vgg13", **CIFAR, width=width)


def test_the_smallest_width_keeps_a_channel_everywhere():
    model = build("resnet56", **CIFAR, width=1e-6)
    assert {module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)} == {1}


def test_lenet_and_mlps_without_biases():
    assert build("lenet-300-100", 784, 10, hidden=(7,)).widths == (784, 300, 100, 10)
    model = build("mlp", 784, 10, (40, 20), bias=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == 784 * 40 + 40 * 20 + 20 * 10
    described = describe(model)
    assert described["bias"] is False
    again = from_description(described)
    assert [layer.bias for layer in again.modules() if isinstance(layer, nn.Linear)] == [None] * 3
    # Files of models with biases are those of versions that did not know of any others.
    assert "bias" not in describe(MLP((4, 3, 2)))
    assert from_description(
        {"kind": "mlp", "dtype": "float32", "widths": [4, 2], "activation": "relu", "dropout": 0.0}
    ).bias
