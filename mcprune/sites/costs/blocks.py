"""What a transformer costs without some of its heads, neurons and sub-blocks.

A head costs its rows of the projections and its columns of the output projection, and its part of the products of queries with
keys and of probabilities with values; a neuron its rows and its column. All of that only where its sub-block is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mcprune.errors import ModelError
from mcprune.models.flops import module_products, multiply_accumulates
from mcprune.models.projections import has_bias, n_inputs, n_outputs
from mcprune.sites.blocks.description import SubBlock
from mcprune.sites.blocks.trace import Trace, trace
from mcprune.sites.costs.terms import Costs, Layer, costs_of
from mcprune.sites.site_map import SiteMap


def block_costs(model: nn.Module, sites: SiteMap, unit: str, rows: Sequence[int]) -> Costs:
    """Return the costs of a transformer whose sites are heads, neurons, experts and sub-blocks, and inputs, which save nothing.

    Parameters
    ----------
    model : nn.Module
    sites : SiteMap
    unit : "parameters" or "macs"
    rows : sequence of int
        Shape of one row as the model takes it.

    Returns
    -------
    Costs
        Exactly what the cut network has.

    Raises
    ------
    ModelError
        Units, channels or weights are sites too.
    """
    other = next((group.kind for group in sites.groups if group.block is None and group.kind != "inputs"), None)
    if other is not None:
        raise ModelError(
            f"What {type(model).__name__} costs with {other} beside {sites.blocks[0].kind} as sites is not known. "
            "Give the budget in sites, or take heads, neurons, experts and blocks alone."
        )
    if unit == "macs" and (mixed := next((group for group in sites.groups if group.kind == "experts"), None)):
        raise ModelError(
            f"The multiply-accumulates of {type(model).__name__} without some experts of {mixed.layer!r} depend on which experts the "
            "tokens of a row take. Give the budget in parameters or sites."
        )
    blocks: dict[str, SubBlock] = {}
    inner: dict[str, int] = {}
    whole: dict[str, int] = {}
    for place, group in enumerate(sites.groups):
        if group.block is not None:
            blocks[group.block.out] = group.block
            (whole if group.kind == "blocks" else inner)[group.block.out] = place
    seen = trace(model, blocks.values(), rows)
    products = module_products(model, rows) if unit == "macs" else {}
    layers: list[Layer] = []
    for out, block in blocks.items():
        each, rest = _parts(model, block, unit, seen, products)
        if out in whole:  # what is left of it where all its inner sites are dropped is dropped with it
            layers += _terms(whole[out], inner.get(out), each, rest, block.size)
        else:
            layers += _terms(None, inner[out], each, 0, block.size)
    total = multiply_accumulates(model, rows) if unit == "macs" else sum(each.numel() for each in model.parameters())
    counted = costs_of(layers, sites, unit).whole
    if counted > total:
        raise ModelError(
            f"The {unit} of {type(model).__name__} without some of its sites are not known: its sub-blocks seem to have more than it has "
            "as a whole. Give the budget in sites."
        )
    return costs_of([*layers, Layer(None, None, 1, total - counted)], sites, unit)


def _terms(whole: int | None, inner: int | None, each: int, rest: int, size: int) -> list[Layer]:
    """Return a sub-block as products: `each` for every kept inner site, and `rest` where it is kept."""
    if inner is None:
        return [Layer(None, whole, each * size + rest, 1)]
    return [Layer(whole, inner, each, 1), *([Layer(None, whole, rest, 1)] if whole is not None else [])]


def _parts(model: nn.Module, block: SubBlock, unit: str, seen: Trace, products: dict[str, int]) -> tuple[int, int]:
    """Return what each inner site of a sub-block costs, and what the rest of the sub-block costs."""
    out = model.get_submodule(block.out)
    inside = [block.whole] if block.whole else [*block.entries, block.out]
    if block.members:
        sizes = {sum(p.numel() for p in model.get_submodule(name).parameters()) for name in block.members}
        if len(sizes) > 1:
            raise ModelError(
                f"The experts of {block.layer!r} have different numbers of parameters, {min(sizes):,} to {max(sizes):,}. Give the "
                "budget in sites."
            )
        return sizes.pop() + n_inputs(out) + has_bias(out), 0
    if unit == "parameters":
        numbers = {id(p): p.numel() for name in inside for p in model.get_submodule(name).parameters()}
        each = 0
        if isinstance(out, nn.MultiheadAttention):
            each = sum(p.numel() for name, p in out.named_parameters() if name != "out_proj.bias") // block.size
        else:
            for rows in block.writes:
                layer = model.get_submodule(rows.layer)
                each += rows.each * (n_inputs(layer) + has_bias(layer))
            each += block.spread * n_outputs(out)
        return each, sum(numbers.values()) - each * block.size if numbers else 0
    total = sum(products.get(name, 0) for name in inside)
    if isinstance(out, nn.MultiheadAttention):
        return total // block.size, 0
    each = seen.positions[block.out] * block.spread * n_outputs(out)
    outer = seen.positions[block.out] * n_inputs(out) * n_outputs(out)
    for rows in block.writes:
        layer = model.get_submodule(rows.layer)
        each += seen.positions[rows.layer] * rows.each * n_inputs(layer)
    for name in {rows.layer for rows in block.writes}:
        layer = model.get_submodule(name)
        outer += seen.positions[name] * n_inputs(layer) * n_outputs(layer)
    attention = max(total - outer, 0) if block.kind == "heads" else 0
    return each + attention // block.size, total - each * block.size - attention
