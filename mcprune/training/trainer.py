"""Backprop on the classifier: steps under perturbed masks while the chain runs, and fresh fits on what is kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from mcprune.distributed.data_parallel import DataParallel
from mcprune.distributed.evaluation import Ranks
from mcprune.errors import NumericalError
from mcprune.methods.base import TrainingHook
from mcprune.models.modes import is_fully_frozen, trainable_parameters, use_training_mode
from mcprune.random import Stream, generator, step_noise
from mcprune.sites.gates import GatedModel
from mcprune.sites.space import SearchSpace
from mcprune.training.batches import OrderState, RowOrder
from mcprune.training.distill import Lessons
from mcprune.types import Float32Array, FloatArray, IntArray


def trade(
    gates: Float32Array, kept: IntArray, dropped: IntArray, count: int, rows: int, draw: np.random.Generator
) -> Float32Array:
    """Return gates (rows, N) in which every row trades `count` kept sites for dropped ones.

    A classifier that never sees a dropped site has stale weights for it, and no exchange is judged fairly. Draws are with
    replacement: a row may trade fewer, or end a site above or below the others.
    """
    out = np.repeat(gates[None], rows, axis=0)
    if count and kept.size and dropped.size:
        row = np.arange(rows)[:, None]
        out_sites = kept[draw.integers(0, kept.size, (rows, count))]
        in_sites = dropped[draw.integers(0, dropped.size, (rows, count))]
        out[row, in_sites] = gates[out_sites]
        out[row, out_sites] = gates[in_sites]
    return out


# A step trades in from so many dropped sites: the others' columns need not be multiplied by zeros.
TRADED_FROM = 64


@dataclass
class TrainerState:
    """A classifier in training; updated in place.

    The learning rate and torch's own random numbers are functions of the progress and the steps.

    Attributes
    ----------
    model : nn.Module
        The classifier itself, not a copy.
    optimizer : Optimizer
    steps : int
        Made so far.
    draw : Generator
        Of the sites that rows swap.
    order : OrderState
        Of the rows.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    steps: int
    draw: np.random.Generator
    order: OrderState


