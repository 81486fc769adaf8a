"""A model whose projections hold only the heads and neurons that are kept, while candidates are evaluated; nothing is copied.

A neuron whose gate is 0 adds nothing, so its row of the first layer and its column of the second need not be multiplied. Of a
sub-block whose input is as recorded only the changed heads or neurons run: what they add is added to the recorded output. That holds
where the inner features of a site depend on no other site, which is tried on two rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mcprune.evaluators.replay.calls import Forward, patched
from mcprune.models.attention import Masks, Weights, attend, layout_of, weights_of
from mcprune.models.modes import plain_attention
from mcprune.models.projections import has_bias, matrix
from mcprune.sites.blocks.description import Rows, SubBlock
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteMap
from mcprune.types import Float32Array, IntArray


class Layer(NamedTuple):
    """A matrix (outputs, inputs) and what is added to the product."""

    weight: torch.Tensor
    bias: torch.Tensor | None


class Chosen(NamedTuple):
    """Some sites of a group: what its projections multiply with.

    Attributes
    ----------
    sites : tuple of int
        Counted from the group's first one, rising.
    layers : dict of str to Layer
        By the names of the projections; those inside of torch's attention have its name and q, k or v.
    is_change : bool
        The output is added to the recorded one.
    """

    sites: tuple[int, ...]
    layers: dict[str, Layer]
    is_change: bool


class NarrowModel:
    """A gated model, with some groups of sites narrow in place of gated.

    Parameters
    ----------
    gated : GatedModel
    blocks : mapping of int to SubBlock
        Of the groups that are narrow, by number.

    Attributes
    ----------
    model : nn.Module
    sites : SiteMap
        Of all groups.
    base : object
        What the output projection of the changed group returned before; the caller sets it.
    """

    def __init__(self, gated: GatedModel, blocks: Mapping[int, SubBlock]) -> None:
        self.model, self.sites, self.blocks = gated.model, gated.sites, dict(blocks)
        others = [group for number, group in enumerate(self.sites.groups) if number not in blocks]
        starts = np.cumsum([0, *(group.size for group in others)]).tolist()
        moved = [replace(group, start=start) for group, start in zip(others, starts, strict=False)]
        self._wide = GatedModel(self.model, SiteMap(tuple(moved)))
        self._others = [slice(group.start, group.stop) for group in others]
        self.base: object = None
        self._chosen: dict[int, Chosen] = {}
        self._layers: dict[str, Layer] = {}
        self._changed = ""

    def __call__(self, x: torch.Tensor, gates: torch.Tensor, *, is_partial: bool = False) -> torch.Tensor:
        """Return the outputs; gates (N,) of narrow groups are not read, `use` sets what is kept of them."""
        rest = torch.cat([gates[one] for one in self._others]) if self._others else gates[:0]
        with plain_attention():
            logits: torch.Tensor = self._wide(x, rest, is_partial=is_partial)
        return logits

    def projections(self, number: int) -> list[nn.Module]:
        """Return the modules of a group that are narrow, the output projection last."""
        return [self.model.get_submodule(name) for name in names_of(self.blocks[number])]

    def kept(self, number: int, gates: Float32Array) -> Chosen:
        """Return the sites of a group whose gate is not 0, from the gates (N,) of all sites."""
        group = self.sites.groups[number]
        own = gates[group.start : group.stop]
        sites = np.flatnonzero(own)
        if not sites.size:
            sites = np.zeros(1, np.int64)
        if group.kind == "units" and not _are_hard(own):
            return self._choose(number, sites, np.ones(sites.size, np.float32), own[sites])
        return self._choose(number, sites, own[sites])

    def change(self, number: int, before: Float32Array, after: Float32Array) -> Chosen:
        """Return the sites of a group that differ, with what they add to the recorded output."""
        group = self.sites.groups[number]
        old, new = before[group.start : group.stop], after[group.start : group.stop]
        sites = np.flatnonzero(new != old)
        if group.kind == "units" and not _are_hard(np.concatenate([old[sites], new[sites]])):
            # The gate of a unit comes before its activation: what it sent is subtracted, what it sends is added.
            signs = np.repeat(np.array([1.0, -1.0], np.float32), sites.size)
            inner = np.concatenate([new[sites], old[sites]])
            return self._choose(number, np.tile(sites, 2), signs, inner, is_change=True)
        return self._choose(number, sites, (new - old)[sites], is_change=True)

    def use(self, chosen: Mapping[int, Chosen]) -> None:
        """Set what the projections of groups multiply with from now on; inside of `attached`."""
        self._changed = ""
        for number, one in chosen.items():
            block = self.blocks[number]
            if one.is_change:
                self._changed = block.out
            if self._chosen.get(number) is one:
                continue
            self._chosen[number] = one
            self._layers.update(one.layers)
            for each in block.numbers:
                setattr(self.model.get_submodule(each.layer), each.attribute, each.of(len(one.sites)))

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Let the projections be narrow inside the block, with all sites until `use`."""
        places = {
            self.model.get_submodule(name): (name, number)
            for number, block in self.blocks.items()
            for name in names_of(block)
        }
        owners = [
            (self.model.get_submodule(each.layer), each.attribute)
            for block in self.blocks.values()
            for each in block.numbers
        ]
        numbers = [(owner, attribute, getattr(owner, attribute)) for owner, attribute in owners]
        self._chosen, self._layers = {}, {}
        try:
            with patched(list(places), lambda module, whole: self._forward(module, whole, *places[module])):
                yield
        finally:
            self._chosen, self._layers, self.base = {}, {}, None
            for owner, attribute, value in numbers:
                setattr(owner, attribute, value)

    def _choose(
        self,
        number: int,
        sites: IntArray,
        factors: Float32Array,
        inner: Float32Array | None = None,
        *,
        is_change: bool = False,
    ) -> Chosen:
        """Return some sites, whose features are multiplied by factors where the output projection reads them, and before that by others."""
        block = self.blocks[number]
        out = self.model.get_submodule(block.out)
        columns = torch.from_numpy(Rows(block.out, 0, block.spread).of(sites))
        if isinstance(out, nn.MultiheadAttention):
            weights = weights_of(out)
            layers = {
                f"{block.out} {name}": Layer(weight[columns], None if bias is None else bias[columns])
                for name, weight, bias in zip("qkv", weights[:3], weights[4:7], strict=True)
            }
            last, bias = weights.out, weights.out_bias
        else:
            by_name: dict[str, list[IntArray]] = {}
            for rows in block.writes:
                by_name.setdefault(rows.layer, []).append(rows.of(sites))
            layers = {
                name: _some(self.model.get_submodule(name), np.concatenate(rows)) for name, rows in by_name.items()
            }
            last, bias = matrix(out), out.get_parameter("bias") if has_bias(out) else None
        if inner is not None:
            layers = {name: _times(layer, inner) for name, layer in layers.items()}
        weight = last[:, columns]
        if not (factors == 1.0).all():
            weight = weight * torch.from_numpy(np.repeat(factors, block.spread)).to(weight)
        layers[block.out] = Layer(weight, None if is_change else bias)
        return Chosen(tuple(sites.tolist()), layers, is_change)

    def _forward(self, module: nn.Module, whole: Forward, name: str, number: int) -> Forward:
        if isinstance(module, nn.MultiheadAttention):
            return self._attention(module, whole, name, number)

        def product(x: torch.Tensor) -> object:
            if name not in self._layers:
                return whole(x)
            weight, bias = self._layers[name]
            if self._changed != name:
                return functional.linear(x, weight, bias)
            assert isinstance(self.base, torch.Tensor)
            flat = torch.addmm(self.base.flatten(0, -2), x.flatten(0, -2), weight.t())
            return flat.view(self.base.shape)

        return product

    def _attention(self, attention: nn.MultiheadAttention, whole: Forward, name: str, number: int) -> Forward:
        layout = layout_of(attention)

        def narrow(
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            key_padding_mask: torch.Tensor | None = None,
            need_weights: bool = True,
            attn_mask: torch.Tensor | None = None,
            average_attn_weights: bool = True,
            is_causal: bool = False,
        ) -> object:
            if number not in self._chosen:
                return whole(
                    query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
                )
            parts = [self._layers[each] for each in (f"{name} q", f"{name} k", f"{name} v", name)]
            out, probabilities = attend(
                Weights(*(part.weight for part in parts), *(part.bias for part in parts)),
                layout._replace(of_heads=self._chosen[number].sites),
                query,
                key,
                value,
                Masks(key_padding_mask, attn_mask),
                need_weights=need_weights,
                average=average_attn_weights,
            )
            if self._changed != name:
                return out, probabilities
            assert isinstance(self.base, tuple)
            return self.base[0] + out, self.base[1]

        return narrow


def _are_hard(gates: Float32Array) -> bool:
    return bool(((gates == 0.0) | (gates == 1.0)).all())


def _times(layer: Layer, factors: Float32Array) -> Layer:
    """Return a layer whose outputs are multiplied."""
    each = torch.from_numpy(factors).to(layer.weight)
    return Layer(layer.weight * each[:, None], None if layer.bias is None else layer.bias * each)


def names_of(block: SubBlock) -> tuple[str, ...]:
    """Return the names of the modules that are narrow, the output projection last."""
    return tuple(dict.fromkeys([*(rows.layer for rows in block.writes if rows.layer != block.out), block.out]))


def _some(layer: nn.Module, rows: IntArray) -> Layer:
    chosen = torch.from_numpy(rows)
    return Layer(matrix(layer)[chosen], layer.get_parameter("bias")[chosen] if has_bias(layer) else None)
