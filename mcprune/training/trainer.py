"""Train the classifier of a search: steps of backprop under masks with noise."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mcprune.distributed.data_parallel import DataParallel
from mcprune.distributed.evaluation import Ranks
from mcprune.errors import NumericalError
from mcprune.methods.base import TrainingHook
from mcprune.models.modes import use_training_mode
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.random import Stream, generator, step_noise
from mcprune.sites.gates import GatedModel
from mcprune.sites.space import SearchSpace
from mcprune.training.adam import AdamW
from mcprune.training.batches import OrderState, RowOrder
from mcprune.training.steps import adam, add_noise, autocast, mean_loss, swap_sites, threads_of_steps
from mcprune.types import Float32Array, FloatArray, IntArray

# Dropped sites that the rows of a step swap in: the columns of the others need not be multiplied by zeros.
SWAP_POOL = 64


@dataclass
class TrainerState:
    """A classifier in training; updated in place.

    The learning rate and torch's random numbers are not part of it: they follow from the progress and the steps.

    Attributes
    ----------
    model : nn.Module
        The classifier itself, not a copy.
    optimizer : AdamW
    steps : int
        Made so far.
    draw : Generator
        Draws the sites that rows swap.
    order : OrderState
        Of the batches.
    """

    model: nn.Module
    optimizer: AdamW
    steps: int
    draw: np.random.Generator
    order: OrderState


class Trainer:
    """Steps of Adam on a gated classifier.

    Parameters
    ----------
    gated : GatedModel
    features : tensor, shape (rows, ...)
    targets : tensor of int64, shape (rows,), or of float32, shape (rows, T)
    batch_size : int
    learning_rate, weight_decay : float
        The rate is constant at first and falls linearly to 2% over the last 40% of the run.
    mask_noise : float
        Share of the kept sites that each row swaps for dropped ones.
    seed : int
        Draws the order of the rows and the swaps.
    input_noise : float
        Standard deviation of the normal noise that each input gets in each step, in units of the scaled inputs.
    rows : ndarray of int64, optional
        The rows that train; by default all.
    weights : tensor of float32, shape (rows,), optional
        Of all rows in the loss; their scale does not matter.
    ranks : Ranks, optional
        The processes that share the rows of each step. The arguments must be the same on all of them.
    space : SearchSpace, optional
        Groups of tied sites are swapped whole; a site that must be dropped is never swapped in.
    amp : bool
        Forward passes in bfloat16, by torch's autocast; parameters and losses stay float32.
    row_loss : RowLoss
        What is minimised.

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
        mask_noise: float,
        seed: int,
        input_noise: float = 0.0,
        rows: IntArray | None = None,
        weights: torch.Tensor | None = None,
        ranks: Ranks | None = None,
        space: SearchSpace | None = None,
        amp: bool = False,
        row_loss: RowLoss = CROSS_ENTROPY,
    ) -> None:
        self.gated = gated
        self.features = features
        self.targets = targets
        self.row_loss = row_loss
        self._rows = None if rows is None else torch.from_numpy(rows).to(targets.device)
        used = weights if weights is None or self._rows is None else weights[self._rows]
        self.weights = None if weights is None or used is None else weights / used.mean()  # of all rows
        count = len(targets) if rows is None else len(rows)
        self.batch_size = min(batch_size, count)
        self.learning_rate = learning_rate
        self.mask_noise = mask_noise
        self.input_noise = input_noise
        self.never = None if space is None or not space.fixed.dropped.size else space.fixed.dropped
        self.ties = None if space is None or space.items is None else space
        self.amp = amp
        self.seed = seed
        self.weight_decay = weight_decay
        self._batches = RowOrder(count, self.batch_size, features.device)
        self._shared = None if ranks is None else DataParallel(ranks, self.batch_size)

    @property
    def is_plain(self) -> bool:
        """Whether a step is backprop on the rows as they are: no noise on the inputs, no tied sites, no other process, no bfloat16."""
        return not self.input_noise and self.ties is None and self._shared is None and not self.amp

    def init(self) -> TrainerState:
        """Return the state before the first step: the classifier as it is."""
        model = self.gated.model
        return TrainerState(
            model=model,
            optimizer=adam(model, self.learning_rate, self.weight_decay),
            steps=0,
            draw=generator(self.seed, Stream.MASK_NOISE),
            order=self._batches.init(generator(self.seed, Stream.TRAINING_ORDER)),
        )

    def training_rows(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return features, targets and weights of the rows that train."""
        if self._rows is None:
            return self.features, self.targets, self.weights
        rows = self._rows
        return self.features[rows], self.targets[rows], None if self.weights is None else self.weights[rows]

    def run(
        self,
        state: TrainerState,
        count: int,
        gates: Float32Array,
        weights: FloatArray,
        progress: float,
        hook: TrainingHook | None = None,
    ) -> None:
        """Make `count` steps, in place.

        Parameters
        ----------
        state : TrainerState
        count : int
        gates : ndarray of float32, shape (N,)
            The rows swap sites between these.
        weights : ndarray of float64, shape (N,)
            Of the pruner: a site is kept where its weight is positive.
        progress : float
            Share of the run that is done, 0..1.
        hook : TrainingHook, optional
            Its gates replace `gates`, its penalty is added to the loss, and it moves after each step.

        Raises
        ------
        NumericalError
            The loss is not finite.
        """
        kept, dropped, swaps = self.swappable(weights)
        state.optimizer.learning_rate = self.rate_at(progress)
        use_training_mode(self.gated.model)
        plain = torch.from_numpy(gates).to(self.features)
        loss = torch.zeros(())
        with (
            threads_of_steps([self.gated.model], self.features[0].numel(), self.batch_size),
            step_noise(self.seed, state.steps),
        ):
            for _ in range(count):
                rows = self.next_rows(state)
                seen, columns = None, None
                if hook is not None:
                    seen = add_noise(self.features[rows], self.input_noise)
                    shown = hook.gates(len(rows))
                elif swaps and dropped.size:
                    seen, shown, columns = self._swapped(state.draw, rows, gates, kept, dropped, swaps)
                else:
                    shown = plain
                if seen is None:
                    seen = add_noise(self.features[rows], self.input_noise)
                if self._shared is not None:  # after the draws for all rows, which are then those of one process
                    part = self._shared.local_rows(len(rows))
                    rows, seen, shown = rows[part], seen[part], shown[part] if shown.dim() > 1 else shown
                drawn = nullcontext() if self._shared is None else self._shared.local_noise(self.seed, state.steps)
                with drawn, autocast(self.features, self.amp):
                    logits = (
                        self.gated(seen, shown) if columns is None else self.gated.of_columns(seen * shown, columns)
                    )
                weighted = None if self.weights is None else self.weights[rows]
                loss = mean_loss(logits, self.targets[rows], weighted, self.row_loss)
                if self._shared is not None:
                    loss = loss * (len(rows) / self.batch_size)
                state.optimizer.zero_grad()
                total = loss if hook is None else loss + hook.penalty()
                if total.requires_grad:  # both the classifier and the mask may be fixed
                    torch.autograd.backward(total)
                if self._shared is not None:
                    loss = self._shared.all_reduce(self.gated.model, loss)
                if hook is not None:
                    hook.on_gradients()
                state.optimizer.step()
                if hook is not None:
                    hook.after_step(loss.detach())
                state.steps += 1
        self.check(loss, state.steps)

    def rate_at(self, progress: float) -> float:
        """Return the learning rate at a share of the run."""
        return self.learning_rate * min(1.0, max(0.02, (1.0 - progress) / 0.4))

    def swappable(self, weights: FloatArray) -> tuple[IntArray, IntArray, int]:
        """Return the kept and the dropped sites, or items of tied sites, that rows swap, and how many each row swaps."""
        is_kept = weights > 0 if self.ties is None else self.ties.items_of(weights > 0)
        kept, dropped = np.flatnonzero(is_kept), np.flatnonzero(~is_kept)
        if self.never is not None:
            dropped = np.setdiff1d(dropped, self.never)
        swaps = round(self.mask_noise * kept.size)
        return kept, dropped, swaps if self.mask_noise < 0.5 / max(kept.size, 1) else max(1, swaps)

    def next_rows(self, state: TrainerState) -> torch.Tensor:
        """Return the indices of the next batch."""
        rows = self._batches.next(state.order)
        return rows if self._rows is None else self._rows[rows]

    def check(self, loss: torch.Tensor, steps: int) -> None:
        """Refuse a loss that is not finite after so many steps."""
        if not bool(torch.isfinite(loss)):
            raise NumericalError(
                f"The classifier's loss is {loss.item()} at training step {steps}. Lower --learning-rate "
                f"(it is {self.learning_rate:g}) or --weight-decay, or look for huge values in the data (--scale standard)."
            )

    def _swapped(
        self,
        draw: np.random.Generator,
        rows: torch.Tensor,
        gates: Float32Array,
        kept: IntArray,
        dropped: IntArray,
        swaps: int,
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
        """Return the features, the gates and the columns of a batch in which each row swaps sites.

        Features of None are those of the rows; columns of None are all. Inputs that are 0 in all rows are left out where that is
        faster. Weights are shared by the rows: where they are sites, the whole batch swaps the same ones.
        """
        if self.gated.sites.weights:
            once = swap_sites(gates, kept, dropped, swaps, 1, draw)[0]
            return None, torch.from_numpy(once).to(self.features), None
        if self.ties is not None:
            swapped = swap_sites(gates[self.ties.first], kept, dropped, swaps, len(rows), draw)
            free = self.ties.owner >= 0
            whole = np.repeat(gates[None], len(rows), axis=0)
            whole[:, free] = swapped[:, self.ties.owner[free]]
            return None, torch.from_numpy(whole).to(self.features), None
        swapped, live = swap_inputs(
            draw, len(rows), gates, kept, dropped, swaps, may_leave_out=self.gated.takes_columns
        )
        if live is None:
            return None, torch.from_numpy(swapped).to(self.features), None
        columns = torch.from_numpy(live).to(rows.device)
        part = add_noise(self.features.index_select(0, rows).index_select(1, columns), self.input_noise)
        return part, torch.from_numpy(swapped).to(part), columns


def swap_inputs(
    draw: np.random.Generator,
    rows: int,
    gates: Float32Array,
    kept: IntArray,
    dropped: IntArray,
    swaps: int,
    *,
    may_leave_out: bool,
) -> tuple[Float32Array, IntArray | None]:
    """Return the gates of rows that swap sites, of all sites or of a few live ones, and those sites (None: all).

    Sites that are 0 in all rows are left out where that is faster and `may_leave_out`.
    """
    pool = dropped
    if dropped.size > SWAP_POOL:
        pool = np.sort(draw.choice(dropped, SWAP_POOL, replace=False))
    live = np.concatenate([kept, pool])
    is_exact = not gates[dropped].any()  # no dropped input is seen at all, as it is through soft gates
    if not (is_exact and may_leave_out and 2 * live.size < gates.size):
        return swap_sites(gates, kept, pool, swaps, rows, draw), None
    places = np.arange(live.size)
    return swap_sites(gates[live], places[: kept.size], places[kept.size :], swaps, rows, draw), live
