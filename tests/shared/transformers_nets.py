"""Small transformers of each way in which attention and feed-forward layers are written."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional


class TorchNet(nn.Module):
    """Rows (B, 64) as 8 tokens of 8, torch's own encoder, the mean of the tokens, 10 classes."""

    def __init__(self, layers: int = 2, heads: int = 4, *, norm_first: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.batch_first = batch_first
        self.embed = nn.Linear(8, 16)
        self.place = nn.Parameter(torch.randn(8, 16) * 0.2)
        layer = nn.TransformerEncoderLayer(16, heads, 24, 0.0, batch_first=batch_first, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=not norm_first and batch_first)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x.unflatten(1, (8, 8))) + self.place
        if not self.batch_first:
            return self.head(self.encoder(tokens.transpose(0, 1)).mean(dim=0))
        return self.head(self.encoder(tokens).mean(dim=1))


class Separate(nn.Module):
    """Self-attention with a projection each, grouped queries; `is_rigid`: its code fixes the number of inner features."""

    def __init__(self, width: int = 16, heads: int = 4, shared: int = 4, *, is_rigid: bool = False) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = heads, shared, width // heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, shared * self.head_dim)
        self.v_proj, self.o_proj = nn.Linear(width, shared * self.head_dim), nn.Linear(width, width, bias=False)
        self.is_rigid = is_rigid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            part(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        groups = self.num_heads // self.num_kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.o_proj(out.reshape(x.shape) if self.is_rigid else out.flatten(2))


class Fused(nn.Module):
    """Causal self-attention with one projection, as in many tutorials."""

    def __init__(self, width: int = 16, heads: int = 4, *, is_causal: bool = True) -> None:
        super().__init__()
        self.n_head, self.is_causal = heads, is_causal
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, tokens, width = x.shape
        q, k, v = (
            part.view(rows, tokens, self.n_head, width // self.n_head).transpose(1, 2)
            for part in self.c_attn(x).split(width, dim=2)
        )
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
        return self.c_proj(out.transpose(1, 2).contiguous().view(rows, tokens, width))


class Own(nn.Module):
    """torch's MultiheadAttention in a block of one's own."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class GatedForward(nn.Module):
    """A gated feed-forward layer."""

    def __init__(self, width: int = 16, hidden: int = 24) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Configured(nn.Module):
    """Grouped queries, fused; the code reads its numbers of heads from a configuration. A bias for each pair of tokens beside."""

    def __init__(self, width: int = 16, heads: int = 4, shared: int = 2) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_attention_heads=heads, num_key_value_heads=shared)
        self.head_dim = width // heads
        self.qkv_proj = nn.Linear(width, (heads + 2 * shared) * self.head_dim, bias=False)
        self.o_proj, self.pairs = nn.Linear(width, width), nn.Parameter(torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes = [n * self.head_dim for n in (self.config.num_attention_heads, *2 * [self.config.num_key_value_heads])]
        q, k, v = (
            part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in self.qkv_proj(x).split(sizes, dim=-1)
        )
        out = functional.scaled_dot_product_attention(q, k, v, self.pairs, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Packed(nn.Module):
    """A feed-forward layer whose gate lies in the first projection."""

    def __init__(self, width: int = 16, hidden: int = 24) -> None:
        super().__init__()
        self.gate_up_proj, self.down_proj = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(functional.gelu(gate) * up)


def plain_forward(width: int = 16, hidden: int = 24) -> nn.Module:
    """A feed-forward layer as a Sequential."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.0), nn.Linear(hidden, width))


class Block(nn.Module):
    """Attention and feed-forward layer beside a residual stream, each behind its normalisation."""

    def __init__(self, attention: nn.Module, forward: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = nn.LayerNorm(width), attention, nn.LayerNorm(width), forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class OwnNet(nn.Module):
    """Rows (B, 64) as 8 tokens of 8, blocks of one's own, the mean of the tokens, 10 classes."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.place = nn.Linear(8, 16), nn.Parameter(torch.randn(8, 16) * 0.2)
        self.blocks, self.head = nn.ModuleList(blocks), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x.unflatten(1, (8, 8))) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(dim=1))


NETS: dict[str, Callable[[], nn.Module]] = {
    "torch": TorchNet,
    "torch, norm first": lambda: TorchNet(norm_first=True),
    "torch, tokens first": lambda: TorchNet(batch_first=False),
    "separate": lambda: OwnNet(Block(Separate(), plain_forward())),
    "grouped queries": lambda: OwnNet(Block(Separate(shared=2), GatedForward())),
    "rigid": lambda: OwnNet(Block(Separate(is_rigid=True), plain_forward())),
    "fused, causal": lambda: OwnNet(Block(Fused(), plain_forward()), Block(Fused(is_causal=False), plain_forward())),
    "configured": lambda: OwnNet(Block(Configured(), Packed())),
    "torch's attention": lambda: OwnNet(Block(Own(), GatedForward())),
}
