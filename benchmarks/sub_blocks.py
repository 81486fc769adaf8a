"""The best 8 of 16 sub-blocks of a network of 8 layers: all 12,870 masks once, and whether the chain and EvoPress find one of the best.

A transformer on patches of Fashion-MNIST is trained; the loss of a mask is its mean cross-entropy on fixed training rows. Both
searches see the same rows and stop after as many evaluations.

    python benchmarks/sub_blocks.py --out benchmarks/results/sub_blocks.json
"""

from __future__ import annotations

import time
from typing import Any

import common
import numpy as np

PATCH, WIDTH, LAYERS, HEADS, HIDDEN = 7, 32, 8, 4, 64
KEEP, ROWS, EVALUATIONS, RUNS = 8, 64, 600, 10
CLOSE = 0.001  # of the best loss
TRAINED, EPOCHS, BATCH, RATE = 10_000, 2, 128, 2e-3
OFFSPRING = 8  # of EvoPress


def network(seed: int) -> Any:
    """Return an untrained transformer of 16 patches."""
    import torch
    from torch import nn

    side = 28 // PATCH

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(PATCH * PATCH, WIDTH), nn.Linear(WIDTH, 10)
            self.place = nn.Parameter(torch.randn(side**2, WIDTH) * 0.1)
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, "gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)

        def tokens(self, x: torch.Tensor) -> torch.Tensor:
            patches = x.view(-1, side, PATCH, side, PATCH).transpose(2, 3).reshape(-1, side * side, PATCH * PATCH)
            out: torch.Tensor = self.embed(patches) + self.place
            return out

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.encoder(self.tokens(x)).mean(dim=1))
            return out

    torch.manual_seed(seed)
    return Patches()


