"""Models as they are written, made to take flat rows and to give one tensor of outputs.

A run keeps its rows flat, (B, N) in float32, and needs logits, (B, C). A model may want images or sequences, several inputs, whole numbers
or another precision, and may return a tuple, a dict or one logit. An nn.Sequential gets a layer in front or behind; any other model
becomes a copy of its own class that shares all parameters, buffers and inner modules, so that their names stay. The given model
stays as it is.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import fx, nn

from mcprune.errors import ModelError
from mcprune.models.layers import AsFloat, Cast, TwoLogits
from mcprune.types import AnyArray, InputField

FRONT, BACK = ("rows", "precision"), ("outputs", "two_logits", "flat")
# Attributes of models, which copies keep.
_ADAPTED, _EXAMPLES = "_mcprune_adapter", "_mcprune_examples"
FLAGS = ("casts", "is_flat", "is_of_ids", "is_contiguous")
KINDS = {"float": None, "int": torch.int64, "bool": torch.bool}
LARGEST = 2**28


class Adapter(NamedTuple):
    """What lies between flat rows and a model, and between its outputs and logits.

    Attributes
    ----------
    fields : tuple of InputField
        The inputs that are cut out of a row; empty where the model takes the row as it is.
    part : str, int or None
        The key or place of the logits in what the model returns; None where it returns them alone.
    link : str
        "" of one output a class, "one-logit" of one output for two classes, "one-probability" where that went through a sigmoid.
    casts : bool
        The model has another precision than float32: rows are cast to it, and halves back to float32.
    is_flat : bool
        Outputs (B, C, 1, ...) become (B, C).
    is_of_ids : bool
        The model takes whole numbers out of a row of floats by itself, so a gate between 0 and 1 would make another number of one.
    is_contiguous : bool
        Rows must lie one after the other in memory, as a `view` needs them.
    """

    fields: tuple[InputField, ...] = ()
    part: str | int | None = None
    link: str = ""
    casts: bool = False
    is_flat: bool = False
    is_of_ids: bool = False
    is_contiguous: bool = False

    def to_dict(self) -> dict[str, object]:
        """Return what differs from a model that needs nothing, as JSON-able data."""
        out: dict[str, object] = {}
        if self.fields:
            out["fields"] = [[each.name, each.start, list(each.shape), each.kind] for each in self.fields]
        if self.part is not None:
            out["part"] = self.part
        if self.link:
            out["link"] = self.link
        return out | {name: True for name in FLAGS if getattr(self, name)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Adapter:
        """Return the adapter that `to_dict` described.

        Raises
        ------
        ModelError
            Anything else.
        """
        fields = values.get("fields", [])
        part, link = values.get("part"), values.get("link", "")
        read: tuple[InputField, ...] | None = None
        with contextlib.suppress(ValueError):
            read = tuple(field_from(each) for each in fields) if isinstance(fields, list | tuple) else None
        is_part = part is None or isinstance(part, str) or (type(part) is int and 0 <= part <= 1024)
        flags = {name: values.get(name, False) for name in FLAGS}
        is_known = values.keys() <= {"fields", "part", "link", *FLAGS}
        is_plain = all(isinstance(flag, bool) for flag in flags.values()) and link in (
            "",
            "one-logit",
            "one-probability",
        )
        if read is None or not is_part or not is_plain or not is_known:
            raise ModelError("the adapter of a model cannot be read. Save the model again.")
        return cls(read, part, str(link), **{name: bool(flag) for name, flag in flags.items()})  # type: ignore[arg-type]

    @property
    def note(self) -> str:
        """What was done, for people; "" for nothing."""
        parts = []
        if len(self.fields) > 1:
            parts.append(
                f"rows are cut into its inputs {', '.join(each.name or str(k) for k, each in enumerate(self.fields))}"
            )
        elif self.fields:
            (one,) = self.fields
            kind = "" if one.kind == "float" else f" of {one.kind}"
            parts.append(f"rows become inputs{kind} of shape {one.shape}")
        if self.part is not None:
            parts.append(f"its logits are outputs[{self.part!r}]")
        if self.link:
            kind = "logit z" if self.link == "one-logit" else "probability"
            parts.append(f"its one {kind} stands for the two logits (0, z)")
        if self.is_contiguous:
            parts.append("rows are copied for its views")
        if self.casts:
            parts.append("rows are cast to its precision")
        return "" if not parts else "the model is used as it is: " + "; ".join(parts)


def field_from(values: object) -> InputField:
    """Return the field of a list as `Adapter.to_dict` makes it; a ValueError of anything else."""
    if not isinstance(values, list | tuple) or len(values) != len(InputField._fields):
        raise ValueError("no field")
    name, start, shape, kind = values
    sizes = [start, *shape] if isinstance(shape, list | tuple) else [None]
    is_size = all(type(size) is int and 0 <= size <= LARGEST for size in sizes)
    if not isinstance(name, str) or not is_size or math.prod(shape) > LARGEST or kind not in KINDS:
        raise ValueError("no field")
    return InputField(name, start, tuple(shape), kind)


class _Adapted(nn.Module):
    """The mixin of a model behind an adapter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        adapter: Adapter = self.__dict__[_ADAPTED]
        like = next((each for each in self.parameters() if each.is_floating_point()), None) if adapter.casts else None
        rows = x if like is None else x.to(like.dtype)
        rows = rows.contiguous() if adapter.is_contiguous else rows
        if adapter.fields:
            positional = [_take(rows, x, each) for each in adapter.fields if not each.name]
            named = {each.name: _take(rows, x, each) for each in adapter.fields if each.name}
            outputs = super().forward(*positional, **named)
        else:
            outputs = super().forward(rows)
        if adapter.part is not None:
            outputs = outputs[adapter.part]
        if adapter.casts and isinstance(outputs, torch.Tensor):
            outputs = as_float(outputs)
        if adapter.link:
            outputs = two_logits(outputs, adapter.link)
        logits: torch.Tensor = outputs.flatten(1) if adapter.is_flat else outputs
        return logits


