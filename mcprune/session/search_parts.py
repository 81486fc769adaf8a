"""The parts that a search is made of, and the events of its progress and its end."""

from __future__ import annotations

import base64
import math
import time

import numpy as np
import torch

from mcprune.distributed.evaluation import Ranks
from mcprune.errors import ConfigError
from mcprune.methods.base import Adaptation, BlockInfo
from mcprune.session.build.plan import Plan
from mcprune.session.finish.finalize import mask_costs
from mcprune.session.search_state import Reported
from mcprune.session.search_status import SearchStatus
from mcprune.storage.events import Adapted, Hardened, Progress
from mcprune.training.batches import EvaluationRows
from mcprune.training.folds import Folds, member_seed
from mcprune.training.stack import ClassifierStack
from mcprune.training.trainer import Trainer
from mcprune.types import BoolArray, Float32Array

NEAR = 0.01
MOST_GATES = 16_384  # more are left out: an event should stay one line of text


def near_hard(gates: Float32Array) -> float:
    """Return the share of the gates within .01 of 0 or 1."""
    return float(((gates <= NEAR) | (gates >= 1.0 - NEAR)).mean())


def coded(gates: Float32Array) -> str | None:
    """Return gates (N,) in base64, one byte 0..255 for each gate 0..1; None where there are too many."""
    if gates.size > MOST_GATES:
        return None
    return base64.b64encode(np.rint(255.0 * gates.astype(np.float64)).astype(np.uint8).tobytes()).decode("ascii")


def training_ranks(plan: Plan) -> Ranks | None:
    """Return the processes that share each step of backprop; None where every process makes whole steps.

    Raises
    ------
    ConfigError
        The steps should be shared, but this process is alone.
    """
    if plan.runtime.train_ranks == "each":
        return None
    if plan.ranks is None:
        raise ConfigError(
            "train_ranks='shared' is for several processes, and this one is alone. Start with torchrun --nproc-per-node=N -m mcprune, "
            "or use --train-ranks each."
        )
    return plan.ranks


def make_trainer(plan: Plan) -> ClassifierStack:
    """Return the trainers of the plan's classifiers, each with its own rows."""
    data, ranks = plan.splits, training_ranks(plan)
    features, targets = plan.rows(data.train.features), torch.from_numpy(data.train.targets).to(plan.device)
    weights = (
        None if data.train.weights is None else torch.from_numpy(data.train.weights.astype(np.float32)).to(plan.device)
    )
    return ClassifierStack(
        [
            Trainer(
                gated,
                features,
                targets,
                batch_size=plan.train.batch_size,
                learning_rate=plan.train.learning_rate,
                weight_decay=plan.train.weight_decay,
                mask_noise=plan.train.mask_noise,
                input_noise=plan.train.input_noise,
                seed=member_seed(plan.runtime.seed, place),
                rows=None if len(rows) == len(targets) else rows,
                weights=weights,
                ranks=ranks,
                space=plan.space,
                amp=plan.train.amp,
            )
            for place, (gated, rows) in enumerate(zip(plan.stack, plan.folds.training, strict=True))
        ]
    )


def make_rows(plan: Plan, folds: Folds) -> EvaluationRows:
    """Return the evaluation batches of the evaluation rows of all folds."""
    data = plan.splits
    return EvaluationRows(
        data.train.features,
        data.train.targets,
        folds=folds,
        device=plan.device,
        seed=plan.runtime.seed,
        input_noise=plan.train.input_noise,
        weights=data.train.weights,
        groups=data.train.groups,
    )


def progress_event(
    search: SearchStatus, info: BlockInfo, since: Reported, *, is_look: bool, is_shown: bool
) -> Progress:
    """Return the event after the last block.

    Parameters
    ----------
    search : SearchStatus
    info : BlockInfo
        Of the last block.
    since : Reported
        The time since the last such event.
    is_look, is_shown : bool
        Whether validation accuracies are measured, and the gates are included.
    """
    on_validation, at_n = search.accuracies() if is_look else (None, None)
    plan, blocks, totals = search.plan, search.pace.blocks, search.state.totals
    return Progress(
        block=search.blocks_done,
        blocks=blocks,
        epoch=plan.train.epochs * search.blocks_done / plan.train.blocks,
        epochs=math.ceil(plan.train.epochs * blocks / plan.train.blocks),
        loss=info.loss,
        classification_loss=info.cla,
        selection_loss=info.sel,
        rejection_loss=info.rej,
        alpha=info.alpha,
        schedule_lambda=info.strength,
        delta=info.delta,
        temperature=info.temperature,
        gate_sum=info.gate_sum,
        near_hard=near_hard(search.training_gates()),
        kept=info.kept,
        target=info.target,
        costs=info.costs,
        cost_targets=info.cost_targets,
        proposals=totals.proposals,
        decisions=totals.decisions,
        accepted=totals.accepted,
        acceptance=since.accepted / since.decisions if since.decisions else None,
        moves=totals.by_move(),
        nonfinite=totals.nonfinite,
        null_moves=totals.null_moves,
        rejected_by_bound=totals.rejected_by_bound,
        rejected_by_cost=totals.rejected_by_cost,
        adapted=adapted_event(info.adapted),
        decisions_per_second=info.decisions / max(search.state.clock.block, 1e-9),
        forwards=search.forwards(),
        validation_accuracy=on_validation,
        validation_at_n=at_n,
        validation_objective=search.validation.objective(search.position() > 0) if is_look else None,
        gates=coded(search.training_gates()) if is_shown else None,
        seconds=time.monotonic() - search.began,
        seconds_left=search.seconds_left,
    )


def hardened_event(search: SearchStatus, mask: BoolArray, gates: Float32Array, kept: int) -> Hardened:
    """Return the event of the mask of the result.

    Parameters
    ----------
    search : SearchStatus
        After the method has finished.
    mask : ndarray of bool, shape (N,)
    gates : ndarray of float32, shape (N,)
        Before that.
    kept : int
        Sites that were kept before that.
    """
    gate_sum = float(gates.astype(np.float64).sum())
    return Hardened(
        kept=int(mask.sum()),
        n_sites=mask.size,
        gate_sum=gate_sum,
        gate_sum_error=abs(gate_sum - int(mask.sum())),
        costs=mask_costs(search.plan, mask),
        kept_before=kept,
        near_hard=near_hard(gates),
        last_crossed=tuple(search.last_crossed().tolist()),
        steps=search.state.trainer.steps,
        forwards=search.forwards(),
        validation_accuracy=search.validation.accuracy(mask),
        validation_objective=search.validation.objective(mask),
        evaluator_error=search.method.evaluator_error(search.state.method),
    )


def adapted_event(adapted: Adaptation | None) -> Adapted | None:
    """Return what a chain adapts, as a part of events."""
    if adapted is None:
        return None
    return Adapted(
        temperatures=None if adapted.temperatures is None else tuple(adapted.temperatures),
        swap_rates=None if adapted.swap_rates is None else tuple(adapted.swap_rates),
        round_trips=adapted.round_trips,
        deltas=None if adapted.deltas is None else tuple(adapted.deltas),
        frozen_at=adapted.frozen_at,
    )
