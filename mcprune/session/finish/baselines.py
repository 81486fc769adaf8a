"""What a result is compared with: all sites, random masks and masks by magnitude, retrained in the same way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.random import Stream, generator
from mcprune.session.build.plan import Plan
from mcprune.session.finish.retrain import Refit
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import SiteMap
from mcprune.storage.answer import SHORT
from mcprune.storage.events import Event, Scored, Stage
from mcprune.training.metrics import Answers, weighted_mean
from mcprune.types import BoolArray, FloatArray

RANDOM_MASKS = 5
FEW_RANDOM_MASKS = 2  # of a short comparison
# With --compare auto the comparisons may take this share of the work of search and retraining; beyond it they are short.
COMPARE_SHARE = 0.15
FEW_ROWS = 5_000  # of which comparisons are always made in full, unless the first layer on all columns has many weights
MANY_WEIGHTS = 2**18
OF_MASK = ("hard mask, not retrained", "hard mask, fine-tuned", "hard mask, retrained")
BY_MAGNITUDE = ("magnitude, not retrained", "magnitude, fine-tuned")
BASELINES = ("random masks", "first-layer magnitude", "weight magnitude")
SHORT_MASK = "hard mask" + SHORT
ORDER = (
    *("dense", "all sites", *OF_MASK, *BASELINES, *BY_MAGNITUDE),
    *("all sites" + SHORT, SHORT_MASK, *(name + SHORT for name in BASELINES)),
)


class Comparison(NamedTuple):
    """How the masks that a result is compared with are trained.

    Attributes
    ----------
    epochs : int
        Of each.
    masks : int
        Random masks.
    is_short : bool
        Fewer epochs than the pruned model had: the kept sites are trained as briefly once more.
    """

    epochs: int
    masks: int
    is_short: bool = False


class Scores:
    """The accuracies, or R2, of a run on the test rows, in the order in which they were measured.

    Parameters
    ----------
    weights : ndarray of float64, shape (rows,), optional
        Sample weights of the test rows: accuracies are shares of their sum.
    """

    def __init__(self, weights: FloatArray | None = None) -> None:
        self._share = None if weights is None or not len(weights) else weights / weights.sum()
        self.entries: list[Scored] = []
        self._of_model: FloatArray | BoolArray | None = None  # which test rows the pruned model has right

    def add(self, name: str, kept: int, tested: list[Answers], began: float, objectives: list[float | None]) -> Scored:
        """Add one line of the result, and return its event.

        Parameters
        ----------
        name : str
        kept : int
            Sites of the mask.
        tested : list of Answers
            How each classifier does on the test rows; the line has the mean over the classifiers.
        began : float
            When the work on it began, by time.monotonic.
        objectives : list of float or None
            On the test rows, of each classifier; None where it was not measured.
        """
        answers = [one.scores for one in tested]
        right = [self._mean(rows) for rows in answers if len(rows)]
        errors = [one.errors for one in tested if one.errors is not None and len(one.errors)]
        values = [value for value in objectives if value is not None]
        is_of_model = name in (*OF_MASK, SHORT_MASK)
        if is_of_model:
            self._of_model = answers[0]
        behind, behind_error = (None, None) if is_of_model or not right else self._behind(answers)
        entry = Scored(
            name=name,
            kept=kept,
            accuracy=float(np.mean(right)) if right else None,
            spread=float(np.std(right, ddof=1)) if len(right) > 1 else None,
            count=len(answers),
            objective=float(np.mean(values)) if values else None,
            seconds=time.monotonic() - began,
            error=_error(np.array(right)) if len(right) > 1 else _error(answers[0], self._share),
            behind=behind,
            behind_error=behind_error,
            rmse=float(np.mean([np.sqrt(self._means(one**2)).mean() for one in errors])) if errors else None,
            mae=float(np.mean([self._means(np.abs(one)).mean() for one in errors])) if errors else None,
        )
        self.entries.append(entry)
        return entry

    def _means(self, values: FloatArray) -> FloatArray:
        """Return the means (T,) over the test rows of values (rows, T), by the rows' weights where they have any."""
        return np.asarray(values.mean(axis=0) if self._share is None else self._share @ values)

    def _behind(self, answers: Sequence[FloatArray | BoolArray]) -> tuple[float | None, float | None]:
        """Return by how much the accuracy of classifiers is below that of the pruned model, and the standard error."""
        if self._of_model is None:
            return None, None
        gaps = np.array([self._of_model.astype(np.float64) - rows for rows in answers])  # (classifiers, rows)
        means = gaps.mean(axis=1) if self._share is None else gaps @ self._share
        gap = float(gaps.mean() if self._share is None else means.mean())
        return gap, _error(means) if len(answers) > 1 else _error(gaps[0], self._share)

    def _mean(self, right: FloatArray | BoolArray) -> float:
        """Return the share of the test rows (rows,) that are right, by their weights where they have any."""
        return float(right.sum()) / len(right) if self._share is None else float(self._share @ right)

    def ordered(self) -> tuple[Scored, ...]:
        """Return the lines in the order of the report."""
        return tuple(sorted(self.entries, key=lambda entry: ORDER.index(entry.name)))


