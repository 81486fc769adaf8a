"""What of a model can be pruned: possible sites of every kind, what one of them costs, and what cannot be dropped and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from textwrap import shorten

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.exporters.footprint import parameters
from mcprune.firmware.counting.model_sizes import RULE, firmware_sizes, firmware_table
from mcprune.firmware.counting.sizes import LayerSize
from mcprune.models.flops import multiply_accumulates
from mcprune.sites.blocks.description import KINDS as BLOCK_KINDS
from mcprune.sites.blocks.find import sub_blocks
from mcprune.sites.channels.calls import TRANSPOSED
from mcprune.sites.channels.groups import ChannelGroup, channel_groups
from mcprune.sites.costs.count import CONVOLUTIONS, UNITS, model_costs
from mcprune.sites.costs.traced import positions
from mcprune.sites.site_map import SiteMap, hidden_layers, site_map
from mcprune.sites.states import recurrent_layers, why_no_states
from mcprune.sites.weights import weighted_layers
from mcprune.storage.pruned_model import PrunedModel
from mcprune.surgery.trial import block_reasons, refusals

HEADER = ("kind", "place", "sites", "parameters each", "MACs each", "together with, or why not")
WHY_WIDTH = 160
FIRMWARE = f"in firmware: {RULE}"


@dataclass(frozen=True)
class Place:
    """Sites of one kind that lie in one place, or a place where there can be none.

    Attributes
    ----------
    kind : "inputs", "units", "channels", "weights", "states", "heads", "neurons", "experts" or "blocks"
    layer : str
        The module's name, as `sites="units:NAME"` takes it; "" for inputs.
    sites : int
    parameters, macs : int or None
        What dropping one site of the whole model saves, in parameters and in multiply-accumulates of a row; None: not known.
    parts : tuple of str
        Other modules whose parameters go with these sites.
    blocked : str
        Why these cannot be dropped; "" if they can.
    """

    kind: str
    layer: str
    sites: int
    parameters: int | None
    macs: int | None
    parts: tuple[str, ...] = ()
    blocked: str = ""


@dataclass(frozen=True)
class Inspection:
    """What `inspect` has found; `print` shows a table, a notebook too.

    Attributes
    ----------
    name : str
        The model's class.
    parameters, macs : int
        Of the whole model, for one row.
    places : tuple of Place
    notes : tuple of str
        Kinds that the model has no place for at all, and why.
    firmware : tuple of LayerSize
        Estimated size in firmware, by layer, of a perceptron with ReLU of up to 100,000 weights after rounding; else empty.
    """

    name: str
    parameters: int
    macs: int
    places: tuple[Place, ...]
    notes: tuple[str, ...]
    firmware: tuple[LayerSize, ...] = ()

    def rows(self) -> list[list[str]]:
        """Return the table's cells, in the order of `HEADER`."""
        return [
            [
                place.kind,
                place.layer or "the row",
                f"{place.sites:,}",
                "-" if place.parameters is None else f"{place.parameters:,}",
                "-" if place.macs is None else f"{place.macs:,}",
                f"no: {place.blocked}" if place.blocked else ", ".join(place.parts),
            ]
            for place in self.places
        ]

    @property
    def title(self) -> str:
        """The model in a line."""
        return f"{self.name}: {self.parameters:,} parameters, {self.macs:,} multiply-accumulates a row"

    def __str__(self) -> str:
        """Return the table as plain text."""
        table = [list(HEADER), *([*cells, shorten(why, WHY_WIDTH, placeholder=" ...")] for *cells, why in self.rows())]
        parts = [self.title, "", *_aligned(table), *([""] if self.notes else []), *self.notes]
        if self.firmware:
            head, rows = firmware_table(self.firmware)
            parts += ["", FIRMWARE, "", *_aligned([head, *rows])]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in self.rows())
        head = "".join(f"<th>{escape(name)}</th>" for name in HEADER)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        out = f"<p><b>{escape(self.title)}</b></p><table><tr>{head}</tr>{cells}</table>{notes}"
        if self.firmware:
            names, rows = firmware_table(self.firmware)
            lines = ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in (names, *rows)]
            out += f"<p>{escape(FIRMWARE)}</p><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
        return out