def all_losses(model: Any, x: Any, y: Any) -> dict[int, float]:
    """Return the loss of every mask of `KEEP` sub-blocks, as bits in the order of execution; masks share what runs before they part."""
    import torch
    from torch.nn import functional

    out: dict[int, float] = {}
    last = 2 * LAYERS

    def visit(place: int, stream: torch.Tensor, bits: int, kept: int) -> None:
        if place == last:
            logits = model.head(model.encoder.norm(stream).mean(dim=1))
            out[bits] = float(functional.cross_entropy(logits, y))
            return
        if last - place > KEEP - kept:
            visit(place + 1, stream, bits, kept)
        if kept < KEEP:
            layer = model.encoder.layers[place // 2]
            added = (
                layer._ff_block(layer.norm2(stream)) if place % 2 else layer._sa_block(layer.norm1(stream), None, None)
            )
            visit(place + 1, stream + added, bits | 1 << place, kept + 1)

    with torch.no_grad():
        visit(0, model.tokens(x), 0, 0)
    return out


def by_chain(
    model: Any, x: np.ndarray, y: np.ndarray, seed: int, decisions: int, epochs: int
) -> tuple[np.ndarray, int]:
    """Return the mask of the chain, and how many evaluations it took."""
    import mcprune

    seen: list[int] = []
    result = mcprune.prune(
        x, y, model=model, sites="blocks", keep=KEEP, frozen=True, epochs=epochs, batch_size=ROWS // 4, train_steps=1, test=0,
        validation=0, eval_on="train", evaluation_rows=f"{ROWS},early={ROWS}", decisions=decisions, lookahead=1, finetune="none",
        compare="no", seed=seed, threads=1, callbacks=[common.count_forwards(seen)], progress=False,
    )  # fmt: skip
    return result.mask.support, int(seen[-1]) // ROWS


def by_evolution(loss: Any, seed: int, evaluations: int) -> np.ndarray:
    """Return the mask of a (1 + lambda) search whose offspring swap a kept and a dropped sub-block or two, as in EvoPress."""
    draw = np.random.default_rng(seed)
    sites = 2 * LAYERS

    def random_mask() -> np.ndarray:
        return draw.permutation(sites) < KEEP

    left = evaluations - OFFSPRING
    best, value = min(
        ((mask, loss(mask)) for mask in (random_mask() for _ in range(OFFSPRING))), key=lambda pair: pair[1]
    )
    while left >= OFFSPRING:
        for _ in range(OFFSPRING):
            mask = best.copy()
            for _ in range(min(draw.integers(1, 4, 2))):
                mask[draw.choice(np.flatnonzero(mask))], mask[draw.choice(np.flatnonzero(~mask))] = False, True
            if int(mask.sum()) == KEEP and (new := loss(mask)) < value:
                best, value = mask, new
        left -= OFFSPRING
    return best


def main() -> None:
    """Measure, print, write after every run."""
    parser = common.parser(__doc__.splitlines()[0], with_plot=False)
    parser.add_argument("--decisions", type=int, default=30, help="of a block of the chain, of which an epoch has 4")
    parser.add_argument("--epochs", type=int, default=4, help="of the chain")
    options = parser.parse_args()

    import torch

    from mcprune.data.load import load
    from mcprune.data.prepare import prepare
    from mcprune.environment import use_threads
    from mcprune.sites.site_map import site_map
    from mcprune.training.fit import fit

    use_threads(1)
    data = prepare(load("fashion-mnist"), seed=0, validation=0.05, test=0.15, scale="auto")
    model = network(0)
    x, y = torch.from_numpy(data.train.features[:TRAINED]), torch.from_numpy(data.train.targets[:TRAINED])
    epochs = 1 if options.quick else EPOCHS
    fit(model, x, y, epochs=epochs, batch_size=BATCH, learning_rate=RATE, weight_decay=0.0, seed=0)
    model.eval()
    began = time.monotonic()
    losses = all_losses(model, x[:ROWS], y[:ROWS])
    ordered = np.sort(list(losses.values()))
    print(
        f"{len(losses):,} masks in {time.monotonic() - began:.0f} s: best {ordered[:3]}, median {np.median(ordered):.4f}",
        flush=True,
    )
    order = [group.block.order for group in site_map(model, "blocks", data.n_inputs).groups if group.block is not None]
    assert order == list(range(2 * LAYERS))

    def loss(mask: np.ndarray) -> float:
        return losses[int(sum(1 << int(place) for place in np.flatnonzero(mask)))]

    runs = []
    for seed in range(2 if options.quick else RUNS):
        mask, used = by_chain(
            model, data.train.features[:ROWS], data.train.targets[:ROWS], seed, options.decisions, options.epochs
        )
        other = by_evolution(loss, seed, EVALUATIONS)
        ranks = {
            name: int(np.searchsorted(ordered, loss(one) - 1e-9))
            for name, one in (("chain", mask), ("evopress", other))
        }
        runs.append({"seed": seed, "evaluations": used, "chain": loss(mask), "evopress": loss(other), "ranks": ranks})
        print(runs[-1], flush=True)
        if options.out is not None:
            part = {"machine": common.machine(1), "runs": runs, "rows": rows_of(runs, ordered), "is_partial": True}
            common.write(options.out, part)
    common.report(
        rows_of(runs, ordered),
        1,
        options.out,
        runs=runs,
        best=float(ordered[0]),
        median=float(np.median(ordered)),
        masks=len(losses),
    )


def rows_of(runs: list[dict[str, Any]], ordered: np.ndarray) -> list[dict[str, Any]]:
    """Return how many runs of each way come close to the best of all masks, whose losses are given in order."""
    out = []
    for way, bar in (("chain", 9), ("evopress", None)):
        close = int(sum(run[way] <= ordered[0] + CLOSE for run in runs))
        out.append(
            common.row(f"{way}: runs of {len(runs)} within {CLOSE} of the best mask", close, "runs", bar, "higher")
        )
    most = max(run["evaluations"] for run in runs)
    return [*out, common.row("evaluations of the chain, at most", most, "evaluations", EVALUATIONS, "lower")]


if __name__ == "__main__":
    main()