def _error(values: FloatArray | BoolArray, share: FloatArray | None = None) -> float | None:
    """Return the standard error of a mean, or of one weighted by shares of sum 1; None of fewer than two values."""
    if share is not None and len(values) > 1:
        return weighted_mean(values, share)[1]
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def retrained_baselines(
    plan: Plan, refit: Refit, scores: Scores, models: list[nn.Module], own: BoolArray, comparison: Comparison
) -> Iterator[Event]:
    """Yield the scores of all sites, random masks and the mask by magnitude, each retrained in the same way.

    The model with all sites is appended to `models`. In a short comparison `own`, the mask (N,) of the result, is trained as briefly.
    """
    size, seed, epochs = plan.sites.size, plan.runtime.seed, comparison.epochs
    end = SHORT if comparison.is_short else ""
    began = time.monotonic()
    everything = np.ones(size, bool)
    if comparison.is_short:
        yield Stage("compare", f"training on the kept sites for {epochs:,} epochs, to compare")
        model = refit.train(own, seed, epochs=epochs)
        yield scores.add(SHORT_MASK, plan.shown.count(own), [refit.test(model, own)], began, [refit.value(model, own)])
        began = time.monotonic()
    yield Stage("compare", "training a model with all sites, to compare")
    whole = refit.train(everything, seed, epochs=epochs)
    models.append(whole)
    yield scores.add(
        "all sites" + end, plan.shown.size, [refit.test(whole, everything)], began, [refit.value(whole, everything)]
    )
    began = time.monotonic()
    draw = generator(seed, Stream.BASELINE_MASKS)
    masks = [random_mask(plan, draw) for _ in range(comparison.masks)]
    masks.append(magnitude_mask(plan, whole, refit.x, refit.weights))
    name = (
        "weight magnitude" if plan.sites.channels or plan.sites.blocks or plan.sites.states else "first-layer magnitude"
    )
    yield Stage("compare", f"training on {comparison.masks} sets of random sites and on those by {name}, to compare")
    seeds = [*(seed + number for number in range(comparison.masks)), seed]
    models_of_masks = refit.train_all(masks, seeds, epochs)
    each = (time.monotonic() - began) / len(masks)  # they are trained at once
    answers = [refit.test(model, mask) for model, mask in zip(models_of_masks, masks, strict=True)]
    values = [refit.value(model, mask) for model, mask in zip(models_of_masks, masks, strict=True)]
    kept = plan.shown.count(masks[0])
    began = time.monotonic() - each * comparison.masks
    yield scores.add("random masks" + end, kept, answers[:-1], began, values[:-1])
    began = time.monotonic() - each
    yield scores.add(name + end, plan.shown.count(masks[-1]), answers[-1:], began, values[-1:])


def finetuned_baselines(plan: Plan, refit: Refit, scores: Scores) -> Iterator[Event]:
    """Yield the scores of the mask by magnitude on the same trained classifier, as it is and fine-tuned in the same way."""
    began = time.monotonic()
    mask = magnitude_mask(plan, plan.model, refit.x, refit.weights)
    objective = refit.value(plan.gated, mask, is_gated=True)
    yield scores.add(BY_MAGNITUDE[0], plan.shown.count(mask), [refit.test_gated(mask)], began, [objective])
    if plan.retrain.finetune != "none":
        began = time.monotonic()
        model = refit.updated(mask, plan.runtime.seed)
        yield scores.add(
            BY_MAGNITUDE[1], plan.shown.count(mask), [refit.test(model, mask)], began, [refit.value(model, mask)]
        )


def random_mask(plan: Plan, draw: np.random.Generator) -> BoolArray:
    """Return a random mask within the budget."""
    space, size = plan.space, plan.sites.size
    scores = np.empty(size)
    if not space.is_count:
        scores[draw.permutation(size)] = -np.arange(size)
    elif space.is_plain and not (plan.sites.channels or plan.sites.blocks or plan.sites.states):
        scores[:] = 0.0
        scores[draw.choice(size, space.n, replace=False)] = 1.0
    else:
        scores[:] = draw.random(size)
    return space.enforce(scores)


