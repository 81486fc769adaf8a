"""A user's own objective: `def objective(predictions, targets, mask) -> float`."""

from __future__ import annotations

import importlib.util
import inspect
import numbers
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from mcprune.errors import ObjectiveError, brief
from mcprune.objectives.base import Rows
from mcprune.types import AnyArray, BoolArray, FloatArray, InputField

# The parameters that get the weights of the rows, and their inputs.
WEIGHTS, INPUTS = "sample_weight", "inputs"
AGAIN = 64  # every 64th call is repeated: the value must depend on the arguments alone


class Units(Protocol):
    """From what a network gives and learns to the unit of numeric targets."""

    def predictions(self, outputs: AnyArray) -> FloatArray:
        """Return predictions (rows, T) of outputs (rows, T)."""
        ...

    def invert(self, scaled: AnyArray) -> FloatArray:
        """Return targets (rows, T) of scaled ones."""
        ...


class OwnObjective:
    """Calls a function for the value of each candidate.

    Parameters
    ----------
    function : callable
        (predictions, targets, mask) -> a number to be minimised: float64 probabilities (B, C), int64 classes (B,), and bool
        (N,), True for a kept site; all read-only. With two parameters it does not get the mask, and then evaluators
        that know only outputs can be used too. With a parameter called `sample_weight` it gets the weights of the rows, float64 (B,),
        or None where all rows count alike. Where targets are numbers, predictions and targets are float64 in their unit, (B,) of one
        target and (B, T) of several. With a parameter called `inputs` it gets the rows as the model reads them with all
        sites kept: float32 (B, N), scaled, or a dict of arrays where the model takes several inputs by name. An attribute
        `lower_bound`, if there is one, is taken as it is.
    name : str
        For messages.
    """

    is_stepped = True
    lower_bound: float | None

    def __init__(self, function: Callable[..., object], name: str) -> None:
        if not callable(function):
            raise ObjectiveError(f"objective={name!r} is a {type(function).__name__}, no function; give one to call")
        try:
            names = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):  # some built-in functions have no signature
            names = ["predictions", "targets", "mask"]
        self.takes_weights, self.reads_inputs = WEIGHTS in names, INPUTS in names
        self.reads_mask = len(names) - self.takes_weights - self.reads_inputs != 2
        self._weights: AnyArray | None = None
        self._inputs: AnyArray | dict[str, AnyArray] | None = None
        self.fields: tuple[InputField, ...] = ()
        self.units: Units | None = None
        self.function = function
        self.name = self.description = name
        bound = getattr(function, "lower_bound", None)
        self.lower_bound = float(bound) if isinstance(bound, numbers.Real) else None
        self._calls = 0

    def begin(self, rows: Rows) -> None:
        """See `Objective.begin`; the function gets no groups."""
        self._weights = None if rows.weights is None else _fixed(rows.weights.double().cpu().numpy())
        if self.reads_inputs and rows.inputs is not None:
            self._inputs = self._fields_of(np.ascontiguousarray(rows.inputs.cpu().numpy()))

    def _fields_of(self, rows: AnyArray) -> AnyArray | dict[str, AnyArray]:
        """Return rows (B, N), or the inputs of a model that takes several by name."""
        if not any(each.name for each in self.fields):
            return _fixed(rows)
        kinds = {"float": np.float32, "int": np.int64, "bool": np.bool_}
        return {
            each.name: _fixed(rows[:, each.start : each.stop].reshape(-1, *each.shape).astype(kinds[each.kind]))
            for each in self.fields
        }

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> FloatArray:
        """Return the function's value of each candidate, shape (K,); see `Objective.losses`."""
        return self.masked_losses(logits, targets, None)

    def masked_losses(self, logits: torch.Tensor, targets: torch.Tensor, masks: BoolArray | None) -> FloatArray:
        """Do the same with masks (K, N); outputs that are not finite give NaN, and the function is not called.

        Raises
        ------
        ObjectiveError
            The function raises, gives no finite number, or two numbers for the same candidate.
        """
        if self.units is None:
            predictions, classes = torch.softmax(logits.double(), dim=2).cpu().numpy(), targets.cpu().numpy()
        else:
            of_one = (slice(None), 0) if logits.shape[2] == 1 else slice(None)
            classes = self.units.invert(targets.cpu().numpy())[of_one]
            predictions = np.stack([self.units.predictions(one)[of_one] for one in logits.cpu().numpy()])
        finite = torch.isfinite(logits).all(dim=2).all(dim=1).cpu().numpy()
        out = np.full(len(predictions), np.nan)
        for k in np.flatnonzero(finite).tolist():
            arguments = [_fixed(predictions[k]), _fixed(classes)]
            if self.reads_mask and masks is not None:
                arguments.append(_fixed(masks[k]))
            out[k] = self._value(arguments)
            if self._calls % AGAIN == 0 and (again := self._value(arguments)) != out[k]:
                raise ObjectiveError(
                    f"objective {self.name!r} gave {float(out[k])} and then {again} for the same candidate: it depends on hidden "
                    "state, such as random numbers or a counter; make it a function of its arguments alone"
                )
            self._calls += 1
        return out

    def _value(self, arguments: list[AnyArray]) -> float:
        named: dict[str, object] = {WEIGHTS: self._weights} if self.takes_weights else {}
        if self.reads_inputs:
            if self._inputs is None:
                raise ObjectiveError(
                    f"objective {self.name!r} reads the inputs of the rows, which this search does not have. Leave the parameter "
                    f"{INPUTS!r} out."
                )
            named[INPUTS] = self._inputs
        try:
            value = self.function(*arguments, **named)
        except Exception as error:  # the user's own code
            raise ObjectiveError(
                f"objective {self.name!r} raised {type(error).__name__}: {brief(error)}{_where(error)}; it is called with "
                f"{', '.join(f'{part.dtype} {part.shape}' for part in arguments)}"
            ) from error
        if isinstance(value, np.ndarray | torch.Tensor) and value.ndim == 0:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
            raise ObjectiveError(
                f"objective {self.name!r} gave a {type(value).__name__}{shape}; it must give one real number"
            )
        if not np.isfinite(float(value)):
            raise ObjectiveError(
                f"objective {self.name!r} gave {float(value)} for outputs that are finite; give every candidate a finite "
                "number, such as a large one where it is undefined"
            )
        return float(value)


def _fixed(values: AnyArray) -> AnyArray:
    """Return a read-only view: what is changed in place would be another candidate's, too."""
    view = values.view()
    view.flags.writeable = False
    return view


def _where(error: Exception) -> str:
    """Return the user's own line, the last one of the traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})" if trace is not None else ""


def from_file(text: str) -> OwnObjective:
    """Return the objective of `file.py:name`; the file is run.

    Raises
    ------
    ObjectiveError
        No such file or function, or a file that raises.
    """
    path, _, name = text.rpartition(":")
    if not path:
        path, name = name, "objective"
    if not Path(path).is_file():
        raise ObjectiveError(f"objective={text!r}: there is no file {path!r}; give FILE.py:NAME of a function")
    spec = importlib.util.spec_from_file_location("mcprune_own_objective", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code
        raise ObjectiveError(
            f"objective={text!r}: {path} cannot be run, {type(error).__name__}: {brief(error)}; fix that"
        ) from error
    if not hasattr(module, name):
        raise ObjectiveError(f"objective={text!r}: {path} has no {name!r}; give FILE.py:NAME of a function in it")
    return OwnObjective(getattr(module, name), text)
