"""Classifiers that end in a softmax or a sigmoid, changed so that they give logits.

Cross-entropy takes logits: of probabilities it would take a second softmax. Left out of a classifier, its last softmax leaves the
logits; a last sigmoid becomes its logarithm; the logarithm of probabilities that are made in the forward pass itself is taken behind
it. In each case the softmax of the new outputs are the probabilities of the old ones (of sigmoids: divided by their sum).

The changed classifier shares all parameters, buffers and inner modules with the given one, which stays as it is.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn

from mcprune.models.modes import evaluating

# The smallest normal float32: a probability that was rounded to 0.
LEAST_PROBABILITY = 2.0**-126
TOLERANCE = 1e-3
# Outputs of so many rows all lie within 0..1 by no accident.
ROWS_FOR_SIGMOIDS = 16
REMEDY = "Return logits from the model to avoid this."


class Changed(NamedTuple):
    """A classifier that gives logits, and a description of the change ("" for none)."""

    model: nn.Module
    note: str = ""


class _LogOutputs(nn.Module):
    """The mixin of a classifier of which the logarithm of the outputs is taken."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        probabilities: torch.Tensor = super().forward(x)
        return probabilities.clamp_min(LEAST_PROBABILITY).log()


def give_logits(model: nn.Module, rows: torch.Tensor) -> Changed:
    """Return the classifier with logits in place of probabilities, where its outputs on rows show that they are probabilities.

    Parameters
    ----------
    model : nn.Module
        Gives one output a class.
    rows : Tensor, shape (B, ...)
        Examples.
    """
    with torch.no_grad(), evaluating(model):
        outputs = model(rows)
    if _sum_to_one(outputs):
        changed = _without(model, nn.Softmax, rows, outputs) or without_last(model, "")
        if not _agree(changed, rows, outputs):
            return Changed(model, _doubt("sum to 1", "softmax"))
        return Changed(
            changed,
            "the model ends in a softmax, so its outputs are probabilities; training and evaluation need logits and use them, and "
            f"predict_proba gives the model's own probabilities. {REMEDY}",
        )
    is_share = bool(((outputs >= 0) & (outputs <= 1)).all())
    if outputs.shape[1] < 2 or not is_share or len(rows) < ROWS_FOR_SIGMOIDS:
        return Changed(model)
    of_sigmoids = _without(model, nn.Sigmoid, rows, outputs)
    if of_sigmoids is None:
        # A ReLU gives zeros too, but hardly ever a 1.
        is_doubtful = bool((outputs > 0).all()) or bool((outputs == 1).any())
        return Changed(model, _doubt("lie between 0 and 1", "sigmoid") if is_doubtful else "")
    return Changed(
        of_sigmoids,
        "the model ends in a sigmoid for each class; training and evaluation need logits and use the logarithms of its outputs, and "
        f"predict_proba divides them by their sum. {REMEDY}",
    )


def without_last(model: nn.Module, name: str) -> nn.Module:
    """Return the classifier without its last softmax or with the logarithm of its last sigmoid, by the module's name.

    With the name "" the logarithm of its outputs is taken; where the named module is neither of both, nothing is changed.
    """
    if not name:
        if isinstance(model, _LogOutputs):
            return model
        kind = type(model)
        changed = copy.copy(model)
        changed.__class__ = type(kind.__name__, (_LogOutputs, kind), {"__module__": kind.__module__})
        return changed
    layer = dict(model.named_modules()).get(name)
    if layer is None or type(layer) not in (nn.Softmax, nn.Sigmoid):
        return model
    new: nn.Module = nn.Identity() if type(layer) is nn.Softmax else nn.LogSigmoid()
    new.training = layer.training
    new.took_logits = True  # type: ignore[assignment]
    return _with_module(model, name.split("."), new)


def _without(model: nn.Module, kind: type[nn.Module], rows: torch.Tensor, outputs: torch.Tensor) -> nn.Module | None:
    """Return the classifier without the module of this kind that gives its outputs; None where none does."""
    names = [name for name, layer in model.named_modules() if type(layer) is kind and name]
    candidates = (without_last(model, name) for name in reversed(names))
    return next((changed for changed in candidates if _agree(changed, rows, outputs)), None)


def changed_place(model: nn.Module) -> str | None:
    """Return the name that `without_last` was called with to make this classifier; None where it was not."""
    if isinstance(model, _LogOutputs):
        return ""
    return next((name for name, layer in model.named_modules() if getattr(layer, "took_logits", False)), None)


def _with_module(model: nn.Module, path: list[str], new: nn.Module) -> nn.Module:
    """Return a copy that shares everything but the containers on the path to the new module."""
    if not path:
        return new
    out = copy.copy(model)
    out._modules = dict(model._modules)
    child = model._modules[path[0]]
    assert child is not None
    out._modules[path[0]] = _with_module(child, path[1:], new)
    return out


def _sum_to_one(outputs: torch.Tensor) -> bool:
    is_sum = (outputs.sum(dim=1) - 1).abs() <= TOLERANCE
    return outputs.shape[1] > 1 and bool((outputs >= 0).all()) and bool(is_sum.all())


def _agree(changed: nn.Module, rows: torch.Tensor, probabilities: torch.Tensor) -> bool:
    """Whether the new outputs are logits of the old ones."""
    try:
        with torch.no_grad(), evaluating(changed):
            outputs = changed(rows)
    except Exception:  # the user's own code
        return False
    expected = probabilities / probabilities.sum(dim=1, keepdim=True).clamp_min(LEAST_PROBABILITY)
    got = torch.softmax(outputs, dim=1)
    return got.shape == expected.shape and bool(((got - expected).abs() <= TOLERANCE).all())


def _doubt(what: str, kind: str) -> str:
    return (
        f"all outputs of the model {what}. If it ends in a {kind}, remove that: training and evaluation take outputs as logits, so "
        "probabilities would go through a second softmax"
    )
