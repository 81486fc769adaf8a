"""What comes after the search: the small model, accuracies on the test part beside simple rivals, and the record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from mcprune.chain.min_per_layer import best_mask, hardened
from mcprune.exporters.footprint import macs, parameters
from mcprune.random import Stream, generator
from mcprune.session.build.markov import site_groups
from mcprune.session.build.plan import Plan
from mcprune.session.interrupt import Interrupt
from mcprune.session.retrain import Refit, is_default
from mcprune.sites.weights import nonzero_weights
from mcprune.storage import events
from mcprune.storage.events import Event
from mcprune.storage.folder import RunFolder
from mcprune.storage.layout import CONFIG, EVENTS, MASK, RESULT
from mcprune.storage.pruned_model import PrunedModel
from mcprune.training.trainer import accuracy
from mcprune.types import BoolArray, Float32Array, FloatArray

RANDOM_MASKS = 5
# With --compare auto, what is beside the result may cost this share of the search.
COMPARE_SHARE = 0.1
RETRAINED = ("scratch", "warm")  # updates that train a small classifier for --retrain-epochs
FOUND = ("hard mask, as found", "hard mask, updated", "hard mask, retrained")
BY_MAGNITUDE = ("magnitude, as found", "magnitude, updated")


@dataclass
class Outcome:
    """What the search found: mask, weights and gates (N,), its work in trained rows; then the small model."""

    mask: BoolArray
    position: FloatArray
    gates: Float32Array
    cost: float
    is_cut_short: bool = False  # the user wants to end: no retraining, nothing beside it
    small: PrunedModel | None = None
    harden: dict[str, Any] = field(default_factory=dict)  # the data of that event
    scores: FloatArray | None = None  # of the last round, by importance
    adapted: dict[str, Any] | None = None  # what the method adapted, as the last block told it

    @property
    def model(self) -> PrunedModel:
        """The small model; it is there once `conclude` has ended."""
        assert self.small is not None
        return self.small


def cost_of(plan: Plan, mask: BoolArray | None = None) -> dict[str, Any] | None:
    """Return what the events say of a budget that is a cost, and of what a mask costs; None for a count of sites."""
    if plan.cost is None:
        return None
    costs = plan.cost.costs
    told = {"in": costs.unit, "limit": plan.cost.limit, "all": costs.whole, "smallest": costs.smallest}
    if mask is None:
        return told
    counts = costs.counts(mask)
    found = {**told, "kept": int(costs.of(counts)), "groups": counts.tolist()}
    return found if plan.ties is None else {**found, "names": plan.ties.names(mask)}


def conclude(
    plan: Plan, outcome: Outcome, folder: RunFolder | None, began: float, interrupt: Interrupt
) -> Iterator[Event]:
    """Retrain, compare, write, and leave the small model in the outcome; once interrupted, end with what there is."""
    mask = outcome.mask
    refit = Refit(plan, lambda: interrupt.is_asked)
    rows: list[dict[str, Any]] = []

    def row(name: str, kept: int, scores: list[float], since: float, values: list[float | None]) -> Event:
        found = [value for value in values if value is not None]
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        rows.append(
            {
                "name": name,
                "sites": kept,
                "accuracy": float(np.mean(scores)),
                "spread": spread,
                "count": len(scores),
                "objective": float(np.mean(found)) if found else None,
                "seconds": time.monotonic() - since,
            }
        )
        return Event(events.ROW, rows[-1])

    keep = np.flatnonzero(mask)
    names = plan.sites.names(plan.prepared.feature_names)
    since = time.monotonic()
    if plan.config.train.frozen:
        everything = plan.gated.hard_gates(np.ones(plan.sites.size, bool))
        yield row(
            "dense", plan.sites.size, [accuracy(plan.gated, refit.x_test, refit.y_test, everything)], since, [None]
        )
        since = time.monotonic()
    gates = plan.gated.hard_gates(mask)
    kept = int(mask.sum())
    as_found = accuracy(plan.gated, refit.x_test, refit.y_test, gates)
    yield row("hard mask, as found", kept, [as_found], since, [refit.value(plan.gated, mask, is_gated=True)])
    since = time.monotonic()
    small = None
    is_fresh = plan.config.retrain.finetune in RETRAINED
    if not outcome.is_cut_short:
        try:
            small = (
                refit.train(mask, plan.config.runtime.seed, may_be_found=True)
                if is_fresh
                else refit.updated(mask, plan.config.runtime.seed)
            )
        except KeyboardInterrupt:
            outcome.is_cut_short = True
    if small is None:
        yield Event(events.NOTE, {"text": "ended early: the small model is the mask as found, not retrained"})
        small = refit.cut(plan.model, mask)
    elif plan.config.retrain.finetune != "none":
        name = "hard mask, retrained" if is_fresh else "hard mask, updated"
        yield row(name, kept, [refit.test(small, mask)], since, [refit.value(small, mask)])
    whole = refit.fresh(plan.config.runtime.seed) if is_fresh else plan.model
    width = plan.prepared.n_inputs
    numbers = {"before": parameters(whole), "after": parameters(small)}
    nonzero = {"before": nonzero_weights(whole), "after": nonzero_weights(small)}
    products = {"before": macs(whole, width), "after": macs(small, refit.inputs(mask).size)}
    extra = _extra(plan, refit, mask)
    outcome.small = PrunedModel(small, extra)
    if folder is not None:
        folder.model(small, extra)
    wanted, note = (False, "") if outcome.is_cut_short else _comparisons(plan, refit, outcome.cost)
    if note:
        yield Event(events.NOTE, {"text": note})
    if wanted:
        try:
            yield from _rivals(plan, refit, row, kept) if is_fresh else _updated_rivals(plan, refit, row)
        except KeyboardInterrupt:
            outcome.is_cut_short = True
            yield Event(events.NOTE, {"text": "the comparisons were interrupted"})
    order = ["dense", "all sites", *FOUND, "random masks", "first-layer magnitude", "weight magnitude", *BY_MAGNITUDE]
    rows.sort(key=lambda entry: order.index(entry["name"]))
    done = {
        "folder": None if folder is None else str(folder.path),
        "seconds": time.monotonic() - began,
        "is_cut_short": outcome.is_cut_short,
        "cut_short_by": (interrupt.reason or "interrupt") if outcome.is_cut_short else None,
        "rows": rows,
        "method": plan.config.method,
        "objective": None if is_default(plan) else plan.objective.words,
        "harden": outcome.harden,
        "keep": keep.tolist(),
        "names": [names[site] for site in keep],
        "image_shape": plan.prepared.image_shape,
        "files": [] if folder is None else [CONFIG, EVENTS, MASK, RESULT, "model.safetensors", "model.json"],
        "parameters": numbers,
        "macs": products,
        "cost": cost_of(plan, mask),
        "nonzero_weights": nonzero,
        "adapted": outcome.adapted,
    }
    if folder is not None:
        folder.write_json(
            RESULT,
            {
                **done,
                "folder": None,
                "name": plan.prepared.name,
                "N": plan.sites.size,
                "n": kept,
                "sites": site_groups(plan.sites),
            },
        )
    yield Event(events.DONE, done)


def _kept(plan: Plan, mask: BoolArray, position: FloatArray) -> dict[str, Any]:
    """Return what mask.json and a checkpoint say of the sites."""
    keep = np.flatnonzero(mask)
    names = plan.sites.names(plan.prepared.feature_names)
    return {"N": int(mask.size), "keep": keep, "names": [names[site] for site in keep], "weights": position}


def write_mask(plan: Plan, outcome: Outcome, folder: RunFolder) -> None:
    """Write mask.json: before the retraining, which may be interrupted."""
    folder.write_json(MASK, mask_content(plan, outcome))


def mask_content(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """Return what mask.json says."""
    kept = _kept(plan, outcome.mask, outcome.position)
    scores = {} if outcome.scores is None else {"scores": outcome.scores}
    return {"n": int(kept["keep"].size), **kept, "gates": outcome.gates.astype(np.float64), **scores}


def _rivals(plan: Plan, refit: Refit, row: Any, kept: int) -> Iterator[Event]:
    """All sites, random masks and first-layer magnitude, each retrained in the same way."""
    size, seed = plan.sites.size, plan.config.runtime.seed
    since = time.monotonic()
    everything = np.ones(size, bool)
    whole = refit.train(everything, seed)
    yield row("all sites", size, [refit.test(whole, everything)], since, [refit.value(whole, everything)])
    since = time.monotonic()
    draw = generator(seed, Stream.RIVAL_MASKS)
    scores: list[float] = []
    values: list[float | None] = []
    for number in range(RANDOM_MASKS):
        if plan.cost is not None:
            mask = plan.cost.costs.fill(draw.permutation(size), plan.cost.limit)
        elif plan.sites.floor is not None:
            mask = best_mask(draw.random(size), plan.keep, plan.sites.floor)
        else:
            mask = np.zeros(size, bool)
            mask[draw.choice(size, plan.keep, replace=False)] = True
            mask = hardened(mask.astype(np.float64), plan.keep, plan.sites.hard_floor)
        model = refit.train(mask, seed + number)
        scores.append(refit.test(model, mask))
        values.append(refit.value(model, mask))
    yield row("random masks", int(mask.sum()), scores, since, values)
    since = time.monotonic()
    mask = magnitude_mask(plan, whole, refit.x)
    model = refit.train(mask, seed)
    name = "weight magnitude" if plan.sites.channels else "first-layer magnitude"
    yield row(name, int(mask.sum()), [refit.test(model, mask)], since, [refit.value(model, mask)])


def _updated_rivals(plan: Plan, refit: Refit, row: Any) -> Iterator[Event]:
    """The mask of largest magnitude on the same trained classifier, as it is and updated in the same way."""
    since = time.monotonic()
    mask = magnitude_mask(plan, plan.model, refit.x)
    found = accuracy(plan.gated, refit.x_test, refit.y_test, plan.gated.hard_gates(mask))
    yield row(BY_MAGNITUDE[0], int(mask.sum()), [found], since, [refit.value(plan.gated, mask, is_gated=True)])
    if plan.config.retrain.finetune != "none":
        since = time.monotonic()
        model = refit.updated(mask, plan.config.runtime.seed)
        yield row(BY_MAGNITUDE[1], int(mask.sum()), [refit.test(model, mask)], since, [refit.value(model, mask)])


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
    if plan.cost is not None:
        return plan.cost.costs.fill(np.argsort(-score, kind="stable"), plan.cost.limit)
    return hardened(score, plan.keep, plan.sites.hard_floor)


def _comparisons(plan: Plan, refit: Refit, cost: float) -> tuple[bool, str]:
    """Whether to run the rivals, and the note that says why not. Their work is known beforehand: no clock decides."""
    config = plan.config
    first = next((module for module in plan.model.modules() if isinstance(module, nn.Linear)), None)
    if config.retrain.finetune == "warm":
        text = "all sites and random masks are trained afresh, which found weights do not compare with: left out"
        return False, text + "; --finetune scratch --compare yes runs them"
    if plan.sites.inputs is None and plan.sites.channels:
        pass
    elif plan.sites.inputs is None and config.retrain.finetune not in RETRAINED:
        pass  # no column of inputs is measured
    elif first is None or first.in_features != plan.prepared.n_inputs:
        return False, "first-layer magnitude needs a linear layer that reads the inputs: no comparisons"
    if config.runtime.compare != "auto":
        return config.runtime.compare == "yes", ""
    work = (RANDOM_MASKS + 2) * plan.retrain_epochs * len(refit.y)
    if config.retrain.finetune not in RETRAINED:
        work = (plan.retrain_epochs if config.retrain.finetune == "short" else 1) * len(refit.y)
    if work <= COMPARE_SHARE * cost or len(refit.y) < 5_000:
        return True, ""
    rivals = "all sites, random masks and magnitude" if config.retrain.finetune in RETRAINED else "magnitude"
    share = "more than the search" if work > 10 * cost else f"{work / cost:.0%} of the search's work"
    return False, f"{rivals} would take {share}: left out; --compare yes runs that"


def _extra(plan: Plan, refit: Refit, mask: BoolArray) -> dict[str, Any]:
    """Return what stands beside the small model, so that it can be used on full raw rows."""
    data = plan.prepared
    columns = refit.inputs(mask)
    return {
        "columns": columns.tolist(),
        "names": [data.feature_names[column] for column in columns],
        "labels": list(data.labels),
        "scaler": data.scaler.select(columns).to_dict(),
        "feature_names": list(data.feature_names),
        "target_name": data.target_name,
        "image_shape": list(data.image_shape) if data.image_shape else None,
        **({"holds_zeros": True} if plan.sites.weights else {}),
    }
