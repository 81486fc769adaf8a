"""Attention with fewer heads than its width allows, which torch's own module cannot hold, and what stands for a removed sub-block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional


class Weights(NamedTuple):
    """The projections of a `nn.MultiheadAttention`: weights (outputs, inputs) and biases of queries, keys, values and the output."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    out: torch.Tensor
    q_bias: torch.Tensor | None
    k_bias: torch.Tensor | None
    v_bias: torch.Tensor | None
    out_bias: torch.Tensor | None


def weights_of(attention: nn.MultiheadAttention) -> Weights:
    """Return the projections of torch's attention; they share its memory."""
    if attention._qkv_same_embed_dim:
        q, k, v = attention.in_proj_weight.chunk(3)
    else:
        q, k, v = attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight
    biases = [None] * 3 if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
    return Weights(q, k, v, attention.out_proj.weight, biases[0], biases[1], biases[2], attention.out_proj.bias)


class Masks(NamedTuple):
    """The masks of one call of an attention: which keys rows must not read, and which keys which queries must not; or numbers added."""

    keys: torch.Tensor | None = None  # (B, S)
    pairs: torch.Tensor | None = None  # (T, S) or (B H, T, S)


class Layout(NamedTuple):
    """How an attention is computed besides its weights.

    Attributes
    ----------
    head_dim : int
    batch_first : bool
    dropout : float
        Of the attention probabilities, in training.
    of_heads : tuple of int
        The heads that are there, by their numbers in the whole attention, whose masks may name heads.
    whole : int
        Heads of the whole attention.
    """

    head_dim: int
    batch_first: bool
    dropout: float
    of_heads: tuple[int, ...]
    whole: int


