"""What comes after the search: the small model, accuracies on the test part beside simple rivals, and the record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from mcprune.exporters.footprint import macs, parameters
from mcprune.random import Stream, generator
from mcprune.session.build.markov import site_groups
from mcprune.session.build.plan import Plan
from mcprune.session.interrupt import Interrupt
from mcprune.session.retrain import Refit, is_default
from mcprune.sites.weights import nonzero_weights
from mcprune.storage.events import Adapted, BeforeAfter, CostBudget, Event, Hardened, MaskCost, Note, RunDone, Scored
from mcprune.storage.folder import RunFolder
from mcprune.storage.layout import CONFIG, EVENTS, MASK, RESULT
from mcprune.storage.pruned_model import ModelExtra, PrunedModel
from mcprune.types import BoolArray, Float32Array, FloatArray

RANDOM_MASKS = 5
# With --compare auto, what is beside the result may cost this share of the search.
COMPARE_SHARE = 0.1
OF_MASK = ("hard mask, not retrained", "hard mask, fine-tuned", "hard mask, retrained")
BY_MAGNITUDE = ("magnitude, not retrained", "magnitude, fine-tuned")
Score = Callable[[str, int, list[float | None], float, list[float | None]], Scored]


@dataclass(frozen=True)
class SearchResult:
    """What a search ended in.

    Attributes
    ----------
    mask : ndarray of bool, shape (N,)
    weights : ndarray of float64, shape (N,)
        Of the pruner.
    gates : ndarray of float32, shape (N,)
        Before hardening.
    work : float
        In rows that went through backprop, a forward pass counting a third of one.
    hardened : Hardened
    scores : ndarray of float64, shape (N,), or None
        Of the last round, by importance.
    adapted : Adapted or None
        What the method adapted, as in the last block.
    """

    mask: BoolArray
    weights: FloatArray
    gates: Float32Array
    work: float
    hardened: Hardened
    scores: FloatArray | None = None
    adapted: Adapted | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run ended in: the result of its search, and the pruned model."""

    search: SearchResult
    model: PrunedModel


def outcome_of(done: RunDone) -> Outcome:
    """Return what the last event of a run in this process carries."""
    assert isinstance(done.outcome, Outcome)
    return done.outcome


def cost_budgets(plan: Plan) -> list[CostBudget]:
    """Return the bounds on costs that a plan's budget has."""
    space = plan.space
    bounds = zip(space.budget.costs, space.whole.limits.tolist(), space.smallest.tolist(), strict=True)
    return [CostBudget(cost.unit, int(cost.limit), whole, smallest) for cost, whole, smallest in bounds]


def cost_of(plan: Plan, mask: BoolArray) -> MaskCost | None:
    """Return what a mask costs; None where the budget is a number of sites."""
    space = plan.space
    if not space.budget.costs:
        return None
    costs, first = space.budget.costs[0].costs, cost_budgets(plan)[0]
    counts = space.classes.count(space.items_of(mask)) if costs is None else costs.counts(mask)
    names = None if space.items is None else tuple(map(str, space.names(mask)))
    value = int(space.costs_of(mask)[0])
    return MaskCost(first.unit, first.limit, first.total, first.smallest, value, tuple(counts.tolist()), names)


