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
from mcprune.chain.floor import best_mask, hardened
from mcprune.models.registry import describe, from_description
from mcprune.objective.texts import PLAIN
from mcprune.pruning.weight_sites import hold_zeros, nonzero_weights
from mcprune.session import events
from mcprune.session.classifiers import fresh_classifier, shrunken
from mcprune.session.dense import by_gradient, by_least_squares
from mcprune.session.distill import Lessons
from mcprune.session.events import Event
from mcprune.session.folder import RunFolder, SmallModel
from mcprune.session.footprint import macs, parameters
from mcprune.session.interrupt import Interrupt
from mcprune.session.plan import Plan
from mcprune.session.plan_chain import site_groups
from mcprune.session.records import CONFIG, EVENTS, MASK, RESULT
from mcprune.session.scoring import coded_groups, value_of
from mcprune.session.trainer import accuracy, fit, noise
from mcprune.session.warp import Warp

RANDOM_MASKS = 5
# With --compare auto, what is beside the result may cost this share of the search.
COMPARE_SHARE = 0.1
# Of a classifier that teaches the small one: it learns for so many passes at most, under so much dropout at least.
TEACHER_EPOCHS, TEACHER_DROPOUT = 20, 0.2
RETRAINED = ("fresh", "found")  # updates that train a small classifier for --retrain-epochs
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
        self._teacher: nn.Module | None = None
        self.x = torch.from_numpy(np.concatenate([data.x_train, data.x_validation])).to(plan.device)
        self.y = torch.from_numpy(np.concatenate([data.y_train, data.y_validation])).to(plan.device)
        self.x_test, self.y_test = plan.rows(data.x_test), torch.from_numpy(data.y_test).to(plan.device)

    def fresh(self, seed: int, dropout: float | None = None) -> nn.Module:
        """Return an untrained classifier of the run's kind on all sites, of the dropout of retraining or of another."""
        plan = self.plan
        if not plan.is_users_model:
            share = plan.config.retrain_dropout if dropout is None else dropout
            return fresh_classifier(plan.config, plan.prepared, seed, dropout=share).to(plan.device)
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

    def train(self, mask: BoolArray, seed: int, *, may_be_found: bool = False) -> nn.Module:
        """Return a small classifier on what the mask keeps, trained afresh, or on from the search's weights if the options say so."""
        plan, config = self.plan, self.plan.config
        is_found = may_be_found and config.update == "found"
        model = self.cut(plan.model, mask) if is_found else self.small(mask, seed)
        self.fit(model, mask, seed, plan.retrain_epochs, lessons=self.lessons(mask) if config.retrain_distill else None)
        return model

    def fit(
        self,
        model: nn.Module,
        mask: BoolArray,
        seed: int,
        epochs: int,
        lessons: Lessons | None = None,
        rate: float = 0.0,
    ) -> None:
        """Train a model on what the mask keeps, in place, as the options say, or at another rate."""
        config = self.plan.config
        fit(
            model,
            self.columns(self.x, mask),
            self.y,
            epochs=epochs,
            batch_size=self.plan.batch_size,
            learning_rate=rate or config.retrain_rate or config.learning_rate,
            weight_decay=config.weight_decay,
            seed=seed,
            jitter=config.retrain_jitter or 0.0,
            view=None if lessons is not None else self.warp(mask),
            is_asked=self.is_asked,
            amp=config.amp,
            lessons=lessons,
        )

    def lessons(self, mask: BoolArray) -> Lessons:
        """Return what a whole classifier teaches the small one; it is trained when it is first asked for."""
        config, everything = self.plan.config, np.ones_like(mask)
        if self._teacher is None:
            self._teacher = self.fresh(config.seed, dropout=max(config.retrain_dropout or 0.0, TEACHER_DROPOUT))
            self.fit(
                self._teacher,
                everything,
                config.seed,
                min(self.plan.retrain_epochs, TEACHER_EPOCHS),
                rate=config.learning_rate,
            )
        with noise(config.seed, 1):
            return Lessons(self._teacher, self.x, self.inputs(mask), config.retrain_distill, self.warp(everything))

    def cut(self, model: nn.Module, mask: BoolArray) -> nn.Module:
        """Return a model on what the mask keeps, physically smaller; of dropped weights it holds zeros."""
        small = shrunken(model, self.plan.sites, mask, self.plan.prepared.n_inputs)
        if self.plan.sites.weights:
            hold_zeros(small)
        return small

    def warp(self, mask: BoolArray) -> Warp | None:
        """Return what moves, turns and scales the images of a step; None where that is off."""
        strength = self.plan.config.retrain_warp
        return Warp(self.x, self.plan.prepared.image_shape, self.inputs(mask), strength) if strength else None

    def small(self, mask: BoolArray, seed: int) -> nn.Module:
        """Return a small fresh classifier on what the mask keeps, untrained.

        It is made small before training, from a fresh start: its first weights keep the scale of the whole one's, so they
        are drawn anew where a layer of a built-in classifier got narrower.
        """
        plan = self.plan
        model = self.fresh(seed)
        if not mask.all():
            model = self.cut(model, mask)
            is_ours = not plan.is_users_model and not plan.sites.weights  # whose zeros must stay
            if is_ours and (plan.sites.channels or hasattr(model, "widths")):
                model = from_description(describe(model), seed).to(plan.device)
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

    def test(self, model: nn.Module, mask: BoolArray) -> float:
        """Return the test accuracy of a small model that takes what the mask keeps."""
        return accuracy(model, self.columns(self.x_test, mask), self.y_test)

    def value(self, model: nn.Module, mask: BoolArray, *, is_gated: bool = False) -> float | None:
        """Return the objective on the test part, of a small model or of the whole one under the mask; None for the default."""
        objective = self.plan.objective
        if is_default(self.plan):
            return None
        rows = self.x_test if is_gated else self.columns(self.x_test, mask)
        groups = coded_groups(objective, self.plan.prepared.x_test)
        gates = self.plan.gated.hard_gates(mask) if is_gated else None
        return value_of(objective, model, rows, self.y_test, mask=mask, gates=gates, groups=groups)

    def columns(self, rows: torch.Tensor, mask: BoolArray) -> torch.Tensor:
        """Return the kept inputs of full rows."""
        columns = self.inputs(mask)
        return (
            rows if columns.size == rows.shape[1] else rows[:, torch.from_numpy(columns).to(rows.device)].contiguous()
        )


