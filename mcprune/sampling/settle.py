"""Train the classifiers of a search under the masks that they are to evaluate, before they are frozen.

A search trains its classifier under the mask of the time with a few sites swapped. A copy of a kept site is then hardly ever seen without
it, so its weights are those of something that adds nothing, and the exchange of the two looks as bad as the loss of the site: on a table
of six signals with two noisy copies each, keeping a copy in place of a signal raised the loss by 0.052 by such classifiers, and by 0.011 by
classifiers that are trained from scratch on each mask. Samples of that law would be sure of sites that have substitutes.

So the classifiers go on training, each row under a mask drawn from the law by these classifiers, in turns: masks, training, masks. The law
of the run's mask and its neighbours would be one that confirms itself; from random masks on, and with a temperature that falls to its
final value, copies are seen in place of each other from the start. On that table the exchange costs 0.010 afterwards.
"""

from __future__ import annotations

import numpy as np
import torch

from mcprune.models.modes import trainable_parameters
from mcprune.random import Stream, generator
from mcprune.sampling.sampler import Sampler
from mcprune.session.build.plan import Plan
from mcprune.session.search_parts import make_trainer
from mcprune.types import BoolArray

# Temperatures of the turns after that of random masks, in multiples of the final one.
TURNS = (8.0, 4.0, 2.0, 1.0, 1.0)
# Evaluation rows of the masks of a turn at most: they are no part of a result.
ROWS = 1_024
# Legs of a turn, the first part of which is left out; random masks of the first turn.
LEGS, SETTLING, RANDOM = 40, 1 / 4, 512
# Steps of backprop of all turns: as a share of the steps of the run, but within bounds.
SHARE, LEAST_STEPS, MOST_STEPS = 0.5, 600, 3_000
# Share of the training rows whose mask has sites swapped for others: the weights of a site that no mask keeps go stale.
SWAPPED = 0.3


def settle_classifiers(plan: Plan, sampler: Sampler, rows: int | None = None) -> bool:
    """Train the classifiers of a plan under the masks of their law, in place.

    Parameters
    ----------
    plan : Plan
    sampler : Sampler
        Of these classifiers; the seed of the run draws the masks.
    rows : int, optional
        Of the samples afterwards, where they have more than this sampler.

    Returns
    -------
    bool
        False where nothing is trained: the classifier is frozen, or has no parameters.
    """
    if plan.train.is_frozen or not any(trainable_parameters(gated.model) for gated in plan.stack):
        return False
    stack = make_trainer(plan)
    trained = stack.init()
    draw = generator(plan.runtime.seed, Stream.SETTLING)
    swaps = max(1, round(plan.train.mask_noise * plan.space.keep))
    steps = int(np.clip(SHARE * plan.train.blocks * plan.train.steps, LEAST_STEPS, MOST_STEPS)) // (len(TURNS) + 1)
    scores = draw.random((RANDOM, plan.space.sites.size))
    masks = plan.space.items_of(np.stack([plan.space.enforce(one) for one in scores]))
    state, nothing = sampler.init(), np.zeros(plan.gated.sites.size)
    # Fewer rows have a larger standard error, and so a higher default temperature.
    here = len(sampler.batch.targets)
    colder = 1.0 if sampler.temperature is not None else (here / (rows or here)) ** 0.5
    for turn in range(len(TURNS) + 1):
        if turn:
            masks = sampler.explore(state, colder * TURNS[turn - 1], LEGS, SETTLING)
        hook = _Masks(plan, masks, swaps, draw)
        stack.run(trained, steps, nothing.astype(np.float32), nothing, turn / (len(TURNS) + 1), hook)
    return True


class _Masks:
    """Gates of training rows by masks (K, F) of items that are drawn for each row; see `TrainingHook`."""

    def __init__(self, plan: Plan, masks: BoolArray, swaps: int, draw: np.random.Generator) -> None:
        self.plan, self.pool, self.swaps, self.draw = plan, SwapPool(masks), swaps, draw

    def gates(self, rows: int) -> torch.Tensor:
        """Return the gates of a batch: (rows, N), or (N,) where rows cannot have gates of their own."""
        items = self.pool.masks_of(1 if self.plan.sites.weights else rows, self.swaps, self.draw)
        shown = items if self.plan.candidates is not None else self.plan.space.expand(items)
        gates = torch.from_numpy(shown.astype(np.float32)).to(self.plan.device)
        return gates[0] if self.plan.sites.weights else gates

    def penalty(self) -> torch.Tensor:
        """See `TrainingHook.penalty`."""
        return torch.zeros((), device=self.plan.device)

    def on_gradients(self) -> None:
        """See `TrainingHook.on_gradients`."""

    def after_step(self, cla: torch.Tensor) -> None:
        """See `TrainingHook.after_step`."""


class SwapPool:
    """Masks to draw from, of a part of which kept places are swapped for dropped ones.

    Parameters
    ----------
    masks : ndarray of bool, shape (K, F)
        All of the same number of kept places.
    """

    def __init__(self, masks: BoolArray) -> None:
        self.masks = masks
        order, keep = np.argsort(~masks, axis=1, kind="stable"), int(masks[0].sum())
        self.kept, self.dropped = order[:, :keep], order[:, keep:]

    def masks_of(self, rows: int, swaps: int, draw: np.random.Generator) -> BoolArray:
        """Return drawn masks (rows, F), `SWAPPED` of them with up to `swaps` places swapped; all keep as many places."""
        mask = draw.integers(0, len(self.masks), rows)
        items = self.masks[mask]
        if not (self.kept.shape[1] and self.dropped.shape[1]):
            return items
        row = np.flatnonzero(draw.random(rows) < SWAPPED)
        for _ in range(swaps):
            out = self.kept[mask[row], draw.integers(0, self.kept.shape[1], row.size)]
            into = self.dropped[mask[row], draw.integers(0, self.dropped.shape[1], row.size)]
            is_new = items[row, out] & ~items[row, into]  # neither was swapped before
            items[row[is_new], out[is_new]] = False
            items[row[is_new], into[is_new]] = True
        return items
