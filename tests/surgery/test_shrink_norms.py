"""Channels and units through normalisations over all of them: dropped ones count as 0 there, before the cut and after."""

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.errors import ModelError
from mcprune.models.narrow.norms import NarrowNorm
from mcprune.sites.channels.groups import channel_groups
from mcprune.sites.costs.count import model_costs
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink


class Blocks(nn.Module):
    """Convolutions with GroupNorm in a residual block, a LayerNorm of what the pool leaves."""

    rows, kinds = (2, 6, 6), "channels"

    def __init__(self):
        super().__init__()
        self.stem, self.norm1 = nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(3, 6)
        self.inner, self.norm2 = nn.Conv2d(6, 4, 1), nn.GroupNorm(1, 4)
        self.outer, self.norm3 = nn.Conv2d(4, 6, 1, bias=False), nn.GroupNorm(2, 6)
        self.last_norm, self.head = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.norm1(self.stem(x)))
        x = torch.relu(x + self.norm3(self.outer(torch.relu(self.norm2(self.inner(x))))))
        return self.head(self.last_norm(x.mean((2, 3))))


class Rows(nn.Module):
    """A perceptron with a LayerNorm and an RMSNorm."""

    rows, kinds = (8,), "units"

    def __init__(self):
        super().__init__()
        self.one, self.norm1 = nn.Linear(8, 7), nn.LayerNorm(7)
        self.two, self.norm2 = nn.Linear(7, 5), nn.RMSNorm(5)
        self.three, self.head = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.nn.functional.gelu(self.norm1(self.one(x)))
        return self.head(torch.relu(self.three(torch.tanh(self.norm2(self.two(x))))))


def chain():
    return nn.Sequential(nn.Linear(8, 7), nn.Sigmoid(), nn.LayerNorm(7), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))


def lively(make):
    torch.manual_seed(0)
    model = make()
    for layer in model.modules():
        if isinstance(layer, nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -0.5, 1.5)
    return model.double().eval()


NETS = {"blocks": (Blocks, (2, 6, 6), "channels"), "rows": (Rows, (8,), "units"), "chain": (chain, (8,), "units")}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("with_inputs", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_cut_network_gives_what_the_masked_one_gives(name, with_inputs, seed):
    make, rows, kinds = NETS[name]
    model = lively(make)
    sites = site_map(model, f"inputs,{kinds}" if with_inputs else kinds, int(np.prod(rows)), input_shape=rows)
    mask = np.random.default_rng(seed).random(sites.size) < 0.6
    for group in sites.groups:
        mask[group.start] = True
    small = shrink(model, sites, mask, input_shape=rows)
    x = torch.randn(9, *rows, dtype=torch.float64)
    kept = x.flatten(1)[:, torch.from_numpy(mask[: sites.inputs.size])] if with_inputs else x
    with torch.no_grad():
        expected = GatedModel(model, sites)(x, torch.from_numpy(mask).double())
        torch.testing.assert_close(small(kept), expected, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(model(x), expected, atol=1e-3)  # the control
    numbers = sum(p.numel() for p in small.parameters())
    assert numbers < sum(p.numel() for p in model.parameters())
    costs = [model_costs(model, sites, unit, input_shape=rows).of_mask(mask) for unit in ("parameters",)]
    assert costs == [numbers]


def test_what_belongs_together():
    groups = {group.layer: group for group in channel_groups(lively(Blocks), (2, 6, 6))}
    stem = groups["stem"]
    assert stem.parts == ("stem", "norm1", "outer", "norm3", "last_norm")
    assert stem.norms == ("norm1", "norm3", "last_norm")
    assert stem.gated == ("stem", "norm1", "outer", "norm3", "last_norm")
    assert groups["inner"].gated == ("inner", "norm2")
    sites = site_map(lively(Rows), "units", 8)
    assert [group.places for group in sites.groups] == [("one", "norm1"), ("two", "norm2"), ("three",)]


def test_whole_groups_leave_a_plain_normalisation():
    model = lively(lambda: nn.Sequential(nn.Conv1d(2, 6, 3), nn.GroupNorm(3, 6), nn.Conv1d(6, 2, 3), nn.Flatten()))
    sites = site_map(model, "channels:0", 16, input_shape=(2, 8))
    small = shrink(model, sites, np.array([1, 1, 0, 0, 1, 1], bool), input_shape=(2, 8))
    assert type(small[1]) is nn.GroupNorm
    assert small[1].num_groups == 2
    part = shrink(model, sites, np.array([1, 1, 0, 1, 1, 1], bool), input_shape=(2, 8))
    assert isinstance(part[1], NarrowNorm)


@pytest.mark.parametrize(
    ("norm", "words"),
    [
        (nn.LayerNorm([4, 8]), r"layer '1' \(LayerNorm\) normalises over more than the channels of a row"),
        (nn.LayerNorm(8), r"layer '1' \(LayerNorm\) normalises over more than"),
        (nn.RMSNorm(8), r"layer '1' \(RMSNorm\) normalises over more than"),
    ],
)
def test_what_normalises_over_places_is_refused_by_name(norm, words):
    model = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), norm, nn.Conv1d(4, 2, 3), nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ModelError, match=words):
        site_map(model, "channels", 16, input_shape=(2, 8))


def test_a_run_through_a_normalisation_is_loaded_again_without_code(tmp_path):
    x = np.random.default_rng(0).normal(size=(160, 8)).astype(np.float32)
    y = np.digitize(x[:, 0] + x[:, 1], [-0.7, 0.7])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 7), nn.LayerNorm(7), nn.ReLU(), nn.Linear(7, 3))
    result = mcprune.prune(
        x,
        y,
        model=model,
        sites="units",
        keep=4,
        epochs=2,
        retrain_epochs=1,
        compare="no",
        threads=1,
        out=str(tmp_path / "run"),
    )
    assert isinstance(result.model.model[1], NarrowNorm)
    again = mcprune.load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict_proba(x), result.model.predict_proba(x))
