"""Channels: the groups that are found, and networks that are cut physically and give the masked one's outputs."""

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from mcprune.errors import ConfigError, ModelError
from mcprune.models.networks import NETWORKS, Residual
from mcprune.models.registry import build, describe, from_description
from mcprune.sites.channels.groups import channel_groups
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.surgery import shrink_channels as shrinking
from mcprune.surgery.shrink import shrink

# Small images and narrow nets, so that a mask is judged in milliseconds; widths differ from layer to layer.
SMALL = {
    "vgg13": ((2, 32, 32), 0.04),
    "mobilenet_v1": ((3, 8, 8), 0.06),
    "resnet56": ((3, 8, 8), 0.2),
}


def lively(model, seed=0):
    """The model with batch-norms that shift and scale: fresh ones would hide a forgotten slice behind zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            for tensor in (layer.bias.data, layer.running_mean):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.4)
    return model.double().eval()


class Net:
    """A network, its sites, rows, and the comparison of masked and cut."""

    def __init__(self, model, rows, kinds="channels"):
        self.model, self.rows = lively(model), rows
        self.inputs = int(np.prod(rows))
        self.sites = site_map(self.model, kinds, self.inputs, input_shape=rows)
        self.gated = GatedModel(self.model, self.sites)
        self.x = torch.rand(5, *rows, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def at_least_one(self, mask):
        mask = np.asarray(mask, bool).copy()
        for group in self.sites.groups:
            if not mask[group.start : group.stop].any():
                mask[group.start] = True
        return mask

    def difference(self, mask):
        small = shrink(self.model, self.sites, mask, input_shape=self.rows)
        with torch.no_grad():
            wanted = self.gated(self.x, self.gated.hard_gates(mask))
            kept = self.x
            if self.sites.inputs is not None:
                kept = self.x.flatten(1)[:, torch.from_numpy(mask[: self.sites.inputs.size])]
            met = small(kept)
        return float((wanted - met).abs().max() / wanted.abs().max().clamp(min=1.0)), small


@pytest.fixture(scope="module")
def nets():
    found = {}
    for name, (shape, width) in SMALL.items():
        inputs = int(np.prod(shape))
        found[name] = Net(build(name, inputs, 4, image_shape=shape, width=width), (inputs,))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_cut_networks_give_the_masked_outputs(nets, name):
    net, draw = nets[name], np.random.default_rng(0)
    size = net.sites.size
    alone = net.at_least_one(np.zeros(size, bool))
    all_but_one = ~alone
    masks = [np.ones(size, bool), alone, net.at_least_one(all_but_one)]
    masks += [net.at_least_one(draw.random(size) < share) for share in (0.2, 0.5, 0.9)]
    before = {key: tensor.clone() for key, tensor in net.model.state_dict().items()}
    for mask in masks:
        away, small = net.difference(mask)
        assert away < 1e-10
        again = from_description(json.loads(json.dumps(describe(small))))
        again.load_state_dict(small.state_dict())
        with torch.no_grad():
            assert torch.equal(again.eval()(net.x), small(net.x))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_mask_that_empties_no_layer_is_cut(nets, name, data):
    net = nets[name]
    bits = data.draw(st.binary(min_size=net.sites.size, max_size=net.sites.size))
    away, _ = net.difference(net.at_least_one(np.frombuffer(bits, np.uint8) % 2 == 0))
    assert away < 1e-10


def test_the_groups_of_the_three_networks(nets):
    plain = {name: net.sites.groups for name, net in nets.items()}
    assert [group.layer for group in plain["vgg13"]] == [f"conv{i}" for i in range(1, 11)]
    assert plain["vgg13"][3].parts == ("conv4", "bn4")
    assert plain["vgg13"][3].gated == ("bn4",)
    # A depthwise convolution has the channels of the layer before it.
    assert plain["mobilenet_v1"][1].parts == ("conv1_point", "bn1_point", "conv2_depth", "bn2_depth")
    assert plain["mobilenet_v1"][1].gated == ("bn2_depth",)
    assert len(plain["mobilenet_v1"]) == 14
    # Three stages whose sums tie all their blocks, and the inner channels of 27 blocks.
    assert len(plain["resnet56"]) == 3 + 27
    stem = plain["resnet56"][0]
    assert stem.parts[:4] == ("conv0", "bn0", "block1.body.conv2", "block1.body.bn2")
    assert stem.gated == ("bn0", *(f"block{i}.body.bn2" for i in range(1, 10)))
    second = next(group for group in plain["resnet56"] if "block10.shortcut.conv" in group.parts)
    assert {"block10.body.conv2", "block10.shortcut.bn", "block18.body.bn2"} <= set(second.parts)


@pytest.mark.parametrize("name", ["mobilenet_v1", "resnet56"])
def test_forgetting_a_tied_layer_is_noticed(nets, name, monkeypatch):
    net = nets[name]
    mask = net.at_least_one(np.random.default_rng(2).random(net.sites.size) < 0.5)
    whole = shrinking.cut

    def forgetful(model, groups):
        """The last layer of each group that is tied keeps the first channels in place of the kept ones."""
        wrong = [(group, torch.arange(kept.numel())) for group, kept in groups if len(group.parts) > 2]
        other = copy.deepcopy(model)
        whole(other, wrong + [pair for pair in groups if len(pair[0].parts) <= 2])
        whole(model, groups)
        for group, _ in wrong:
            model.get_submodule(group.parts[-1]).weight = other.get_submodule(group.parts[-1]).weight

    monkeypatch.setattr(shrinking, "cut", forgetful)
    with pytest.raises(ModelError, match="was built and gives outputs that differ"):
        shrink(net.model, net.sites, mask, input_shape=net.rows)


def test_a_layer_without_a_channel_is_refused_by_name(nets):
    net = nets["resnet56"]
    mask = np.ones(net.sites.size, bool)
    group = net.sites.groups[4]
    mask[group.start : group.stop] = False
    with pytest.raises(ConfigError, match=f"none of the {group.size} channels of layer '{group.layer}'"):
        shrink(net.model, net.sites, mask, input_shape=net.rows)


def test_gates_of_each_row_are_those_of_one_row_at_a_time(nets):
    net = nets["resnet56"]
    gates = torch.rand(5, net.sites.size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        together = net.gated(net.x, gates)
        alone = torch.cat([net.gated(net.x[i : i + 1], gates[i]) for i in range(5)])
        ones = net.gated(net.x, torch.ones(net.sites.size))
        assert torch.equal(ones, net.model(net.x))
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


class Own(nn.Module):
    """A user's own network: functions, a sum of three, two readers of one group, maps that are flattened into a Linear."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(1, 5, 3, padding=1)
        self.two = nn.Conv2d(5, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.three = nn.Conv2d(5, 6, 1)
        self.depth = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.slope = nn.PReLU(6)
        self.four = nn.Conv2d(6, 6, 3, padding=1)
        self.hidden = nn.Linear(6 * 2 * 2, 7)
        self.out = nn.Linear(7, 3)

    def forward(self, x):
        x = functional.relu(self.one(x))
        x = self.norm(self.two(x)) + functional.max_pool2d(self.three(x), 1)
        x = x + functional.leaky_relu(self.slope(self.depth(x)))
        x = functional.avg_pool2d(functional.gelu(self.four(x)), 4)
        x = x.view(x.size(0), -1)
        return self.out(functional.dropout(functional.relu(self.hidden(x)), 0.5, self.training))


def test_a_network_of_the_users_own(tmp_path):
    torch.manual_seed(0)
    net = Net(Own(), (1, 8, 8), "inputs,units,channels")
    channels = net.sites.channels
    assert [group.layer for group in channels] == ["one", "two", "four"]
    # The sum itself is read, and what it adds sets the channels: both sides, and the depthwise branch behind it.
    assert channels[1].parts == ("two", "norm", "three", "depth", "slope")
    assert channels[1].gated == ("norm", "three", "depth")
    draw = np.random.default_rng(1)
    for _ in range(6):
        away, small = net.difference(net.at_least_one(draw.random(net.sites.size) < 0.6))
        assert away < 1e-10
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.model.parameters())


