"""What `inspect` says that a site saves is what shrinking without it saves."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays
from mcprune.errors import ConfigError, ModelError
from mcprune.exporters.footprint import macs
from mcprune.models.flops import multiply_accumulates
from mcprune.models.registry import build
from mcprune.session.build.planner import make_plan
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink

SHAPE = (3, 8, 8)


class Odd(nn.Module):
    """Two convolutions, their maximum, and a head: the maximum ties nothing that can be dropped."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.free = nn.Conv2d(4, 5, 1)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        maps = torch.relu(self.free(torch.maximum(self.one(x), self.two(x))))
        return self.head(maps.mean((2, 3)))


def numbers(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        (build("mlp", 12, 3, (7, 5), seed=1), ("inputs", "units")),
        (build("mobilenet_v1", 192, 4, width=0.125, image_shape=SHAPE), ("channels",)),
        (build("resnet56", 192, 4, width=0.125, image_shape=SHAPE), ("channels",)),
    ],
    ids=["mlp", "mobilenet", "resnet"],
)
def test_a_site_saves_what_the_model_without_it_lacks(model, kinds):
    width = 12 if "units" in kinds else 192
    found = mcprune.inspect(model, (width,))
    assert (found.parameters, found.macs) == (numbers(model), macs(model, width))
    places = [place for place in found.places if place.kind in kinds and not place.blocked]
    # A layer of one channel cannot lose it.
    places = [place for place in places if place.sites > 1]
    for place in (places[0], places[len(places) // 2], places[-1]):
        name = place.kind if place.kind == "inputs" else f"{place.kind}:{place.layer}"
        sites = site_map(model, name, width)
        mask = np.arange(sites.size) > 0
        small = shrink(model, sites, mask, input_shape=(width,))
        left = width - (place.kind == "inputs")
        assert found.parameters - numbers(small) == place.parameters, place
        assert found.macs - macs(small, left) == place.macs, place


def test_what_cannot_be_dropped_says_why_and_what_cannot_be_run_is_refused():
    found = mcprune.inspect(Odd(), np.zeros((1, *SHAPE), np.float32))
    states = {place.layer: place for place in found.places if place.kind == "channels"}
    assert states["free"].blocked == "" or "mean" in states["free"].blocked
    assert states["one"].blocked
    assert states["one"].parameters is None
    assert f"no: {states['one'].blocked}"[:40] in str(found)
    assert "<td>channels</td>" in found._repr_html_()
    with pytest.raises(ModelError, match="could not be run"):
        mcprune.inspect(Odd(), (1, 8, 8))
    with pytest.raises(ConfigError, match="holds no rows"):
        mcprune.inspect(Odd(), ())
    with pytest.raises(ConfigError, match=r"nn\.Module"):
        mcprune.inspect("mlp", (3,))


def test_the_command_prints_the_table(capsys):
    from mcprune.cli.main import main

    assert main(["inspect", "--hidden", "8"]) == 0
    told = capsys.readouterr().out
    assert "MLP: 610 parameters, 592 multiply-accumulates a row" in told
    assert main(["inspect", "--model", "vgg13"]) == 2


class Hidden(nn.Module):
    """A module whose layers are one deeper, so that what a unit costs is not known."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, rows):
        return self.inner(rows)


def test_what_a_run_left_is_seen_through_and_reasons_are_whole():
    small = mcprune.prune("wine", keep=5, epochs=2, hidden=(6, 4), retrain_epochs=1, threads=1).model
    found = mcprune.inspect(small, (5,))
    assert found.rows() == mcprune.inspect(small.model, (5,)).rows()
    assert not any(place.blocked for place in found.places)
    reasons = [why for *_, why in mcprune.inspect(Hidden(Hidden(small.model)), (5,)).rows() if why.startswith("no: ")]
    assert reasons
    assert all(why.endswith(".") for why in reasons)


class SmallCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(96, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.conv1(x.view(-1, 1, 4, 4)))
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 1).flatten(1)
        return self.fc2(torch.relu(self.fc1(x)))


class HeadFirst(nn.Module):
    """The layer of the outputs is registered first, and a layer that never runs last."""

    def __init__(self):
        super().__init__()
        self.head, self.body, self.idle = nn.Linear(7, 3), nn.Linear(16, 7), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


class Normed(nn.Module):
    def __init__(self, norm=None):
        super().__init__()
        self.one, self.norm = nn.Linear(16, 6), norm or nn.LayerNorm(6)
        self.two, self.three = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.three(torch.relu(self.two(self.norm(self.one(x)))))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0)
        self.embed, self.encoder, self.head = nn.Linear(4, 8), nn.TransformerEncoder(layer, 1), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x.view(-1, 4, 4))).mean(dim=1))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(16, 16), nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(torch.relu(self.two(torch.relu(self.one(torch.relu(self.one(x)))))))


MODELS = {
    "cnn": SmallCnn,
    "head first": HeadFirst,
    "normed": Normed,
    "mixed": lambda: Normed(nn.Softmax(dim=1)),
    "attention": Attention,
    "shared": Shared,
    "sigmoid": lambda: nn.Sequential(nn.Linear(16, 6), nn.Sigmoid(), nn.Linear(6, 3)),
    "one layer": lambda: nn.Linear(16, 3),
    "grouped": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_what_is_listed_is_what_a_run_takes(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    draw = np.random.default_rng(0)
    data = from_arrays(draw.normal(size=(60, 16)), np.arange(60) % 3)
    found = mcprune.inspect(model, (16,))
    assert found.macs == multiply_accumulates(model, (16,))
    taken = {}
    for place in found.places:
        sites = place.kind if not place.layer else f"{place.kind}:{place.layer}"
        try:
            make_plan(make_config(sites=sites, keep=1, train_ranks="each"), data, copy.deepcopy(model))
            taken[sites] = True
        except ModelError:
            taken[sites] = False
        assert taken[sites] == (not place.blocked), (sites, place.blocked)
        if not place.blocked and place.macs is not None and place.sites > 1 and place.kind in ("units", "channels"):
            mask = np.arange(place.sites) > 0
            small = shrink(model, site_map(model, sites, 16), mask, input_shape=(16,))
            assert found.macs - multiply_accumulates(small, (16,)) == place.macs
            assert found.parameters - numbers(small) == place.parameters
    listed = {place.layer for place in found.places if place.kind == "units"}
    expected = {
        "cnn": {"fc1"},
        "head first": {"body", "idle"},
        "normed": {"one", "two"},
        "mixed": {"one", "two"},
        "one layer": set(),
    }
    assert listed == expected.get(name, listed)
    refused = {place.layer for place in found.places if place.kind == "units" and place.blocked}
    blocked = {"mixed": {"one"}, "head first": {"idle"}, "shared": {"one"}, "attention": listed}
    assert refused == blocked.get(name, set())


def test_the_size_in_firmware_is_part_of_it_for_perceptrons_alone():
    perceptron = mcprune.inspect(build("mlp", 6, 3, (5,)), (6,))
    assert [row.name for row in perceptron.firmware] == ["6 x 5", "5 x 3"]
    assert "in firmware: weights rounded to 8 bits" in str(perceptron)
    assert "in firmware" in perceptron._repr_html_()
    other = mcprune.inspect(build("mlp", 6, 3, (5,), activation="tanh"), (6,))
    assert other.firmware == ()
    assert "in firmware" not in str(other) + other._repr_html_()
