"""Attention with a projection each for queries, keys and values: BERT, ViT and LLaMA of Hugging Face, and models written alike."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from mcprune.models.projections import n_inputs, n_outputs
from mcprune.sites.blocks.description import Rows, SubBlock
from mcprune.sites.blocks.finders.names import (
    HEADS,
    KEYS,
    QUERIES,
    VALUES,
    child,
    head_numbers,
    number,
    path,
    surroundings,
)


def find(model: nn.Module) -> Iterator[SubBlock]:
    """Yield the attention modules with separate projections."""
    for name, module in model.named_modules():
        q, k, v = (child(module, names) for names in (QUERIES, KEYS, VALUES))
        if q is None or k is None or v is None:
            continue
        names = [path(name, each[0]) for each in (q, k, v)]
        around = surroundings(model, name, names)
        if around is None:
            continue
        out = model.get_submodule(around.out)
        heads = number(module, HEADS)
        widths = [n_outputs(layer) for _, layer in (q, k, v)]
        layer = name or names[0]
        head_dim = widths[0] // heads if heads is not None and widths[0] % heads == 0 else 0
        shared = widths[1] // head_dim if head_dim else 0
        fits = shared and heads is not None and heads % shared == 0 and n_inputs(out) == widths[0]
        if heads is None or not fits or not widths[1] == widths[2] == shared * head_dim:
            why = f"no attribute of it, such as num_heads, says how many heads {widths[0]} features are"
            if heads is not None:
                why = f"its projections of {', '.join(map(str, [*widths, n_inputs(out)]))} features do not fit {heads} heads"
            rows = tuple(Rows(each, 0, 0) for each in names)
            yield SubBlock("heads", layer, 1, 0, rows, *around, blocked=why)
            continue
        each = heads // shared
        yield SubBlock(
            "heads",
            layer,
            shared,
            each * head_dim,
            (Rows(names[0], 0, each * head_dim), Rows(names[1], 0, head_dim), Rows(names[2], 0, head_dim)),
            *around,
            numbers=head_numbers(module, name, heads, shared, widths[0]),
            query_heads=each,
        )