def test_finding_groups_leaves_the_model_and_the_random_state_alone():
    model = Own().train()
    state = torch.get_rng_state()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    site_map(model, "channels", 64, input_shape=(1, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def plain(*middle, planes=4):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), *middle, nn.Conv2d(planes, 2, 3), nn.Flatten(), nn.LazyLinear(3)
    )


class Sigmoids(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.sigmoid(self.first(x)).mean((2, 3)))


class Batches(Sigmoids):
    def forward(self, x):
        return self.last(torch.softmax(self.first(x), 1).mean((2, 3)))


class Squeeze(Sigmoids):
    """A product with a function of itself: 0 where either factor is."""

    def forward(self, x):
        x = self.first(x)
        return self.last((x * torch.sigmoid(x.mean((2, 3), keepdim=True))).mean((2, 3)))


class Cells(nn.Module):
    """Every way of channels besides convolutions: a U-Net's skip, a transposed convolution, numbers, a module's sigmoid."""

    def __init__(self):
        super().__init__()
        self.down, self.inner = nn.Conv2d(1, 4, 2, stride=2), nn.Conv2d(4, 5, 3, padding=1)
        self.up, self.gate = nn.ConvTranspose2d(5, 4, 2, stride=2), nn.Sigmoid()
        self.side, self.mix = nn.Conv2d(1, 3, 1), nn.Conv2d(11, 6, 1)
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        side = self.side(x) * 0.5
        up = self.gate(self.up(torch.relu(self.inner(self.down(x))) / 2))
        mixed = torch.relu(self.mix(torch.cat((up, side, up), dim=1)))
        return self.last(mixed.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1))


