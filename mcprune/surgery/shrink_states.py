"""Cut hidden units out of recurrent layers."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError, brief
from mcprune.models.forward import home
from mcprune.models.narrow.recurrent import NarrowRecurrent
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.surgery.agreement import require_agreement


def shrink_states(model: nn.Module, sites: SiteMap, mask: torch.Tensor, rows: tuple[int, ...]) -> nn.Module:
    """Return a copy with a `NarrowRecurrent` in place of each recurrent layer that loses hidden units; other sites stay.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    sites : SiteMap
    mask : Tensor of bool, shape (N,)
        Of all sites.
    rows : tuple of int
        Shape of one row as the model takes it.

    Raises
    ------
    ConfigError
        A layer keeps no hidden unit.
    ModelError
        The outputs differ from the masked model's on random rows, in float64; the message names the layers.
    """
    original = copy.deepcopy(model).cpu().double().eval()
    small = copy.deepcopy(original)
    groups: list[SiteGroup] = []
    flags: list[torch.Tensor] = []
    for group in sites.states:
        kept = mask[group.start : group.stop].cpu()
        if not bool(kept.any()):
            raise ConfigError(
                f"The mask keeps none of the {group.size} states of {group.layer!r}, and a recurrent layer without them cannot be "
                "built. Keep at least one."
            )
        groups.append(replace(group, start=groups[-1].stop if groups else 0))
        flags.append(kept)
        if not bool(kept.all()):
            layer = small.get_submodule(group.layer)
            assert isinstance(layer, nn.RNNBase)
            narrow = NarrowRecurrent(layer, kept.nonzero().flatten()).eval()
            if not group.layer:
                raise ModelError(f"{type(model).__name__} is a recurrent layer by itself. Put it into a module.")
            around, _, last = group.layer.rpartition(".")
            setattr(small.get_submodule(around), last, narrow)
    try:
        require_agreement(GatedModel(original, SiteMap(tuple(groups))), small, torch.cat(flags), rows, torch.float64)
    except ModelError as error:
        names = ", ".join(repr(group.layer) for group in groups)
        why = brief(error, 300).partition(". Pass input_shape")[0]
        raise ModelError(
            f"The states of {names} cannot be cut out of {type(model).__name__}: {why}. Leave them out of the sites."
        ) from error
    dtype, device = home(model)
    return small.to(device=device, dtype=dtype).train(model.training)
