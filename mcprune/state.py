"""Serialize a tree of state to plain values, arrays and tensors, and back: a checkpoint holds the state itself.

A tree is made of named tuples, dataclasses, dictionaries, lists and deques; its leaves are plain values, arrays, tensors, random
generators, classifiers and optimizers. Nothing is listed by hand: a field that is added to a state is saved.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import nn

# Names to plain values, lists, arrays, tensors, and further dictionaries of this kind.
Saved = dict[str, Any]

T = TypeVar("T")
PLAIN = (bool, int, float, str, type(None))
UNKNOWN: Any = object  # the hint of a value of any plain kind


def serialize(tree: Any) -> Any:
    """Return a copy of a tree as dictionaries and lists of plain values, arrays and tensors on the CPU.

    Raises
    ------
    TypeError
        A leaf is of a kind that cannot be saved.
    """
    if isinstance(tree, PLAIN):
        return tree
    if isinstance(tree, np.generic):
        return tree.item()
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, torch.Tensor):
        return tree.detach().cpu().clone()
    if isinstance(tree, np.random.Generator):
        return dict(tree.bit_generator.state)
    if isinstance(tree, torch.Generator):
        return tree.get_state()
    if isinstance(tree, nn.Module):
        parts = {"parameters": tree.named_parameters(), "buffers": tree.named_buffers()}
        return {kind: {name: serialize(value) for name, value in part} for kind, part in parts.items()}
    if isinstance(tree, torch.optim.Optimizer):
        stored = tree.state
        return {
            str(place): {name: serialize(value) for name, value in stored[parameter].items()}
            for place, parameter in enumerate(_parameters(tree))
            if parameter in stored
        }
    if isinstance(tree, Mapping):
        return {str(name): serialize(value) for name, value in tree.items()}
    if (names := field_names(tree)) is not None:
        return {name: serialize(getattr(tree, name)) for name in names}
    if isinstance(tree, list | tuple | deque):
        return [serialize(value) for value in tree]
    raise TypeError(f"a {type(tree).__name__} cannot be saved")


def deserialize(saved: Any, like: T, name: str = "state", hint: Any = None) -> T:
    """Return a tree of the saved values; arrays, tensors, generators, classifiers, optimizers and dataclasses of `like` are reused.

    Parameters
    ----------
    saved : dict, list, array, tensor or plain value
        From `serialize`; possibly changed on disk.
    like : tree
        A state at its start, of the same types. Arrays must have the same shapes.
    name : str
        Name of the tree in errors.
    hint : type, optional
        The declared type of a plain value, such as `int | None`.

    Raises
    ------
    ValueError
        A part is missing, unknown, or of another type or shape; the message names it.
    """
    out: Any = _value(saved, like, name, type(like) if hint is None else hint)
    return out  # type: ignore[no-any-return]


def field_names(value: Any) -> tuple[str, ...] | None:
    """Return the names of the fields of a named tuple or a dataclass; None of anything else."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        names: tuple[str, ...] = value._fields
        return names
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return None


def put_tensors(model: nn.Module, parameters: Mapping[str, torch.Tensor], buffers: Mapping[str, torch.Tensor]) -> None:
    """Put parameters and buffers into a model by name, in place.

    Raises
    ------
    ValueError
        The names, shapes or types are not the model's.
    """
    for kind, own, new in (
        ("parameter", dict(model.named_parameters()), parameters),
        ("buffer", dict(model.named_buffers()), buffers),
    ):
        _same_names(new, own, f"the {kind}s of the classifier")
        for name, value in own.items():
            _fill_tensor(new[name], value, f"the {kind} {name!r}")


def _value(saved: Any, like: Any, name: str, hint: Any) -> Any:
    for kind, restore in RESTORED.items():
        if isinstance(like, kind):
            return restore(saved, like, name)
    if isinstance(like, tuple | list | deque | dict) or field_names(like) is not None:
        return _container(saved, like, name, hint)
    return _by_hint(saved, like, name, hint)