def _aligned(table: list[list[str]]) -> list[str]:
    """Return the lines of a table with columns of equal widths."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def inspect(model: nn.Module, example: torch.Tensor | ArrayLike) -> Inspection:
    """List what of a model can be pruned.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    example : tensor, array or sequence of int
        Rows as the model takes them, (B, ...); or the shape of one row, such as (784,) or (3, 32, 32).

    Returns
    -------
    Inspection

    Raises
    ------
    ConfigError
        The model or the example is none.
    ModelError
        The model cannot be run on such rows.

    Examples
    --------
    >>> import mcprune
    >>> from mcprune.models.registry import build
    >>> print(mcprune.inspect(build("mlp", 4, 2, (3,)), (4,)))  # doctest: +NORMALIZE_WHITESPACE, +ELLIPSIS
    MLP: 23 parameters, 18 multiply-accumulates a row
    <BLANKLINE>
    kind     place     sites  parameters each  MACs each  together with, or why not
    inputs   the row   4      3                3
    units    layers.0  3      7                6
    weights  layers.0  12     1                1
    weights  layers.2  6      1                1
    <BLANKLINE>
    channels: the model has no convolution
    <BLANKLINE>
    in firmware: weights rounded to 8 bits, ...
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model is a {type(model).__name__}; give a torch nn.Module")
    if isinstance(model, PrunedModel):  # what a run left: the network inside
        model = model.model
    shape = _row(example)
    places_of = positions(model, shape)
    places: list[Place] = [_inputs(model, shape)]
    notes: list[str] = []
    finders = (
        ("units", _units),
        ("channels", _channels),
        ("weights", _weights),
        ("states", _states),
        ("heads", _blocks),
    )
    for kind, find in finders:
        try:
            places += find(model, shape, places_of)
        except ModelError as error:
            notes.append(f"{kind}: {error}")
    if not any(isinstance(layer, CONVOLUTIONS) for layer in model.modules()):
        notes = [note for note in notes if not note.startswith("channels:")] + [
            "channels: the model has no convolution"
        ]
    total = multiply_accumulates(model, shape)
    sizes = tuple(firmware_sizes(model, shape[0])) if len(shape) == 1 else ()
    return Inspection(type(model).__name__, parameters(model), total, tuple(places), tuple(notes), sizes)


def _row(example: torch.Tensor | ArrayLike) -> tuple[int, ...]:
    if isinstance(example, tuple | list) and all(isinstance(side, int) for side in example):
        shape = tuple(example)
    else:
        shape = tuple(example.shape if isinstance(example, torch.Tensor) else np.shape(example))[1:]
    if not shape or min(shape) < 1:
        raise ConfigError(
            f"an example of shape {shape} holds no rows; give rows (B, ...), or the shape of one, such as (3, 32, 32)"
        )
    return shape


def _weight(model: nn.Module, name: str) -> torch.Tensor:
    return model.get_submodule(name).get_parameter("weight")