def finalize(
    plan: Plan, result: SearchResult, folder: RunFolder | None, began: float, interrupt: Interrupt
) -> Iterator[Event]:
    """Retrain, compare, write; the last event carries the `Outcome`. Once interrupted, end with what there is."""
    mask = result.mask
    limit = plan.runtime.max_time
    deadline = began + limit
    refit = Refit(plan, lambda: interrupt.should_stop, deadline)
    is_cut_short = interrupt.should_stop
    scores: list[Scored] = []

    def score(name: str, kept: int, tests: list[float | None], since: float, values: list[float | None]) -> Scored:
        known = [value for value in values if value is not None]
        accuracies = [value for value in tests if value is not None]
        scores.append(
            Scored(
                name=name,
                kept=kept,
                accuracy=float(np.mean(accuracies)) if accuracies else None,
                spread=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
                count=len(tests),
                objective=float(np.mean(known)) if known else None,
                seconds=time.monotonic() - since,
            )
        )
        return scores[-1]

    since = time.monotonic()
    if plan.train.is_frozen:
        dense = refit.test_gated(np.ones(plan.sites.size, bool))
        yield score("dense", plan.sites.size, [dense], since, [None])
        since = time.monotonic()
    kept = int(mask.sum())
    objective = refit.value(plan.gated, mask, is_gated=True)
    yield score("hard mask, not retrained", kept, [refit.test_gated(mask)], since, [objective])
    since = time.monotonic()
    small = None
    is_fresh = plan.retrain.is_retrained
    if not is_cut_short:
        try:
            small = refit.pruned(mask, plan.runtime.seed)
        except KeyboardInterrupt:
            is_cut_short = True
    if small is None:
        yield Note("ended early: the pruned model has the mask of the search and is not retrained")
        small = refit.cut(plan.model, mask)
    elif plan.retrain.finetune != "none":
        name = "hard mask, retrained" if is_fresh else "hard mask, fine-tuned"
        yield score(name, kept, [refit.test(small, mask)], since, [refit.value(small, mask)])
    whole = refit.fresh(plan.runtime.seed) if is_fresh else plan.model
    width = plan.prepared.n_inputs
    extra = _extra(plan, refit, mask)
    model = PrunedModel(small, extra)
    sizes = {
        "parameters": BeforeAfter(parameters(whole), parameters(small)),
        "macs": BeforeAfter(macs(whole, width), macs(small, refit.inputs(mask).size)),
        "nonzero_weights": BeforeAfter(nonzero_weights(whole), nonzero_weights(small)),
    }
    if folder is not None:
        folder.write_model(small, extra)
    compares, note = (False, "") if is_cut_short else _comparisons(plan, refit, result.work)
    if note:
        yield Note(note)
    left_out = list(refit.shortened)
    if compares:
        refit.should_stop = lambda: interrupt.should_stop or time.monotonic() >= deadline
        refit.deadline = math.inf  # a comparison with fewer epochs would not be fair: it is whole, or left out
        before = len(scores)
        try:
            yield from _rivals(plan, refit, score) if is_fresh else _updated_rivals(plan, refit, score)
        except KeyboardInterrupt:
            if interrupt.should_stop:
                is_cut_short = True
                yield Note("the comparisons were interrupted")
            else:
                left_out.append("the comparisons" if len(scores) == before else "the rest of the comparisons")
    if left_out:
        yield Note(f"--max-time {limit:g}: no time for {' and '.join(left_out)}")
    order = ["dense", "all sites", *OF_MASK, "random masks", "first-layer magnitude", "weight magnitude", *BY_MAGNITUDE]
    indices, names = kept_sites(plan, mask)
    done = RunDone(
        name=plan.prepared.name,
        n_sites=plan.sites.size,
        sites=site_groups(plan.sites),
        folder=None if folder is None else str(folder.path),
        seconds=time.monotonic() - began,
        scores=tuple(sorted(scores, key=lambda entry: order.index(entry.name))),
        method=plan.method,
        objective=None if is_default(plan) else plan.objective.words,
        hardened=result.hardened,
        indices=indices,
        names=names,
        image_shape=None if plan.prepared.image_shape is None else tuple(plan.prepared.image_shape),
        cut_short_by=(interrupt.reason or "interrupt") if is_cut_short else None,
        files=() if folder is None else (CONFIG, EVENTS, MASK, RESULT, "model.safetensors", "model.json"),
        adapted=result.adapted,
        cost=cost_of(plan, mask),
        outcome=Outcome(result, model),
        **sizes,
    )
    if folder is not None:
        folder.write_json(RESULT, replace(done, folder=None).to_dict())
    yield done


