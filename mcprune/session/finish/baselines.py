"""What a result is compared with: all sites, random masks and masks by magnitude, retrained in the same way."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from mcprune.random import Stream, generator
from mcprune.session.build.plan import Plan
from mcprune.session.finish.retrain import Refit
from mcprune.storage.events import Event, Scored
from mcprune.types import BoolArray

RANDOM_MASKS = 5
# With --compare auto the comparisons may take this share of the work of the search.
COMPARE_SHARE = 0.1
FEW_ROWS = 5_000  # of which comparisons are always made
OF_MASK = ("hard mask, not retrained", "hard mask, fine-tuned", "hard mask, retrained")
BY_MAGNITUDE = ("magnitude, not retrained", "magnitude, fine-tuned")
ORDER = ("dense", "all sites", *OF_MASK, "random masks", "first-layer magnitude", "weight magnitude", *BY_MAGNITUDE)


class Scores:
    """The accuracies of a run on the test rows, in the order in which they were measured."""

    def __init__(self) -> None:
        self.entries: list[Scored] = []

    def add(
        self, name: str, kept: int, accuracies: list[float | None], began: float, objectives: list[float | None]
    ) -> Scored:
        """Add one line of the result, and return its event.

        Parameters
        ----------
        name : str
        kept : int
            Sites of the mask.
        accuracies, objectives : list of float or None
            On the test rows, of each classifier; the line has their means. None where they were not measured.
        began : float
            When the work on it began, by time.monotonic.
        """
        right = [value for value in accuracies if value is not None]
        values = [value for value in objectives if value is not None]
        entry = Scored(
            name=name,
            kept=kept,
            accuracy=float(np.mean(right)) if right else None,
            spread=float(np.std(right, ddof=1)) if len(right) > 1 else None,
            count=len(accuracies),
            objective=float(np.mean(values)) if values else None,
            seconds=time.monotonic() - began,
        )
        self.entries.append(entry)
        return entry

    def ordered(self) -> tuple[Scored, ...]:
        """Return the lines in the order of the report."""
        return tuple(sorted(self.entries, key=lambda entry: ORDER.index(entry.name)))


def retrained_baselines(plan: Plan, refit: Refit, scores: Scores) -> Iterator[Event]:
    """Yield the scores of all sites, random masks and the mask by magnitude, each retrained in the same way."""
    size, seed = plan.sites.size, plan.runtime.seed
    began = time.monotonic()
    everything = np.ones(size, bool)
    whole = refit.train(everything, seed)
    yield scores.add("all sites", size, [refit.test(whole, everything)], began, [refit.value(whole, everything)])
    began = time.monotonic()
    draw = generator(seed, Stream.BASELINE_MASKS)
    accuracies: list[float | None] = []
    values: list[float | None] = []
    for number in range(RANDOM_MASKS):
        mask = random_mask(plan, draw)
        model = refit.train(mask, seed + number)
        accuracies.append(refit.test(model, mask))
        values.append(refit.value(model, mask))
    yield scores.add("random masks", int(mask.sum()), accuracies, began, values)
    began = time.monotonic()
    mask = magnitude_mask(plan, whole, refit.x)
    model = refit.train(mask, seed)
    name = "weight magnitude" if plan.sites.channels else "first-layer magnitude"
    yield scores.add(name, int(mask.sum()), [refit.test(model, mask)], began, [refit.value(model, mask)])


def finetuned_baselines(plan: Plan, refit: Refit, scores: Scores) -> Iterator[Event]:
    """Yield the scores of the mask by magnitude on the same trained classifier, as it is and fine-tuned in the same way."""
    began = time.monotonic()
    mask = magnitude_mask(plan, plan.model, refit.x)
    objective = refit.value(plan.gated, mask, is_gated=True)
    yield scores.add(BY_MAGNITUDE[0], int(mask.sum()), [refit.test_gated(mask)], began, [objective])
    if plan.retrain.finetune != "none":
        began = time.monotonic()
        model = refit.updated(mask, plan.runtime.seed)
        yield scores.add(BY_MAGNITUDE[1], int(mask.sum()), [refit.test(model, mask)], began, [refit.value(model, mask)])


def random_mask(plan: Plan, draw: np.random.Generator) -> BoolArray:
    """Return a random mask within the budget."""
    space, size = plan.space, plan.sites.size
    scores = np.empty(size)
    if not space.is_count:
        scores[draw.permutation(size)] = -np.arange(size)
    elif space.is_plain and not plan.sites.channels:
        scores[:] = 0.0
        scores[draw.choice(size, space.n, replace=False)] = 1.0
    else:
        scores[:] = draw.random(size)
    return space.enforce(scores)


def magnitude_mask(plan: Plan, trained: nn.Module, rows: torch.Tensor) -> BoolArray:
    """Return the mask of the n sites with the largest weights; ties go to the lowest index.

    The size of an input is the norm of its column times its standard deviation, of a unit the norm of its incoming weights, of a
    channel that of its filters, of a weight its absolute value.
    """
    modules = dict(trained.named_modules())
    scores = []
    for group in plan.sites.groups:
        if group.kind == "inputs":
            first = next(m for m in trained.modules() if isinstance(m, nn.Linear))
            norm = first.weight.detach().norm(dim=0) * rows.std(dim=0)
        elif group.kind == "channels":
            filters = [
                modules[part].weight
                for part in group.parts
                if isinstance(modules[part], nn.Conv1d | nn.Conv2d | nn.Conv3d)
            ]
            norm = torch.cat([weight.detach().flatten(1) for weight in filters], dim=1).norm(dim=1)
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


def should_compare(plan: Plan, refit: Refit, work: float) -> tuple[bool, str]:
    """Return whether to compare, and a note on why not; no clock decides, began the work of comparisons is known beforehand.

    Parameters
    ----------
    plan : Plan
    refit : Refit
    work : float
        Of the search, in rows that went through backprop.
    """
    if not len(refit.y_test):
        return False, "there are no test rows (test=0): no accuracy is measured, and nothing is compared"
    first = next((module for module in plan.model.modules() if isinstance(module, nn.Linear)), None)
    if plan.retrain.finetune == "warm":
        text = "all sites and random masks are trained from scratch, which does not compare with warm weights: left out"
        return False, text + "; --finetune scratch --compare yes runs them"
    if plan.sites.inputs is None and plan.sites.channels:
        pass
    elif plan.sites.inputs is None and not plan.retrain.is_retrained:
        pass  # the norm of no input is needed
    elif first is None or first.in_features != plan.splits.n_inputs:
        return False, "first-layer magnitude needs a linear layer that reads the inputs: no comparisons"
    if plan.runtime.compare != "auto":
        return plan.runtime.compare == "yes", ""
    needed = (RANDOM_MASKS + 2) * plan.retrain.epochs * len(refit.y)
    if not plan.retrain.is_retrained:
        needed = (plan.retrain.epochs if plan.retrain.finetune == "short" else 1) * len(refit.y)
    if needed <= COMPARE_SHARE * work or len(refit.y) < FEW_ROWS:
        return True, ""
    baselines = "all sites, random masks and magnitude" if plan.retrain.is_retrained else "magnitude"
    share = "more than the search" if needed > 10 * work else f"{needed / work:.0%} of the search's work"
    return False, f"{baselines} would take {share}: left out; --compare yes runs that"