def _container(saved: Any, like: Any, name: str, hint: Any) -> Any:
    if (names := field_names(like)) is not None:
        return _fields(saved, like, name, type(like), names)
    if isinstance(like, dict):
        return _by_hint(saved, like, name, hint if get_origin(hint) is dict else dict[str, UNKNOWN])
    return _sequence(saved, like, name, hint)


def _fields(saved: Any, like: Any, name: str, kind: Any, names: tuple[str, ...]) -> Any:
    """Return a named tuple or dataclass; of `like` None one of plain values alone."""
    if not isinstance(saved, dict):
        raise ValueError(f"{name} is {describe(saved)}, not {kind.__name__}")
    _same_names(saved, dict.fromkeys(names), name)
    hints = _hints(kind)
    values = {
        part: _value(saved[part], None if like is None else getattr(like, part), f"{name}.{part}", hints[part])
        for part in names
    }
    if like is None or isinstance(like, tuple) or kind.__dataclass_params__.frozen:
        return kind(**values)
    for part, value in values.items():
        setattr(like, part, value)
    return like


def _sequence(saved: Any, like: Any, name: str, hint: Any) -> Any:
    if not isinstance(saved, list):
        raise ValueError(f"{name} is {describe(saved)}, not a list")
    kinds = get_args(hint)
    if isinstance(like, tuple) and like and dataclasses.is_dataclass(like[0]):
        kinds = tuple(type(one) for one in like)  # parts that are reused
    if isinstance(like, tuple) and (not kinds or kinds[-1] is not ...):
        if len(saved) != len(like):
            raise ValueError(f"{name} has {len(saved)} values, not {len(like)}")
        inner = kinds or [type(one) for one in like]
        return tuple(
            _value(one, first, f"{name}[{place}]", kind)
            for place, (one, first, kind) in enumerate(zip(saved, like, inner, strict=True))
        )
    values = [_value(one, None, f"{name}[{place}]", kinds[0] if kinds else UNKNOWN) for place, one in enumerate(saved)]
    return deque(values, maxlen=like.maxlen) if isinstance(like, deque) else type(like)(values)