def is_default(plan: Plan) -> bool:
    """Whether the chain minimises plain cross-entropy, whose value beside accuracy is not told."""
    return plan.config.objective == PLAIN


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
    if plan.config.frozen:
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
    is_fresh = plan.config.update in RETRAINED
    if not outcome.is_cut_short:
        try:
            small = (
                refit.train(mask, plan.config.seed, may_be_found=True)
                if is_fresh
                else refit.updated(mask, plan.config.seed)
            )
        except KeyboardInterrupt:
            outcome.is_cut_short = True
    if small is None:
        yield Event(events.NOTE, {"text": "ended early: the small model is the mask as found, not retrained"})
        small = refit.cut(plan.model, mask)
    elif plan.config.update != "none":
        name = "hard mask, retrained" if is_fresh else "hard mask, updated"
        yield row(name, kept, [refit.test(small, mask)], since, [refit.value(small, mask)])
    whole = refit.fresh(plan.config.seed) if is_fresh else plan.model
    width = plan.prepared.n_inputs
    numbers = {"before": parameters(whole), "after": parameters(small)}
    nonzero = {"before": nonzero_weights(whole), "after": nonzero_weights(small)}
    products = {"before": macs(whole, width), "after": macs(small, refit.inputs(mask).size)}
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
    size, seed = plan.sites.size, plan.config.seed
    since = time.monotonic()
    everything = np.ones(size, bool)
    whole = refit.train(everything, seed)
    yield row("all sites", size, [refit.test(whole, everything)], since, [refit.value(whole, everything)])
    since = time.monotonic()
    draw = np.random.default_rng([seed, 7])
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
    if plan.config.update != "none":
        since = time.monotonic()
        model = refit.updated(mask, plan.config.seed)
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
    if config.update == "found":
        text = "all sites and random masks are trained afresh, which found weights do not compare with: left out"
        return False, text + "; --update fresh --compare yes runs them"
    if plan.sites.inputs is None and plan.sites.channels:
        pass
    elif plan.sites.inputs is None and config.update not in RETRAINED:
        pass  # no column of inputs is measured
    elif first is None or first.in_features != plan.prepared.n_inputs:
        return False, "first-layer magnitude needs a linear layer that reads the inputs: no comparisons"
    if config.compare != "auto":
        return config.compare == "yes", ""
    work = (RANDOM_MASKS + 2) * plan.retrain_epochs * len(refit.y)
    if config.update not in RETRAINED:
        work = (config.update_epochs or 1) * len(refit.y)
    if work <= COMPARE_SHARE * cost or len(refit.y) < 5_000:
        return True, ""
    rivals = "all sites, random masks and magnitude" if config.update in RETRAINED else "magnitude"
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
