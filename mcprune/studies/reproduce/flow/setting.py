"""`reproduce flow`: how large it is, on which images, and what is not as in the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcprune.data.base import Dataset
from mcprune.data.parts.split import split
from mcprune.data.scale import fit_scaler
from mcprune.errors import ConfigError, DataError
from mcprune.models.networks import NETWORKS
from mcprune.random import Stream, generator
from mcprune.studies.base import Options
from mcprune.types import Float32Array, IntArray

RANDOM, MAGNITUDE, LOSS, WEIGHTED, GRASP, NORM = (
    "random", "magnitude", "loss", "loss-weighted", "grasp", "gradient-norm",
)  # fmt: skip
MEASURES = (RANDOM, MAGNITUDE, LOSS, WEIGHTED, GRASP, NORM)
FRACTIONS = (0.25, 0.5, 0.75)
# Of the paper: SGD with momentum, weight decay, the first rate, a tenth of it from each of these shares of the epochs on (80/40/40).
MOMENTUM, DECAY, RATE, FALLS = 0.9, 1e-4, 0.1, (0.5, 0.75)


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes
    ----------
    width : mapping of str to float
        Multiplier of the channels, by network.
    side : mapping of str to int
        Images are averaged down, or their pixels repeated, to so many pixels a side; a network that is not named takes them as they are.
    images, tests : int
        Training and test rows, as many of each class; 0: all.
    epochs, rounds, batch : int
        The first epoch is before the first round; then each round is followed by an epoch.
    score_rows, measure_rows : int
        Rows of the scores; training rows on which the loss around pruning is measured.
    floor : mapping of str to int
        Channels that each layer keeps at least, by network. MobileNet needs two: a depthwise convolution of one channel is an ordinary
        one, whose output would be channels of its own.
    augment : bool
        Training images are moved by up to 4 pixels and mirrored.
    """

    width: Mapping[str, float]
    side: Mapping[str, int]
    images: int
    tests: int
    epochs: int
    rounds: int
    batch: int
    score_rows: int
    measure_rows: int
    floor: Mapping[str, int]
    augment: bool


