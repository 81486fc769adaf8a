"""Normalisations over all channels, and what is left of one when channels are dropped: the dropped ones still count as 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from mcprune.errors import ModelError

# Layers whose statistics are those of several channels together.
OVER_CHANNELS = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


class NarrowNorm(nn.Module):
    """A normalisation of some of its channels, as if the others were 0: of groups, of layers, or by the root mean square.

    Parameters
    ----------
    kept : sequence of int
        The channels that are left, rising.
    channels, groups : int
        Of the whole normalisation; all channels are one group of a LayerNorm or RMSNorm.
    eps : float or None
        None: the smallest difference of 1 in the precision of the rows, as RMSNorm has it.
    is_centred : bool
        The mean is subtracted; not so by RMSNorm.
    weight, bias : bool
        Which parameters it has, one number for each kept channel.
    device : str

    Raises
    ------
    ModelError
        Channels that are no rising numbers below their number, or groups of unlike size.
    """

    groups_of: torch.Tensor

    def __init__(
        self,
        kept: Sequence[int],
        channels: int,
        groups: int,
        eps: float | None,
        is_centred: bool,
        weight: bool,
        bias: bool,
        *,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.kept = tuple(int(channel) for channel in kept)
        self.channels, self.groups, self.eps, self.is_centred = channels, groups, eps, is_centred
        is_rising = all(a < b for a, b in zip((-1, *self.kept), (*self.kept, channels), strict=True))
        if not is_rising or channels % groups:
            raise ModelError(
                f"a NarrowNorm keeps rising channels of {channels} in groups of one size, but got {self.kept[:8]} and {groups} groups. "
                "Shrink and save the model again."
            )
        size = len(self.kept)
        self.weight = nn.Parameter(torch.ones(size, device=device)) if weight else None
        self.bias = nn.Parameter(torch.zeros(size, device=device)) if bias else None
        # Part of the description, not of the weights: so it is not in the state that is saved.
        owner = torch.tensor(self.kept, dtype=torch.int64, device="cpu") // (channels // groups)
        self.register_buffer("groups_of", owner, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, n, ...) -> (B, n, ...)."""
        flat = x.reshape(x.shape[0], x.shape[1], -1)
        places = flat.shape[2]
        count = self.channels // self.groups * places
        if self.is_centred:
            means = self._sums(flat.sum(dim=2)) / count
            flat = flat - means[:, self.groups_of, None]
        squares = self._sums(flat.square().sum(dim=2))
        if self.is_centred:  # of the dropped channels, which are 0 before
            kept = torch.zeros_like(squares[0]).index_add(0, self.groups_of, torch.ones_like(flat[0, :, 0]))
            squares = squares + (count - places * kept) * means.square()
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        out = (flat * torch.rsqrt(squares / count + eps)[:, self.groups_of, None]).reshape(x.shape)
        ones = (1,) * (x.dim() - 2)
        if self.weight is not None:
            out = out * self.weight.view(-1, *ones)
        return out if self.bias is None else out + self.bias.view(-1, *ones)

    def _sums(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sums of values of channels (B, n) over each group, (B, groups)."""
        return values.new_zeros((len(values), self.groups)).index_add(1, self.groups_of, values)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the brackets."""
        return f"kept={len(self.kept)}, channels={self.channels}, groups={self.groups}, eps={self.eps}"


def channels_of(layer: nn.Module) -> int:
    """Return the channels of a normalisation over all of them."""
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    assert isinstance(layer, nn.LayerNorm | nn.RMSNorm)
    return math.prod(layer.normalized_shape)


def narrow(layer: nn.Module, kept: torch.Tensor) -> nn.Module:
    """Return what is left of a normalisation of which some channels (int64, rising) are kept; a plain one where that is the same."""
    channels = channels_of(layer)
    groups = layer.num_groups if isinstance(layer, nn.GroupNorm) else 1
    weight, bias = (layer._parameters.get(name) for name in ("weight", "bias"))
    assert isinstance(layer, OVER_CHANNELS)
    counts = torch.bincount(kept // (channels // groups), minlength=groups)
    is_whole = isinstance(layer, nn.GroupNorm) and bool(((counts == 0) | (counts == channels // groups)).all())
    small: nn.Module
    if is_whole:
        assert isinstance(layer, nn.GroupNorm)
        small = nn.GroupNorm(int((counts > 0).sum()), kept.numel(), layer.eps, affine=weight is not None)
    else:
        small = NarrowNorm(
            kept.tolist(),
            channels,
            groups,
            layer.eps,
            not isinstance(layer, nn.RMSNorm),
            weight is not None,
            bias is not None,
        )
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None:
            setattr(small, name, nn.Parameter(tensor.detach()[kept].clone(), tensor.requires_grad))
    if isinstance(small, NarrowNorm) and weight is not None:
        small.groups_of = small.groups_of.to(weight.device)
    return small.train(layer.training)