class Trainer:
    """Steps of Adam on a gated classifier.

    Parameters
    ----------
    gated : GatedModel
    features : tensor, shape (rows, ...); targets : tensor of int64, shape (rows,)
    batch_size : int
    learning_rate, weight_decay : float
        The rate is constant over the first part of the run and falls linearly to 2% over the last 40%.
    perturb : float
        Share of the kept sites that each row trades for dropped ones.
    jitter : float
        Standard deviation of the normal noise that each input gets anew in each step, in units of the scaled inputs.
    weights : tensor of float32, shape (rows,), optional
        Of the rows in the loss; their scale has no say.
    space : SearchSpace, optional
        Groups of tied sites are traded whole; a site that must be dropped is never traded in.
    amp : bool
        Forward passes of the steps in bfloat16 where torch's autocast says so; parameters and losses stay float32.
    seed : int
        The order of the rows and the trades are a function of it.
    ranks : Ranks, optional
        The processes that share the rows of each step; all must be made alike.

    Raises
    ------
    ConfigError
        A step has too few rows for so many processes.
    """

    def __init__(
        self,
        gated: GatedModel,
        features: torch.Tensor,
        targets: torch.Tensor,
        *,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        perturb: float,
        seed: int,
        jitter: float = 0.0,
        weights: torch.Tensor | None = None,
        ranks: Ranks | None = None,
        space: SearchSpace | None = None,
        amp: bool = False,
    ) -> None:
        self.gated = gated
        self.features = features
        self.targets = targets
        self.weights = None if weights is None else weights / weights.mean()
        self.batch_size = min(batch_size, len(targets))
        self.learning_rate = learning_rate
        self.perturb = perturb
        self.jitter = jitter
        self.never = None if space is None or not space.fixed.dropped.size else space.fixed.dropped
        self.ties = None if space is None or space.items is None else space
        self.amp = amp
        self.seed = seed
        self._weight_decay = weight_decay
        self._batches = RowOrder(len(targets), self.batch_size, features.device)
        self._shared = None if ranks is None else DataParallel(ranks, self.batch_size)

    def init(self) -> TrainerState:
        """Return the state before the first step: the classifier as it is."""
        model = self.gated.model
        return TrainerState(
            model=model,
            optimizer=adam(model, self.learning_rate, self._weight_decay),
            steps=0,
            draw=generator(self.seed, Stream.MASK_NOISE),
            order=self._batches.init(generator(self.seed, Stream.TRAINING_ORDER)),
        )

    def run(
        self,
        state: TrainerState,
        count: int,
        gates: Float32Array,
        weights: FloatArray,
        progress: float,
        hook: TrainingHook | None = None,
    ) -> None:
        """Make `count` steps, in place, under masks that are traded from `gates` (N,); a site is kept where its weight is positive.

        With a `hook` its gates take their place, its penalty is added to the loss, and it moves after each step.

        Raises
        ------
        NumericalError
            The loss is not finite.
        """
        is_kept = weights > 0 if self.ties is None else self.ties.items_of(weights > 0)
        kept, dropped = np.flatnonzero(is_kept), np.flatnonzero(~is_kept)
        if self.never is not None:
            dropped = np.setdiff1d(dropped, self.never)
        trades = (
            round(self.perturb * kept.size)
            if self.perturb < 0.5 / max(kept.size, 1)
            else max(1, round(self.perturb * kept.size))
        )
        for group in state.optimizer.param_groups:
            group["lr"] = self.learning_rate * min(1.0, max(0.02, (1.0 - progress) / 0.4))
        use_training_mode(self.gated.model)
        plain = torch.from_numpy(gates).to(self.features)
        loss = torch.zeros(())
        with step_noise(self.seed, state.steps):
            for _ in range(count):
                rows = self._batches.next(state.order)
                seen, columns = None, None
                if hook is not None:
                    seen = shaken(self.features[rows], self.jitter)
                    shown = hook.gates(len(rows))
                elif trades and dropped.size:
                    seen, shown, columns = self._traded(state.draw, rows, gates, kept, dropped, trades)
                else:
                    shown = plain
                if seen is None:
                    seen = shaken(self.features[rows], self.jitter)
                if self._shared is not None:  # drawn for all rows before, so that the draws are those of one process
                    part = self._shared.local_rows(len(rows))
                    rows, seen, shown = rows[part], seen[part], shown[part] if shown.dim() > 1 else shown
                drawn = nullcontext() if self._shared is None else self._shared.local_noise(self.seed, state.steps)
                with drawn, mixed(self.features, self.amp):
                    logits = (
                        self.gated(seen, shown) if columns is None else self.gated.of_columns(seen * shown, columns)
                    )
                loss = mean_loss(logits, self.targets[rows], None if self.weights is None else self.weights[rows])
                if self._shared is not None:
                    loss = loss * (len(rows) / self.batch_size)
                state.optimizer.zero_grad(set_to_none=True)
                total = loss if hook is None else loss + hook.penalty()
                if total.requires_grad:  # not where both the classifier and the mask are fixed
                    torch.autograd.backward(total)
                if self._shared is not None:
                    loss = self._shared.all_reduce(self.gated.model, loss)
                if hook is not None:
                    hook.on_gradients()
                state.optimizer.step()
                if hook is not None:
                    hook.after_step(loss.detach())
                state.steps += 1
        if not bool(torch.isfinite(loss)):
            raise NumericalError(
                f"the classifier's loss is {loss.item()} at training step {state.steps}; lower --learning-rate "
                f"(it is {self.learning_rate:g}) or --weight-decay, or look for huge values in the data (--scale standard)"
            )

    def _traded(
        self,
        draw: np.random.Generator,
        rows: torch.Tensor,
        gates: Float32Array,
        kept: IntArray,
        dropped: IntArray,
        trades: int,
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
        """Return features (None: the rows' own), gates, and which inputs they are of, of a batch in which each row trades.

        Inputs that are 0 in all rows are left out where that pays. Weights are shared by the rows: where they are sites, the batch
        trades once.
        """
        if self.gated.sites.weights:
            once = trade(gates, kept, dropped, trades, 1, draw)[0]
            return None, torch.from_numpy(once).to(self.features), None
        if self.ties is not None:
            traded = trade(gates[self.ties.first], kept, dropped, trades, len(rows), draw)
            free = self.ties.owner >= 0
            whole = np.repeat(gates[None], len(rows), axis=0)
            whole[:, free] = traded[:, self.ties.owner[free]]
            return None, torch.from_numpy(whole).to(self.features), None
        pool = dropped
        if dropped.size > TRADED_FROM:
            pool = np.sort(draw.choice(dropped, TRADED_FROM, replace=False))
        live = np.concatenate([kept, pool])
        is_exact = not gates[dropped].any()  # soft gates let something through everywhere
        if not (is_exact and self.gated.takes_columns and 2 * live.size < gates.size):
            traded = trade(gates, kept, pool, trades, len(rows), draw)
            return None, torch.from_numpy(traded).to(self.features), None
        places = np.arange(live.size)
        traded = trade(gates[live], places[: kept.size], places[kept.size :], trades, len(rows), draw)
        columns = torch.from_numpy(live).to(rows.device)
        part = shaken(self.features.index_select(0, rows).index_select(1, columns), self.jitter)
        return part, torch.from_numpy(traded).to(part), columns


def mean_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return the mean cross-entropy of a batch, each row times its weight; weights have the mean 1 over all rows."""
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    if weights is None:
        return functional.cross_entropy(logits, targets)
    return (functional.cross_entropy(logits, targets, reduction="none") * weights).mean()


def shaken(rows: torch.Tensor, jitter: float) -> torch.Tensor:
    """Return rows with normal noise of that standard deviation, drawn from torch's global state; the rows themselves at 0."""
    return rows + jitter * torch.randn_like(rows) if jitter else rows


def mixed(features: torch.Tensor, is_on: bool) -> AbstractContextManager[Any]:
    """Return the context of forward passes of backprop: bfloat16 by torch's autocast on the rows' device, or nothing."""
    return torch.autocast(features.device.type, dtype=torch.bfloat16) if is_on else nullcontext()


def adam(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Return Adam (AdamW with a weight decay) in one fused kernel: the loop over tensors costs more than the sums."""
    # As a group, since a bare list must not be empty, and that of a frozen classifier is.
    groups = [{"params": trainable_parameters(model)}]
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)


def fit(
    model: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    jitter: float = 0.0,
    view: Callable[[torch.Tensor], torch.Tensor] | None = None,
    is_asked: Callable[[], bool] = lambda: False,
    weights: torch.Tensor | None = None,
    amp: bool = False,
    lessons: Lessons | None = None,
) -> None:
    """Train the trainable parameters of a classifier in place: Adam under one cycle of the learning rate (up to twice `learning_rate`).

    `view` gives the features of the rows of a step, whose numbers it is given, in place of those rows themselves.
    `weights` (rows,) are those of the rows in the loss; their scale has no say. With `amp` forward passes are in bfloat16.
    `lessons` give features and a teacher's probabilities in place of the rows and their labels; the loss is then the cross-entropy with
    these, both at the lessons' temperature T, times T^2, so that its gradients keep their size.

    Raises
    ------
    NumericalError
        The loss is not finite.
    KeyboardInterrupt
        `is_asked` has become true: the user wants to end.
    """
    if is_fully_frozen(model):
        model.eval()
        return
    rows = len(targets)
    size = min(batch_size, rows)
    steps = rows // size
    optimizer = adam(model, learning_rate, weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * learning_rate, total_steps=epochs * steps)
    draw = generator(seed, Stream.FIT_ORDER)
    model.train()
    use_training_mode(model)
    loss = torch.zeros(())
    scaled = None if weights is None else weights / weights.mean()
    with step_noise(seed, 0):
        for _ in range(epochs):
            order = torch.from_numpy(draw.permutation(rows)).to(features.device)
            for first in range(0, steps * size, size):
                part = order[first : first + size]
                if lessons is not None:
                    seen, wanted = lessons(part)
                else:
                    seen, wanted = features[part] if view is None else view(part), targets[part]
                with mixed(features, amp):
                    logits = model(shaken(seen, jitter))
                shares = None if scaled is None else scaled[part]
                if lessons is None:
                    loss = mean_loss(logits, wanted, shares)
                else:
                    heat = lessons.temperature
                    loss = heat**2 * mean_loss(logits / heat, wanted, shares)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                cycle.step()
                if is_asked():
                    raise KeyboardInterrupt
    model.eval()
    if not bool(torch.isfinite(loss)):
        raise NumericalError(f"the classifier's loss became {loss.item()} while retraining; lower --learning-rate")


@torch.no_grad()
def accuracy(
    model: nn.Module, features: torch.Tensor, targets: torch.Tensor, gates: torch.Tensor | None = None
) -> float:
    """Return the share of right answers, in parts of 8,192 rows (512 where there are maps); `gates` (N,) for a GatedModel."""
    model.eval()
    rows = 512 if any(isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) for module in model.modules()) else 8192
    right = 0
    for first in range(0, len(targets), rows):
        part = features[first : first + rows]
        logits = model(part) if gates is None else model(part, gates)
        right += int((logits.argmax(dim=1) == targets[first : first + rows]).sum())
    return right / max(len(targets), 1)