def _take(rows: torch.Tensor, x: torch.Tensor, field: InputField) -> torch.Tensor:
    """Return one input: whole numbers from the rows as they came, since half precision has no large ones."""
    source = rows if field.kind == "float" else x
    part = source[:, field.start : field.stop].reshape(-1, *field.shape)
    kind = KINDS[field.kind]
    return part if kind is None else part.round().to(kind)


def as_float(outputs: torch.Tensor) -> torch.Tensor:
    """Return outputs of half precision in float32, which numpy has."""
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs


def two_logits(outputs: torch.Tensor, link: str) -> torch.Tensor:
    """Return (B, 2) logits of (B,) or (B, 1) logits or probabilities of the second class."""
    z = outputs.reshape(-1, 1)
    if link == "one-probability":
        z = torch.logit(z, eps=torch.finfo(z.dtype).eps / 2)
    return torch.cat([torch.zeros_like(z), z], dim=1)


for _name in ("as_float", "two_logits"):  # torch.fx must not look into them: they ask for a dtype
    fx.wrap(_name)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside of torch.compile, DataParallel or DistributedDataParallel, which share its parameters.

    A compiled graph would pass over hooks that are set later, and a parallel one over gates.
    """
    while True:
        inner = model._modules.get("_orig_mod")
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model._modules["module"]
        if inner is None:
            return model
        model = inner


def accepted_inputs(model: nn.Module) -> frozenset[str] | None:
    """Return the keywords that a model's forward pass takes; None where it takes any."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    return frozenset(each.name for each in parameters if each.kind is not each.POSITIONAL_ONLY)


def adapter_of(model: nn.Module) -> Adapter:
    """Return the adapter of a model; one that does nothing where it has none."""
    adapter: Adapter = model.__dict__.get(_ADAPTED, Adapter())
    return adapter


def adapted(model: nn.Module, adapter: Adapter) -> nn.Module:
    """Return the model behind an adapter, sharing its tensors; itself where there is nothing to do."""
    if adapter in (Adapter(), adapter_of(model)):
        return model
    if (
        type(model) is nn.Sequential
        and len(adapter.fields) < 2
        and adapter.part is None
        and not adapter.is_contiguous
        and adapter.link != "one-probability"
    ):
        return _sequential(model, adapter)
    kind = type(model)
    out = copy.copy(model)
    out._modules = dict(model._modules)
    out.__dict__[_ADAPTED] = adapter
    out.__class__ = type(kind.__name__, (_Adapted, kind), {"__module__": kind.__module__})
    return out


