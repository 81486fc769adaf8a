"""Which 8 of the 16 sub-blocks of a transformer to keep: the chain, and a (1 + lambda) search as in EvoPress, against the enumeration.

A net of 8 blocks (attention and feed-forward) is trained on the digits and frozen. The losses of all 12,870 masks on 256 training rows
are computed once, with replayed prefixes, and looked up: what is counted is how many evaluations a search makes. The chain draws
exchanges from a random mask and accepts by its own rule, at a temperature that falls from the spread of the first random masks, which
count as evaluations. The evolution draws `LAMBDA` children of the best mask, each by one to three exchanges, and keeps the best.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from common import parser, report, row  # isort: skip

import numpy as np
import torch
from prefix import Transformer, patches, train
from sklearn.datasets import load_digits

from mcprune.chain import engine, moves, state
from mcprune.environment import use_threads
from mcprune.evaluators.replay import Recording, Replay
from mcprune.models.modes import evaluating
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.types import BoolArray, FloatArray

SITES, KEEP, ROWS, EVALUATIONS, RUNS = 16, 8, 256, 600, 10
# Random masks at the start of a chain, whose best is where it starts; the temperature falls between these parts of their spread.
TRIED, HOT, COLD = 40, 0.1, 0.001
LAMBDA = 16
WITHIN = 0.001
CHAINS = np.zeros(1, np.int64)


class Table:
    """The loss of every mask of 8 sub-blocks, and how many were looked up."""

    def __init__(self, losses: FloatArray, masks: BoolArray) -> None:
        self.losses, self.masks = losses, masks
        self._place = {mask.tobytes(): place for place, mask in enumerate(masks)}
        self.looked_up = 0

    def loss(self, mask: BoolArray) -> float:
        """Return the loss of a mask (16,)."""
        self.looked_up += 1
        return float(self.losses[self._place[np.ascontiguousarray(mask).tobytes()]])

    @property
    def best(self) -> float:
        """The loss of the best mask."""
        return float(self.losses.min())


@torch.no_grad()
def enumerated(gated: GatedModel, x: torch.Tensor, y: torch.Tensor) -> Table:
    """Evaluate every mask; in lexicographic order consecutive ones share long prefixes, which are replayed."""
    masks = np.zeros((12_870, SITES), bool)
    for mask, kept in zip(masks, combinations(range(SITES), KEEP), strict=True):
        mask[list(kept)] = True
    replay, recording, objective = Replay(gated, x), Recording(), CrossEntropy()
    losses, before = np.empty(len(masks)), ~masks[0]
    with evaluating(gated.model), replay.attached():
        for place, mask in enumerate(masks):
            start = int(replay.starts[np.argmax(mask != before)]) if place else 0
            logits = replay.run(recording, gated.hard_gates(mask), x, start, records=True)
            losses[place], before = objective.losses(logits[None], y)[0], mask
    # The control: some of them by whole passes.
    for place in np.random.default_rng(0).integers(0, len(masks), 20):
        with evaluating(gated.model):
            logits = gated(x, gated.hard_gates(masks[place]))
        assert objective.losses(logits[None], y)[0] == losses[place]
    return Table(losses, masks)


def random_mask(draw: np.random.Generator) -> BoolArray:
    """Return a random mask of 8."""
    return draw.permutation(SITES) < KEEP


def chain(table: Table, seed: int) -> float:
    """Return the loss of the best mask that a chain of exchanges visits."""
    draw = np.random.default_rng(seed)
    tried = [random_mask(draw) for _ in range(TRIED)]
    losses = np.array([table.loss(mask) for mask in tried])
    first, spread = tried[int(losses.argmin())], float(losses.std())
    current = state.new_state(np.where(first, 4.0, -4.0)[None], sharpness=np.inf)
    engine.set_loss(current, losses[[losses.argmin()]], alpha=0.0, n=KEEP)
    best, plan = float(losses.min()), moves.move_plan(exchange=1.0)
    steps = EVALUATIONS - TRIED
    for step in range(steps):
        temperature = spread * HOT * (COLD / HOT) ** (step / (steps - 1))
        rule: dict[str, Any] = {"temperature": temperature, "alpha": 0.0, "n": KEEP, "seed": seed, "chains": CHAINS}
        batch = moves.propose(current, 1, plan=plan, delta=1.0, sharpness=np.inf, seed=seed, chains=CHAINS)
        loss = table.loss(moves.dense(current, batch)[0, 0] > 0)
        best = min(best, loss)
        engine.advance(current, batch, np.array([[loss]]), sharpness=np.inf, **rule)
    return best


def evolution(table: Table, seed: int) -> float:
    """Return the loss of the best mask of a (1 + lambda) search from the best of as many random masks as the chain tries."""
    draw = np.random.default_rng(seed)
    tried = [random_mask(draw) for _ in range(TRIED)]
    losses = [table.loss(mask) for mask in tried]
    best, loss = tried[int(np.argmin(losses))], min(losses)
    for _ in range((EVALUATIONS - TRIED) // LAMBDA):
        children = []
        for _ in range(LAMBDA):
            child = best.copy()
            for _ in range(min(draw.integers(1, 4), draw.integers(1, 4))):
                child[draw.choice(np.flatnonzero(child))], child[draw.choice(np.flatnonzero(~child))] = False, True
            children.append((table.loss(child), child))
        lowest = min(children, key=lambda one: one[0])
        if lowest[0] < loss:
            loss, best = lowest
    return loss


def main() -> None:
    """Measure, print, write."""
    chosen = parser(__doc__ or "", with_plot=False).parse_args()
    use_threads(1)
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.from_numpy(patches(digits.data / 8.0 - 1.0).astype(np.float32))
    y = torch.from_numpy(digits.target)
    model = Transformer(width=16)
    gated = GatedModel(model, site_map(model, "blocks", 64))
    train(gated, gated.hard_gates(np.ones(SITES, bool)), x, y, 1 if chosen.quick else 8)
    rows_used = 128 if chosen.quick else ROWS
    table = enumerated(gated, x[:rows_used], y[:rows_used])
    order = np.sort(table.losses)
    rows = [
        row(
            "best mask of 12,870",
            table.best,
            "nats",
            None,
            "lower",
            f"median {np.median(order):.4f}, second {order[1]:.4f}",
        )
    ]
    for name, search, bar in (
        ("the chain", chain, 9.0),
        (f"(1 + {LAMBDA}) evolution", evolution, None),
    ):
        table.looked_up = 0
        results = np.array([search(table, seed) for seed in range(RUNS)])
        good = int((results <= table.best + WITHIN).sum())
        note = f"{int((results == table.best).sum())} find the best; mean {results.mean() - table.best:.5f} above it, "
        note += f"{table.looked_up // RUNS} evaluations each"
        rows.append(row(f"{name}: runs of 10 within .001 of the best", good, "runs", bar, "higher", note))
    report(rows, 1, chosen.out)


if __name__ == "__main__":
    main()
