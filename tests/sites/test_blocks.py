"""Which sub-blocks of a transformer are found, in which order, and why some have no sites."""

import pytest
import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.sites.blocks.find import sub_blocks
from mcprune.sites.site_map import parse_kinds, site_map
from tests.shared.transformers_nets import NETS, Block, Fused, OwnNet, Separate, TorchNet, plain_forward


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_attention_and_feed_forward_take_turns(make):
    blocks = sub_blocks(make(), (64,))
    assert [block.kind for block in blocks] == ["heads", "neurons"] * (len(blocks) // 2)
    assert [block.order for block in blocks] == list(range(len(blocks)))
    assert all(not block.blocked and block.can_be_removed for block in blocks)


def test_what_is_known_of_a_grouped_attention():
    (attention, forward) = sub_blocks(NETS["grouped queries"](), (64,))
    assert (attention.layer, attention.size, attention.spread, attention.query_heads) == ("blocks.0.attn", 2, 8, 2)
    assert (forward.layer, forward.size, forward.out) == ("blocks.0.mlp", 24, "blocks.0.mlp.down_proj")


def test_order_is_that_of_execution_not_of_registration():
    class Backwards(OwnNet):
        def forward(self, x):
            tokens = self.embed(x.unflatten(1, (8, 8)))
            for block in reversed(self.blocks):
                tokens = block(tokens)
            return self.head(tokens.mean(dim=1))

    net = Backwards(Block(Separate(), plain_forward()), Block(Fused(), plain_forward()))
    assert [block.layer for block in sub_blocks(net, (64,))] == [
        "blocks.1.attn", "blocks.1.mlp", "blocks.0.attn", "blocks.0.mlp"
    ]  # fmt: skip


def test_names_of_sites():
    net = TorchNet(layers=1)
    sites = site_map(net, "blocks,heads", 64)
    assert sites.names()[:2] == ("encoder.layers.0.self_attn[0]", "encoder.layers.0.self_attn[1]")
    assert sites.names()[-2:] == ("encoder.layers.0.self_attn", "encoder.layers.0.linear1")
    assert [group.kind for group in sites.groups] == ["heads", "blocks", "blocks"]
    chosen = site_map(net, "neurons:encoder.layers.0.linear1", 64)
    assert chosen.size == 24
    assert parse_kinds("heads:a,b,neurons") == {"heads": ("a", "b"), "neurons": ()}


def test_a_model_without_attention():
    net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    with pytest.raises(ModelError, match="has no attention that mcprune knows, so there are no heads to drop"):
        site_map(net, "heads", 64)


def test_names_that_are_none():
    with pytest.raises(
        ModelError, match=r"layer 'head' is a Linear, no attention that mcprune knows.*Choose among encoder"
    ):
        site_map(TorchNet(), "heads:head", 64)
    with pytest.raises(ModelError, match="layer 'nothing' does not exist in TorchNet, so it has no blocks"):
        site_map(TorchNet(), "blocks:nothing", 64)
    for text in ("heads/2", "neurons/0", "neurons/x", "neurons,neurons/2"):
        with pytest.raises(ConfigError, match=r"no kind of site|twice"):
            parse_kinds(text)
    assert parse_kinds("neurons/16:a,b") == {"neurons/16": ("a", "b")}
    with pytest.raises(ConfigError, match=r"Did you mean 'heads'\?"):
        site_map(TorchNet(), "head", 64)


def test_keys_of_no_head_are_refused_but_the_whole_block_is_not():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(16, 4, batch_first=True, add_bias_kv=True)

        def forward(self, x):
            return self.inner(x, x, x)[0]

    net = OwnNet(Block(Odd(), plain_forward()))
    with pytest.raises(
        ModelError, match=r"heads of 'blocks\.0\.attn\.inner' cannot be sites: it was made with add_bias_kv"
    ):
        site_map(net, "heads", 64)


def test_an_attention_that_does_not_say_how_many_heads_it_has():
    attention = Separate()
    attention.number = attention.num_heads
    del attention.num_heads
    attention.forward = lambda x: attention.o_proj(attention.v_proj(x))
    net = OwnNet(Block(attention, plain_forward()))
    with pytest.raises(ModelError, match="no attribute of it, such as num_heads, says how many heads 16 features are"):
        site_map(net, "heads", 64)
    assert site_map(net, "blocks", 64).size == 2


def test_weights_that_two_blocks_share_are_refused():
    net = OwnNet(Block(Separate(), plain_forward()), Block(Separate(), plain_forward()))
    net.blocks[1].mlp[0].weight = net.blocks[0].mlp[0].weight
    with pytest.raises(ModelError, match=r"the weight of 'blocks\.0\.mlp\.0' is that of another layer too"):
        site_map(net, "neurons", 64)


def test_a_block_that_is_written_flat_has_heads_but_cannot_be_removed():
    class Flat(Separate):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(16, 24), nn.Linear(24, 16)

        def forward(self, x):
            x = x + super().forward(x)
            return x + self.fc2(torch.relu(self.fc1(x)))

    net = OwnNet(Flat())
    assert site_map(net, "heads,neurons", 64).size == 28
    with pytest.raises(ModelError, match=r"blocks of 'blocks\.0' cannot be sites: its projections lie in one module"):
        site_map(net, "blocks", 64)
    assert site_map(net, "blocks:blocks.0.fc1", 64).size == 1