@pytest.mark.parametrize(("make", "layers"), [(Squeeze, ["first"]), (Cells, ["side", "down", "inner", "up", "mix"])])
def test_products_concatenations_and_sigmoids(make, layers):
    torch.manual_seed(0)
    net = Net(make(), (1, 8, 8))
    assert [group.layer for group in net.sites.channels] == layers
    draw = np.random.default_rng(1)
    for _ in range(6):
        mask = draw.random(net.sites.size) < 0.6
        mask[[group.stop - 1 for group in net.sites.groups]] = False
        away, small = net.difference(net.at_least_one(mask))
        assert away < 1e-10
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.model.parameters())


def test_a_module_sigmoid_of_two_calls_is_refused():
    """A hook at it would gate both calls."""

    class Shared(Cells):
        def forward(self, x):
            up = self.gate(self.up(self.inner(self.down(x))))
            mixed = self.mix(torch.cat([up, x, x, x, x, x, x, x], dim=1))
            return self.last(self.gate(mixed).mean((2, 3)))

    with pytest.raises(ModelError, match=r"layer 'gate' \(Sigmoid\) makes something of a dropped channel's 0"):
        site_map(Shared(), "channels", 64, input_shape=(1, 8, 8))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.again(self.again(self.first(x))).mean((2, 3)))


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(64, 2)

    def forward(self, x):
        return self.last((x + self.first(x)).flatten(1))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        x = self.first(x)
        return self.last(x.mean((2, 3)) if x.sum() > 0 else -x.mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (plain(nn.LocalResponseNorm(2)), r"layer '0' cannot be sites: layer '1' \(LocalResponseNorm\)"),
        (Sigmoids(), "the operation 'sigmoid' makes something of a dropped channel's 0"),
        (plain(nn.Conv2d(4, 4, 3, groups=2)), "layer '1' convolves in 2 groups"),
        (plain(nn.PixelShuffle(2), planes=1), "PixelShuffle"),
        (Batches(), "layer 'first' cannot be sites: the operation 'softmax'"),
        (Twice(), "layer 'again' is used in more than one place"),
        (Image(), "layer 'first' cannot be sites: .* the rows' own"),
        (Branching(), "the forward pass of Branching cannot be followed"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), "no convolution whose channels another layer reads"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(model, words):
    with torch.no_grad():
        model(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ModelError, match=words):
        site_map(model, "channels", 64, input_shape=(1, 8, 8))


@pytest.mark.slow
def test_groups_can_be_named_by_any_of_their_layers(nets):
    model = nets["resnet56"].model
    inputs = nets["resnet56"].inputs
    named = site_map(model, "channels:block2.body.conv2,block12.body.conv1", inputs)
    assert [group.layer for group in named.groups] == ["conv0", "block12.body.conv1"]
    with pytest.raises(ModelError, match="'pool' is a AdaptiveAvgPool2d"):
        site_map(model, "channels:pool", inputs)
    with pytest.raises(ModelError, match=r"'conv9' does not exist in Sequential.*Choose among conv0, block1"):
        site_map(model, "channels:conv9", inputs)


def test_a_blocked_group_does_not_block_the_others():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.LocalResponseNorm(2), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 2)
    )
    assert [bool(group.blocked) for group in channel_groups(model, (1, 8, 8)) if group.kind == "channels"] == [
        True,
        False,
    ]
    sites = site_map(model, "channels:2", 64, input_shape=(1, 8, 8))
    small = shrink(model, sites, np.array([True, False, True]), input_shape=(1, 8, 8))
    assert small[2].out_channels == 2
    assert small[5].in_features == 128


def test_a_hook_or_a_changed_network_is_refused():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
    model = nn.Sequential(nn.Conv2d(1, 4, 1), Residual(body, nn.Identity()), nn.Flatten(), nn.Linear(256, 2))
    sites = site_map(model, "channels", 64, input_shape=(1, 8, 8))
    mask = np.array([True, True, False, True])
    shrink(model, sites, mask, input_shape=(1, 8, 8))
    handle = body[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="hooks of its own"):
        shrink(model, sites, mask, input_shape=(1, 8, 8))
    handle.remove()
    model[1].shortcut = nn.Sequential(nn.Conv2d(4, 4, 1))
    with pytest.raises(ModelError, match="Make the sites again"):
        shrink(model, sites, mask, input_shape=(1, 8, 8))
