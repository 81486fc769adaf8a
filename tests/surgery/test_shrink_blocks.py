"""Heads, neurons and sub-blocks that are cut out: the outputs are those of the masked network."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.attention import NarrowAttention, PlainAttention, Skipped
from mcprune.models.flops import multiply_accumulates
from mcprune.sites.costs.count import model_costs
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink
from mcprune.surgery.trial import cuttable_sites, require_cuttable
from tests.shared.transformers_nets import NETS, Block, OwnNet, Separate, TorchNet, plain_forward
from tests.sites.test_block_gates import KINDS, drawn, every_net, rows


@pytest.mark.slow
@every_net
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_cut_network_gives_what_the_masked_one_gives(make, kinds, seed):
    net = make().double().eval()
    sites = site_map(net, kinds, 64)
    mask = drawn(sites, seed)
    small = shrink(net, sites, mask, input_shape=(64,))
    with torch.no_grad():
        torch.testing.assert_close(small(rows()), GatedModel(net, sites)(rows(), torch.from_numpy(mask)))
    before, after = (sum(p.numel() for p in each.parameters()) for each in (net, small))
    assert after < before or mask.all()
    assert not {id(p) for p in net.parameters()} & {id(p) for p in small.parameters()}


@every_net
def test_the_cut_network_can_be_trained(make):
    net = make()
    sites = site_map(net, "heads,neurons", 64)
    small = shrink(net, sites, drawn(sites), input_shape=(64,)).train()
    small(rows().float()).square().sum().backward()
    assert all(p.grad is not None for p in small.parameters())


@every_net
def test_frozen_parameters_stay_frozen(make):
    net = make().requires_grad_(False)
    sites = site_map(net, "heads,neurons", 64)
    assert not any(p.requires_grad for p in shrink(net, sites, drawn(sites), input_shape=(64,)).parameters())


def test_what_the_parts_become():
    net = TorchNet()
    sites = site_map(net, "heads,neurons,blocks", 64)
    mask = np.ones(sites.size, bool)
    names = sites.names()
    for name in (
        "encoder.layers.0.self_attn[2]",
        "encoder.layers.0.linear1[5]",
        "encoder.layers.1.self_attn",
        "encoder.layers.1.linear1",
    ):
        mask[names.index(name)] = False
    first, second = shrink(net, sites, mask, input_shape=(64,)).encoder.layers
    assert isinstance(first.self_attn, NarrowAttention)
    assert first.self_attn.heads == (0, 1, 3)
    assert first.linear1.out_features == first.linear2.in_features == 23
    assert isinstance(second.self_attn, Skipped)
    assert isinstance(second.linear1, nn.Identity)


def test_code_that_fixes_the_number_of_features_gets_a_plain_attention():
    for name in ("rigid", "fused, causal"):
        net = NETS[name]().eval()
        sites = site_map(net, "heads", 64)
        mask = np.ones(sites.size, bool)
        mask[0] = False
        small = shrink(net, sites, mask, input_shape=(64,))
        assert isinstance(small.blocks[0].attn, PlainAttention)
        assert small.blocks[0].attn.is_causal == (name != "rigid")


def test_padding_masks_reach_the_cut_encoder():
    class Padded(TorchNet):
        def forward(self, x):
            tokens = self.embed(x.unflatten(1, (8, 8))) + self.place
            padding = torch.zeros(len(x), 8, dtype=torch.bool)
            padding[:, 6:] = True
            return self.head(self.encoder(tokens, src_key_padding_mask=padding)[:, :6].mean(dim=1))

    net = Padded().eval()
    for kinds in KINDS:
        sites = site_map(net, kinds, 64)
        mask = drawn(sites, 1)
        small = shrink(net, sites, mask, input_shape=(64,))
        with torch.no_grad():
            x = rows().float()
            torch.testing.assert_close(small(x), GatedModel(net, sites)(x, torch.from_numpy(mask)))


def test_a_layer_without_heads_is_refused():
    net = TorchNet()
    sites = site_map(net, "heads", 64)
    mask = np.arange(8) >= 4
    with pytest.raises(ConfigError, match=r"none of the 4 heads of 'encoder\.layers\.0\.self_attn'.*sites='blocks'"):
        shrink(net, sites, mask, input_shape=(64,))


def test_an_attention_that_does_more_is_refused_by_name():
    class Scaled(Separate):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(16))

        def forward(self, x):
            q = self.q_proj(x) * self.scale
            return self.o_proj(q * torch.sigmoid(self.v_proj(x)))

    net = OwnNet(Block(Scaled(), plain_forward()), Block(Separate(), plain_forward()))
    sites = site_map(net, "heads", 64)
    with pytest.raises(
        ModelError, match=r"The heads of 'blocks\.0\.attn' cannot be cut out of OwnNet: .*Leave that layer out"
    ):
        require_cuttable(net, sites, (64,))
    kinds, note = cuttable_sites(net, "heads", (64,))
    assert kinds == "heads:blocks.1.attn"
    assert "the heads of blocks.0.attn are left out, since they cannot be cut" in note


@every_net
def test_neurons_in_rows(make):
    net = make().double().eval()
    sites = site_map(net, "blocks,neurons/8", 64)
    neurons = [group for group in sites.groups if group.kind == "neurons"]
    assert {group.size for group in neurons} == {3}
    assert [group.kind for group in sites.groups] == sorted((group.kind for group in sites.groups), reverse=True)
    mask = np.ones(sites.size, bool)
    mask[[0, 4][: len(neurons)]] = False
    small = shrink(net, sites, mask, input_shape=(64,))
    with torch.no_grad():
        torch.testing.assert_close(small(rows()), GatedModel(net, sites)(rows(), torch.from_numpy(mask)))
    name = neurons[0].block.out
    assert small.get_submodule(name).in_features == net.get_submodule(name).in_features - 8
    with pytest.raises(ModelError, match=r"has 24 neurons, which is no multiple of 16\. Choose sites = \"neurons/12\""):
        site_map(net, "neurons/16", 64)


def test_what_knows_no_float64_is_compared_as_it_is():
    class Single(Separate):
        def forward(self, x):
            if x.dtype != torch.float32:
                raise RuntimeError("float32 only")
            return super().forward(x)

    net = OwnNet(Block(Single(), plain_forward())).eval()
    sites = site_map(net, "heads,blocks", 64)
    for mask in (np.array([1, 0, 1, 1, 1, 1], bool), np.array([1, 0, 1, 1, 1, 0], bool)):
        small = shrink(net, sites, mask, input_shape=(64,))
        with torch.no_grad():
            x = rows().float()
            torch.testing.assert_close(small(x), GatedModel(net, sites)(x, torch.from_numpy(mask)))


def test_a_configuration_is_not_shared_with_the_whole_network():
    net = NETS["configured"]().eval()
    sites = site_map(net, "heads", 64)
    small = shrink(net, sites, np.array([True, False]), input_shape=(64,))
    assert vars(small.blocks[0].attn.config) == {"num_attention_heads": 2, "num_key_value_heads": 1}
    assert vars(net.blocks[0].attn.config) == {"num_attention_heads": 4, "num_key_value_heads": 2}


def test_inputs_beside_heads():
    net = TorchNet().double().eval()
    sites = site_map(net, "inputs,heads", 64)
    mask = drawn(sites)
    small = shrink(net, sites, mask, input_shape=(64,))
    kept = rows()[:, mask[:64]]
    with torch.no_grad():
        torch.testing.assert_close(small(kept), GatedModel(net, sites)(rows(), torch.from_numpy(mask)))


def test_tokens_in_place_of_numbers():
    class Tokens(OwnNet):
        def __init__(self):
            super().__init__(Block(Separate(), plain_forward()))
            self.embed = nn.Embedding(5, 16)

        def forward(self, x):
            tokens = self.embed(x.long())
            for block in self.blocks:
                tokens = block(tokens)
            return self.head(tokens.mean(dim=1))

    net = Tokens().eval()
    sites = site_map(net, "heads,neurons", 6)
    small = shrink(net, sites, drawn(sites), input_shape=(6,))
    assert small(torch.ones(2, 6)).shape == (2, 10)


def test_a_plain_attention_does_not_stand_for_one_with_more_numbers_or_arguments():
    class Shifted(Separate):
        def __init__(self):
            super().__init__(is_rigid=True)
            self.shift = nn.Parameter(torch.zeros(16))  # without effect until it is trained

        def forward(self, x):
            return super().forward(x) + self.shift

    class Masked(Separate):
        def __init__(self):
            super().__init__(is_rigid=True)

        def forward(self, x, mask=None):
            return super().forward(x if mask is None else x * mask)

    class WithMask(Block):
        def forward(self, x):
            x = x + self.attn(self.norm1(x), mask=torch.ones(()))
            return x + self.mlp(self.norm2(x))

    for block in (Block(Shifted(), plain_forward()), WithMask(Masked(), plain_forward())):
        net = OwnNet(block)
        with pytest.raises(
            ModelError, match=r"heads of 'blocks\.0\.attn' cannot be cut out of OwnNet: the smaller model cannot be run"
        ):
            require_cuttable(net, site_map(net, "heads", 64), (64,))


@pytest.mark.parametrize("kinds", KINDS)
def test_a_decoder_that_reads_another_sequence(kinds):
    class Decoded(TorchNet):
        def __init__(self):
            super().__init__(layers=1)
            layer = nn.TransformerDecoderLayer(16, 4, 24, 0.0, batch_first=True)
            self.decoder = nn.TransformerDecoder(layer, 1)

        def forward(self, x):
            tokens = self.embed(x.unflatten(1, (8, 8))) + self.place
            mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=x.dtype)
            return self.head(self.decoder(tokens[:, :3], self.encoder(tokens), tgt_mask=mask).mean(dim=1))

    net = Decoded().double().eval()
    sites = site_map(net, kinds, 64)
    assert len([group for group in sites.groups if group.kind == "heads"]) in (0, 3)
    costs = [model_costs(net, sites, unit, input_shape=(64,)) for unit in ("parameters", "macs")]
    for seed in (0, 1):
        mask = drawn(sites, seed)
        small = shrink(net, sites, mask, input_shape=(64,))
        with torch.no_grad():
            torch.testing.assert_close(small(rows()), GatedModel(net, sites)(rows(), torch.from_numpy(mask)))
        assert costs[0].of_mask(mask) == sum(p.numel() for p in small.parameters())
        assert costs[1].of_mask(mask) == multiply_accumulates(small, (64,))
