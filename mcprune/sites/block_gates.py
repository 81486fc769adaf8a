"""Gates of heads, neurons and whole sub-blocks: inner features are multiplied where the output projection reads them.

The logarithm of an expert's gate is added to its logit, so no token takes a dropped one, as if its row of the router were cut.

torch's MultiheadAttention calls no module there; while gates are set, its forward pass is replaced by an equal one with gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from mcprune.models.attention import Masks, attend, layout_of, weights_of
from mcprune.models.modes import plain_attention
from mcprune.sites.site_map import SiteGroup

Output = tuple[torch.Tensor, torch.Tensor | None]


@contextmanager
def block_gates(model: nn.Module, groups: Sequence[SiteGroup], gates: torch.Tensor, called: set[str]) -> Iterator[None]:
    """Multiply heads, neurons and sub-blocks by their gates while the context lasts.

    Parameters
    ----------
    model : nn.Module
    groups : sequence of SiteGroup
        Of kind heads, neurons, experts or blocks.
    gates : Tensor, shape (N,) or (B, N)
        Of all sites, or of all sites for each row.
    called : set of str
        Gets the names of the output projections that are called.
    """
    by_out: dict[str, dict[str, SiteGroup]] = {}
    for group in groups:
        assert group.block is not None
        by_out.setdefault(group.block.out, {})["blocks" if group.kind == "blocks" else "inner"] = group
    undo: list[Callable[[], None]] = []
    try:
        with plain_attention():
            for name, parts in by_out.items():
                module = model.get_submodule(name)
                if isinstance(module, nn.MultiheadAttention):
                    module.forward = _gated_attention(module, name, parts, gates, called)  # type: ignore[method-assign]
                    undo.append(lambda module=module: module.__dict__.pop("forward"))  # type: ignore[misc]
                else:
                    undo += [handle.remove for handle in _hooks(module, name, parts, gates, called)]
            yield
    finally:
        for call in undo:
            call()


def _gated_attention(
    attention: nn.MultiheadAttention, name: str, parts: Mapping[str, SiteGroup], gates: torch.Tensor, called: set[str]
) -> Callable[..., Output]:
    inner, whole = (
        gates[..., parts[key].start : parts[key].stop] if key in parts else None for key in ("inner", "blocks")
    )

    def forward(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Output:
        called.add(name)
        return attend(
            weights_of(attention),
            layout_of(attention),
            query,
            key,
            value,
            Masks(key_padding_mask, attn_mask),
            need_weights=need_weights,
            average=average_attn_weights,
            head_gates=inner,
            out_gates=None if whole is None else whole[..., 0],
        )

    return forward


def _hooks(
    module: nn.Module, name: str, parts: Mapping[str, SiteGroup], gates: torch.Tensor, called: set[str]
) -> Iterator[torch.utils.hooks.RemovableHandle]:
    if "inner" in parts and parts["inner"].kind == "experts":
        yield module.register_forward_hook(_routing(parts["inner"], name, gates, called))
    elif "inner" in parts:
        group = parts["inner"]
        assert group.block is not None
        spread, axis = group.block.spread, group.block.batch_axis
        inner = gates[..., group.start : group.stop].repeat_interleave(spread, dim=-1)

        def before(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            called.add(name)
            return (times(inputs[0], inner, axis), *inputs[1:])

        yield module.register_forward_pre_hook(before)
    if "blocks" in parts:
        group = parts["blocks"]
        assert group.block is not None
        whole, place = gates[..., group.start : group.stop], group.block.batch_axis

        def after(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
            called.add(name)
            return times(output, whole, place)

        yield module.register_forward_hook(after)


def _routing(
    group: SiteGroup, name: str, gates: torch.Tensor, called: set[str]
) -> Callable[[nn.Module, object, torch.Tensor], torch.Tensor]:
    assert group.block is not None
    chosen, axis = gates[..., group.start : group.stop], group.block.batch_axis

    def after(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        called.add(name)
        return routed(output, chosen, axis)

    return after


def routed(logits: torch.Tensor, gates: torch.Tensor, batch_axis: int) -> torch.Tensor:
    """Return logits (..., E) plus the logarithms of gates (E,) of all rows, or (B, E) of each; -inf where a gate is 0."""
    # The logarithm of 0 would spoil the gradient of the other branch.
    logs = torch.where(gates == 0, -torch.inf, torch.where(gates == 0, 1.0, gates).log())
    return logits + _spread(logs, logits, batch_axis)


def times(signal: torch.Tensor, gates: torch.Tensor, batch_axis: int) -> torch.Tensor:
    """Return features (..., F) times gates (F,) or (1,) of all rows, or (B, F) or (B, 1) of each, whose axis is given."""
    return signal * _spread(gates, signal, batch_axis)


def _spread(gates: torch.Tensor, signal: torch.Tensor, batch_axis: int) -> torch.Tensor:
    """Return gates in a shape that fits a signal."""
    chosen = gates.to(signal.dtype)
    if chosen.dim() == 1:
        return chosen
    per_row = signal.shape[batch_axis] // len(chosen)  # tokens of one row after the other
    sides = [1] * signal.dim()
    sides[batch_axis], sides[-1] = len(chosen) * per_row, chosen.shape[-1]
    return chosen.repeat_interleave(per_row, dim=0).view(sides)
