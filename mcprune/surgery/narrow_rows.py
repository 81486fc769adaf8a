"""Cut whole sensors out of a model of rows over time: its first layer has fewer inputs, and rows hold the kept sensors only."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.adapters import with_fewer
from mcprune.models.forward import home
from mcprune.sites.gates import GatedModel
from mcprune.sites.row_axes import row_axes
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.surgery.agreement import require_agreement


def without_sensors(model: nn.Module, kept: torch.Tensor) -> nn.Module | None:
    """Return a model of rows that hold the kept inputs only, whose first layer has fewer inputs.

    Parameters
    ----------
    model : nn.Module
        Of flat rows (B, N); not changed.
    kept : Tensor of bool, shape (N,)

    Returns
    -------
    nn.Module or None
        None where the kept inputs are not all steps of some sensors, where the model has no sensors, or where its outputs would
        differ from those for rows with zeros.
    """
    flags = kept.cpu().numpy()
    if flags.all():
        return None
    try:
        axes = row_axes(model, flags.size, "sensors")
    except ModelError:
        return None
    sensors = np.array([flags[places].all() for places in axes.places("sensors")])
    layer = model.get_submodule(axes.reader)
    is_plain = isinstance(layer, nn.RNNBase | nn.Linear) or (isinstance(layer, nn.Conv1d) and layer.groups == 1)
    if not axes.is_direct or not is_plain or not np.array_equal(sensors[axes.sensors], flags):
        return None
    original = copy.deepcopy(model).cpu().double().eval()
    small = with_fewer(copy.deepcopy(original), axes.sensors, sensors)
    _keep_inputs(small.get_submodule(axes.reader), torch.from_numpy(np.flatnonzero(sensors)))
    sites = SiteMap((SiteGroup("inputs", "", 0, flags.size),))
    try:
        require_agreement(GatedModel(original, sites), small, kept.cpu(), (flags.size,), torch.float64)
    except ModelError:  # something else reads the rows too, or some operator knows no float64
        return None
    dtype, device = home(model)
    return small.to(device=device, dtype=dtype).train(model.training)


def _keep_inputs(layer: nn.Module, kept: torch.Tensor) -> None:
    """Keep some inputs of a layer, in place."""
    names = ("weight",)
    if isinstance(layer, nn.RNNBase):
        names = ("weight_ih_l0", *(("weight_ih_l0_reverse",) if layer.bidirectional else ()))
        layer.input_size = kept.numel()
    elif isinstance(layer, nn.Linear):
        layer.in_features = kept.numel()
    else:
        assert isinstance(layer, nn.Conv1d)
        layer.in_channels = kept.numel()
    for name in names:
        tensor = layer.get_parameter(name)
        setattr(layer, name, nn.Parameter(tensor.detach().index_select(1, kept), tensor.requires_grad))
