"""What comes after the search: the small model, its accuracy on the test rows beside baselines, and the record."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from mcprune.exporters.footprint import macs, parameters
from mcprune.models.adapters import adapter_of
from mcprune.session.build.plan import Plan
from mcprune.session.build.shown import ShownSites
from mcprune.session.finish.baselines import Scores, finetuned_baselines, plan_comparison, retrained_baselines
from mcprune.session.finish.mask_costs import mask_costs
from mcprune.session.finish.retrain import PartlyTrained, Refit
from mcprune.session.interrupt import Interrupt
from mcprune.sites.weights import nonzero_weights
from mcprune.storage.answer import sentence, simpler_way
from mcprune.storage.events import (
    Adapted,
    BeforeAfter,
    ErrorRate,
    Event,
    Hardened,
    Note,
    Playoff,
    RunDone,
    Scored,
    Stage,
)
from mcprune.storage.folder import RunFolder
from mcprune.storage.layout import FILES, MASK, PREDICTIONS, RESULT
from mcprune.storage.predictions import Predictions, predictions_bytes, stored_rows
from mcprune.storage.pruned_model import ModelExtra, PrunedModel
from mcprune.types import BoolArray, Float32Array, FloatArray, JsonObject


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes
    ----------
    mask : ndarray of bool, shape (N,)
    weights : ndarray of float64, shape (N,)
        Of the pruner.
    gates : ndarray of float32, shape (N,)
        Before hardening.
    work : float
        In rows that went through backprop; a forward pass counts as a third of one.
    hardened : Hardened
    scores : ndarray of float64, shape (N,), or None
        Of the last round of an importance measure.
    adapted : Adapted or None
        What the chain adapts, as of the last block.
    playoff : Playoff or None
        The comparison of the finalists.
    error_rate : ErrorRate or None
        How the kept columns were chosen, where they competed with their shadows.
    """

    mask: BoolArray
    weights: FloatArray
    gates: Float32Array
    work: float
    hardened: Hardened
    scores: FloatArray | None = None
    adapted: Adapted | None = None
    playoff: Playoff | None = None
    error_rate: ErrorRate | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of the search of a run, the pruned model, the classifiers of the search, see `classifiers_content`, and what is shown."""

    search: SearchResult
    model: PrunedModel
    classifiers: JsonObject
    shown: ShownSites


def outcome_of(done: RunDone) -> Outcome:
    """Return the outcome that the last event of a run in this process carries."""
    assert isinstance(done.outcome, Outcome)
    return done.outcome


def finalize(
    plan: Plan,
    result: SearchResult,
    folder: RunFolder | None,
    began: float,
    interrupt: Interrupt,
    classifiers: JsonObject,
    partly_trained: PartlyTrained | None = None,
) -> Iterator[Event]:
    """Retrain, compare and write the result; the last event carries the `Outcome`. After an interrupt the rest is left out.

    With `partly_trained` a small model that has been trained on a part of the rows goes on, in place of a retraining.
    """
    mask = result.mask
    limit = plan.runtime.max_time
    deadline = began + limit
    refit = Refit(plan, lambda: interrupt.should_stop, deadline)
    is_cut_short = interrupt.should_stop
    scores = Scores(plan.splits.test.weights)

    since = time.monotonic()
    if plan.train.is_frozen:
        dense = refit.test_gated(np.ones(plan.sites.size, bool))
        yield scores.add("dense", plan.shown.size, [dense], since, [None])
        since = time.monotonic()
    kept = plan.shown.count(mask)
    objective = refit.value(plan.gated, mask, is_gated=True)
    yield scores.add("hard mask, not retrained", kept, [refit.test_gated(mask)], since, [objective])
    since = time.monotonic()
    small = None
    is_fresh = plan.retrain.is_retrained
    if not is_cut_short:
        if plan.retrain.finetune != "none":
            epochs = plan.retrain.epochs if partly_trained is None else partly_trained.epochs
            yield Stage("retrain", f"training the pruned model: {epochs:,} epochs of {len(refit.y):,} rows")
        try:
            small = refit.pruned(mask, plan.runtime.seed, partly_trained)
        except KeyboardInterrupt:
            is_cut_short = True
    if small is None:
        yield Note("ended early: the pruned model has the mask of the search and is not retrained")
        small = refit.cut(plan.model, mask)
    elif plan.retrain.finetune != "none":
        name = "hard mask, retrained" if is_fresh else "hard mask, fine-tuned"
        yield scores.add(name, kept, [refit.test(small, mask)], since, [refit.value(small, mask)])
    whole = refit.fresh(plan.runtime.seed) if is_fresh else plan.model
    width = plan.splits.n_inputs
    extra = _extra(plan, refit, mask)
    model = PrunedModel(small, extra)
    sizes = {
        "parameters": BeforeAfter(parameters(whole), parameters(small)),
        "macs": BeforeAfter(macs(whole, width), macs(small, refit.inputs(mask).size)),
        "nonzero_weights": BeforeAfter(nonzero_weights(whole), nonzero_weights(small)),
    }
    if folder is not None:
        folder.write_model(small, extra)
    models: list[nn.Module] = []  # the one with all sites
    if not is_cut_short:
        is_cut_short = yield from _compare(plan, refit, result.work, scores, interrupt, deadline, mask, models)
    is_predicted = folder is not None and bool(len(refit.y_test))
    if folder is not None and is_predicted:
        folder.write_bytes(PREDICTIONS, _predictions(refit, mask, small, models))
    cut_short_by = (interrupt.reason or "interrupt") if is_cut_short else None
    done = _done(plan, result, folder, scores.ordered(), sizes, cut_short_by, is_predicted=is_predicted)
    done = replace(done, seconds=time.monotonic() - began, outcome=Outcome(result, model, classifiers, plan.shown))
    if folder is not None:
        folder.write_json(RESULT, replace(done, folder=None).to_dict())
    yield done


def _compare(
    plan: Plan,
    refit: Refit,
    work: float,
    scores: Scores,
    interrupt: Interrupt,
    deadline: float,
    mask: BoolArray,
    models: list[nn.Module],
) -> Generator[Event, None, bool]:
    """Yield the comparisons, as far as there is time; return whether a signal has cut them short."""
    comparison, note = plan_comparison(plan, refit, work)
    if note:
        yield Note(note)
    left_out, is_cut_short = list(refit.shortened), False
    if comparison is not None:
        refit.should_stop = lambda: interrupt.should_stop or time.monotonic() >= deadline
        refit.deadline = math.inf  # a comparison with fewer epochs is not fair: it is made in full, or left out
        before = len(scores.entries)
        is_fresh = plan.retrain.is_retrained
        try:
            yield from (
                retrained_baselines(plan, refit, scores, models, mask, comparison)
                if is_fresh
                else finetuned_baselines(plan, refit, scores)
            )
        except KeyboardInterrupt:
            if interrupt.should_stop:
                is_cut_short = True
                yield Note("the comparisons were interrupted")
            else:
                left_out.append("the comparisons" if len(scores.entries) == before else "the rest of the comparisons")
    if left_out:
        yield Note(f"--max-time {plan.runtime.max_time:g}: no time for {' and '.join(left_out)}")
    return is_cut_short


def _done(
    plan: Plan,
    result: SearchResult,
    folder: RunFolder | None,
    scores: tuple[Scored, ...],
    sizes: Mapping[str, BeforeAfter],
    cut_short_by: str | None,
    *,
    is_predicted: bool,
) -> RunDone:
    """Return the last event, but for its time and its outcome."""
    mask = result.mask
    indices, names = shown_places(plan, mask)
    image_shape = None if plan.splits.image_shape is None else tuple(plan.splits.image_shape)
    objective = plan.objective.description if plan.has_own_measure else None
    groups = plan.shown.groups
    return RunDone(
        name=plan.splits.name,
        n_sites=plan.shown.size,
        sites=groups,
        folder=None if folder is None else str(folder.path),
        seconds=0.0,
        scores=scores,
        method=plan.method,
        objective=objective,
        hardened=result.hardened,
        indices=indices,
        names=names,
        image_shape=image_shape,
        cut_short_by=cut_short_by,
        files=() if folder is None else tuple(name for name in FILES if is_predicted or name != PREDICTIONS),
        adapted=result.adapted,
        costs=mask_costs(plan, mask),
        summary=sentence(
            scores,
            groups,
            image_shape,
            len(indices),
            objective,
            is_weighted=plan.splits.is_weighted,
            rate=None if result.error_rate is None else result.error_rate.rate,
            task=plan.splits.task,
        ),
        simpler=simpler_way(scores, result.playoff, plan.splits.task),
        is_weighted=plan.splits.is_weighted,
        task=plan.splits.task,
        **sizes,
    )


def _predictions(refit: Refit, mask: BoolArray, small: nn.Module, whole: list[nn.Module]) -> bytes:
    """Return what is stored of the predictions on the test rows, by the pruned model and by the one with all sites."""
    data, seed = refit.plan.splits, refit.plan.runtime.seed
    rows = stored_rows(len(refit.y_test), data.n_outputs, seed)
    by_whole = refit.predictions(whole[0], np.ones_like(mask), rows) if whole else None
    by_small = refit.predictions(small, mask, rows)
    weights = None if data.test.weights is None else data.test.weights[rows]
    targets = data.test.targets[rows]
    if data.target_scaler is not None:
        targets = data.target_scaler.invert(targets).astype(np.float32)
    return predictions_bytes(Predictions(targets, by_small, by_whole, len(refit.y_test), weights))


def kept_sites(plan: Plan, mask: BoolArray) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the flat indices and the names of the kept sites."""
    names = plan.sites.names(plan.splits.names)
    indices = np.flatnonzero(mask).tolist()
    return tuple(indices), tuple(str(names[site]) for site in indices)