def attend(
    weights: Weights,
    layout: Layout,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    masks: Masks,
    *,
    need_weights: bool = False,
    average: bool = True,
    head_gates: torch.Tensor | None = None,
    out_gates: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return what `nn.MultiheadAttention` returns, the output of each head times its gate, and the whole output times a gate.

    Parameters
    ----------
    weights : Weights
    layout : Layout
        Of H heads.
    queries, keys, values : Tensor
        As that module takes them: (B, T, E), (T, B, E) or (T, E).
    masks : Masks
    need_weights, average : bool
        As there: also return the attention probabilities.
    head_gates : Tensor, shape (H,) or (B, H), optional
    out_gates : Tensor, shape () or (B,), optional
    """
    is_batched = queries.dim() == 3
    is_first = layout.batch_first or not is_batched
    rows = [x if is_batched else x[None] for x in (queries, keys, values)]
    rows = [x if is_first else x.transpose(0, 1) for x in rows]
    q, k, v = (
        _by_head(functional.linear(x, weight, bias), layout.head_dim)
        for x, weight, bias in zip(rows, weights[:3], weights[4:7], strict=True)
    )
    bias = _bias(masks, layout, q)
    probabilities = None
    if need_weights:
        scores = (q * layout.head_dim**-0.5) @ k.transpose(-2, -1)
        probabilities = torch.softmax(scores if bias is None else scores + bias, dim=-1)
        probabilities = functional.dropout(probabilities, layout.dropout)
        out = probabilities @ v
    else:
        out = functional.scaled_dot_product_attention(q, k, v, bias, layout.dropout)
    if head_gates is not None:
        out = out * head_gates.to(out.dtype).reshape(-1, out.shape[1], 1, 1)
    out = functional.linear(out.transpose(1, 2).flatten(2), weights.out, weights.out_bias)
    if out_gates is not None:
        out = out * out_gates.to(out.dtype).reshape(-1, 1, 1)
    if probabilities is not None:
        probabilities = probabilities.mean(dim=1) if average else probabilities
        probabilities = probabilities if is_batched else probabilities[0]
    out = out if is_first else out.transpose(0, 1)
    return (out if is_batched else out[0]), probabilities


def _by_head(x: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Return (B, T, H d) as (B, H, T, d)."""
    return x.reshape(*x.shape[:2], -1, head_dim).transpose(1, 2)


def _bias(masks: Masks, layout: Layout, q: torch.Tensor) -> torch.Tensor | None:
    """Return what is added to the scores (B, H, T, S) of queries (B, H, T, d)."""
    out = None
    if masks.pairs is not None:
        out = _added(masks.pairs, q)
        if out.dim() == 3:  # a mask for each head of the whole attention
            chosen = torch.tensor(layout.of_heads, device=out.device)
            out = out.reshape(-1, layout.whole, *out.shape[1:]).index_select(1, chosen)
        else:
            out = out[None, None]
    if masks.keys is not None:
        keys = _added(masks.keys if masks.keys.dim() == 2 else masks.keys[None], q)[:, None, None]
        out = keys if out is None else out + keys
    return out


def _added(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)


def layout_of(attention: nn.MultiheadAttention) -> Layout:
    """Return the layout of torch's attention, in its mode."""
    dropout = attention.dropout if attention.training else 0.0
    heads = attention.num_heads
    return Layout(attention.head_dim, attention.batch_first, dropout, tuple(range(heads)), heads)


class NarrowAttention(nn.Module):
    """Some heads of a `nn.MultiheadAttention`; called like it.

    Parameters
    ----------
    attention : nn.MultiheadAttention
        Without `add_bias_kv` and `add_zero_attn`.
    heads : tuple of int
        Those that are kept, rising.

    Attributes
    ----------
    q, k, v, out : nn.Linear
    batch_first : bool
    in_proj_bias : None
        By which torch's encoder layers see that their fused operators do not fit.
    """

    in_proj_bias = None

    def __init__(self, attention: nn.MultiheadAttention, heads: tuple[int, ...]) -> None:
        super().__init__()
        self.heads, self.whole = heads, attention.num_heads
        self.head_dim, self.dropout, self.batch_first = attention.head_dim, attention.dropout, attention.batch_first
        weights = weights_of(attention)
        rows = (torch.tensor(heads)[:, None] * self.head_dim + torch.arange(self.head_dim)).flatten()
        self.q = new_linear(weights.q, weights.q_bias, rows)
        self.k = new_linear(weights.k, weights.k_bias, rows)
        self.v = new_linear(weights.v, weights.v_bias, rows)
        self.out = new_linear(weights.out[:, rows.to(weights.out.device)], weights.out_bias)
        self.train(attention.training)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what torch's attention returns; `is_causal` says nothing that the mask does not."""
        parts = (self.q, self.k, self.v, self.out)
        dropout = self.dropout if self.training else 0.0
        return attend(
            Weights(*(part.weight for part in parts), *(part.bias for part in parts)),
            Layout(self.head_dim, self.batch_first, dropout, self.heads, self.whole),
            query,
            key,
            value,
            Masks(key_padding_mask, attn_mask),
            need_weights=need_weights,
            average=average_attn_weights,
        )


class PlainAttention(nn.Module):
    """Self-attention of some heads, in place of a module of a user's own whose code fixes the number of its features.

    Parameters
    ----------
    parts : sequence of nn.Linear
        Of queries, keys, values and the output.
    head_dim : int
    is_causal : bool
    returns : int
        See `Skipped`.
    """

    def __init__(self, parts: Sequence[nn.Linear], head_dim: int, *, is_causal: bool, returns: int = 0) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = parts
        self.head_dim, self.is_causal, self.returns = head_dim, is_causal, returns

    def forward(self, x: torch.Tensor, *_: object, **__: object) -> torch.Tensor | tuple[torch.Tensor | None, ...]:
        """Return the attention of (B, T, E) to itself."""
        q, k, v = (_by_head(part(x), self.head_dim) for part in (self.q, self.k, self.v))
        is_shared = q.shape[1] != k.shape[1]
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal, enable_gqa=is_shared)
        out = self.out(out.transpose(1, 2).flatten(2))
        return (out, *(None,) * (self.returns - 1)) if self.returns else out


def new_linear(weight: torch.Tensor, bias: torch.Tensor | None, rows: torch.Tensor | None = None) -> nn.Linear:
    """Return a Linear with copies of some rows of a weight and its bias; by default of all."""
    chosen = slice(None) if rows is None else rows.to(weight.device)
    out = nn.Linear(weight.shape[1], len(weight[chosen]), bias=bias is not None, device="meta")
    out.weight = nn.Parameter(weight.detach()[chosen].clone(), weight.requires_grad)
    if bias is not None:
        out.bias = nn.Parameter(bias.detach()[chosen].clone(), bias.requires_grad)
    return out


class Skipped(nn.Module):
    """What stands for a removed sub-block: it adds zeros to the residual stream.

    Parameters
    ----------
    features : int
        Width of the stream.
    returns : int
        Values that the removed module returned as a tuple: zeros, and None for the others; 0: it returned a tensor.
    batch_first : bool
        Of a removed `nn.MultiheadAttention`, whose encoder reads it.
    """

    in_proj_bias = None

    def __init__(self, features: int, returns: int = 0, *, batch_first: bool = True) -> None:
        super().__init__()
        self.features, self.returns, self.batch_first = features, returns, batch_first

    def forward(self, *args: object, **kwargs: object) -> torch.Tensor | tuple[torch.Tensor | None, ...]:
        """Return zeros of the shape of the first tensor, but for its last side."""
        first = next(each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor))
        out = first.new_zeros((*first.shape[:-1], self.features))
        return (out, *(None,) * (self.returns - 1)) if self.returns else out

    def extra_repr(self) -> str:
        """Return the width."""
        return f"features={self.features}"
