"""Evaluations a second of a deep model with replayed prefixes against the plain loop over candidates, in the same process, one thread.

On a CPU the time is that of the process.

A transformer of 8 blocks on the digits (16 patches of 2 x 2 pixels, width 64), trained with a random half of its feed-forward neurons,
which is the mask of the position. Candidates toggle a neuron of a uniformly drawn block, or of one of the last two; or exchange two
neurons of any blocks, as the chain does. Limits are those of T = 0: what cannot be accepted after the rows with the highest losses is
rejected there, as in a run. Every loss below its limit is compared with the plain loop's, within 1e-5. With `early_reject` a candidate is
also rejected where it will hardly be accepted; how many of the acceptable ones that were is counted.

A prefix alone cannot give 4 times over uniformly drawn blocks: behind a block of 8 there are 3.5 others on average and its own second
layer, 46% of the products, so 2.2 times at most. With layers that hold only the neurons that are kept, and of the changed block only the
candidate's neuron, it is 29% of the products, 3.4 times; parts of the rows that stay in the caches add to that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from common import parser, report, row, seconds  # isort: skip

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from mcprune.chain import moves, state
from mcprune.environment import use_threads
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

BLOCKS, WIDTH, HEADS, TOKENS = 8, 64, 4, 16
ROWS, EPOCHS = 1024, 12  # evaluation rows as by default for such sites; of training
ROUNDS = 5  # of timing, in turns with the plain loop
REJECTED = 0.01  # share of the acceptable candidates that may be rejected early, on request
CHAINS = np.zeros(1, np.int64)


class Attention(nn.Module):
    """Self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, tokens, width) -> the same."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two layers of each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, tokens, width) -> the same."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Attention and feed-forward layers of a residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.feed = Attention(width, heads), FeedForward(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, tokens, width) -> the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