def _by_hint(saved: Any, like: Any, name: str, hint: Any) -> Any:
    """Return a value by its declared type: a plain one, or one for which `like` has no example."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if saved is None and type(None) in get_args(hint) and isinstance(like, PLAIN):
            return None
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        return _by_hint(saved, like, name, kinds[0] if len(kinds) == 1 else UNKNOWN)
    if origin is dict:
        if not isinstance(saved, dict):
            raise ValueError(f"{name} is {describe(saved)}, not a table")
        return {part: _by_hint(one, None, f"{name}.{part}", get_args(hint)[1]) for part, one in saved.items()}
    if origin in (list, tuple, deque):
        is_fixed = origin is tuple and get_args(hint)[-1] is not ...
        return _sequence(saved, (None,) * len(get_args(hint)) if is_fixed else origin(), name, hint)
    if dataclasses.is_dataclass(hint) or hasattr(hint, "_fields"):
        return _fields(saved, None, name, hint, _names_of(hint))
    return _plain(saved, like, name, hint)


def _names_of(kind: Any) -> tuple[str, ...]:
    return kind._fields if hasattr(kind, "_fields") else tuple(field.name for field in dataclasses.fields(kind))


def _plain(saved: Any, like: Any, name: str, hint: Any) -> Any:
    """Return a plain value of the declared type; a number must be finite if that of `like` is."""
    is_number = not isinstance(saved, bool) and isinstance(saved, int | float)
    if hint is bool:
        fits = isinstance(saved, bool)
    elif hint is int:
        fits = is_number and isinstance(saved, int) and 0 <= saved < 2**63
    elif hint is float:
        fits = is_number and (like is None or not math.isfinite(like) or math.isfinite(saved))
    elif hint is str:
        fits = isinstance(saved, str)
    else:
        fits = hint is UNKNOWN and isinstance(saved, (dict, list, *PLAIN))
    if not fits:
        raise ValueError(f"{name} is {describe(saved)}")
    return float(saved) if hint is float else saved


def _array(saved: Any, like: np.ndarray[Any, Any], name: str) -> Any:
    if not isinstance(saved, np.ndarray) or saved.shape != like.shape or saved.dtype != like.dtype:
        raise ValueError(f"{name} is {describe(saved)}, not {describe(like)}")
    like[...] = saved
    return like


@torch.no_grad()
def _fill_tensor(saved: Any, like: torch.Tensor, name: str) -> torch.Tensor:
    if not isinstance(saved, torch.Tensor) or saved.shape != like.shape or saved.dtype != like.dtype:
        raise ValueError(f"{name} is {describe(saved)}, not {describe(like)}")
    like.copy_(saved)
    return like


def _generator(saved: Any, like: np.random.Generator, name: str) -> np.random.Generator:
    try:
        like.bit_generator.state = saved
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"{name} is not the state of a random generator ({error})") from None
    return like


def _torch_generator(saved: Any, like: torch.Generator, name: str) -> torch.Generator:
    try:
        like.set_state(saved)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name} is not the state of a random generator ({str(error).splitlines()[0]})") from None
    return like


def _module(saved: Any, like: nn.Module, name: str) -> nn.Module:
    if not isinstance(saved, dict):
        raise ValueError(f"{name} is {describe(saved)}, not a classifier")
    _same_names(saved, {"parameters": None, "buffers": None}, name)
    put_tensors(like, **saved)
    return like


def _optimizer(saved: Any, like: torch.optim.Optimizer, name: str) -> torch.optim.Optimizer:
    """Restore an optimizer's state of each parameter, by the parameter's index; learning rates are not restored."""
    parameters = _parameters(like)
    if not isinstance(saved, dict) or not set(saved) <= {str(place) for place in range(len(parameters))}:
        raise ValueError(f"{name} has other parameters")
    like.state.clear()
    for place, parameter in enumerate(parameters):
        if str(place) not in saved:
            continue
        if not isinstance(saved[str(place)], dict):
            raise ValueError(f"{name}.{place} is {describe(saved[str(place)])}, not a table")
        known = dict(saved[str(place)])
        for part, value in known.items():
            if isinstance(value, torch.Tensor):
                kind = torch.float64 if value.dtype == torch.float64 else torch.float32
                expected = torch.zeros((), dtype=kind) if part == "step" else parameter
                if value.shape != expected.shape or value.dtype != expected.dtype:
                    raise ValueError(f"{name}.{place}.{part} is {describe(value)}, not {describe(expected)}")
                known[part] = value.clone().to(parameter.device)
        like.state[parameter] = known
    return like


RESTORED: dict[type, Callable[[Any, Any, str], Any]] = {
    np.ndarray: _array,
    torch.Tensor: _fill_tensor,
    np.random.Generator: _generator,
    torch.Generator: _torch_generator,
    nn.Module: _module,
    torch.optim.Optimizer: _optimizer,
}


def describe(value: Any) -> str:
    """Return the type and shape of a value, or a short plain value itself, as errors name it."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return repr(value)[:40] if isinstance(value, PLAIN) else f"a {type(value).__name__}"


def _same_names(saved: Any, own: Mapping[str, Any], name: str) -> None:
    if not isinstance(saved, Mapping):
        raise ValueError(f"{name} is {describe(saved)}, not a table")
    if missing := sorted(set(own) - set(saved)):
        raise ValueError(f"{name} has no {missing[0]!r}")
    if unknown := sorted(set(saved) - set(own)):
        raise ValueError(f"{name} has an unknown {unknown[0]!r}")


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
