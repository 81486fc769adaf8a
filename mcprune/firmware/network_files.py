"""Fixed-point networks as files: safetensors for the integers, JSON for the rest; no pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from mcprune.data.scale import Scaler
from mcprune.errors import FolderError, McpruneError
from mcprune.firmware.fixed_point import FixedFormat, Overflow, Rounding
from mcprune.firmware.network import FixedLayer, FixedNetwork, Origin
from mcprune.storage.atomic import write_whole
from mcprune.storage.layout import NETWORK
from mcprune.types import AnyArray, JsonObject

FORMAT = "mcprune-fixed-network"
VERSION = 1
NUMBERS = "network.safetensors"
DESCRIPTION = NETWORK


def save_network(network: FixedNetwork, folder: str | os.PathLike[str]) -> None:
    """Write ``network.safetensors`` and ``network.json``; equal networks give equal bytes.

    Parameters
    ----------
    network : FixedNetwork
    folder : path
        Created if missing; files of these names are replaced, each in one step.

    Raises
    ------
    FolderError
        The folder cannot be written.
    """
    numbers: dict[str, AnyArray] = {"columns": network.origin.columns}
    _put_format(numbers, "inputs", network.inputs)
    layers: list[JsonObject] = []
    for number, layer in enumerate(network.layers):
        numbers[f"{number}.weight"], numbers[f"{number}.bias"] = layer.weight, layer.bias
        if layer.activation is not None:
            _put_format(numbers, f"{number}.activation", layer.activation)
        activation = None if layer.activation is None else _describe_format(layer.activation)
        layers.append({"fraction": layer.fraction, "relu": layer.relu, "activation": activation})
    data = write_tensors({name: np.ascontiguousarray(values) for name, values in numbers.items()})
    origin = network.origin
    content = {
        "format": FORMAT,
        "version": VERSION,
        "numbers_sha256": hashlib.sha256(data).hexdigest(),
        "inputs": _describe_format(network.inputs),
        "layers": layers,
        "logit_scale": network.logit_scale,
        "width": origin.width,
        "names": list(origin.names),
        "labels": list(origin.labels),
        "scaler": None if origin.scaler is None else origin.scaler.to_dict(),
        "split_seed": origin.split_seed,
    }
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_whole(target / NUMBERS, data)
        write_whole(target / DESCRIPTION, text.encode())
    except OSError as error:
        raise FolderError(
            f"the network cannot be written to {target}: {error.strerror}. Choose a folder that can be written."
        ) from error


def load_network(folder: str | os.PathLike[str]) -> FixedNetwork:
    """Return the network that `save_network` wrote.

    Raises
    ------
    FolderError
        Files that are missing, truncated, of another program or version, or that do not fit together.
    """
    path = Path(folder)
    try:
        data, text = (path / NUMBERS).read_bytes(), (path / DESCRIPTION).read_bytes()
    except OSError as error:
        raise FolderError(
            f"{path} holds no fixed-point network: {error.filename} cannot be read ({error.strerror}). Name a folder with "
            f"{NUMBERS} and {DESCRIPTION}."
        ) from error
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        if content.get("version") != VERSION:
            raise ValueError(f"its version is {content.get('version')!r}, and this mcprune reads {VERSION}")
        if hashlib.sha256(data).hexdigest() != content["numbers_sha256"]:
            raise ValueError(f"{NUMBERS} is not the file that was written with it")
        return _network(content, read_tensors(data))
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError, McpruneError) as error:
        cause = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise FolderError(
            f"{path / DESCRIPTION} is broken: {cause.rstrip('.')}. Copy the folder again, or make the network again."
        ) from error


def is_network(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a fixed-point network."""
    return (Path(folder) / DESCRIPTION).is_file()


def _network(content: JsonObject, numbers: dict[str, AnyArray]) -> FixedNetwork:
    layers = []
    for number, entry in enumerate(content["layers"]):
        form = entry["activation"]
        activation = None if form is None else _read_format(form, numbers, f"{number}.activation")
        layers.append(
            FixedLayer(
                numbers[f"{number}.weight"], entry["fraction"], numbers[f"{number}.bias"], activation, entry["relu"]
            )
        )
    scaler = None if content["scaler"] is None else Scaler.from_dict(content["scaler"])
    seed = content["split_seed"]
    origin = Origin(
        numbers["columns"].astype(np.int64),
        content["width"],
        tuple(content["names"]),
        tuple(content["labels"]),
        scaler,
        None if seed is None else int(seed),
    )
    return FixedNetwork(
        _read_format(content["inputs"], numbers, "inputs"), tuple(layers), float(content["logit_scale"]), origin
    )


def _put_format(numbers: dict[str, AnyArray], name: str, form: FixedFormat) -> None:
    numbers[f"{name}.bits"], numbers[f"{name}.fraction"] = form.bits, form.fraction
    numbers[f"{name}.signed"] = form.signed


def _describe_format(form: FixedFormat) -> JsonObject:
    return {"common": form.common, "overflow": form.overflow, "rounding": form.rounding}


def _read_format(entry: JsonObject, numbers: dict[str, AnyArray], name: str) -> FixedFormat:
    return FixedFormat(
        numbers[f"{name}.bits"],
        numbers[f"{name}.fraction"],
        numbers[f"{name}.signed"],
        int(entry["common"]),
        cast("Overflow", entry["overflow"]),
        cast("Rounding", entry["rounding"]),
    )
