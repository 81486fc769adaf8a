"""Attention of our own beside torch's, and what stands for removed sub-blocks."""

import copy

import pytest
import torch
from torch import nn

from mcprune.models.attention import Masks, NarrowAttention, Skipped, attend, layout_of, weights_of

WAYS = {
    "plain": {},
    "without biases": {"bias": False},
    "tokens first": {"batch_first": False},
    "other widths of keys and values": {"kdim": 6, "vdim": 10},
}


def made(**options):
    torch.manual_seed(1)
    attention = nn.MultiheadAttention(8, 4, **{"batch_first": True, **options}).double().eval()
    for tensor in attention.parameters():
        nn.init.normal_(tensor)
    return attention


def values(attention, rows=3, queries=5, keys=6):
    sides = [(rows, n) if attention.batch_first else (n, rows) for n in (queries, keys, keys)]
    widths = (attention.embed_dim, attention.kdim, attention.vdim)
    return [torch.randn(*side, width, dtype=torch.float64) for side, width in zip(sides, widths, strict=True)]


def ours(attention, parts, masks=None, **options):
    return attend(weights_of(attention), layout_of(attention), *parts, masks or Masks(), **options)


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_it_gives_what_torch_gives(options):
    attention = made(**options)
    parts = values(attention)
    for average in (True, False):
        out, probabilities = ours(attention, parts, need_weights=True, average=average)
        expected, weights = attention(*parts, average_attn_weights=average)
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(probabilities, weights)
    torch.testing.assert_close(ours(attention, parts)[0], attention(*parts, need_weights=False)[0])


def test_a_single_row_without_a_batch():
    attention = made()
    parts = [part[0] for part in values(attention)]
    out, probabilities = ours(attention, parts, need_weights=True)
    expected, weights = attention(*parts)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(probabilities, weights)


@pytest.mark.parametrize("kind", ["bool", "float", "a head each", "keys", "keys and pairs"])
def test_masks_mean_what_they_mean_in_torch(kind):
    attention = made()
    parts = values(attention)
    pairs = torch.rand(5, 6) < 0.4
    pairs[:, 0] = False
    keys = torch.zeros(3, 6, dtype=torch.bool)
    keys[1, 4:] = True
    masks = {
        "bool": Masks(None, pairs),
        "float": Masks(None, torch.randn(5, 6, dtype=torch.float64)),
        "a head each": Masks(None, torch.randn(12, 5, 6, dtype=torch.float64)),
        "keys": Masks(keys),
        "keys and pairs": Masks(keys, pairs),
    }[kind]
    expected = attention(*parts, key_padding_mask=masks.keys, attn_mask=masks.pairs, need_weights=False)[0]
    torch.testing.assert_close(ours(attention, parts, masks)[0], expected)
    narrow = NarrowAttention(attention, (0, 3))
    gates = torch.tensor([1.0, 0.0, 0.0, 1.0])
    out = narrow(*parts, key_padding_mask=masks.keys, attn_mask=masks.pairs, need_weights=False)[0]
    torch.testing.assert_close(out, ours(attention, parts, masks, head_gates=gates)[0])


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_fewer_heads_are_the_gated_whole(options):
    attention = made(**options)
    parts = values(attention)
    narrow = NarrowAttention(attention, (1, 2))
    gates = torch.tensor([0.0, 1.0, 1.0, 0.0])
    expected, whole = ours(attention, parts, need_weights=True, average=False, head_gates=gates)
    out, probabilities = narrow(*parts, average_attn_weights=False)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(probabilities, whole[:, [1, 2]])
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in attention.parameters())
    assert copy.deepcopy(narrow)(*parts)[0].equal(narrow(*parts)[0])


def test_gates_of_each_row():
    attention = made()
    parts = values(attention)
    gates, out_gates = torch.rand(3, 4, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    out = ours(attention, parts, head_gates=gates, out_gates=out_gates)[0]
    for row in range(3):
        one = ours(attention, [part[row : row + 1] for part in parts], head_gates=gates[row], out_gates=out_gates[row])
        torch.testing.assert_close(out[row : row + 1], one[0])


def test_dropout_acts_in_training_only():
    attention = made(dropout=0.5)
    parts = values(attention)
    narrow = NarrowAttention(attention, (0, 1))
    assert not narrow.training
    assert narrow(*parts)[0].equal(narrow(*parts)[0])
    narrow.train()
    assert not narrow(*parts)[0].equal(narrow(*parts)[0])


def test_what_stands_for_a_removed_sub_block():
    x = torch.randn(2, 5, 8)
    assert Skipped(8)(x).equal(torch.zeros(2, 5, 8))
    assert Skipped(3)(x).shape == (2, 5, 3)
    out, probabilities = Skipped(8, 2)(query=x, key=x, value=x)
    assert out.equal(torch.zeros(2, 5, 8))
    assert probabilities is None
