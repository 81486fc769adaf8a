"""What comes after the search: the small model, accuracies on the test part beside simple rivals, and the record."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from mcprune.arrays import BoolArray, Float32Array, FloatArray
from mcprune.models.registry import build
from mcprune.pruning.shrink import shrink
from mcprune.pruning.weight_sites import hold_zeros, nonzero_weights
from mcprune.session import events
from mcprune.session.dense import by_gradient, by_least_squares
from mcprune.session.events import Event
from mcprune.session.folder import RunFolder, SmallModel
from mcprune.session.plan import Plan, row_of, site_groups
from mcprune.session.records import CHECKPOINT, CONFIG, EVENTS, MASK, RESULT
from mcprune.session.trainer import accuracy, fit
from mcprune.session.warp import Warp

RANDOM_MASKS = 5
# With --compare auto, what is beside the result may cost this share of the search.
COMPARE_SHARE = 0.1
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
    small: SmallModel | None = None
    harden: dict[str, Any] = field(default_factory=dict)  # the data of that event
    scores: FloatArray | None = None  # of the last round, by importance
    adapted: dict[str, Any] | None = None  # what the method adapted, as the last block told it

    @property
    def model(self) -> SmallModel:
        """The small model; it is there once `conclude` has ended."""
        assert self.small is not None
        return self.small


class Refit:
    """Fresh classifiers on what a mask keeps, trained on the training and validation rows, tested once."""

    def __init__(self, plan: Plan, is_asked: Callable[[], bool]) -> None:
        data = plan.prepared
        self.is_asked = is_asked
        self.plan = plan
        self.x = torch.from_numpy(np.concatenate([data.x_train, data.x_validation])).to(plan.device)
        self.y = torch.from_numpy(np.concatenate([data.y_train, data.y_validation])).to(plan.device)
        self.x_test, self.y_test = plan.rows(data.x_test), torch.from_numpy(data.y_test).to(plan.device)

    def fresh(self, seed: int) -> nn.Module:
        """Return an untrained classifier of the run's kind on all sites."""
        plan, config = self.plan, self.plan.config
        if not plan.is_users_model:
            return build(
                "mlp",
                plan.prepared.n_inputs,
                plan.prepared.n_classes,
                config.hidden,
                config.activation,
                config.dropout,
                seed,
                bias=config.bias == "yes",
            ).to(plan.device)
        model = copy.deepcopy(plan.origin)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in model.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
        return model

    def inputs(self, mask: BoolArray) -> np.ndarray:
        """Return the kept inputs' columns; all where inputs are no sites."""
        group = self.plan.sites.inputs
        return np.flatnonzero(mask[group.start : group.stop]) if group else np.arange(self.plan.prepared.n_inputs)

    def train(self, mask: BoolArray, seed: int) -> nn.Module:
        """Return a small fresh classifier on what the mask keeps, trained."""
        plan, config = self.plan, self.plan.config
        model = self.small(mask, seed)
        fit(
            model,
            self.columns(self.x, mask),
            self.y,
            epochs=plan.retrain_epochs,
            batch_size=plan.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            seed=seed,
            jitter=config.retrain_jitter or 0.0,
            view=self.warp(mask),
            is_asked=self.is_asked,
        )
        return model

    def warp(self, mask: BoolArray) -> Warp | None:
        """Return what moves, turns and scales the images of a step; None where that is off."""
        strength = self.plan.config.retrain_warp
        return Warp(self.x, self.plan.prepared.image_shape, self.inputs(mask), strength) if strength else None

    def small(self, mask: BoolArray, seed: int) -> nn.Module:
        """Return a small fresh classifier on what the mask keeps, untrained.

        It is made small before training, from a fresh start: its first weights keep the scale of the whole one's, so they
        are drawn anew where a layer of the built-in MLP got narrower.
        """
        plan, config = self.plan, self.plan.config
        model = self.fresh(seed)
        if not mask.all():
            small = shrink(model, plan.sites, mask)
            widths = getattr(small, "widths", None)
            if widths and not plan.is_users_model:
                model = build(
                    "mlp", widths[0], widths[-1], widths[1:-1], config.activation, config.dropout, seed,
                    bias=config.bias == "yes",
                ).to(plan.device)  # fmt: skip
            else:
                model = small
        return model

    def updated(self, mask: BoolArray, seed: int) -> nn.Module:
        """Return the small model of the search's classifier, its kept values updated as the configuration says."""
        plan, config = self.plan, self.plan.config
        chosen, model = torch.from_numpy(mask), plan.model
        if config.update == "least-squares":
            model = by_least_squares(model, plan.sites, chosen, self.x)
        elif config.update == "gradient":
            model = by_gradient(
                model,
                plan.sites,
                chosen,
                self.x,
                self.y,
                epochs=config.update_epochs or 1,
                batch_size=plan.batch_size,
                learning_rate=config.learning_rate,
                weight_decay=config.weight_decay,
                seed=seed,
                jitter=config.retrain_jitter or 0.0,
                is_asked=self.is_asked,
            )
        return self.cut(model, mask)

    def cut(self, model: nn.Module, mask: BoolArray) -> nn.Module:
        """Return the small model of a trained classifier."""
        small = shrink(model, self.plan.sites, mask, input_shape=row_of(self.plan.sites, self.plan.prepared))
        hold_zeros(small)
        return small

    def test(self, model: nn.Module, mask: BoolArray) -> float:
        """Return the test accuracy of a small model that takes what the mask keeps."""
        return accuracy(model, self.columns(self.x_test, mask), self.y_test)

    def columns(self, rows: torch.Tensor, mask: BoolArray) -> torch.Tensor:
        """Return the kept inputs of full rows."""
        columns = self.inputs(mask)
        return (
            rows if columns.size == rows.shape[1] else rows[:, torch.from_numpy(columns).to(rows.device)].contiguous()
        )


