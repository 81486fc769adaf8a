"""Models as files: safetensors for the numbers, JSON for the description. No pickle and no code is written or read."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import nn

from mcprune.errors import ConfigError, FolderError, ModelError
from mcprune.models.registry import describe, skeleton

FORMAT = "mcprune-model"
VERSION = 2
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


class ModelContent(TypedDict):
    """The content of ``model.json``: the model's description, and the data stored with it, under a digest of both."""

    format: str
    version: int
    weights_sha256: str
    model: dict[str, object]
    extra: dict[str, object]
    sha256: str


def save_model(model: nn.Module, folder: str | os.PathLike[str], extra: Mapping[str, object] | None = None) -> None:
    """Write ``model.safetensors`` and ``model.json``; equal models give equal bytes.

    Parameters
    ----------
    model : nn.Module
        A built-in model can be loaded without its code. Of a user's own class the parameters are written, and the
        class's name for messages; loading it needs the code.
    folder : path
        Created if missing. Existing files of these names are replaced, each in one step.
    extra : mapping, optional
        JSON-able data to store with it (kept inputs, labels, scaling...), without NaN or infinities.

    Raises
    ------
    ConfigError
        If ``extra`` is not JSON-able.
    ModelError
        If the model's tensors do not fit its description.
    FolderError
        If the folder cannot be written.
    """
    description = describe(model, allow_custom=True)
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    if not _is_custom(description):
        wrong = _difference(skeleton(description).state_dict(), state)
        if wrong:
            raise ModelError(f"{type(model).__name__} cannot be saved: {wrong}. Build it again with those sizes.")
    weights = write_tensors(state)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "model": description,
        "extra": dict(extra or {}),
    }
    try:
        content["sha256"] = _digest(content)
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
        encoded = text.encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"extra cannot be written as JSON: {error}. Give plain numbers, strings and lists."
        ) from error
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, data in ((WEIGHTS, weights), (DESCRIPTION, encoded)):
            part = target / f"{name}.part"
            part.write_bytes(data)
            part.replace(target / name)
    except OSError as error:
        raise FolderError(
            f"the model cannot be written to {target}: {error.strerror}. Choose a folder that can be written."
        ) from error


def load_model(folder: str | os.PathLike[str], model: nn.Module | None = None) -> tuple[nn.Module, ModelContent]:
    """Load the model that `save_model` wrote.

    Parameters
    ----------
    folder : path
    model : nn.Module, optional
        Only for a model of a user's own class: an instance, which gets the saved parameters. Of a model saved behind a
        `Scatter`, the model inside.

    Returns
    -------
    nn.Module
        On the CPU, in evaluation mode.
    dict
        A `ModelContent`.

    Raises
    ------
    FolderError
        Files that are missing, truncated, not JSON, of another program or a later version, or whose keys or tensors
        are missing or do not fit.
    ModelError
        If the model is of a user's own class and ``model`` is None.
    """
    path = Path(folder)
    content = _read_description(path)
    weights = _read_bytes(path, WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != content["weights_sha256"]:
        raise _broken(
            path, WEIGHTS, "it is not the file that was written with this model.json (truncated or exchanged)"
        )
    try:
        state = read_tensors(weights)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise _broken(path, WEIGHTS, f"it is not a safetensors file ({error})") from error
    description = content["model"]
    is_custom = _is_custom(description)
    if is_custom and model is None:
        raise ModelError(
            f"the model in {path} is of a class of your own, {_class_of(description)!r:.80}. "
            "Build it with your own code and call mcprune.load(folder, model=...), or give --model FILE.py:NAME."
        )
    try:
        built = skeleton(description, model if is_custom else None)
    except ModelError as error:
        raise _broken(path, DESCRIPTION, str(error)) from error
    wrong = _difference(built.state_dict(), state, types=not is_custom)
    if wrong:
        raise _broken(path, WEIGHTS, wrong)
    # Copies: tensors on a file's bytes are read-only.
    built.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, strict=True, assign=not is_custom)
    return built.eval(), content


def is_custom_model(folder: str | os.PathLike[str]) -> bool:
    """Return whether the model of a folder is of a user's own class, whose code loading needs; errors as `load_model`."""
    return _is_custom(_read_description(Path(folder))["model"])


def _is_custom(description: Mapping[str, object]) -> bool:
    inner = description.get("model") if description.get("kind") == "scatter" else description
    return isinstance(inner, Mapping) and inner.get("kind") == "custom"


def _class_of(description: Mapping[str, object]) -> object:
    inner = description.get("model") if description.get("kind") == "scatter" else description
    return inner.get("class") if isinstance(inner, Mapping) else None


def _read_description(path: Path) -> ModelContent:
    """Read model.json and check the keys that loading needs."""
    try:
        content = json.loads(_read_bytes(path, DESCRIPTION), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _broken(path, DESCRIPTION, f"it is not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _broken(path, DESCRIPTION, f"its format is not {FORMAT!r}: another program wrote it")
    version = content.get("version")
    if type(version) is not int or version < 1:
        raise _broken(path, DESCRIPTION, f"its version is {version!r:.80}")
    if version != VERSION:
        remedy = "Install a newer mcprune" if version > VERSION else "Make the model again"
        raise FolderError(f"{path / DESCRIPTION} has version {version}, but this mcprune reads {VERSION}. {remedy}.")
    for key, kind in (("weights_sha256", str), ("model", dict), ("extra", dict)):
        if not isinstance(content.get(key), kind):
            raise _broken(path, DESCRIPTION, f"its key {key!r} is missing or of another type")
    try:
        is_whole = content.get("sha256") == _digest(content)
    except (ValueError, RecursionError):  # such as a number beyond all floats
        is_whole = False
    if not is_whole:
        raise _broken(path, DESCRIPTION, "its content does not fit its key 'sha256'")
    return cast("ModelContent", content)


def _digest(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of a description without its digest: it detects a changed label or scaling."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise FolderError(
            f"{path / name} cannot be read: {error.strerror}. Name a folder into which mcprune has saved a model."
        ) from error


def _broken(path: Path, name: str, cause: str) -> FolderError:
    return FolderError(f"{path / name} is broken: {cause.rstrip('.')}. Copy the folder again, or make the model again.")


def _difference(
    expected: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], *, types: bool = True
) -> str:
    """Return how tensors differ in name, shape or type from the expected ones; empty if they do not."""
    missing, foreign = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or foreign:
        return f"tensor {missing[0]!r} is missing" if missing else f"tensor {foreign[0]!r} does not belong to the model"
    for name, tensor in expected.items():
        if tensor.shape != tensors[name].shape:
            return f"tensor {name!r} has shape {tuple(tensors[name].shape)} in place of {tuple(tensor.shape)}"
        if types and tensor.dtype != tensors[name].dtype:
            return f"tensor {name!r} is {tensors[name].dtype} in place of {tensor.dtype}"
    return ""