SCALES = {
    "quick": Scale(
        {"vgg13": 0.125, "mobilenet_v1": 0.25, "resnet56": 0.5}, {}, images=1000, tests=360, epochs=5, rounds=2, batch=32, score_rows=250,
        measure_rows=250, floor={"vgg13": 1, "mobilenet_v1": 2, "resnet56": 1}, augment=False,
    ),
    "small": Scale(
        {"vgg13": 0.125, "mobilenet_v1": 0.25, "resnet56": 0.5}, {"mobilenet_v1": 16, "resnet56": 16}, images=5000, tests=2000,
        epochs=12, rounds=2, batch=64, score_rows=1000, measure_rows=1000, floor={"vgg13": 1, "mobilenet_v1": 2, "resnet56": 1},
        augment=False,
    ),
    "paper": Scale(
        {name: 1.0 for name in NETWORKS}, {}, images=0, tests=0, epochs=160, rounds=5, batch=128, score_rows=2560, measure_rows=5000,
        floor={name: 4 for name in NETWORKS}, augment=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What is run: `scale` is a name of `SCALES`; `size` is what it stands for."""

    scale: str
    data: str
    networks: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    fractions: tuple[float, ...] = FRACTIONS
    device: str = "auto"
    threads: int = 1

    @property
    def size(self) -> Scale:
        """The numbers of the scale."""
        return SCALES[self.scale]

    def options(self, network: str) -> Options:
        """Return the options of a network's runs, by which a finished run is recognised."""
        size = self.size
        return {
            "data": self.data, "width": size.width[network], "side": size.side.get(network), "images": size.images, "tests": size.tests,
            "epochs": size.epochs, "rounds": size.rounds, "batch": size.batch, "score_rows": size.score_rows,
            "measure_rows": size.measure_rows, "floor": size.floor[network], "augment": size.augment, "rate": RATE,
        }  # fmt: skip

    def description(self) -> str:
        """Return what the setting is, and where it is not the paper's."""
        size = self.size
        widths = ", ".join(
            f"{name} at {size.width[name]:g} of its channels" + (f" on {side} x {side} pixels" if side else "")
            for name in self.networks
            for side in [size.side.get(name)]
        )
        images = f"{size.images:,} training and {size.tests:,} test images" if size.images else "all images"
        return (
            f"Scale {self.scale}: {self.data}, {images}, {widths}, seeds {', '.join(map(str, self.seeds))}. As in the paper: channels are "
            f"pruned early in training, one epoch before each of {size.rounds} rounds, by the fraction p / (k p + R (1 - p)) of what "
            f"is left; SGD with momentum {MOMENTUM:g} and weight decay {DECAY:g}, rates {RATE:g}, {RATE / 10:g}, {RATE / 100:g} for a half "
            f"and two quarters of {size.epochs} epochs; batches of {size.batch}; {size.score_rows:,} class-balanced rows for g and H g; "
            "logits divided by 200 for GraSP. Chosen here: the rounds, one ranking over all layers with at least "
            f"{', '.join(f'{size.floor[name]} ({name})' for name in self.networks)} left in each, channels cut out physically after each "
            "round (momentum starts again then), scores in evaluation mode (batch-norm by its running statistics)"
            + (", images moved by up to 4 pixels and mirrored." if size.augment else ", no augmentation.")
            + ("" if self.scale == "paper" else " The paper has full widths, all images, 160 epochs, batches of 128.")
        )


@dataclass(frozen=True)
class Unit:
    """A run: a network and a seed, unpruned (`measure` is "") or pruned by a measure to a fraction."""

    network: str
    seed: int
    measure: str = ""
    fraction: float = 0.0

    @property
    def name(self) -> str:
        """The name of its file."""
        tail = f"{self.measure}-{self.fraction:g}" if self.measure else "dense"
        return f"{self.network}-seed{self.seed}-{tail}"


def units(setting: Setting) -> list[Unit]:
    """Return every run; those of one network and seed follow each other, since they share their first epoch."""
    return [
        unit
        for network in setting.networks
        for seed in setting.seeds
        for unit in (
            Unit(network, seed),
            *(Unit(network, seed, measure, fraction) for fraction in setting.fractions for measure in MEASURES),
        )
    ]


@dataclass(frozen=True, eq=False)
class Rows:
    """Images as a network takes them: float32 (rows, N), int64 (rows,), and their shape (planes, height, width)."""

    x: Float32Array
    y: IntArray
    x_test: Float32Array
    y_test: IntArray
    shape: tuple[int, int, int]
    classes: int


def make_rows(dataset: Dataset, size: Scale, network: str) -> Rows:
    """Choose rows, the same for every seed, and bring their images to the network's size.

    Raises
    ------
    ConfigError
        A network that is not known.
    DataError
        The data are no square images, or cannot be brought to the size.
    """
    if network not in NETWORKS:
        raise ConfigError(f"there is no network {network!r} for images; the networks are {', '.join(NETWORKS)}")
    shape = dataset.image_shape
    if shape is None or shape[-1] != shape[-2]:
        raise DataError(
            f"{dataset.name}: the networks take square images, and its rows are "
            f"{'no images' if shape is None else f'of shape {shape}'}. Choose cifar-10, or digits with --quick."
        )
    parts = split(dataset, seed=0, validation=0.0, test=0.2)
    train = _balanced(parts.train, dataset.targets, size.images)
    test = _balanced(parts.test, dataset.targets, size.tests)
    scaler = fit_scaler(dataset, train, "auto")
    planes, old = (shape[0] if len(shape) == 3 else 1), shape[-1]
    side = size.side.get(network, max(old, NETWORKS[network][1]))
    x, x_test = (
        resized(scaler.apply(dataset.features[part]), planes, old, side, dataset.name) for part in (train, test)
    )
    y, y_test = (np.ascontiguousarray(dataset.targets[part]) for part in (train, test))
    return Rows(x, y, x_test, y_test, (planes, side, side), dataset.n_classes)


def resized(rows: Float32Array, planes: int, old: int, side: int, name: str = "the data") -> Float32Array:
    """Average square images down, or repeat their pixels, by a whole factor.

    Raises
    ------
    DataError
        The sides are no multiples of each other.
    """
    images = rows.reshape(-1, planes, old, old)
    if side > old and side % old == 0:
        images = images.repeat(side // old, axis=2).repeat(side // old, axis=3)
    elif old % side == 0:
        by = old // side
        images = images.reshape(-1, planes, side, by, side, by).mean(axis=(3, 5))
    else:
        raise DataError(
            f"{name}: images of {old} x {old} cannot be brought to {side} x {side} pixels by a whole factor; choose cifar-10 or digits"
        )
    return np.ascontiguousarray(images.reshape(len(rows), -1), np.float32)


def _balanced(rows: IntArray, targets: IntArray, count: int) -> IntArray:
    """Return so many of the rows, as many of each class as there are; all for 0."""
    if not count or count >= len(rows):
        return rows
    draw = generator(0, Stream.STUDY_SUBSET)
    order = draw.permutation(rows)
    place = np.empty(len(order), np.int64)
    for label in np.unique(targets[order]):
        mine = targets[order] == label
        place[mine] = np.arange(mine.sum())
    return np.sort(order[np.argsort(place, kind="stable")[:count]])


def check_networks(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, none twice.

    Raises
    ------
    ConfigError
        One is not known.
    """
    for name in names:
        if name not in NETWORKS:
            raise ConfigError(f"there is no network {name!r} for images; the networks are {', '.join(NETWORKS)}")
    return tuple(dict.fromkeys(names))