def _saved(model: nn.Module, sites: SiteMap, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return parameters and multiply-accumulates that one site less of each group saves."""
    both = [model_costs(model, sites, unit, input_shape=shape) for unit in UNITS]
    steps = [costs.steps(costs.sizes, -1) for costs in both]
    return [(-int(parameters), -int(macs)) for parameters, macs in zip(*steps, strict=True)]


def _inputs(model: nn.Module, shape: tuple[int, ...]) -> Place:
    count = math.prod(shape)
    try:
        ((parameters, macs),) = _saved(model, site_map(model, "inputs", count), shape)
    except ModelError:
        # The small model puts what is kept into zeros: less is measured, nothing is saved behind.
        return Place("inputs", "", count, 0, 0, ("nothing is saved: its first layer cannot be cut",))
    return Place("inputs", "", count, parameters, macs)


def _units(model: nn.Module, shape: tuple[int, ...], _: dict[str, int]) -> list[Place]:
    layers = {name: layer.out_features for name, layer in hidden_layers(model, shape).items()}
    reasons = refusals(model, "units", list(layers), shape)
    out = []
    for name, size in layers.items():
        saved = None if reasons[name] else _saved_by_units(model, name, shape)
        parameters, macs = saved or (None, None)
        out.append(Place("units", name, size, parameters, macs, (), reasons[name]))
    return out


def _saved_by_units(model: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Parameters and multiply-accumulates of one unit; None where they are not known."""
    try:
        return _saved(model, site_map(model, f"units:{name}", math.prod(shape), input_shape=shape), shape)[0]
    except ModelError:
        return None


def _channels(model: nn.Module, shape: tuple[int, ...], positions: dict[str, int]) -> list[Place]:
    if not any(isinstance(layer, CONVOLUTIONS) for layer in model.modules()):
        return []
    groups = [group for group in channel_groups(model, shape) if group.kind == "channels"]
    reasons = refusals(model, "channels", [group.layer for group in groups if not group.blocked], shape)
    out = []
    for group in groups:
        why = group.blocked or reasons[group.layer]
        saved: tuple[int | None, int | None] = (None, None) if why else _of_group(model, group, positions)
        out.append(Place("channels", group.layer, group.size, saved[0], saved[1], group.parts[1:], why))
    return out


def _of_group(model: nn.Module, group: ChannelGroup, places: dict[str, int]) -> tuple[int, int]:
    """Return parameters and multiply-accumulates of one channel: its slices, and the columns that read it."""
    parameters = macs = 0
    for name in group.parts:
        layer = model.get_submodule(name)
        parameters += sum(tensor.numel() // group.size for tensor in layer.parameters(recurse=False))
        if isinstance(layer, (nn.Linear, *CONVOLUTIONS)):
            slice_ = layer.weight[:, 0] if isinstance(layer, TRANSPOSED) else layer.weight[0]
            macs += slice_.numel() * places.get(name, 1)
    for reader in group.readers:
        weight = _weight(model, reader.layer)
        is_transposed = isinstance(model.get_submodule(reader.layer), TRANSPOSED)
        column = (weight[0] if is_transposed else weight[:, 0]).numel() * reader.spread
        parameters += column
        macs += column * places.get(reader.layer, 1)
    return parameters, macs


def _blocks(model: nn.Module, shape: tuple[int, ...], _: dict[str, int]) -> list[Place]:
    """Return the heads, neurons and sub-blocks of a transformer."""
    every = sub_blocks(model, shape)
    out = []
    for kind in BLOCK_KINDS:
        reasons = block_reasons(model, kind, shape) if every else {}
        for block in every:
            if not block.is_of(kind):
                continue
            why = reasons[block.layer]
            parameters, macs = (
                None if why else _saved_by_block(model, kind, block.layer, unit, shape) for unit in UNITS
            )
            size = 1 if kind == "blocks" else block.size
            parts = tuple(part for part in block.parts if part != block.layer)
            out.append(Place(kind, block.layer, size, parameters, macs, parts, why))
    return out


def _saved_by_block(model: nn.Module, kind: str, name: str, unit: str, shape: tuple[int, ...]) -> int | None:
    """Parameters or multiply-accumulates of one head, neuron, expert, hidden unit or sub-block; None where they are not known."""
    try:
        costs = model_costs(
            model, site_map(model, f"{kind}:{name}", math.prod(shape), input_shape=shape), unit, input_shape=shape
        )
    except ModelError:
        return None
    return -int(costs.steps(costs.sizes, -1)[0])


def _states(model: nn.Module, shape: tuple[int, ...], _: dict[str, int]) -> list[Place]:
    """Return the hidden units of recurrent layers."""
    layers = recurrent_layers(model)
    blocked = {name: why_no_states(model, layer) for name, layer in layers.items()}
    refused = refusals(model, "states", [name for name, why in blocked.items() if not why], shape)
    out = []
    for name, layer in layers.items():
        why = blocked[name] or refused[name]
        parameters, macs = (None if why else _saved_by_block(model, "states", name, unit, shape) for unit in UNITS)
        out.append(Place("states", name, layer.hidden_size, parameters, macs, (), why))
    return out


def _weights(model: nn.Module, shape: tuple[int, ...], positions: dict[str, int]) -> list[Place]:
    layers = weighted_layers(model)
    reasons = refusals(model, "weights", list(layers), shape)
    out = []
    for name in layers:
        size = _weight(model, name).numel()
        known = not reasons[name]
        # A layer that is not called has its weight read by another one, and it is not known how often.
        macs = positions[name] if known and name in positions else None
        out.append(Place("weights", name, size, 1 if known else None, macs, (), reasons[name]))
    return out