def _deviation(rows: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return the standard deviation of each input, under sample weights (rows,) where there are any."""
    if weights is None:
        return rows.std(dim=0)
    share = weights / weights.sum()
    return (share @ (rows - share @ rows).square()).sqrt()


def magnitude_mask(
    plan: Plan, trained: nn.Module, rows: torch.Tensor, weights: torch.Tensor | None = None
) -> BoolArray:
    """Return the mask of the n sites with the largest weights; ties go to the lowest index.

    The size of an input is the norm of its column times its standard deviation, of a unit the norm of its incoming weights, of a
    channel that of its filters, of a weight its absolute value, of a head, a neuron or a sub-block that of all its weights.
    """
    modules = dict(trained.named_modules())
    scores = []
    for group in plan.sites.groups:
        if group.kind == "inputs":
            first = next(m for m in trained.modules() if isinstance(m, nn.Linear))
            norm = first.weight.detach().norm(dim=0) * _deviation(rows, weights)
        elif group.kind == "channels":
            filters = [
                modules[part].weight
                for part in group.parts
                if isinstance(modules[part], nn.Conv1d | nn.Conv2d | nn.Conv3d)
            ]
            norm = torch.cat([weight.detach().flatten(1) for weight in filters], dim=1).norm(dim=1)
        elif group.block is not None or group.kind == "states":
            norm = torch.from_numpy(Owners(trained, SiteMap((replace(group, start=0),))).norms())
        elif group.kind == "weights":
            norm = modules[group.layer].get_parameter("weight").detach().abs().flatten()
        else:
            layer = modules[group.layer]
            assert isinstance(layer, nn.Linear)
            norm = layer.weight.detach().norm(dim=1)
        score = norm.double().cpu().numpy()
        # Norms of different layers do not compare, so each is divided by its mean. Single weights do.
        is_single = {group.kind for group in plan.sites.groups} == {"weights"}
        scores.append(score if is_single else score / max(float(score.mean()), 1e-30))
    score = np.concatenate(scores)
    return plan.space.enforce(score)


def plan_comparison(plan: Plan, refit: Refit, work: float) -> tuple[Comparison | None, str]:
    """Return how to compare, None for not at all, and a note; no clock decides, because the work is known beforehand.

    Parameters
    ----------
    plan : Plan
    refit : Refit
    work : float
        Of the search, in rows that went through backprop.
    """
    full = Comparison(plan.retrain.epochs, RANDOM_MASKS)
    if not len(refit.y_test):
        return None, "there are no test rows (test=0): no accuracy is measured, and nothing is compared"
    first = next((module for module in plan.model.modules() if isinstance(module, nn.Linear)), None)
    if plan.retrain.finetune == "warm":
        text = "all sites and random masks are trained from scratch, which does not compare with warm weights: left out"
        return None, text + "; --finetune scratch --compare yes runs them"
    if plan.sites.inputs is None and (plan.sites.channels or plan.sites.blocks or plan.sites.states):
        pass
    elif plan.sites.inputs is None and not plan.retrain.is_retrained:
        pass  # the norm of no input is needed
    elif first is None or (plan.candidates is None and first.in_features != plan.splits.n_inputs):
        return None, "first-layer magnitude needs a linear layer that reads the inputs: no comparisons"
    if plan.runtime.compare != "auto":
        return full if plan.runtime.compare == "yes" else None, ""
    rows = len(refit.y)
    weights = plan.splits.n_inputs * (*plan.settings.model.hidden, 1)[0]
    if rows < FEW_ROWS and plan.retrain.is_retrained and not plan.is_users_model and weights > MANY_WEIGHTS:
        epochs = max(1, plan.retrain.epochs * MANY_WEIGHTS // weights)
        text = f"all {plan.splits.n_inputs:,} columns take long to train: {epochs:,} of {plan.retrain.epochs:,} epochs for each comparison"
        return Comparison(epochs, FEW_RANDOM_MASKS, is_short=True), text + "; --compare yes trains them in full"
    if rows < FEW_ROWS:
        return full, ""
    if not plan.retrain.is_retrained:
        needed = (plan.retrain.epochs if plan.retrain.finetune == "short" else 1) * rows
        if needed <= COMPARE_SHARE * work:
            return full, ""
        return None, f"magnitude would take {needed / work:.0%} of the search's work: left out; --compare yes runs it"
    allowed = COMPARE_SHARE * (work + plan.retrain.epochs * rows)
    if (RANDOM_MASKS + 2) * plan.retrain.epochs * rows <= allowed:
        return full, ""
    epochs = int(allowed / ((FEW_RANDOM_MASKS + 3) * rows))
    share = f"{COMPARE_SHARE:.0%} of the work of search and retraining"
    if epochs < 1:
        return None, f"comparisons would take more than {share}: left out; --compare yes runs them"
    text = f"comparisons may take {share}: {epochs:,} of {plan.retrain.epochs:,} epochs each, the kept sites too"
    return Comparison(epochs, FEW_RANDOM_MASKS, is_short=True), text + "; --compare yes trains them in full"
