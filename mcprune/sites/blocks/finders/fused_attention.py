"""Attention with one projection for queries, keys and values: GPT-2 of Hugging Face, timm's ViT, and models written alike."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from mcprune.models.projections import n_inputs, n_outputs
from mcprune.sites.blocks.description import Rows, SubBlock
from mcprune.sites.blocks.finders.names import (
    FUSED,
    HEADS,
    SHARED_HEADS,
    child,
    head_numbers,
    number,
    path,
    surroundings,
)

# Whose rows are queries, keys and values of one head after the other.
BY_HEAD = ("query_key_value",)


def find(model: nn.Module) -> Iterator[SubBlock]:
    """Yield the attention modules with one projection of queries, keys and values."""
    for name, module in model.named_modules():
        fused = child(module, FUSED)
        fused_name = path(name, fused[0]) if fused is not None else ""
        around = surroundings(model, name, [fused_name]) if fused is not None else None
        if fused is None or around is None:
            continue
        inner, rows = n_inputs(model.get_submodule(around.out)), n_outputs(fused[1])
        heads, layer = number(module, HEADS), name or fused_name
        shared = number(module, SHARED_HEADS) or heads
        why = ""
        if heads is None or shared is None or inner % heads or heads % shared:
            why = f"no attribute of it, such as num_heads, says how many heads {inner} features are"
        elif rows != (heads + 2 * shared) * (inner // heads):
            why = f"{fused_name!r} has {rows} outputs, not the queries, keys and values of {heads} heads of {inner // heads}"
        if heads is None or shared is None or why:
            yield SubBlock("heads", layer, 1, 0, (Rows(fused_name, 0, 0),), *around, blocked=why)
            continue
        head_dim, each = inner // heads, heads // shared
        writes: tuple[Rows, ...] = (
            Rows(fused_name, 0, each * head_dim),
            Rows(fused_name, inner, head_dim),
            Rows(fused_name, inner + shared * head_dim, head_dim),
        )
        if fused[0].lower() in BY_HEAD:
            writes = (Rows(fused_name, 0, (each + 2) * head_dim),)
        yield SubBlock(
            "heads",
            layer,
            shared,
            each * head_dim,
            writes,
            *around,
            numbers=head_numbers(module, name, heads, shared, inner),
            query_heads=each,
        )
