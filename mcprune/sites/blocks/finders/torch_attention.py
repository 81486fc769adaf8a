"""torch's own `nn.MultiheadAttention`, also inside of its encoder and decoder layers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from mcprune.sites.blocks.description import SubBlock


def find(model: nn.Module) -> Iterator[SubBlock]:
    """Yield the attention modules of torch's own class."""
    for name, module in model.named_modules():
        if type(module) is not nn.MultiheadAttention:
            continue
        blocked = ""
        if module.bias_k is not None or module.add_zero_attn:
            blocked = "it was made with add_bias_kv or add_zero_attn, whose keys belong to no head"
        yield SubBlock(
            kind="heads",
            layer=name,
            size=module.num_heads,
            spread=module.head_dim,
            writes=(),
            out=name,
            whole=name,
            query_heads=1,
            blocked=blocked,
        )
