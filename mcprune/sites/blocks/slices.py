"""Which rows and columns of which parameters belong to the heads or neurons of a sub-block."""

from __future__ import annotations

from torch import nn

from mcprune.models.projections import has_bias, is_transposed
from mcprune.sites.blocks.description import Rows, SubBlock


def block_slices(model: nn.Module, block: SubBlock) -> list[tuple[str, int, Rows]]:
    """Return parameters with their side along which sites lie, and the places of the sites there.

    Parameters
    ----------
    model : nn.Module
    block : SubBlock
        Whose inner sites are known.
    """
    out = model.get_submodule(block.out)
    if isinstance(out, nn.MultiheadAttention):
        return _of_torch(out, block)
    parts: list[tuple[str, int, Rows]] = []
    for rows in block.writes:
        layer = model.get_submodule(rows.layer)
        parts.append((f"{rows.layer}.weight", int(is_transposed(layer)), rows))
        if has_bias(layer):
            parts.append((f"{rows.layer}.bias", 0, rows))
    parts.append((f"{block.out}.weight", int(not is_transposed(out)), Rows(block.out, 0, block.spread)))
    return parts


def _of_torch(attention: nn.MultiheadAttention, block: SubBlock) -> list[tuple[str, int, Rows]]:
    name, each = block.out, block.spread
    fused = [Rows(name, place * attention.embed_dim, each) for place in range(3)]
    parts: list[tuple[str, int, Rows]] = []
    if attention._qkv_same_embed_dim:
        parts += [(f"{name}.in_proj_weight", 0, rows) for rows in fused]
    else:
        parts += [(f"{name}.{key}_proj_weight", 0, fused[0]) for key in ("q", "k", "v")]
    if attention.in_proj_bias is not None:
        parts += [(f"{name}.in_proj_bias", 0, rows) for rows in fused]
    return [*parts, (f"{name}.out_proj.weight", 1, fused[0])]
