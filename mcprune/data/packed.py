"""Batches of several inputs, such as ids and a mask, as flat rows: one input after the other, and what lies where."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch

from mcprune.errors import DataError
from mcprune.types import AnyArray, InputField

# Keys of the classes in a batch that is a dict, the first one that is there.
TARGETS = ("labels", "label", "targets", "target", "y")
# float32 holds whole numbers up to here.
LARGEST = 2**24


class PackedBatch(NamedTuple):
    """The rows of a batch, their classes, and the inputs in a row; of one input of floats there are no fields."""

    features: AnyArray
    targets: AnyArray
    fields: tuple[InputField, ...]


def unpack(batch: object, number: int, accepted: Collection[str] | None = None) -> PackedBatch:
    """Return a batch of a loader as flat rows.

    Parameters
    ----------
    batch : mapping, or sequence (inputs, classes, ...)
        A mapping has the classes under one of `TARGETS`. Inputs are a tensor, a sequence of tensors or a mapping of them.
    number : int
        Of the batch, for messages.
    accepted : collection of str, optional
        The keywords that the model takes: other entries of a mapping are no inputs. By default all are.

    Raises
    ------
    DataError
        A batch of another form.
    """
    if isinstance(batch, Mapping):
        key = next((name for name in TARGETS if name in batch), None)
        if key is None:
            raise DataError(
                f"batch {number} of the loader is a {type(batch).__name__} with {', '.join(map(repr, batch))}, and none of them is named "
                f"{' or '.join(map(repr, TARGETS))}. Give the classes under one of these names, or batches (features, classes)."
            )
        return _packed({name: each for name, each in batch.items() if name != key}, batch[key], number, accepted)
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise DataError(
            f"batch {number} of the loader is a {type(batch).__name__}. Give batches (features, classes), or dicts with the classes "
            "under 'labels'."
        )
    inputs, targets = batch[0], batch[1]
    if isinstance(inputs, Mapping):
        return _packed(inputs, targets, number, accepted)
    if isinstance(inputs, tuple | list) and any(isinstance(each, torch.Tensor | np.ndarray) for each in inputs):
        return _packed(dict(enumerate(inputs)), targets, number, None)
    features, classes = as_array(inputs), as_array(targets)
    if features.ndim < 2 or classes.ndim not in (1, 2) or len(features) != len(classes):
        raise DataError(
            f"batch {number} of the loader has features of shape {features.shape} and classes of shape {classes.shape}. "
            "Give shapes (B, ...) and (B,), of several targets (B, T)."
        )
    return PackedBatch(features, classes, ())


def _packed(
    inputs: Mapping[str, object] | Mapping[int, object], targets: object, number: int, accepted: Collection[str] | None
) -> PackedBatch:
    classes = as_array(targets)
    parts: list[AnyArray] = []
    fields: list[InputField] = []
    start = 0
    for key, values in inputs.items():
        if isinstance(key, str) and accepted is not None and key not in accepted:
            continue
        array = as_array(values)
        if array.dtype.kind not in "biuf":
            continue  # such as texts, which no model of torch takes
        name = key if isinstance(key, str) else ""
        if array.ndim < 1 or len(array) != len(classes):
            raise DataError(
                f"batch {number} of the loader has {len(classes)} classes, but its input {key!r} has the shape {array.shape}. Give one "
                "entry a row."
            )
        kind = (
            "bool"
            if array.dtype.kind == "b"
            else "int"
            if array.dtype.kind in "iu" and array.dtype != np.uint8
            else "float"
        )
        if kind == "int" and array.size and np.abs(array).max() > LARGEST:
            raise DataError(
                f"the input {key!r} of the loader has whole numbers above {LARGEST:,}, which float32 does not hold."
            )
        fields.append(InputField(name, start, tuple(map(int, array.shape[1:])), kind))
        start = fields[-1].stop
        parts.append(array.reshape(len(array), -1).astype(np.float32))
    if not parts:
        names = ", ".join(map(repr, inputs))
        raise DataError(
            f"batch {number} of the loader has no input that the model takes among {names}. Name them as its forward does."
        )
    return PackedBatch(np.concatenate(parts, axis=1), classes, tuple(fields))


def pack(X: object, fields: tuple[InputField, ...]) -> object:
    """Return a mapping or sequence of inputs as flat rows (B, N); anything else as it is."""
    if isinstance(X, Mapping) and all(each.name in X for each in fields):
        arrays = [as_array(X[each.name]) for each in fields]
    elif isinstance(X, tuple | list) and len(X) == len(fields) and not any(each.name for each in fields):
        arrays = [as_array(each) for each in X]
    else:
        return X
    return np.concatenate([each.reshape(len(each), -1).astype(np.float32) for each in arrays], axis=1)


def field_names(fields: tuple[InputField, ...]) -> list[str]:
    """Return the names of the columns: ``input_ids[3]``, and of positional inputs ``input0[3]``."""
    names = []
    for place, each in enumerate(fields):
        name = each.name or f"input{place}"
        indices = np.ndindex(*each.shape) if each.shape else [()]
        names += [name + (f"[{','.join(map(str, index))}]" if index else "") for index in indices]
    return names


def as_array(values: object) -> AnyArray:
    """Return an array of a tensor, wherever it is; halves become float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
        return np.asarray(values.numpy())
    return np.asarray(values)