class Transformer(nn.Module):
    """A small vision transformer on flat rows."""

    def __init__(self, blocks: int = BLOCKS, width: int = WIDTH, inputs: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs // TOKENS, width)
        self.place = nn.Parameter(0.1 * torch.randn(TOKENS, width))
        self.blocks = nn.ModuleList(Block(width, HEADS) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs) -> logits (B, classes)."""
        x = self.embed(x.view(len(x), TOKENS, -1)) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


def patches(images: np.ndarray) -> np.ndarray:
    """Lay flat 8 x 8 images out by patches of 2 x 2 pixels."""
    return np.ascontiguousarray(images.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 64))


def train(gated: GatedModel, gates: torch.Tensor, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    """Train under a mask."""
    steps = epochs * (len(x) // 128)
    optimizer = torch.optim.AdamW(gated.parameters(), lr=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    draw = torch.Generator().manual_seed(0)
    for step in range(steps):
        if step % (len(x) // 128) == 0:
            order = torch.randperm(len(x), generator=draw)
        some = order[128 * (step % (len(x) // 128)) :][:128]
        optimizer.zero_grad()
        functional.cross_entropy(gated(x[some], gates), y[some]).backward()
        optimizer.step()
        rate.step()
    gated.eval()


class Bench:
    """A trained transformer, a mask and a batch."""

    def __init__(self, quick: bool, device: str = "cpu") -> None:
        torch.manual_seed(0)
        digits = load_digits()
        # scikit-learn has the digits in the order of their writers; early rejection is a test on rows in random order, as in a run.
        order = np.random.default_rng(0).permutation(len(digits.target))
        x = torch.from_numpy(patches(digits.data[order] / 8.0 - 1.0).astype(np.float32)).to(device)
        y = torch.from_numpy(digits.target[order]).to(device)
        model = Transformer(width=16 if quick else WIDTH).to(device)
        self.gated = GatedModel(model, site_map(model, "neurons", 64))
        size = self.gated.sites.size
        kept = np.random.default_rng(0).permutation(size) < size // 2
        train(self.gated, self.gated.hard_gates(kept), x, y, 1 if quick else EPOCHS)
        self.position = np.where(kept, 4.0, -4.0)[None]
        rows = 160 if quick else ROWS
        self.x, self.y = x[:rows], y[:rows]

    def candidates(self, plan: moves.MovePlan, count: int, sites: np.ndarray | None = None, seed: int = 0) -> Any:
        """Return moves of a plan; with `sites` toggles of those, uniformly drawn."""
        current = state.new_state(self.position, sharpness=np.inf)
        batch = moves.propose(current, count, plan=plan, delta=1.0, sharpness=np.inf, seed=seed, chains=CHAINS)
        if sites is not None:
            chosen = np.random.default_rng(seed).choice(sites, count)
            batch.size[:] = 1
            batch.sites[0, :, 0], batch.weights[0, :, 0] = chosen, -self.position[0, chosen]
        return current, batch

    @torch.no_grad()
    def plain(self, current: Any, batch: Any) -> np.ndarray:
        """Return the losses by the plain loop: the gated model on each candidate, nothing shared."""
        gates = torch.from_numpy((moves.dense(current, batch)[0] > 0).astype(np.float32)).to(self.x.device)
        objective = CrossEntropy()
        return np.array([objective.losses(self.gated(self.x, one)[None], self.y)[0] for one in gates])


class Way(NamedTuple):
    """One way of evaluating the candidates.

    Attributes
    ----------
    evaluate : callable
        Evaluates all candidates.
    acceptable, rejected : int
        Candidates whose loss is within the limit, and those of them that were rejected early.
    """

    evaluate: Callable[[], Any]
    acceptable: int
    rejected: int


def way(bench: Bench, candidates: Any, *, with_limits: bool, early_reject: float | None = None) -> Way:
    """Return a way whose losses agree with those of the plain loop."""
    current, batch = candidates
    evaluator = SuffixEvaluator(bench.gated, CrossEntropy(), early_reject=early_reject)
    evaluator.begin(bench.x, bench.y, current.position, np.inf)
    limits = np.full(batch.size.shape, evaluator.current()[0]) if with_limits else None
    losses, expected = evaluator.losses(current, batch, limits)[0], bench.plain(current, batch)
    is_open = np.ones(losses.size, bool) if limits is None else expected <= limits[0]
    is_rejected = is_open & (losses > (np.inf if limits is None else limits[0]))
    checked = is_open & ~is_rejected if early_reject else is_open
    if not np.allclose(losses[checked], expected[checked], rtol=1e-5 if bench.x.device.type == "cpu" else 1e-4, atol=0):
        raise SystemExit("the losses differ from those of the plain loop")
    if limits is not None and not (losses > limits[0])[~is_open].all():
        raise SystemExit("a candidate that the plain loop rejects is not rejected")
    return Way(lambda: evaluator.losses(current, batch, limits), int(is_open.sum()), int(is_rejected.sum()))


def rounds(bench: Bench, calls: list[Callable[[], Any]], count: int) -> np.ndarray:
    """Return the seconds of each call, in turns, shape (count, calls); on a CPU those of the processor."""

    def timed(call: Callable[[], Any]) -> float:
        if not bench.x.is_cuda:  # what other processes take does not count
            began = time.process_time()
            call()
            return time.process_time() - began

        def whole() -> None:
            call()
            torch.cuda.synchronize()

        return seconds(whole)

    return np.array([[timed(call) for call in calls] for _ in range(count)])


def throughput(bench: Bench, quick: bool) -> list[dict[str, Any]]:
    """Return the rows of the benchmark: medians of the ratios of rounds."""
    count = 12 if quick else 20
    groups = bench.gated.sites.groups
    last = np.concatenate([np.arange(group.start, group.stop) for group in groups[-2:]])
    everywhere = np.arange(bench.gated.sites.size)
    toggle, exchange = moves.move_plan(toggle=1.0), moves.move_plan(exchange=1.0)
    cases: list[tuple[str, Any, float | None]] = [
        ("a neuron of a uniformly drawn block of 8", bench.candidates(toggle, count, everywhere), 4.0),
        ("a neuron of the last two blocks of 8", bench.candidates(toggle, count, last), 10.0),
        ("exchanges of two neurons of any blocks", bench.candidates(exchange, count), None),
    ]
    rows = []
    for name, candidates, bar in cases:
        ways = [way(bench, candidates, with_limits=False), way(bench, candidates, with_limits=True)]
        if not bench.x.is_cuda:
            ways.append(way(bench, candidates, with_limits=True, early_reject=REJECTED))
        calls = [lambda candidates=candidates: bench.plain(*candidates), *(one.evaluate for one in ways)]
        times = rounds(bench, calls, 1 if quick else ROUNDS)
        rate, gains = count / np.median(times, axis=0), times[:, :1] / times
        gain, spread = np.median(gains, axis=0), np.ptp(gains, axis=0)
        note = f"{rate[2]:,.1f} evaluations/s; {gain[1]:.1f}x where every row of every candidate is evaluated"
        rows.append(
            row(
                name, gain[2], "x", bar, "higher", note, plain=rate[0], rate=rate[2], every_row=gain[1], range=spread[2]
            )
        )
        print(f"  {name}: {gain[2]:.1f}x, {note}", flush=True)
        if len(ways) < 3:
            continue
        note = (
            f"{rate[3]:,.1f} evaluations/s; {ways[2].rejected} of {ways[2].acceptable} acceptable candidates rejected"
        )
        title = f"{name}, --early-reject {REJECTED}"
        rows.append(row(title, gain[3], "x", bar, "higher", note, plain=rate[0], rate=rate[3], range=spread[3]))
        print(f"  {title}: {gain[3]:.1f}x, {note}", flush=True)
    return rows


def main() -> None:
    """Measure, print, write."""
    chosen = parser(__doc__ or "", with_plot=False).parse_args()
    use_threads(1)
    report(throughput(Bench(chosen.quick), chosen.quick), 1, chosen.out)


if __name__ == "__main__":
    main()