def without_adapter(model: nn.Module) -> nn.Module:
    """Return the model as its own class again, sharing its tensors; an nn.Sequential keeps its layers."""
    if not isinstance(model, _Adapted):
        return model
    out = copy.copy(model)
    del out.__dict__[_ADAPTED]
    out.__class__ = type(model).__mro__[type(model).__mro__.index(_Adapted) + 1]
    return out


def _sequential(model: nn.Sequential, adapter: Adapter) -> nn.Sequential:
    """Return an nn.Sequential with the adapter as layers of its own in front and behind."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if adapter.fields:
        (field,) = adapter.fields
        if len(field.shape) > 1:
            layers[FRONT[0]] = nn.Unflatten(1, field.shape)
        if field.kind != "float":
            layers[FRONT[1]] = Cast(field.kind)
    if adapter.casts and FRONT[1] not in layers:
        layers[FRONT[1]] = Cast("float").to(next(each.dtype for each in model.parameters() if each.is_floating_point()))
    layers.update((name, layer) for name, layer in model._modules.items() if layer is not None)
    if adapter.casts:
        layers[BACK[0]] = AsFloat()
    if adapter.link:
        layers[BACK[1]] = TwoLogits()
    if adapter.is_flat:
        layers[BACK[2]] = nn.Flatten()
    out = nn.Sequential(layers)
    out.training = model.training
    out.__dict__[_ADAPTED] = adapter
    return out


def with_fewer(model: nn.Module, owner: AnyArray, kept: AnyArray) -> nn.Module:
    """Let a model take rows that hold some slices of its inputs only, in place, and return it.

    Parameters
    ----------
    model : nn.Module
        Where its rows get a shape, the shape becomes smaller; else it stays as it is.
    owner : ndarray of int64, shape (N,)
        The slice of each input.
    kept : ndarray of bool
        Which slices the rows hold.
    """
    adapter = adapter_of(model)
    first = model._modules.get(next(iter(model._modules), "")) if type(model) is nn.Sequential else None
    is_reshaped = isinstance(first, nn.Unflatten) and first.dim == 1
    shape: tuple[int, ...] = ()
    if len(adapter.fields) == 1:
        shape = adapter.fields[0].shape
    elif isinstance(first, nn.Unflatten) and is_reshaped:
        shape = tuple(map(int, first.unflattened_size))
    if math.prod(shape) != owner.size:
        return model
    places = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, len(shape))
    axis = next((axis for axis in range(len(shape)) if np.array_equal(places[:, axis], owner)), None)
    if len(shape) == 1:
        small: tuple[int, ...] = (int(np.count_nonzero(kept[owner])),)
    elif axis is not None:
        small = (*shape[:axis], int(np.count_nonzero(kept)), *shape[axis + 1 :])
    else:
        return model
    if adapter.fields:
        model.__dict__[_ADAPTED] = adapter._replace(fields=(adapter.fields[0]._replace(shape=small),))
    if is_reshaped:
        model._modules[next(iter(model._modules))] = nn.Unflatten(1, small)
    return model


def hard_columns(model: nn.Module, width: int) -> torch.Tensor | None:
    """Return which columns of a row are whole numbers, (width,) bool: their gates are 0 or 1; None where none is."""
    adapter = adapter_of(model)
    hard = torch.full((width,), adapter.is_of_ids)
    for field in adapter.fields:
        if field.kind != "float":
            hard[field.start : field.stop] = True
    return hard if bool(hard.any()) else None


def keep_examples(model: nn.Module, rows: torch.Tensor) -> None:
    """Let a model of whole numbers remember rows (B, N), on which it can be tried: others may be no ids of it."""
    if hard_columns(model, rows.shape[1]) is not None:
        model.__dict__[_EXAMPLES] = rows.detach().cpu()


def with_whole_numbers(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Return rows (B, N) with the whole numbers of a model from its examples; without these masks and lengths are 1, ids 0 or 1."""
    hard = hard_columns(model, rows.shape[1]) if rows.dim() == 2 else None
    if hard is None:
        return rows
    examples: torch.Tensor | None = model.__dict__.get(_EXAMPLES)
    if examples is not None:
        whole = examples[torch.arange(len(rows)) % len(examples)].to(rows)
    else:
        whole = (rows > 0).to(rows.dtype)
        for field in adapter_of(model).fields:
            if field.kind == "bool" or "mask" in field.name or "len" in field.name:
                whole[:, field.start : field.stop] = 1.0
    return torch.where(hard.to(rows.device), whole, rows)
