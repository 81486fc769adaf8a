"""What `inspect` says that a site saves is what shrinking without it saves."""

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.errors import ConfigError, ModelError
from mcprune.exporters.footprint import macs
from mcprune.models.registry import build
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink

SHAPE = (3, 8, 8)


class Odd(nn.Module):
    """Two convolutions, their product, and a head: the product ties nothing that can be dropped."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.free = nn.Conv2d(4, 5, 1)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        maps = torch.relu(self.free(self.one(x) * self.two(x)))
        return self.head(maps.mean((2, 3)))


def numbers(model):
    return sum(parameter.numel() for parameter in model.parameters())


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