def cost_of(plan: Plan, mask: BoolArray | None = None) -> dict[str, Any] | None:
    """Return what the events say of a budget that is a cost, and of what a mask costs; None for a count of sites."""
    if plan.cost is None:
        return None
    costs = plan.cost.costs
    told = {"in": costs.unit, "limit": plan.cost.limit, "all": costs.whole, "smallest": costs.smallest}
    if mask is None:
        return told
    counts = costs.counts(mask)
    return {**told, "kept": int(costs.of(counts)), "groups": counts.tolist()}


def conclude(
    plan: Plan, outcome: Outcome, folder: RunFolder | None, began: float, is_asked: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Retrain, compare, write, and leave the small model in the outcome; once `is_asked` to, end with what there is."""
    mask = outcome.mask
    refit = Refit(plan, is_asked)
    rows: list[dict[str, Any]] = []

    def row(name: str, kept: int, scores: list[float], since: float) -> Event:
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        rows.append(
            {
                "name": name,
                "sites": kept,
                "accuracy": float(np.mean(scores)),
                "spread": spread,
                "count": len(scores),
                "seconds": time.monotonic() - since,
            }
        )
        return Event(events.ROW, rows[-1])

    keep = np.flatnonzero(mask)
    names = plan.sites.names(plan.prepared.feature_names)
    since = time.monotonic()
    if plan.config.frozen:
        everything = plan.gated.hard_gates(np.ones(plan.sites.size, bool))
        yield row("dense", plan.sites.size, [accuracy(plan.gated, refit.x_test, refit.y_test, everything)], since)
        since = time.monotonic()
    gates = plan.gated.hard_gates(mask)
    kept = int(mask.sum())
    yield row("hard mask, as found", kept, [accuracy(plan.gated, refit.x_test, refit.y_test, gates)], since)
    since = time.monotonic()
    small = None
    is_fresh = plan.config.update == "fresh"
    if not outcome.is_cut_short:
        try:
            small = (refit.train if is_fresh else refit.updated)(mask, plan.config.seed)
        except KeyboardInterrupt:
            outcome.is_cut_short = True
    if small is None:
        yield Event(events.NOTE, {"text": "ended early: the small model is the mask as found, not retrained"})
        small = refit.cut(plan.model, mask)
    elif plan.config.update != "none":
        name = "hard mask, retrained" if is_fresh else "hard mask, updated"
        yield row(name, kept, [refit.test(small, mask)], since)
    whole = refit.fresh(plan.config.seed) if is_fresh else plan.model
    parameters = {"before": _parameters(whole), "after": _parameters(small)}
    nonzero = {"before": nonzero_weights(whole), "after": nonzero_weights(small)}
    extra = _extra(plan, refit, mask)
    outcome.small = SmallModel(small, extra)
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
    order = ["dense", "all sites", *FOUND, "random masks", "first-layer magnitude", *BY_MAGNITUDE]
    rows.sort(key=lambda entry: order.index(entry["name"]))
    done = {
        "folder": None if folder is None else str(folder.path),
        "seconds": time.monotonic() - began,
        "is_cut_short": outcome.is_cut_short,
        "rows": rows,
        "method": plan.config.method,
        "harden": outcome.harden,
        "keep": keep.tolist(),
        "names": [names[site] for site in keep],
        "image_shape": plan.prepared.image_shape,
        "files": [] if folder is None else [CONFIG, EVENTS, MASK, RESULT, "model.safetensors", "model.json"],
        "parameters": parameters,
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
    kept = _kept(plan, outcome.mask, outcome.position)
    scores = {} if outcome.scores is None else {"scores": outcome.scores}
    folder.write_json(MASK, {"n": int(kept["keep"].size), **kept, "gates": outcome.gates.astype(np.float64), **scores})


def write_checkpoint(
    plan: Plan, method: Any, knobs: dict[str, Any], block: int, step: int, folder: RunFolder | None
) -> str:
    """Write checkpoint.json in one step, the mask and weights as they are, and return a note; it cannot be resumed from."""
    if folder is None or not block:
        return "no checkpoint: " + (
            "this run writes no folder" if folder is None else "the first block is not done yet"
        )
    position = method.position()
    kept = _kept(plan, position > 0, position)
    folder.begin()
    folder.write_json(CHECKPOINT, {"block": block, "step": step, "n": plan.keep, **kept, "knobs": knobs})
    count = kept["keep"].size
    return f"checkpoint after block {block:,}: {count:,} kept sites and all weights are in {CHECKPOINT} (a snapshot, not resumable)"


def _rivals(plan: Plan, refit: Refit, row: Any, kept: int) -> Iterator[Event]:
    """All sites, random masks and first-layer magnitude, each retrained in the same way."""
    size, seed = plan.sites.size, plan.config.seed
    since = time.monotonic()
    everything = np.ones(size, bool)
    whole = refit.train(everything, seed)
    yield row("all sites", size, [refit.test(whole, everything)], since)
    since = time.monotonic()
    draw = np.random.default_rng([seed, 7])
    scores = []
    for number in range(RANDOM_MASKS):
        if plan.cost is not None:
            mask = plan.cost.costs.fill(draw.permutation(size), plan.cost.limit)
        else:
            mask = np.zeros(size, bool)
            mask[draw.choice(size, plan.keep, replace=False)] = True
        scores.append(refit.test(refit.train(mask, seed + number), mask))
    yield row("random masks", int(mask.sum()), scores, since)
    since = time.monotonic()
    mask = magnitude_mask(plan, whole, refit.x)
    yield row("first-layer magnitude", int(mask.sum()), [refit.test(refit.train(mask, seed), mask)], since)


def _updated_rivals(plan: Plan, refit: Refit, row: Any) -> Iterator[Event]:
    """The mask of largest magnitude on the same trained classifier, as it is and updated in the same way."""
    since = time.monotonic()
    mask = magnitude_mask(plan, plan.model, refit.x)
    found = accuracy(plan.gated, refit.x_test, refit.y_test, plan.gated.hard_gates(mask))
    yield row(BY_MAGNITUDE[0], plan.keep, [found], since)
    if plan.config.update != "none":
        since = time.monotonic()
        yield row(BY_MAGNITUDE[1], plan.keep, [refit.test(refit.updated(mask, plan.config.seed), mask)], since)


def magnitude_mask(plan: Plan, trained: nn.Module, rows: torch.Tensor) -> BoolArray:
    """Return the n sites with the largest weights: the norm of an input's column times its deviation, a unit's incoming norm, or
    the size of a single weight.

    Ties go to the lowest index.
    """
    modules = dict(trained.named_modules())
    scores = []
    for group in plan.sites.groups:
        if group.kind == "inputs":
            first = next(m for m in trained.modules() if isinstance(m, nn.Linear))
            norm = first.weight.detach().norm(dim=0) * rows.std(dim=0)
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
    order = np.argsort(-np.concatenate(scores), kind="stable")
    if plan.cost is not None:
        return plan.cost.costs.fill(order, plan.cost.limit)
    mask = np.zeros(plan.sites.size, bool)
    mask[order[: plan.keep]] = True
    return mask


def _comparisons(plan: Plan, refit: Refit, cost: float) -> tuple[bool, str]:
    """Whether to run the rivals, and the note that says why not. Their work is known beforehand: no clock decides."""
    config = plan.config
    first = next((module for module in plan.model.modules() if isinstance(module, nn.Linear)), None)
    if plan.sites.inputs is None and config.update != "fresh":
        pass  # no column of inputs is measured
    elif first is None or first.in_features != plan.prepared.n_inputs:
        return False, "first-layer magnitude needs a linear layer that reads the inputs: no comparisons"
    if config.compare != "auto":
        return config.compare == "yes", ""
    work = (RANDOM_MASKS + 2) * plan.retrain_epochs * len(refit.y)
    if config.update != "fresh":
        work = (config.update_epochs or 1) * len(refit.y)
    if work <= COMPARE_SHARE * cost or len(refit.y) < 5_000:
        return True, ""
    rivals = "all sites, random masks and magnitude" if config.update == "fresh" else "magnitude"
    share = "more than the search" if work > 10 * cost else f"{work / cost:.0%} of the search's work"
    return False, f"{rivals} would take {share}: left out; --compare yes runs that"


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


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
