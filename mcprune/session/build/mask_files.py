"""Masks from anywhere: files and objects of other tools, read as masks of the sites of a run."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune

from mcprune.config.measures import INLINE
from mcprune.errors import ConfigError, brief
from mcprune.types import AnyArray, BoolArray

FORMS = (
    "the mask.json of a run, a JSON list of indices or names, a support_ array (.npy), or the masks of torch.nn.utils.prune in a "
    "state_dict (.pt, .safetensors)"
)
TORCH = (".pt", ".pth", ".bin")
# What models are wrapped in, whose names stand before those of their modules.
WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class ExternalMask:
    """A mask before it is known which sites a run has: one of the three is set.

    Attributes
    ----------
    values : ndarray of bool or int64, or None
        Of all sites in their order (bool), or numbers: indices, or 0 and 1 for each site.
    names : tuple of str
        Of the kept sites.
    layers : mapping of str to ndarray of bool
        Elements that are kept, by the name of a parameter or of a layer.
    size : int or None
        The number of sites, where it is known.
    """

    values: AnyArray | None = None
    names: tuple[str, ...] = ()
    layers: Mapping[str, BoolArray] = field(default_factory=dict)
    size: int | None = None

    def text(self) -> str:
        """Return the mask as a start of its own, which needs no file."""
        content: dict[str, object] = {"names": self.names, "size": self.size}
        if self.values is not None:
            content["values"] = _packed(self.values) if self.values.dtype == bool else self.values.tolist()
        if self.layers:
            content["layers"] = {name: _packed(mask) for name, mask in self.layers.items()}
        data = zlib.compress(json.dumps(content).encode(), 9)
        return INLINE + base64.urlsafe_b64encode(data).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str) -> ExternalMask:
        """Return the mask of what `text` has returned.

        Raises
        ------
        ConfigError
            It is no such text.
        """
        coded = text.removeprefix(INLINE)
        try:
            content = json.loads(zlib.decompress(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))))
            values = content.get("values")
            return cls(
                None
                if values is None
                else _unpacked(values)
                if isinstance(values, dict)
                else np.array(values, np.int64),
                tuple(map(str, content["names"])),
                {str(name): _unpacked(mask) for name, mask in content.get("layers", {}).items()},
                content["size"],
            )
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, zlib.error) as error:
            raise ConfigError(
                f"start: {text[:40]!r} holds no mask ({brief(error, 60)}). Give the file of a mask: {FORMS}."
            ) from None


def _packed(mask: BoolArray) -> dict[str, object]:
    return {"shape": list(mask.shape), "bits": base64.b64encode(np.packbits(mask.ravel()).tobytes()).decode()}


def _unpacked(content: dict[str, object]) -> BoolArray:
    shape = tuple(map(int, content["shape"]))  # type: ignore[call-overload]
    bits = np.frombuffer(base64.b64decode(str(content["bits"])), np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)


def read_start(name: str) -> ExternalMask:
    """Return the mask that a start names: a file, or a text of `ExternalMask.text`.

    Raises
    ------
    ConfigError
        A file that cannot be read, or holds no mask.
    """
    if name.startswith(INLINE):
        return ExternalMask.from_text(name)
    path = Path(name)
    try:
        return external_mask(_file_content(path))
    except OSError as error:
        raise ConfigError(f"start: {name} cannot be read ({error.strerror or brief(error)}). Give {FORMS}.") from None
    except ConfigError as error:
        raise ConfigError(f"start: {name}: {error}") from None
    except Exception as error:  # whatever the readers of other formats raise
        raise ConfigError(
            f"start: {name} is no mask file ({type(error).__name__}: {brief(error, 80)}). Give {FORMS}."
        ) from None


def _file_content(path: Path) -> object:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if path.suffix in TORCH:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return content["state_dict"] if isinstance(content, dict) and "state_dict" in content else content
    return json.loads(path.read_text(encoding="utf-8"))


def external_mask(value: object) -> ExternalMask:
    """Return the mask that an object holds.

    Parameters
    ----------
    value : object
        A path; an array of bool of all sites, or of indices; a list of indices or names; the content of a mask.json; arrays by layer,
        such as a state_dict with masks of torch.nn.utils.prune or with zeros; a module that is pruned so; a selector of scikit-learn
        that is fitted; a `Mask` or a `Result` of mcprune.

    Raises
    ------
    ConfigError
        It holds no mask.
    """
    if isinstance(value, str | os.PathLike):
        return read_start(os.fspath(value))
    if isinstance(value, ExternalMask):
        return value
    if isinstance(value, nn.Module):
        return _of_layers(_masks_of_module(value))
    if hasattr(value, "get_support"):
        return external_mask(np.asarray(value.get_support()))
    value = getattr(value, "mask", value) if not isinstance(value, np.ndarray) else value
    if hasattr(value, "support"):
        return external_mask(np.asarray(value.support))
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, Sequence) and value and all(isinstance(one, str) for one in value):
        return ExternalMask(names=tuple(value))
    array = np.asarray(value)
    if array.dtype.kind == "f" and array.size and np.isin(array, (0.0, 1.0)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu" or not array.size or not _has_shape_of_mask(array):
        raise ConfigError(f"A mask is needed, but this is {_shown(value, array)}. Give {FORMS}.")
    return ExternalMask(array.ravel().astype(bool if array.dtype == bool else np.int64))


def _shown(value: object, array: AnyArray) -> str:
    """Return what was given in place of a mask: the kind and the shape of an array, the text of anything else."""
    if not isinstance(value, np.ndarray):
        return f"{value!r:.60}"
    return f"an array of {array.dtype} of shape {array.shape}"


def _has_shape_of_mask(array: AnyArray) -> bool:
    """Whether numbers are a list, or the value of each site in the shape of an image: indices have no such shape."""
    return array.ndim == 1 or (array.ndim > 1 and bool(np.isin(array, (0, 1)).all()))


def _of_mapping(content: Mapping[object, object]) -> ExternalMask:
    for key in ("support", "indices", "names"):
        if key in content and not isinstance(content[key], str):
            mask = external_mask(list(content[key]))  # type: ignore[call-overload]
            size = content.get("n_sites")
            return ExternalMask(mask.values, mask.names, {}, None if size is None else int(size))  # type: ignore[call-overload]
    return _of_layers({str(name): _array(part) for name, part in content.items()})


def _array(value: object) -> AnyArray:
    return value.detach().float().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _masks_of_module(model: nn.Module) -> dict[str, AnyArray]:
    """Return masks and parameters by name."""
    return {name: _array(tensor) for name, tensor in (*model.named_buffers(), *model.named_parameters())}


def _of_layers(arrays: Mapping[str, AnyArray]) -> ExternalMask:
    """Return the masks among arrays by name, or else where their weights are not 0."""
    if texts := [name for name, array in arrays.items() if array.dtype.kind not in "biuf"]:
        raise ConfigError(f"A mask is needed, but {texts[0]!r} holds no numbers. Give {FORMS}.")
    masks = {name: array != 0 for name, array in arrays.items() if name.endswith("_mask")}
    if not masks and any(name.endswith(("weight", "bias")) for name in arrays):  # prune.remove leaves zeros
        masks = {
            name: array != 0
            for name, array in arrays.items()
            if name.endswith("weight") and array.ndim > 1 and (array == 0).any()
        }
    elif not masks:
        masks = {name: array != 0 for name, array in arrays.items()}
    if not masks:
        raise ConfigError(f"There is no mask, and no weight is 0. Give {FORMS}.")
    return ExternalMask(layers={_plain(name): mask for name, mask in masks.items()})


def _plain(name: str) -> str:
    """Return a name without what wraps the model, and without `_mask`."""
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name.removesuffix("_mask")


def dense_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model with the weights that torch.nn.utils.prune has masked; the model itself where it has masked none."""
    masked = [(module, name) for module in model.modules() for name in _masked_names(module).values()]
    if not masked:
        return model
    # The product of weight and mask belongs to a graph of backprop, which cannot be copied.
    products = [module.__dict__.pop(name, None) for module, name in masked]
    try:
        dense = copy.deepcopy(model)
    finally:
        for (module, name), product in zip(masked, products, strict=True):
            if product is not None:
                module.__dict__[name] = product
    for module in dense.modules():
        for key, name in _masked_names(module).items():
            del module._forward_pre_hooks[key]
            del module._buffers[f"{name}_mask"]
            module.register_parameter(name, module._parameters.pop(f"{name}_orig"))
    return dense


def _masked_names(module: nn.Module) -> dict[int, str]:
    """Return the names of the parameters that torch.nn.utils.prune has masked, by the key of the hook that multiplies them."""
    hooks = module._forward_pre_hooks.items()
    return {key: hook._tensor_name for key, hook in hooks if isinstance(hook, prune.BasePruningMethod)}
