"""The sub-blocks of a model, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from torch import nn

from mcprune.errors import ModelError
from mcprune.sites.blocks.description import SubBlock, kind_and_size
from mcprune.sites.blocks.finders import (
    feed_forward,
    fused_attention,
    mixture,
    separate_attention,
    torch_attention,
)
from mcprune.sites.blocks.trace import Trace, trace

FINDERS: tuple[Callable[[nn.Module], Iterator[SubBlock]], ...] = (
    torch_attention.find,
    separate_attention.find,
    fused_attention.find,
    feed_forward.find,
    mixture.find,
)


def sub_blocks(model: nn.Module, rows: Sequence[int]) -> list[SubBlock]:
    """Return the attention and feed-forward sub-blocks and the mixtures of experts of a model, in the order of execution.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    rows : sequence of int
        Shape of one row as the model takes it.

    Raises
    ------
    ModelError
        The model cannot be run on such rows.
    """
    by_out: dict[str, SubBlock] = {}
    for finder in FINDERS:
        for block in finder(model):
            by_out.setdefault(block.out, block)
    if not by_out:
        return []
    blocks = list(by_out.values())
    seen = trace(model, blocks, rows)
    shared = _shared_layers(model)
    mixtures = [block for block in blocks if block.members and _routes(block, seen)]
    experts = [member for block in mixtures for member in block.members]
    done = [
        _settled(block, seen, shared, experts)
        for block in blocks
        if block.out in seen.order and (not block.members or block in mixtures)
    ]
    return sorted(done, key=lambda block: block.order)


def _routes(block: SubBlock, seen: Trace) -> bool:
    """Whether a router runs before its experts, of which some run: else these are other layers of a number that it has by chance."""
    called = [seen.first[member] for member in block.members if member in seen.first]
    return bool(called) and seen.first.get(block.out, min(called)) < min(called)


def _settled(block: SubBlock, seen: Trace, shared: set[str], experts: Sequence[str]) -> SubBlock:
    """Return a sub-block with its place, and what speaks against it."""
    blocked = block.blocked
    outer = next((name for name in experts if block.out.startswith(f"{name}.")), None)
    if outer is not None:
        why = f"it belongs to the expert {outer!r}, which does not run for every row"
        return replace(block, order=seen.order[block.out], blocked=why, whole="", entries=())
    inside = tuple(name for name in shared if name.startswith(tuple(f"{member}." for member in block.members)))
    common = next((part for part in (*block.parts, *inside) if part in shared), None)
    if not blocked and common is not None:
        blocked = f"the weight of {common!r} is that of another layer too"
    return replace(block, order=seen.order[block.out], batch_axis=seen.batch_axis.get(block.out, 0), blocked=blocked)


def _shared_layers(model: nn.Module) -> set[str]:
    """Return the modules with a parameter that another module has too."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for tensor in module.parameters(recurse=False):
            owners.setdefault(id(tensor), []).append(name)
    return {name for names in owners.values() if len(names) > 1 for name in names}


def choose_blocks(model: nn.Module, text: str, named: tuple[str, ...], rows: Sequence[int]) -> list[SubBlock]:
    """Return the sub-blocks whose heads or neurons, or which themselves, are to be sites.

    Parameters
    ----------
    model : nn.Module
    text : str
        "heads", "neurons", "experts" or "blocks"; "neurons/16" takes 16 neurons in a row as one site.
    named : tuple of str
        Their names; empty for all.
    rows : sequence of int
        Shape of one row as the model takes it.

    Raises
    ------
    ModelError
        There are none, a name is none of them, or one that is wanted cannot be cut.
    """
    kind, size = kind_and_size(text)
    every = sub_blocks(model, rows)
    blocks = [block for block in every if block.is_of(kind)]
    what = {
        "heads": "attention",
        "neurons": "feed-forward layer",
        "experts": "mixture of experts",
        "blocks": "attention or feed-forward layer",
    }[kind]
    if not blocks:
        raise ModelError(
            f"{type(model).__name__} has no {what} that mcprune knows, so there are no {kind} to drop. See docs/transformers.md, "
            'or choose sites = "inputs" or "units".'
        )
    free = [block.layer for block in blocks if not why_not(block, kind)]
    remedy = (
        f'Choose among {", ".join(free)}, as in sites = "{kind}:{free[0]}".' if free else 'Choose sites = "inputs".'
    )
    for name in named:
        if name not in [block.layer for block in blocks]:
            modules = dict(model.named_modules())
            got = (
                f"is a {type(modules[name]).__name__}, no {what} that mcprune knows"
                if name in modules
                else "does not exist"
            )
            raise ModelError(f"layer {name!r} {got} in {type(model).__name__}, so it has no {kind}. {remedy}")
    chosen = [block for block in blocks if not named or block.layer in named]
    for block in chosen:
        if why := why_not(block, kind):
            raise ModelError(f"the {kind} of {block.layer!r} cannot be sites: {why}. {remedy}")
        if block.size % size and kind != "blocks":
            fitting = [each for each in range(1, block.size + 1) if block.size % each == 0]
            near = min(fitting, key=lambda each: abs(each - size))
            raise ModelError(
                f'layer {block.layer!r} has {block.size} neurons, which is no multiple of {size}. Choose sites = "neurons/{near}".'
            )
    return [block if size == 1 else block.grouped(size) for block in chosen]


def why_not(block: SubBlock, kind: str) -> str:
    """Why a sub-block has no sites of a kind; "" where it has."""
    if kind != "blocks" or (block.blocked and not block.can_be_removed):
        return block.blocked
    return "" if block.can_be_removed else f"its projections lie in one module with other layers, beside {block.out!r}"
