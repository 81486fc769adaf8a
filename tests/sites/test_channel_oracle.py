"""Groups of channels that belong together are those that torch-pruning finds."""

import pytest
import torch
from torch import nn

from mcprune.models.registry import build
from mcprune.sites.channels.groups import channel_groups

pruning = pytest.importorskip("torch_pruning")

MODELS = {
    name: lambda name=name: build(name, 192, 4, width=0.25, image_shape=(3, 8, 8))
    for name in ("mobilenet_v1", "resnet56")
}
MODELS["vgg13"] = lambda: build("vgg13", 3072, 4, width=0.125, image_shape=(3, 32, 32))


@pytest.mark.parametrize("name", MODELS)
def test_groups_are_those_of_torch_pruning(name):
    model = MODELS[name]().eval()
    width = 3072 if name == "vgg13" else 192
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    graph = pruning.DependencyGraph().build_dependency(model, example_inputs=torch.randn(2, width))
    names = {layer: name for name, layer in model.named_modules()}
    learned = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    groups = [group for group in channel_groups(model, (width,)) if not group.blocked]
    assert groups
    for group in groups:
        layer = model.get_submodule(group.layer)
        theirs = graph.get_pruning_group(layer, pruning.prune_conv_out_channels, idxs=[0])
        writes, reads = set(), set()
        for dependency, _ in theirs:
            target = dependency.target.module
            if isinstance(target, learned):
                is_reader = dependency.handler in (pruning.prune_conv_in_channels, pruning.prune_linear_in_channels)
                is_depthwise = isinstance(target, nn.Conv2d) and target.groups > 1
                (reads if is_reader and not is_depthwise else writes).add(names[target])
        assert writes == set(group.parts)
        assert reads == {reader.layer for reader in group.readers}
