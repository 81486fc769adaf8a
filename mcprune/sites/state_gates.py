"""Gates on hidden units of recurrent layers: on what they send to the next step, to the layer above and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from mcprune.models.narrow.recurrent import State, directions_of, gated_recurrence
from mcprune.sites.site_map import SiteGroup


def state_weights(model: nn.Module, groups: Sequence[SiteGroup], gates: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return weights whose columns read hidden units times the gates (N,) of all sites, by their names as parameters."""
    out = {}
    for group in groups:
        layer, own = _layer(model, group), gates[group.start : group.stop]
        for each in directions_of(layer):
            names = {each.weight_hh: 1} | ({} if each.reads_rows else {each.weight_ih: 1 + layer.bidirectional})
            for name, times in names.items():
                weight = layer.get_parameter(name)
                out[f"{group.layer}.{name}" if group.layer else name] = weight * own.to(weight.dtype).repeat(times)
    return out


@contextmanager
def state_gates(model: nn.Module, groups: Sequence[SiteGroup], gates: torch.Tensor, called: set[str]) -> Iterator[None]:
    """Multiply what recurrent layers return by the gates of their hidden units while the context lasts.

    Parameters
    ----------
    model : nn.Module
    groups : sequence of SiteGroup
        Of kind states.
    gates : Tensor, shape (N,) or (B, N)
        Of all sites: then `state_weights` are in use too; or of all sites for each row.
    called : set of str
        Gets the names of the layers that are called.
    """
    undo: list[Callable[[], object]] = []
    try:
        for group in groups:
            layer, own = _layer(model, group), gates[..., group.start : group.stop]
            if gates.dim() == 1:
                undo.append(layer.register_forward_hook(_after(group.layer, own, called)).remove)
            else:
                layer.forward = _stepwise(layer, group.layer, own, called)
                undo.append(partial(layer.__dict__.pop, "forward", None))
        yield
    finally:
        for call in undo:
            call()


def _layer(model: nn.Module, group: SiteGroup) -> nn.RNNBase:
    layer = model.get_submodule(group.layer)
    assert isinstance(layer, nn.RNNBase)
    return layer


def _after(name: str, gates: torch.Tensor, called: set[str]) -> Callable[..., object]:
    def after(layer: nn.RNNBase, _inputs: object, output: tuple[torch.Tensor | PackedSequence, State]) -> object:
        called.add(name)
        out, state = output
        states = (
            tuple(each * gates.to(each.dtype) for each in state)
            if isinstance(state, tuple)
            else state * gates.to(state.dtype)
        )
        own = gates.repeat(1 + layer.bidirectional)
        if isinstance(out, torch.Tensor):
            return out * own.to(out.dtype), states
        return out._replace(data=out.data * own.to(out.data.dtype)), states

    return after


def _stepwise(layer: nn.RNNBase, name: str, gates: torch.Tensor, called: set[str]) -> Callable[..., object]:
    def forward(x: torch.Tensor, hx: State | None = None) -> object:
        called.add(name)
        rows = x.shape[0 if layer.batch_first else 1] if isinstance(x, torch.Tensor) else len(gates)
        return gated_recurrence(layer, x, hx, gates.repeat_interleave(max(1, rows // len(gates)), dim=0))

    return forward
