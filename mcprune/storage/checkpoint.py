"""Checkpoints as files: one safetensors file each, whose header carries a JSON description. No pickle, no code, in or out.

A checkpoint is a tree of dicts and lists of plain values, arrays and tensors. Arrays and tensors become safetensors' tensors, named
by their place in the tree; in the description {"$array": place} or {"$tensor": place} stands for them, and {"$float": text} for a
number that is not finite. The header's `sha256` is over the description and every tensor's name, type, shape and bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors

from mcprune.errors import FolderError
from mcprune.storage.atomic import write_whole
from mcprune.types import JsonObject

FORMAT, SCHEMA = "mcprune-checkpoint", 1
LARGEST_HEADER = 100_000_000  # bytes; safetensors' own bound


def write_checkpoint(path: Path, tree: JsonObject) -> None:
    """Write a tree in one step; raises what `packed` raises, and more.

    Raises
    ------
    OSError
        It cannot be written; a file of that name is as it was.
    """
    write_whole(path, packed(tree))


def packed(tree: JsonObject) -> bytes:
    """Return a tree as the bytes of a file.

    Raises
    ------
    TypeError
        Something in the tree is neither plain nor an array.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_packed(tree, "", tensors), allow_nan=False, separators=(",", ":"))
    header = {"format": FORMAT, "schema": str(SCHEMA), "sha256": _digest(text, tensors), "description": text}
    data: bytes = write_tensors(tensors, header)
    return data


def read_checkpoint(path: Path) -> JsonObject:
    """Return the tree of a file; nothing is run that the file brings.

    Raises
    ------
    FolderError
        It is missing, cut off, changed, of another program or of a later version; the message ends with the reason.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FolderError(f"{path.name} cannot be read: {error.strerror or error}") from None
    return unpacked(path, data)


def unpacked(path: Path, data: bytes) -> JsonObject:
    """Return the tree of the bytes of a file; errors as `read_checkpoint`."""
    header = _header(path, data)
    if header.get("format") != FORMAT:
        raise FolderError(f"{path.name} is no checkpoint of mcprune")
    schema = str(header.get("schema", ""))
    if schema != str(SCHEMA):
        later = schema.isdecimal() and len(schema) < 10 and int(schema) > SCHEMA
        raise FolderError(
            f"{path.name} has schema {schema[:20]!r}, this mcprune reads {SCHEMA}"
            + ("; it was written by a later version: use that one" if later else "")
        )
    text = str(header.get("description", ""))
    try:
        tensors = read_tensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise FolderError(f"{path.name} is cut off or changed: {_first_line(error)}") from None
    if _digest(text, tensors) != header.get("sha256"):
        raise FolderError(f"{path.name} is changed: its content does not fit its hash")
    try:
        tree = _unpacked(json.loads(text), tensors)
        if not isinstance(tree, dict):
            raise ValueError("the description is no object")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FolderError(f"{path.name} has a broken description: {_first_line(error)}") from None
    return tree


def _header(path: Path, data: bytes) -> JsonObject:
    """Return the metadata of a safetensors file; what claims more than there is, is refused unread."""
    try:
        (size,) = struct.unpack("<Q", data[:8])
        if size > min(LARGEST_HEADER, len(data) - 8):
            raise ValueError("its header is longer than the file")
        header = json.loads(data[8 : 8 + size].decode("utf-8"))
        metadata = header["__metadata__"]
        if not isinstance(metadata, dict):
            raise ValueError("its header is of another kind")
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FolderError(f"{path.name} is no whole checkpoint of mcprune: {_first_line(error)}") from None
    return metadata


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # Into a tensor of our own: one of a single value may have a stride of 0, which has no bytes to look at.
        flat = torch.empty(value.numel(), dtype=value.dtype)
        digest.update(flat.copy_(value.reshape(-1)).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _packed(value: object, place: str, tensors: dict[str, torch.Tensor]) -> object:
    if isinstance(value, np.ndarray | torch.Tensor):
        if isinstance(value, np.ndarray):
            tensors[place] = torch.from_numpy(np.array(value, order="C"))
            return {"$array": place}
        tensors[place] = value.detach().cpu().contiguous().clone()
        return {"$tensor": place}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        if any(not isinstance(name, str) or name.startswith("$") for name in value):
            raise TypeError(f"{place}: names must be texts that do not begin with $")
        return {name: _packed(part, f"{place}/{name}", tensors) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(part, f"{place}/{number}", tensors) for number, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{place}: a {type(value).__name__} cannot be kept")


def _unpacked(value: object, tensors: dict[str, torch.Tensor]) -> object:
    if isinstance(value, list):
        return [_unpacked(part, tensors) for part in value]
    if isinstance(value, dict):
        if set(value) == {"$array"}:
            return tensors[value["$array"]].numpy()
        if set(value) == {"$tensor"}:
            return tensors[value["$tensor"]]
        if set(value) == {"$float"}:
            return float(value["$float"])
        return {name: _unpacked(part, tensors) for name, part in value.items()}
    return value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
