"""Whether sites can be cut out of a model, found out by cutting some: the one answer that `prune` and `inspect` give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from mcprune.errors import ModelError
from mcprune.sites.site_map import SiteMap, site_map
from mcprune.surgery.shrink import shrink


def require_cuttable(model: nn.Module, sites: SiteMap, shape: Sequence[int]) -> None:
    """Cut the first site out of every group that has two or more, in a copy.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    sites : SiteMap
    shape : sequence of int
        Of a row as the model takes it.

    Raises
    ------
    ModelError
        It cannot be done; the message names the layer.
    """
    mask = np.ones(sites.size, np.bool_)
    mask[[group.start for group in sites.groups if group.size > 1]] = False
    if not mask.all():
        shrink(model, sites, mask, input_shape=shape)


def refusals(model: nn.Module, kind: str, layers: Sequence[str], shape: Sequence[int]) -> dict[str, str]:
    """Why `prune` refuses sites of a kind in each of the layers; "" where it takes them.

    Parameters
    ----------
    model : nn.Module
    kind : str
        "units", "channels" or "weights".
    layers : sequence of str
        Names of modules.
    shape : sequence of int
        Of a row as the model takes it.
    """
    if not layers or not _refusal(model, kind, layers, shape):
        return dict.fromkeys(layers, "")
    return {layer: _refusal(model, kind, [layer], shape) for layer in layers}


def _refusal(model: nn.Module, kind: str, layers: Sequence[str], shape: Sequence[int]) -> str:
    # A model that is one layer has no name for it.
    sites = kind if "" in layers else f"{kind}:{','.join(layers)}"
    try:
        require_cuttable(model, site_map(model, sites, int(np.prod(shape)), input_shape=shape), shape)
    except ModelError as error:
        return str(error)
    return ""
