"""The trainers and the evaluation rows of a search, and values of its events."""

from __future__ import annotations

import base64

import numpy as np
import torch

from mcprune.distributed.evaluation import Ranks
from mcprune.errors import ConfigError
from mcprune.methods.base import Adaptation, Batch
from mcprune.session.build.plan import Plan
from mcprune.storage.events import Adapted, Refined
from mcprune.training.batches import EvaluationRows
from mcprune.training.folds import Folds, member_seed
from mcprune.training.stack import ClassifierStack
from mcprune.training.trainer import Trainer
from mcprune.types import BoolArray, Float32Array, FloatArray

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
    features, targets = plan.rows(plan.seen(data.train.features)), torch.from_numpy(data.train.targets).to(plan.device)
    weights = (
        None if data.train.weights is None else torch.from_numpy(data.train.weights.astype(np.float32)).to(plan.device)
    )
    # The same for all, also where folds of few rows differ by one: classifiers of equal batches are trained at once.
    batch_size = min(plan.train.batch_size, *map(len, plan.folds.training))
    return ClassifierStack(
        [
            Trainer(
                gated,
                features,
                targets,
                batch_size=batch_size,
                learning_rate=plan.train.learning_rate,
                weight_decay=plan.train.weight_decay,
                mask_noise=plan.train.mask_noise,
                input_noise=plan.train.input_noise,
                seed=member_seed(plan.runtime.seed, place),
                rows=None if len(rows) == len(targets) else rows,
                weights=weights,
                ranks=ranks,
                space=plan.space if plan.candidates is None else None,
                amp=plan.train.amp,
                row_loss=plan.row_loss,
            )
            for place, (gated, rows) in enumerate(zip(plan.stack, plan.folds.training, strict=True))
        ]
    )


def make_rows(plan: Plan, folds: Folds) -> EvaluationRows:
    """Return the evaluation batches of the evaluation rows of all folds."""
    data = plan.splits
    return EvaluationRows(
        plan.seen(data.train.features),
        data.train.targets,
        folds=folds,
        device=plan.device,
        seed=plan.runtime.seed,
        input_noise=plan.train.input_noise,
        weights=data.train.weights,
        groups=data.train.groups,
        with_inputs=plan.objective.reads_inputs,
    )


def refined_event(masks: BoolArray, losses: FloatArray, batch: Batch) -> Refined:
    """Return the comparison of a mask with the one that it refines, (2, N) from the latter; no exchange where it is not better.

    Under a bound on costs a site may come for none: of the dropped and the added ones the larger number counts.
    """
    before, after = map(float, losses)
    changed = max(int((one & ~other).sum()) for one, other in (masks, masks[::-1])) if after < before else 0
    return Refined(before, after if changed else before, changed, len(batch.targets))


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
