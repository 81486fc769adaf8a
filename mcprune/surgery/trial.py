"""Whether sites can be cut out of a model, tried by cutting some: the one answer that `prune` and `inspect` give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from mcprune.errors import ModelError, brief
from mcprune.sites.blocks.description import KINDS as BLOCK_KINDS
from mcprune.sites.blocks.description import kind_and_size
from mcprune.sites.blocks.find import sub_blocks, why_not
from mcprune.sites.channels.follow import OUTPUT
from mcprune.sites.channels.groups import channel_groups
from mcprune.sites.site_map import SiteMap, hidden_layers, parse_kinds, site_map
from mcprune.sites.states import recurrent_layers, why_no_states
from mcprune.sites.weights import weighted_layers
from mcprune.surgery.shrink import shrink
from mcprune.types import BoolArray


def require_cuttable(model: nn.Module, sites: SiteMap, shape: Sequence[int]) -> None:
    """Cut the first site out of every group that has two or more, and every second sub-block, in a copy.

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
    for mask in _trials(sites):
        shrink(model, sites, mask, input_shape=shape)


def _trials(sites: SiteMap) -> list[BoolArray]:
    """Return masks that drop the first site of every group of several, and masks that drop every second sub-block.

    A group of one site is looked at where it is kept. Of experts all but the first are dropped too: then each token takes fewer.
    """
    first = [group.start for group in sites.groups if group.size > 1]
    whole = [group.start for group in sites.groups if group.kind == "blocks"]
    is_single = any(group.size == 1 and group.kind != "blocks" for group in sites.groups)
    masks = [np.ones(sites.size, np.bool_)] if is_single and not first else []
    experts = [site for group in sites.groups if group.kind == "experts" for site in range(group.start + 1, group.stop)]
    for dropped in (first, whole[::2], whole[1::2], experts):
        mask = np.ones(sites.size, np.bool_)
        mask[dropped] = False
        if dropped and mask.any():
            masks.append(mask)
    return masks


def cuttable_sites(model: nn.Module, kinds: str, shape: Sequence[int]) -> tuple[str, str]:
    """Leave out the layers of a model that cannot be cut, where the sites name none.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    kinds : str
        As `site_map` takes it. Kinds with named layers stay as they are.
    shape : sequence of int
        Of a row as the model takes it.

    Returns
    -------
    kinds : str
        The same, with the layers named where some cannot be cut. If none can, it stays, and `site_map` or `require_cuttable` says why.
    note : str
        Which layers are left out, and why; "" for none.
    """
    chosen, notes = [], []
    for kind, layers in parse_kinds(kinds).items():
        reasons = {} if layers or kind == "inputs" else _reasons(model, kind, shape)
        layers = tuple(layer for layer, reason in reasons.items() if not reason) if any(reasons.values()) else layers
        if layers and (left_out := [layer for layer, reason in reasons.items() if reason]):
            first = brief(ModelError(reasons[left_out[0]].partition(". ")[0])).rstrip(".")
            notes.append(f"sites: the {kind} of {', '.join(left_out)} are left out, since they cannot be cut ({first})")
        chosen.append(f"{kind}:{','.join(layers)}" if layers else kind)
    return ",".join(chosen), "; ".join(notes)


def _reasons(model: nn.Module, kind: str, shape: Sequence[int]) -> dict[str, str]:
    """Why each layer of a model has no sites of a kind; "" where it has."""
    try:
        if kind == "units":
            return refusals(model, kind, list(hidden_layers(model, shape)), shape)
        if kind == "weights":
            return refusals(model, kind, list(weighted_layers(model)), shape)
        if kind == "states":
            layers = {name: why_no_states(model, layer) for name, layer in recurrent_layers(model).items()}
            free = refusals(model, kind, [name for name, why in layers.items() if not why], shape)
            return {name: why or free[name] for name, why in layers.items()}
        if kind_and_size(kind)[0] in BLOCK_KINDS:
            return block_reasons(model, kind, shape)
        groups = [group for group in channel_groups(model, shape) if group.kind == kind and group.blocked != OUTPUT]
    except ModelError:
        return {}
    free = refusals(model, kind, [group.layer for group in groups if not group.blocked], shape)
    return {group.layer: group.blocked or free[group.layer] for group in groups}


def block_reasons(model: nn.Module, kind: str, shape: Sequence[int]) -> dict[str, str]:
    """Why each sub-block of a transformer has no sites of a kind, or none that `prune` takes; "" where it has."""
    base = kind_and_size(kind)[0]
    every = [block for block in sub_blocks(model, shape) if block.is_of(base)]
    free = refusals(model, kind, [block.layer for block in every if not why_not(block, base)], shape)
    return {block.layer: why_not(block, base) or free[block.layer] for block in every}


def refusals(model: nn.Module, kind: str, layers: Sequence[str], shape: Sequence[int]) -> dict[str, str]:
    """Why `prune` refuses sites of a kind in each of the layers; "" where it takes them.

    Parameters
    ----------
    model : nn.Module
    kind : str
        "units", "channels", "weights", "states", "heads", "neurons", "experts" or "blocks".
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