def kept_sites(plan: Plan, mask: BoolArray) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the flat indices and the names of the kept sites."""
    names = plan.sites.names(plan.prepared.feature_names)
    indices = np.flatnonzero(mask).tolist()
    return tuple(indices), tuple(str(names[site]) for site in indices)


def write_mask(plan: Plan, result: SearchResult, folder: RunFolder) -> None:
    """Write mask.json: before the retraining, which may be interrupted."""
    folder.write_json(MASK, mask_content(plan, result.mask, result.weights, result.gates, result.scores))


def mask_content(
    plan: Plan, mask: BoolArray, weights: FloatArray, gates: Float32Array, scores: FloatArray | None = None
) -> dict[str, Any]:
    """Return the content of mask.json."""
    indices, names = kept_sites(plan, mask)
    return {
        "n_sites": int(mask.size),
        "indices": indices,
        "names": names,
        "weights": weights,
        "gates": gates.astype(np.float64),
        **({} if scores is None else {"scores": scores}),
    }


def _rivals(plan: Plan, refit: Refit, score: Score) -> Iterator[Event]:
    """All sites, random masks and first-layer magnitude, each retrained in the same way."""
    size, seed = plan.sites.size, plan.runtime.seed
    since = time.monotonic()
    everything = np.ones(size, bool)
    whole = refit.train(everything, seed)
    yield score("all sites", size, [refit.test(whole, everything)], since, [refit.value(whole, everything)])
    since = time.monotonic()
    draw = generator(seed, Stream.RIVAL_MASKS)
    accuracies: list[float | None] = []
    values: list[float | None] = []
    for number in range(RANDOM_MASKS):
        mask = random_mask(plan, draw)
        model = refit.train(mask, seed + number)
        accuracies.append(refit.test(model, mask))
        values.append(refit.value(model, mask))
    yield score("random masks", int(mask.sum()), accuracies, since, values)
    since = time.monotonic()
    mask = magnitude_mask(plan, whole, refit.x)
    model = refit.train(mask, seed)
    name = "weight magnitude" if plan.sites.channels else "first-layer magnitude"
    yield score(name, int(mask.sum()), [refit.test(model, mask)], since, [refit.value(model, mask)])


def _updated_rivals(plan: Plan, refit: Refit, score: Score) -> Iterator[Event]:
    """The mask of largest magnitude on the same trained classifier, as it is and updated in the same way."""
    since = time.monotonic()
    mask = magnitude_mask(plan, plan.model, refit.x)
    objective = refit.value(plan.gated, mask, is_gated=True)
    yield score(BY_MAGNITUDE[0], int(mask.sum()), [refit.test_gated(mask)], since, [objective])
    if plan.retrain.finetune != "none":
        since = time.monotonic()
        model = refit.updated(mask, plan.runtime.seed)
        yield score(BY_MAGNITUDE[1], int(mask.sum()), [refit.test(model, mask)], since, [refit.value(model, mask)])


def random_mask(plan: Plan, draw: np.random.Generator) -> BoolArray:
    """Return a random one of the masks that the budget allows."""
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
    """Return the n sites with the largest weights: the norm of an input's column times its deviation, a unit's incoming
    norm, a channel's filters, the size of a single weight.

    Ties go to the lowest index.
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
        # Norms of different layers do not compare: each group is measured by its own mean. Single weights do.
        is_single = {group.kind for group in plan.sites.groups} == {"weights"}
        scores.append(score if is_single else score / max(float(score.mean()), 1e-30))
    score = np.concatenate(scores)
    return plan.space.enforce(score)


def _comparisons(plan: Plan, refit: Refit, cost: float) -> tuple[bool, str]:
    """Whether to run the rivals, and the note that says why not. Their work is known beforehand: no clock decides."""
    if not len(refit.y_test):
        return False, "there are no test rows (test=0): no accuracy is measured, and nothing is compared"
    first = next((module for module in plan.model.modules() if isinstance(module, nn.Linear)), None)
    if plan.retrain.finetune == "warm":
        text = "all sites and random masks are trained afresh, which found weights do not compare with: left out"
        return False, text + "; --finetune scratch --compare yes runs them"
    if plan.sites.inputs is None and plan.sites.channels:
        pass
    elif plan.sites.inputs is None and not plan.retrain.is_retrained:
        pass  # no column of inputs is measured
    elif first is None or first.in_features != plan.prepared.n_inputs:
        return False, "first-layer magnitude needs a linear layer that reads the inputs: no comparisons"
    if plan.runtime.compare != "auto":
        return plan.runtime.compare == "yes", ""
    work = (RANDOM_MASKS + 2) * plan.retrain.epochs * len(refit.y)
    if not plan.retrain.is_retrained:
        work = (plan.retrain.epochs if plan.retrain.finetune == "short" else 1) * len(refit.y)
    if work <= COMPARE_SHARE * cost or len(refit.y) < 5_000:
        return True, ""
    rivals = "all sites, random masks and magnitude" if plan.retrain.is_retrained else "magnitude"
    share = "more than the search" if work > 10 * cost else f"{work / cost:.0%} of the search's work"
    return False, f"{rivals} would take {share}: left out; --compare yes runs that"


def _extra(plan: Plan, refit: Refit, mask: BoolArray) -> ModelExtra:
    """Return what stands beside the small model, so that it can be used on full raw rows."""
    data = plan.prepared
    columns = refit.inputs(mask)
    extra: ModelExtra = {
        "columns": columns.tolist(),
        "names": [data.feature_names[column] for column in columns],
        "labels": list(data.labels),
        "scaler": data.scaler.select(columns).to_dict(),
        "feature_names": list(data.feature_names),
        "target_name": data.target_name,
        "image_shape": list(data.image_shape) if data.image_shape else None,
    }
    if plan.sites.weights:
        extra["holds_zeros"] = True
    return extra