def shown_places(plan: Plan, mask: BoolArray) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the places and the names of what is kept of the sites that are shown."""
    places, names = plan.shown.places(mask), plan.shown.names(plan.splits.names)
    return tuple(places), tuple(names[place] for place in places)


def write_mask(plan: Plan, result: SearchResult, folder: RunFolder) -> None:
    """Write mask.json, before the retraining, which may be interrupted."""
    folder.write_json(MASK, mask_content(plan, result.mask, result.weights, result.gates, result.scores))


def mask_content(
    plan: Plan, mask: BoolArray, weights: FloatArray, gates: Float32Array, scores: FloatArray | None = None
) -> dict[str, object]:
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


def _extra(plan: Plan, refit: Refit, mask: BoolArray) -> ModelExtra:
    """Return what is stored beside the small model, so that it can be used on whole raw rows."""
    data = plan.splits
    columns = refit.inputs(mask)
    extra: ModelExtra = {
        "columns": columns.tolist(),
        "names": [data.names[column] for column in columns],
        "labels": list(data.labels),
        "scaler": data.scaler.select(columns).to_dict(),
        "feature_names": list(data.names),
        "target_name": data.target_name,
        "image_shape": list(data.image_shape) if data.image_shape else None,
    }
    if data.target_scaler is not None:
        shift, scale, link = data.target_scaler
        extra["task"] = data.task
        extra["targets"] = {
            "names": list(data.target_names), "shift": shift.tolist(), "scale": scale.tolist(), "link": link,
        }  # fmt: skip
    if data.file_width is not None:
        extra["file_width"] = data.file_width
    if adapter := adapter_of(plan.model).to_dict():
        extra["adapter"] = adapter
    if data.fields:
        extra["fields"] = [[each.name, each.start, list(each.shape), each.kind] for each in data.fields]
    if data.coding is not None:
        extra["coding"] = data.coding.to_dict()
    if plan.sites.weights:
        extra["holds_zeros"] = True
    return extra
