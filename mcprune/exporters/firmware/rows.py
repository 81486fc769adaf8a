"""Rows that a fixed-point network is compared on: of a file, or drawn within its formats."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from mcprune.data.base import ImageShape
from mcprune.data.coding.coding import Coding
from mcprune.data.new_rows import read_rows
from mcprune.firmware.network import FixedNetwork
from mcprune.random import Stream, generator
from mcprune.types import AnyArray, IntArray

DRAWN = 1000


class InputRows(NamedTuple):
    """Rows of a network's inputs.

    Attributes
    ----------
    inputs : ndarray of int64, shape (B, n)
        As the network reads them.
    floats : ndarray of float32, shape (B, n)
        As they stand in the data; scaled where the network knows no scaling.
    origin : str
        Where they come from.
    """

    inputs: IntArray
    floats: AnyArray
    origin: str


class InputLayout(NamedTuple):
    """The columns of a network's inputs, as far as a reader of files has to know them."""

    feature_names: tuple[str, ...]
    target_name: str | None = None
    file_width: int | None = None
    image_shape: ImageShape | None = None
    coding: Coding | None = None


def rows_of_file(network: FixedNetwork, path: str | os.PathLike[str]) -> InputRows:
    """Return all rows of a file: a table with the inputs' columns, or an array of as many columns; see `read_rows`."""
    values = read_rows(path, InputLayout(network.origin.names)).values
    return rows_of_values(network, values, f"of {os.fspath(path)}")


def rows_of_values(network: FixedNetwork, values: AnyArray, origin: str) -> InputRows:
    """Return rows (B, n) of the inputs as they stand in the data."""
    floats = np.ascontiguousarray(values, np.float32)
    return InputRows(network.quantize_inputs(floats, scaled=False), floats, origin)


def drawn_rows(network: FixedNetwork) -> InputRows:
    """Return random rows within the formats of the inputs, the largest and the smallest ones among them."""
    form = network.inputs
    drawn = generator(0, Stream.TRIALS).random((DRAWN, len(form)))
    own = np.floor(form.low + drawn * (form.high - form.low + 1)).astype(np.int64)
    own[:2] = form.low, form.high
    values = np.ldexp((own << form.shift).astype(np.float64), -form.common)
    scaler = network.origin.scaler
    if scaler is not None:
        values = values / np.where(scaler.factor == 0, 1.0, scaler.factor) + scaler.shift
    return rows_of_values(network, values, "drawn, not real: --rows FILE compares on real ones")
