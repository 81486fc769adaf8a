"""One-shot patterns of weights that hardware reads: MNIST, 784-256-128-10, the same trained weights for every way to a mask.

For each seed one dense classifier is trained. For each pattern the mask is that of the largest weights, of the largest products of a
weight and the norm of its input over the training rows (Wanda's score), or what the chain makes of the better one of the two by
exchanges inside the pattern. Nothing is trained afterwards. Test rows are only looked at for the figures.

    python benchmarks/patterns.py --out benchmarks/results/patterns.json
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import common
import numpy as np

HIDDEN, SEEDS, DENSE_EPOCHS, BATCH, RATE = (256, 128), (0, 1, 2), 5, 128, 2e-3
# The pattern, its sites, and the share of their weights that is kept.
PATTERNS = (("2:4", "weights", None), ("1:4", "weights", None), ("4x1", "weights:layers.0,layers.2", 0.25))
SEARCH_EPOCHS, ROWS = 1, 2048  # of the chain; of training, for each evaluation


def dense(data: Any, seed: int) -> Any:
    """Return the trained classifier of a seed."""
    import torch

    from mcprune.models.registry import build
    from mcprune.training.fit import fit

    model = build("mlp", data.n_inputs, data.n_classes, HIDDEN, seed=seed)
    x, y = torch.from_numpy(data.train.features), torch.from_numpy(data.train.targets)
    fit(model, x, y, epochs=DENSE_EPOCHS, batch_size=BATCH, learning_rate=RATE, weight_decay=0.0, seed=seed)
    return model


def scores(model: Any, sites: Any, rows: Any, *, uses_inputs: bool) -> np.ndarray:
    """Return |w| of each site (N,), times the norm of its input over the rows with `uses_inputs`."""
    import torch

    modules, norms = dict(model.named_modules()), {}
    hooks = [
        modules[group.layer].register_forward_pre_hook(
            lambda module, inputs, name=group.layer: norms.update({name: inputs[0].norm(dim=0)})
        )
        for group in sites.weights
    ]
    with torch.no_grad():
        model.eval()(rows)
    for hook in hooks:
        hook.remove()
    parts = []
    for group in sites.weights:
        size = modules[group.layer].weight.detach().abs()
        parts.append((size * norms[group.layer] if uses_inputs else size).numpy().ravel())
    return np.concatenate(parts)


def measured(model: Any, sites: Any, mask: np.ndarray, data: Any) -> dict[str, float]:
    """Return the test accuracy of a mask, and its loss on the training rows."""
    import torch

    from mcprune.sites.gates import GatedModel
    from mcprune.training.metrics import accuracy

    gated = GatedModel(model, sites)
    gates = gated.hard_gates(mask)
    with torch.no_grad():
        logits = gated(torch.from_numpy(data.train.features), gates)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.train.targets))
    right = accuracy(gated, torch.from_numpy(data.test.features), torch.from_numpy(data.test.targets), gates)
    return {"test_accuracy": right, "train_loss": float(loss)}


def by_chain(model: Any, dataset: Any, start: np.ndarray, pattern: str, kinds: str, seed: int, epochs: int) -> Any:
    """Return the chain's mask, and its seconds on the clock and of the processor; rows are scaled as those that trained the model."""
    from mcprune.from_mask import refine

    began, used = time.monotonic(), time.process_time()
    result = refine(
        start, dataset, model=model, sites=kinds, pattern=pattern, finetune="none", epochs=epochs, batch_size=BATCH, scale="unit",
        evaluation_rows=f"{ROWS},early={ROWS}", compare="no", seed=seed, threads=1, progress=False,
    )  # fmt: skip
    return result.mask.support, time.monotonic() - began, time.process_time() - used


def main() -> None:
    """Measure, print, write after every pattern."""
    parser = common.parser(__doc__.splitlines()[0], with_plot=False)
    parser.add_argument("--patterns", nargs="+", default=[text for text, _, _ in PATTERNS], help="which patterns")
    options = parser.parse_args()

    from mcprune.data.load import load
    from mcprune.data.prepare import prepare
    from mcprune.environment import use_threads
    from mcprune.sites.patterns import pattern_of
    from mcprune.sites.site_map import site_map

    use_threads(1)
    dataset = load("mnist")
    chosen = tuple(one for one in PATTERNS if one[0] in options.patterns)
    seeds, patterns = (SEEDS[:1], chosen[:1]) if options.quick else (SEEDS, chosen)
    found: list[dict[str, Any]] = []
    for seed in seeds:
        data = prepare(dataset, seed=seed, validation=0.15, test=0.2, scale="auto")
        model = dense(data, seed)
        whole = site_map(model, "weights", data.n_inputs)
        found.append(
            {"seed": seed, "pattern": "", "way": "dense", **measured(model, whole, np.ones(whole.size, bool), data)}
        )
        for text, kinds, share in patterns:
            sites = site_map(model, kinds, data.n_inputs)
            pattern = pattern_of(text, sites)
            keep = pattern.count(None if share is None else round(share * sites.size))
            rows = _torch(data.train.features)
            masks = {
                way: (pattern.best(scores(model, sites, rows, uses_inputs=way == "wanda"), keep), 0.0, 0.0)
                for way in ("magnitude", "wanda")
            }
            figures = {way: measured(model, sites, mask, data) for way, (mask, _, _) in masks.items()}
            better = min(figures, key=lambda way: figures[way]["train_loss"])
            masks["chain"] = by_chain(model, dataset, masks[better][0], text, kinds, seed, SEARCH_EPOCHS)
            figures["chain"] = measured(model, sites, masks["chain"][0], data)
            for way, (mask, clock, used) in masks.items():
                assert pattern.holds(mask)
                assert int(mask.sum()) == keep
                one = {"seed": seed, "pattern": text, "way": way, "kept": keep, "of": sites.size, **figures[way]}
                found.append(one | ({"seconds": clock, "cpu_seconds": used, "start": better} if way == "chain" else {}))
                print(found[-1], flush=True)
            if options.out is not None:
                part = {"machine": common.machine(1), "runs": found, "rows": rows_of(found), "is_partial": True}
                common.write(options.out, part)
    common.report(
        rows_of(found), 1, options.out, runs=found,
        options={"dense_epochs": DENSE_EPOCHS, "search_epochs": SEARCH_EPOCHS, "evaluation_rows": ROWS,
            "hidden": HIDDEN, "seeds": list(seeds)},
    )  # fmt: skip


def _torch(values: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(values)


def rows_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over the seeds."""
    out = []
    for pattern, way in dict.fromkeys((one["pattern"], one["way"]) for one in found):
        runs = [one for one in found if (one["pattern"], one["way"]) == (pattern, way)]
        for how in ("test_accuracy", "train_loss", "cpu_seconds"):
            values = [one[how] for one in runs if how in one]
            if not values:
                continue
            name = f"{pattern}, {way}: {how.replace('_', ' ')}" if pattern else f"dense: {how.replace('_', ' ')}"
            spread = statistics.stdev(values) if len(values) > 1 else None
            better = "higher" if how == "test_accuracy" else "lower"
            unit = "s" if how == "cpu_seconds" else ""
            out.append(common.row(name, statistics.mean(values), unit, None, better, spread=spread, count=len(values)))
    return out


if __name__ == "__main__":
    main()
