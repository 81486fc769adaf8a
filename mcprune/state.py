"""What a method must keep to go on later, as plain values and arrays: helpers for `save` and `restore`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from mcprune.types import AnyArray

# Of names: numbers, texts, lists, arrays and tensors, and the same again.
Saved = dict[str, Any]


def arrays_of(held: NamedTuple) -> Saved:
    """Return copies of the arrays of a named tuple by name."""
    return {name: value.copy() for name, value in held._asdict().items() if isinstance(value, np.ndarray)}


def fill_arrays(held: NamedTuple, saved: Saved) -> None:
    """Put saved arrays back into those of a named tuple, in place.

    Raises
    ------
    KeyError, ValueError
        An array is missing, or of another shape or type.
    """
    for name, value in held._asdict().items():
        if isinstance(value, np.ndarray):
            value[...] = checked(saved[name], value, name)


def checked(saved: AnyArray, like: AnyArray, name: str) -> AnyArray:
    """Return a saved array.

    Raises
    ------
    ValueError
        It is of another shape or type than `like`.
    """
    if not isinstance(saved, np.ndarray) or saved.shape != like.shape or saved.dtype != like.dtype:
        raise ValueError(f"{name} is {_words(saved)}, not {_words(like)}")
    return saved


def alike(saved: Any, like: Any, name: str) -> Any:
    """Return a saved plain value: a count, a finite number, a text, yes or no as `like` is; where that is None, a count or a dict too.

    Raises
    ------
    ValueError
        It is of another kind than `like`.
    """
    number = not isinstance(saved, bool) and isinstance(saved, int | float) and abs(saved) < 2**63
    if isinstance(like, bool):
        fits = isinstance(saved, bool)
    elif isinstance(like, int):
        fits = number and isinstance(saved, int) and saved >= 0
    elif isinstance(like, float):
        fits = number
    elif like is None:
        fits = saved is None or isinstance(saved, dict) or (number and isinstance(saved, int))
    else:
        fits = isinstance(saved, type(like))
    if not fits:
        raise ValueError(f"{name} is {str(saved)[:40]!r}")
    return saved


def save_optimizer(optimizer: torch.optim.Optimizer) -> Saved:
    """Return what an optimizer holds for each parameter, by the parameter's place; the rates are the owner's."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        str(place): {name: copied(value) for name, value in optimizer.state[parameter].items()}
        for place, parameter in enumerate(parameters)
        if parameter in optimizer.state
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Saved) -> None:
    """Put back what `save_optimizer` gave.

    Raises
    ------
    ValueError
        A tensor fits no parameter.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not set(saved) <= {str(place) for place in range(len(parameters))}:
        raise ValueError("the optimizer has other parameters")
    optimizer.state.clear()
    for place, parameter in enumerate(parameters):
        if str(place) not in saved:
            continue
        held = {name: copied(value) for name, value in saved[str(place)].items()}
        for name, value in held.items():
            if isinstance(value, torch.Tensor):
                kind = torch.float64 if value.dtype == torch.float64 else torch.float32
                like = torch.zeros((), dtype=kind) if name == "step" else parameter
                if value.shape != like.shape or value.dtype != like.dtype:
                    raise ValueError(
                        f"{name} of parameter {place} is {value.dtype} {tuple(value.shape)}, not {tuple(like.shape)}"
                    )
                held[name] = value.to(parameter.device)
        optimizer.state[parameter] = held


def copied(value: Any) -> Any:
    """Return a copy of a tensor on the CPU; anything else as it is."""
    return value.detach().cpu().clone() if isinstance(value, torch.Tensor) else value


def _words(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
