"""The convolutional networks of the pruning papers, with stems for small images, of any width.

They are made of torch's plain layers and of `Residual`, in one nn.Sequential with readable names, so that a description of
layers gives them back, also after their channels were cut.

References
----------
.. [1] Simonyan & Zisserman (2015), configuration B (13 layers), for 32 x 32 images with one linear layer behind the convolutions.
.. [2] Howard et al. (2017), MobileNets, version 1; the stem and the first blocks keep the size of a small image.
.. [3] He et al. (2016), section 4.2: 6n + 2 layers for CIFAR-10, n = 9; projections where the width changes.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.layers import allocate, initialise

VGG13: tuple[int | str, ...] = (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
# Channels and stride of each pair of a depthwise and a pointwise convolution.
MOBILENET: tuple[tuple[int, int], ...] = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)),
    *((512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1)),
)
RESNET56 = ((16, 1), (32, 2), (64, 2))
BLOCKS = 9  # of each stage of a ResNet-56
LARGEST_WIDTH = 16.0


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)).

    Parameters
    ----------
    body, shortcut : nn.Module
        They give outputs of one shape.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rectified sum."""
        out: torch.Tensor = self.activation(self.body(x) + self.shortcut(x))
        return out


class _Layers:
    """Layers by name, numbered by kind, on device "meta": torch's own initialisation would draw from the global state."""

    def __init__(self) -> None:
        self.named: OrderedDict[str, nn.Module] = OrderedDict()

    def conv(self, name: str, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> None:
        padding = size // 2
        self.named[f"conv{name}"] = nn.Conv2d(
            inputs, outputs, size, stride=stride, padding=padding, groups=groups, bias=False, device="meta"
        )
        self.named[f"bn{name}"] = nn.BatchNorm2d(outputs, device="meta")

    def relu(self, name: str) -> None:
        self.named[f"relu{name}"] = nn.ReLU()

    def sequential(self) -> nn.Sequential:
        return nn.Sequential(self.named)


def _vgg13(layers: _Layers, planes: int, side: tuple[int, int], scaled: Callable[[int], int]) -> int:
    number = 1
    for entry in VGG13:
        if isinstance(entry, str):
            layers.named[f"pool{number - 1}"] = nn.MaxPool2d(2)
            continue
        outputs = scaled(entry)
        layers.conv(str(number), planes, outputs, 3)
        layers.relu(str(number))
        planes, number = outputs, number + 1
    return planes * (side[0] // 32) * (side[1] // 32)


def _mobilenet_v1(layers: _Layers, planes: int, side: tuple[int, int], scaled: Callable[[int], int]) -> int:
    width = scaled(32)
    layers.conv("0", planes, width, 3)
    layers.relu("0")
    for number, (outputs, stride) in enumerate(MOBILENET, start=1):
        layers.conv(f"{number}_depth", width, width, 3, stride, groups=width)
        layers.relu(f"{number}_depth")
        layers.conv(f"{number}_point", width, scaled(outputs), 1)
        layers.relu(f"{number}_point")
        width = scaled(outputs)
    layers.named["pool"] = nn.AdaptiveAvgPool2d(1)
    return width


def _resnet56(layers: _Layers, planes: int, side: tuple[int, int], scaled: Callable[[int], int]) -> int:
    width = scaled(16)
    layers.conv("0", planes, width, 3)
    layers.relu("0")
    number = 0
    for channels, first_stride in RESNET56:
        for place in range(BLOCKS):
            outputs, stride = scaled(channels), first_stride if place == 0 else 1
            body, shortcut = _Layers(), _Layers()
            body.conv("1", width, outputs, 3, stride)
            body.relu("1")
            body.conv("2", outputs, outputs, 3)
            if stride != 1 or outputs != width:
                shortcut.conv("", width, outputs, 1, stride)
            number += 1
            through = shortcut.sequential() if shortcut.named else nn.Identity()
            layers.named[f"block{number}"] = Residual(body.sequential(), through)
            width = outputs
    layers.named["pool"] = nn.AdaptiveAvgPool2d(1)
    return width


# Name -> the layers before the last one, and the least side of an image.
NETWORKS: dict[str, tuple[Callable[[_Layers, int, tuple[int, int], Callable[[int], int]], int], int]] = {
    "vgg13": (_vgg13, 32),
    "mobilenet_v1": (_mobilenet_v1, 8),
    "resnet56": (_resnet56, 4),
}


def build_network(
    name: str, n_inputs: int, n_classes: int, image_shape: Sequence[int] | None, *, width: float = 1.0, seed: int = 0
) -> nn.Sequential:
    """Return a convolutional network of flat rows (B, N), a function of its arguments alone.

    Parameters
    ----------
    name : str
        One of ``NETWORKS``.
    n_inputs, n_classes : int
    image_shape : sequence of int or None
        (planes, height, width) or (height, width) of a row.
    width : float
        Multiplies the channels of every layer; each keeps at least one.
    seed : int
        See `mcprune.models.layers.initialise`.

    Raises
    ------
    ConfigError
        A width that cannot be.
    ModelError
        Rows that are no images, or too small for the network.
    """
    fill, least = NETWORKS[name]
    if not 0 < width <= LARGEST_WIDTH:
        raise ConfigError(f"width={width} is no multiplier. Choose 0 < width <= {LARGEST_WIDTH:g}, such as 0.25.")
    shape = tuple(image_shape) if image_shape is not None else ()
    if len(shape) not in (2, 3) or math.prod(shape) != n_inputs:
        raise ModelError(
            f"{name} takes images, but the rows are {n_inputs} inputs "
            f"{f'of shape {shape}' if shape else 'without the shape of an image'}. "
            'Choose data with images, such as cifar-10, or model = "mlp".'
        )
    planes, height, breadth = shape if len(shape) == 3 else (1, *shape)
    if min(height, breadth) < least:
        others = [other for other, (_, side) in NETWORKS.items() if side <= min(height, breadth)]
        raise ModelError(
            f"{name} needs images of {least} x {least} or more, but {n_inputs} inputs are {planes} x {height} x {breadth}. "
            f"Choose data with larger images, such as cifar-10, or model = {' or '.join(map(repr, [*others, 'mlp']))}."
        )
    layers = _Layers()
    layers.named["image"] = nn.Unflatten(1, (planes, height, breadth))
    features = fill(layers, planes, (height, breadth), lambda channels: max(1, round(width * channels)))
    layers.named["flatten"] = nn.Flatten()
    layers.named["classes"] = nn.Linear(features, n_classes, device="meta")
    model = layers.sequential()
    initialise(allocate(model), seed)
    return model
