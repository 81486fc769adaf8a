"""Small classifiers on what a mask keeps: made, retrained by labels or by a teacher, fine-tuned, tested."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.data.prepare import Rows
from mcprune.models.modes import redraw
from mcprune.models.registry import describe, from_description
from mcprune.random import step_noise
from mcprune.session.build.plan import Plan
from mcprune.sites.weights import hold_zeros
from mcprune.training.augment import RandomAffine
from mcprune.training.classifiers import fresh_classifier, shrunken
from mcprune.training.distill import DistillationTargets
from mcprune.training.finetune import finetune_least_squares, finetune_steps
from mcprune.training.fit import fit
from mcprune.training.fit_several import can_fit_at_once, fit_several
from mcprune.training.metrics import Answers, answers, coded_groups, outputs_of, probabilities, value_of
from mcprune.types import BoolArray, Float32Array, IntArray

# Of a teacher: the most epochs, and the least dropout.
TEACHER_EPOCHS, TEACHER_DROPOUT = 20, 0.2
# Steps that are timed; the share of the time left that is planned, and the share of a teacher.
TIMED_STEPS, PLANNED, TEACHING = 8, 0.9, 0.4
AT_ONCE = 2**22  # values of the rows of several classifiers, up to which these are trained at once


class PartlyTrained(NamedTuple):
    """The tensors of a small model that has been trained on a part of the rows, and the epochs for which it goes on with all of them."""

    tensors: Mapping[str, torch.Tensor]
    epochs: int


class Refit:
    """Small classifiers for the masks of a plan.

    Parameters
    ----------
    plan : Plan
    should_stop : callable
        Polled after each step of training.
    deadline : float
        By time.monotonic; epochs that do not fit are left out.
    rows : Rows, optional
        Rows that train; by default the training and validation rows.

    Attributes
    ----------
    shortened : list of str
        What was left out.
    """

    def __init__(
        self, plan: Plan, should_stop: Callable[[], bool], deadline: float = math.inf, rows: Rows | None = None
    ) -> None:
        data = plan.splits
        self.should_stop = should_stop
        self.deadline = deadline
        self.shortened: list[str] = []
        self.plan = plan
        self._teacher: nn.Module | None = None
        rows = data.all_but_test() if rows is None else rows
        self.x, self.y = (torch.from_numpy(part).to(plan.device) for part in rows[:2])
        self.weights = (
            None if rows.weights is None else torch.from_numpy(rows.weights.astype(np.float32)).to(plan.device)
        )
        self.x_test, self.y_test = plan.rows(data.test.features), torch.from_numpy(data.test.targets).to(plan.device)

    def fresh(self, seed: int, dropout: float | None = None) -> nn.Module:
        """Return an untrained classifier on all sites; `dropout` replaces that of the settings.

        The trainable parameters of a user's model are drawn again; frozen ones are kept.
        """
        plan = self.plan
        if not plan.is_users_model:
            share = plan.retrain.dropout if dropout is None else dropout
            return fresh_classifier(plan.settings.model, plan.splits, seed, dropout=share).to(plan.device)
        model = copy.deepcopy(plan.origin)
        redraw(model, seed)
        return model

    def inputs(self, mask: BoolArray) -> np.ndarray:
        """Return the columns of the kept inputs; all columns where inputs are not sites."""
        group = self.plan.sites.inputs
        return np.flatnonzero(mask[group.start : group.stop]) if group else np.arange(self.plan.splits.n_inputs)

    def train(self, mask: BoolArray, seed: int, *, may_be_warm: bool = False, epochs: int | None = None) -> nn.Module:
        """Return a retrained small classifier.

        Parameters
        ----------
        mask : ndarray of bool, shape (N,)
        seed : int
        may_be_warm : bool
            It starts from the weights of the search where the options say so.
        epochs : int, optional
            In place of those of the options.
        """
        plan = self.plan
        is_warm = may_be_warm and plan.retrain.finetune == "warm"
        model = self.cut(plan.model, mask) if is_warm else self.small(mask, seed)
        distillation = self.distillation(mask) if plan.retrain.distill else None
        epochs = self.fitting_epochs(model, mask, plan.retrain.epochs if epochs is None else epochs)
        self.fit(model, mask, seed, epochs, plan.retrain.learning_rate, distillation)
        return model

    def train_all(self, masks: Sequence[BoolArray], seeds: Sequence[int], epochs: int | None = None) -> list[nn.Module]:
        """Return a retrained small classifier for each mask, as `train` does; small ones of one shape are trained at once."""
        plan = self.plan
        values = sum(int(mask.sum()) for mask in masks) * len(self.y)
        is_plain = not (plan.retrain.distill or plan.retrain.warp or plan.train.amp)
        models = []
        if is_plain and values <= AT_ONCE:
            models = [self.small(mask, seed) for mask, seed in zip(masks, seeds, strict=True)]
        if not (models and can_fit_at_once(models)):
            return [self.train(mask, seed, epochs=epochs) for mask, seed in zip(masks, seeds, strict=True)]
        fit_several(
            models,
            torch.stack([self.columns(self.x, mask) for mask in masks]),
            self.y,
            epochs=plan.retrain.epochs if epochs is None else epochs,
            batch_size=plan.retrain.batch_size,
            learning_rate=plan.retrain.learning_rate,
            weight_decay=plan.retrain.weight_decay,
            seeds=seeds,
            input_noise=plan.retrain.input_noise,
            should_stop=self.should_stop,
            weights=self.weights,
            row_loss=plan.row_loss,
        )
        return models

    def pruned(self, mask: BoolArray, seed: int, partly_trained: PartlyTrained | None = None) -> nn.Module:
        """Return the small model of a run: retrained, or the search's classifier fine-tuned, as the options say."""
        if partly_trained is not None:
            model = self.small(mask, seed)
            model.load_state_dict(partly_trained.tensors)
            epochs = self.fitting_epochs(model, mask, partly_trained.epochs)
            self.fit(model, mask, seed, epochs, self.plan.retrain.learning_rate)
            return model
        if self.plan.retrain.is_retrained:
            return self.train(mask, seed, may_be_warm=True)
        return self.updated(mask, seed)

    def epoch_seconds(self, model: nn.Module, mask: BoolArray) -> float:
        """Return an estimate of the seconds of an epoch, by a few steps of a copy of the model."""
        batch = min(self.plan.retrain.batch_size, len(self.y))
        steps = max(1, min(TIMED_STEPS, len(self.y) // batch))
        rows, copied = slice(0, steps * batch), copy.deepcopy(model)
        seconds = []
        for _ in range(2):  # the first one warms up
            began = time.monotonic()
            fit(
                copied,
                self.columns(self.x[rows], mask),
                self.y[rows],
                epochs=1,
                batch_size=batch,
                learning_rate=self.plan.retrain.learning_rate,
                weight_decay=0.0,
                seed=0,
                row_loss=self.plan.row_loss,
            )
            seconds.append(time.monotonic() - began)
        return seconds[-1] * (len(self.y) // batch) / steps

    def fitting_epochs(self, model: nn.Module, mask: BoolArray, epochs: int, share: float = PLANNED) -> int:
        """Return how many of the epochs fit into a share of the time until the deadline; at least 1."""
        if math.isinf(self.deadline):
            return epochs
        each = self.epoch_seconds(model, mask)
        fitting = max(1, min(epochs, int(share * (self.deadline - time.monotonic()) / each)))
        if fitting < epochs:
            self.shortened.append(f"{epochs - fitting:,} of {epochs:,} epochs of retraining")
        return fitting

    def fit(
        self,
        model: nn.Module,
        mask: BoolArray,
        seed: int,
        epochs: int,
        rate: float,
        distillation: DistillationTargets | None = None,
    ) -> None:
        """Train a model on what the mask keeps, in place, by the labels or by distillation."""
        plan = self.plan
        fit(
            model,
            self.columns(self.x, mask),
            self.y,
            epochs=epochs,
            batch_size=plan.retrain.batch_size,
            learning_rate=rate,
            weight_decay=plan.retrain.weight_decay,
            seed=seed,
            input_noise=plan.retrain.input_noise,
            view=None if distillation is not None else self.warp(mask),
            should_stop=self.should_stop,
            amp=plan.train.amp,
            distillation=distillation,
            weights=self.weights,
            row_loss=plan.row_loss,
        )

    def distillation(self, mask: BoolArray) -> DistillationTargets:
        """Return the teacher's targets for the small classifier; the teacher is trained at the first call."""
        plan, everything = self.plan, np.ones_like(mask)
        if self._teacher is None:
            teacher = self.fresh(plan.runtime.seed, dropout=max(plan.retrain.dropout, TEACHER_DROPOUT))
            epochs = self.fitting_epochs(teacher, everything, min(self.plan.retrain.epochs, TEACHER_EPOCHS), TEACHING)
            self.fit(teacher, everything, plan.runtime.seed, epochs, plan.train.learning_rate)
            self._teacher = teacher
        with step_noise(plan.runtime.seed, 1):
            return DistillationTargets(
                self._teacher, self.x, self.inputs(mask), plan.retrain.distill, self.warp(everything)
            )

    def cut(self, model: nn.Module, mask: BoolArray) -> nn.Module:
        """Return the model cut to what the mask keeps; dropped weights stay zero."""
        plan = self.plan
        if plan.candidates is not None and model is plan.model:  # which reads these columns alone
            return shrunken(model, plan.gated.sites, plan.seen(mask), plan.candidates.size)
        small = shrunken(model, plan.sites, mask, plan.splits.n_inputs)
        if plan.sites.weights:
            hold_zeros(small)
        return small

    def warp(self, mask: BoolArray) -> RandomAffine | None:
        """Return the random transformations of the images; None where they are off."""
        strength = self.plan.retrain.warp
        return RandomAffine(self.x, self.plan.splits.image_shape, self.inputs(mask), strength) if strength else None

    def small(self, mask: BoolArray, seed: int) -> nn.Module:
        """Return an untrained small classifier on what the mask keeps.

        A cut classifier keeps the scale of the initial weights of the whole one. Where a layer of a built-in classifier is narrower
        now, the weights are drawn again.
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
        """Return the small model of the search's classifier, fine-tuned as the options say."""
        plan = self.plan
        chosen, model = torch.from_numpy(mask), plan.model
        if plan.retrain.finetune == "least-squares":
            model = finetune_least_squares(model, plan.sites, chosen, self.x, weights=self.weights)
        elif plan.retrain.finetune == "short":
            model = finetune_steps(
                model,
                plan.sites,
                chosen,
                self.x,
                self.y,
                epochs=self.fitting_epochs(model, np.ones_like(mask), plan.retrain.epochs),
                batch_size=plan.retrain.batch_size,
                learning_rate=plan.train.learning_rate,
                weight_decay=plan.retrain.weight_decay,
                seed=seed,
                input_noise=plan.retrain.input_noise,
                should_stop=self.should_stop,
                weights=self.weights,
                row_loss=plan.row_loss,
            )
        return self.cut(model, mask)

    def test(self, model: nn.Module, mask: BoolArray) -> Answers:
        """Return how a small model does on the test rows."""
        return self._answers(model, self.columns(self.x_test, mask))

    def test_gated(self, mask: BoolArray) -> Answers:
        """Return how the search's classifier does on the test rows under a mask."""
        plan = self.plan
        return self._answers(plan.gated, self._seen_test, plan.gated.hard_gates(plan.seen(mask)))

    def _answers(self, model: nn.Module, rows: torch.Tensor, gates: torch.Tensor | None = None) -> Answers:
        """Return how a model does on the test rows as it takes them; errors are in the unit of the targets."""
        splits = self.plan.splits
        out = answers(model, rows, self.y_test, gates, row_loss=self.plan.row_loss, weights=splits.test.weights)
        if out.errors is None or splits.target_scaler is None:
            return out
        return out._replace(errors=out.errors * splits.target_scaler.scale)

    def predictions(self, model: nn.Module, mask: BoolArray, rows: IntArray) -> Float32Array:
        """Return the probabilities (rows, C) of the classes of some test rows by a small model, or numbers in the targets' unit."""
        chosen = self.columns(self.x_test[torch.from_numpy(rows).to(self.x_test.device)], mask)
        scaler = self.plan.splits.target_scaler
        if scaler is None:
            return probabilities(model, chosen)
        return scaler.predictions(outputs_of(model, chosen)).astype(np.float32)

    def value(self, model: nn.Module, mask: BoolArray, *, is_gated: bool = False) -> float | None:
        """Return the objective on the test rows, of a small model or of the whole one under the mask; None for that by default."""
        objective = self.plan.objective
        if not self.plan.has_own_measure:
            return None
        rows = self._seen_test if is_gated else self.columns(self.x_test, mask)
        groups = coded_groups(objective, self.plan.splits.test.features)
        gates = self.plan.gated.hard_gates(self.plan.seen(mask)) if is_gated else None
        return value_of(
            objective,
            model,
            rows,
            self.y_test,
            mask=mask,
            gates=gates,
            groups=groups,
            weights=self.plan.splits.test.weights,
            inputs=self._seen_test,
        )

    @property
    def _seen_test(self) -> torch.Tensor:
        """The columns of the test rows that the search's classifier reads."""
        plan = self.plan
        return self.x_test if plan.candidates is None else plan.rows(plan.seen(plan.splits.test.features))

    def columns(self, rows: torch.Tensor, mask: BoolArray) -> torch.Tensor:
        """Return the kept inputs of whole rows."""
        columns = self.inputs(mask)
        return (
            rows if columns.size == rows.shape[1] else rows[:, torch.from_numpy(columns).to(rows.device)].contiguous()
        )
