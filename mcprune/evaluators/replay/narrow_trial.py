"""Which groups of sites can be narrow: those whose inner features, on two rows, are what the gated model computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from mcprune.evaluators.replay.narrow_model import NarrowModel, names_of
from mcprune.models.modes import evaluating
from mcprune.models.projections import is_projection, is_transposed, matrix
from mcprune.random import Stream, generator
from mcprune.sites.blocks.description import Rows, SubBlock
from mcprune.sites.blocks.finders import feed_forward
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteGroup

# Relative difference of inner features and outputs from those of the gated model, by rounding alone.
TOLERANCE = 1e-4


def narrowed(gated: GatedModel, features: torch.Tensor) -> NarrowModel | None:
    """Return the model with all groups narrow whose inner features are those of the gated model; None where there is none.

    Parameters
    ----------
    gated : GatedModel
    features : tensor, shape (B, ...)
        A few rows, which are run.
    """
    blocks = _blocks(gated)
    with torch.no_grad(), evaluating(gated.model):
        if blocks and not _is_right(NarrowModel(gated, blocks), gated, features):
            blocks = {
                number: block
                for number, block in blocks.items()
                if _is_right(NarrowModel(gated, {number: block}), gated, features)
            }
            if blocks and not _is_right(NarrowModel(gated, blocks), gated, features):
                return None
    return NarrowModel(gated, blocks) if blocks else None


def _is_right(narrow: NarrowModel, gated: GatedModel, features: torch.Tensor) -> bool:
    """Whether inner features and outputs are those of the gated model: for half of the sites of each group, and for one."""
    draw = generator(0, Stream.TRIALS)
    for share in (0.5, 0.0):
        gates = np.ones(gated.sites.size, np.float32)
        for number in narrow.blocks:
            group = gated.sites.groups[number]
            is_kept = draw.random(group.size) < share
            is_kept[draw.integers(group.size)] = True
            gates[group.start : group.stop] = is_kept
        chosen = {number: narrow.kept(number, gates) for number in narrow.blocks}
        every = torch.from_numpy(gates).to(features)
        try:
            with _inner(gated.model, narrow.blocks) as wide:
                expected = gated(features, every)
            with narrow.attached(), _inner(gated.model, narrow.blocks) as few:
                narrow.use(chosen)
                outputs = narrow(features, every)
        except Exception:  # the user's own code on fewer features
            return False
        if not are_close(outputs, expected) or few.keys() != wide.keys():
            return False
        for number, seen in wide.items():
            if len(seen) != 1 or len(few[number]) != 1:
                return False
            columns = Rows("", 0, narrow.blocks[number].spread).of(np.array(chosen[number].sites))
            is_rest = np.ones(seen[0].shape[-1], bool)
            is_rest[columns] = False
            if gated.sites.groups[number].kind == "units" and seen[0][..., is_rest].any():
                return False  # what an activation makes of 0
            if not are_close(few[number][0], seen[0][..., columns]):
                return False
    return True


def are_close(outputs: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two tensors differ by rounding only, relative to the largest number."""
    size = float(expected.abs().max()) if expected.numel() else 0.0
    return outputs.shape == expected.shape and torch.allclose(outputs, expected, rtol=TOLERANCE, atol=TOLERANCE * size)


@contextlib.contextmanager
def _inner(model: nn.Module, blocks: Mapping[int, SubBlock]) -> Iterator[dict[int, list[torch.Tensor]]]:
    """Note what output projections read, before gates, by the numbers of the groups; not of torch's attention, which calls none."""
    seen: dict[int, list[torch.Tensor]] = {}
    handles = []
    for number, block in blocks.items():
        out = model.get_submodule(block.out)
        if isinstance(out, nn.MultiheadAttention):
            continue
        inputs = seen.setdefault(number, [])
        handles.append(out.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0])))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _blocks(gated: GatedModel) -> dict[int, SubBlock]:
    """Return the sub-blocks whose sites may be narrow, by the numbers of their groups."""
    feeds = {block.writes[0].layer: block for block in feed_forward.find(gated.model) if len(block.writes) == 1}
    modules = dict(gated.model.named_modules())
    whole = {group.block.out for group in gated.sites.groups if group.kind == "blocks" and group.block is not None}
    weights = {group.layer for group in gated.sites.weights}
    out: dict[int, SubBlock] = {}
    taken: set[str] = set()
    for number, group in enumerate(gated.sites.groups):
        block = _block(group, feeds)
        if block is None or block.blocked or taken & set(names_of(block)) or weights & set(block.parts):
            continue
        layers = [modules[name] for name in names_of(block)]
        is_attention = isinstance(layers[-1], nn.MultiheadAttention)
        if is_attention and block.out in whole:
            continue
        if is_attention or all(map(_is_plain, layers)):
            out[number] = block
            taken |= set(names_of(block))
    return out


def _block(group: SiteGroup, feeds: Mapping[str, SubBlock]) -> SubBlock | None:
    """Return the sub-block whose inner features a group of sites are; for units, of an activation that is 0 at 0."""
    if group.kind in ("heads", "neurons"):
        return group.block
    is_alone = group.kind == "units" and group.places == (group.layer,)
    block = feeds.get(group.layer) if is_alone else None
    return block if block is not None and block.size == group.size else None


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer is a product with a weight in single or double precision, by its library's own code."""
    is_own = type(layer).forward is nn.Linear.forward or is_transposed(layer)
    is_patched = "forward" in layer.__dict__
    return is_projection(layer) and is_own and not is_patched and matrix(layer).dtype in (torch.float32, torch.float64)
