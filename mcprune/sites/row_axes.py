"""Sensors and steps of rows over time: which input of a row belongs to which, as the first layer of a model reads them.

One input after the other is made not-a-number, and the places where that arrives at the first layer are looked at. So it does not
matter how the model turns its rows round on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.errors import ModelError, brief
from mcprune.models.adapters import hard_columns
from mcprune.models.forward import home
from mcprune.models.modes import evaluating, plain_attention
from mcprune.random import weights_generator
from mcprune.types import IntArray

AXES = ("sensors", "steps")
# Layers that only scale and shift: what lies behind them is the first one that reads.
SCALES = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
FEW, MORE = 2, 3  # rows of the runs that show which axis is that of the batch
CHUNK = 2**24  # numbers in the rows of one run


class RowAxes(NamedTuple):
    """Which sensor and which step each of the N inputs of a row is.

    Attributes
    ----------
    reader : str
        The first layer, whose inputs are all sensors at a step, or at several.
    sensors, steps : ndarray of int64, shape (N,)
    is_direct : bool
        It reads the inputs as they are, but for their order.
    """

    reader: str
    sensors: IntArray
    steps: IntArray
    is_direct: bool

    def places(self, kind: str) -> list[IntArray]:
        """Return the inputs of each sensor, or of each step."""
        owner = self.sensors if kind == "sensors" else self.steps
        return [np.flatnonzero(owner == one) for one in range(int(owner.max()) + 1)]


class _Seen(BaseException):
    """Ends a run once the first layer was reached."""


class _Reading(NamedTuple):
    reader: str
    signal: torch.Tensor


def row_axes(model: nn.Module, n_inputs: int, kind: str) -> RowAxes:
    """Return the sensors and steps of the inputs of a model of flat rows.

    Parameters
    ----------
    model : nn.Module
        (B, N) -> (B, C). Its first layer is an nn.Conv1d, which reads (B, sensors, steps), a recurrent layer, an
        nn.MultiheadAttention or an nn.Linear, which read (B, steps, sensors).
    n_inputs : int
    kind : "sensors" or "steps"
        What is needed; the other may be mixed on the way to the first layer.

    Raises
    ------
    ModelError
        Another first layer, or one that reads something else than one sensor at one step.
    """
    name = type(model).__name__
    remedy = "Tie the inputs by groups (docs/sensors.md)."
    if hard_columns(model, n_inputs) is not None:
        raise ModelError(f'sites="{kind}": {name} takes whole numbers from the rows, such as ids or masks. {remedy}')
    generator = weights_generator(0)
    dtype, device = home(model)
    base = torch.randn((MORE, n_inputs), generator=generator, dtype=torch.float32, device="cpu").to(device, dtype)
    few, more = _first(model, base[:FEW], kind), _first(model, base, kind)
    layer = model.get_submodule(few.reader)
    sides = [axis for axis, (a, b) in enumerate(zip(few.signal.shape, more.signal.shape, strict=False)) if a != b]
    if few.signal.dim() != 3 or len(sides) != 1 or few.signal.shape[sides[0]] != FEW:
        raise ModelError(
            f'sites="{kind}": the first layer of {name}, {few.reader!r}, a {type(layer).__name__}, reads a signal of shape '
            f"{tuple(few.signal.shape)} for {FEW} rows, which has no axis of sensors beside one of steps. {remedy}"
        )
    feature = 1 if isinstance(layer, nn.Conv1d) else 2
    if sides[0] == feature:
        raise ModelError(
            f'sites="{kind}": the first layer of {name}, {few.reader!r}, takes the rows of a batch for sensors. {remedy}'
        )
    order = (sides[0], feature, ({0, 1, 2} - {sides[0], feature}).pop())
    shape = tuple(few.signal.shape[axis] for axis in order[1:])
    owners = _owners(model, n_inputs, order, shape, kind)
    axis = AXES.index(kind)
    if (lost := np.flatnonzero(owners[axis] < 0)).size:
        raise ModelError(
            f'sites="{kind}": input {int(lost[0])} of a row does not arrive as one of the {shape[axis]} {kind} of {few.reader!r}, the '
            f"first layer of {name}: it is mixed with others before, or not read there. {remedy}"
        )
    counts = np.bincount(owners[axis], minlength=shape[axis])
    if not (counts > 0).all() or shape[axis] < 2:
        raise ModelError(
            f'sites="{kind}": {few.reader!r}, the first layer of {name}, reads {shape[axis]} {kind}, of which the rows give '
            f"{int((counts > 0).sum())}, so there is nothing to choose. {remedy}"
        )
    is_direct = bool((owners >= 0).all()) and _is_direct(few.signal.permute(order), base[:FEW], owners)
    return RowAxes(few.reader, owners[0], owners[1], is_direct)


def _first(model: nn.Module, rows: torch.Tensor, kind: str) -> _Reading:
    """Return the first layer that reads rows (B, N), and what it reads."""
    readings: list[_Reading] = []

    def noted(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            signal = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
            if signal is not None:
                readings.append(_Reading(name, signal.detach()))
                raise _Seen

        return note

    layers = {
        name: layer
        for name, layer in model.named_modules()
        if not isinstance(layer, SCALES) and (list(layer.parameters(recurse=False)) or isinstance(layer, nn.RNNBase))
    }
    layers.pop("", None)  # a parameter of the model itself, such as an offset
    hooks = [layer.register_forward_pre_hook(noted(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        with torch.no_grad(), evaluating(model), plain_attention():
            model(rows)
    except _Seen:
        pass
    except Exception as error:  # the user's own code
        raise ModelError(
            f'sites="{kind}": {type(model).__name__} cannot be run on rows of {rows.shape[1]} inputs ({brief(error)}).'
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if not readings:
        raise ModelError(
            f'sites="{kind}": {type(model).__name__} has no layer that reads its rows. Tie the inputs by groups (docs/sensors.md).'
        )
    (reading,) = readings
    layer = layers[reading.reader]
    if not isinstance(layer, nn.Conv1d | nn.RNNBase | nn.Linear | nn.MultiheadAttention):
        raise ModelError(
            f'sites="{kind}": the first layer of {type(model).__name__}, {reading.reader!r}, is a {type(layer).__name__}; sensors and '
            "steps are known of an nn.Conv1d, a recurrent layer, an nn.MultiheadAttention or an nn.Linear over them. Tie the inputs by "
            "groups (docs/sensors.md)."
        )
    return reading


def _owners(model: nn.Module, n_inputs: int, order: tuple[int, ...], shape: tuple[int, ...], kind: str) -> IntArray:
    """Return the sensor and the step of each input, (2, N); -1 where it arrives at none or at several."""
    dtype, device = home(model)
    generator = weights_generator(0)
    base = torch.randn((1, n_inputs), generator=generator, dtype=torch.float32, device="cpu").to(device, dtype)
    owners = np.full((2, n_inputs), -1, np.int64)
    size = max(1, CHUNK // max(n_inputs, shape[0] * shape[1]))
    for first in range(0, n_inputs, size):
        inputs = torch.arange(first, min(first + size, n_inputs))
        rows = base.repeat(len(inputs), 1)
        rows[torch.arange(len(inputs)), inputs] = torch.nan
        arrived = torch.isnan(_first(model, rows, kind).signal.permute(order)).cpu()
        for axis in (0, 1):
            flags = arrived.any(dim=2 - axis)
            is_one = (flags.sum(dim=1) == 1).numpy()
            owners[axis, first : first + len(inputs)] = np.where(is_one, flags.int().argmax(dim=1).numpy(), -1)
    return owners


def _is_direct(signal: torch.Tensor, rows: torch.Tensor, owners: IntArray) -> bool:
    """Whether a signal (B, sensors, steps) holds the rows (B, N) as they are, each input once."""
    places = torch.from_numpy(owners)
    return signal[0].numel() == rows.shape[1] and torch.equal(signal[:, places[0], places[1]], rows)
