"""One-shot pruning of single weights: MNIST, 784-40-20-10 without biases, the same trained weights for every way to a mask.

For each seed one dense classifier is trained; at each sparsity magnitude, the importance measures and the chain choose which weights
stay (the others are 0). Each mask is tested as found; those of UPDATED also after a least-squares update and after a short gradient
update of the weights that stay. What the chain is given was chosen on validation rows; test rows are only looked at for the figures.

    python benchmarks/oneshot.py --out benchmarks/results/oneshot.json
"""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import common
import numpy as np

HIDDEN, SPARSITIES, SEEDS = (40, 20), (0.98, 0.95, 0.9, 0.5), (0, 1, 2)
DENSE_EPOCHS, UPDATE_EPOCHS, BATCH, RATE = 20, 8, 128, 2e-3
# Of the search: as many blocks as this many epochs of training would have.
SEARCH_EPOCHS = 8
# Test accuracies that the chain is to reach, by sparsity: masks only, and after the gradient update.
FLOORS = {0.95: (0.85, 0.945), 0.98: (0.70, 0.90)}
MEASURES = ("fisher", "obd", "grasp")
# Ways whose masks are updated too: half of the time would go to updates of all.
UPDATED = ("magnitude", "obd", "chain")


def dense(data: Any, seed: int) -> Any:
    """Return the trained classifier of a seed."""
    import torch

    from mcprune.models.registry import build
    from mcprune.training.fit import fit

    model = build("mlp", data.n_inputs, data.n_classes, HIDDEN, seed=seed, bias=False)
    x, y = torch.from_numpy(data.train.features), torch.from_numpy(data.train.targets)
    fit(model, x, y, epochs=DENSE_EPOCHS, batch_size=BATCH, learning_rate=RATE, weight_decay=0.0, seed=seed)
    return model


def by_magnitude(model: Any, keep: int) -> np.ndarray:
    """Return the mask of the largest weights of all layers together."""
    from mcprune.sites.site_map import site_map

    layers = dict(model.named_modules())
    groups = site_map(model, "weights", 1).weights
    return highest(np.concatenate([layers[g.layer].weight.detach().abs().numpy().ravel() for g in groups]), keep)


def by_measure(name: str, model: Any, data: Any, keep: int) -> np.ndarray:
    """Return the mask of the highest scores of an importance measure."""
    import torch

    from mcprune.methods.importance.scorer import Scorer, ScoreSettings
    from mcprune.objectives.classification import CrossEntropy
    from mcprune.sites.site_map import site_map

    x, y = torch.from_numpy(data.train.features), torch.from_numpy(data.train.targets)
    scorer = Scorer(model, site_map(model, "weights", data.n_inputs), x, y, CrossEntropy(), ScoreSettings(name))
    return highest(np.asarray(scorer.scores().values), keep)


def highest(scores: np.ndarray, keep: int) -> np.ndarray:
    """Return the mask of the `keep` highest scores, ties to the lowest index."""
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(-scores, kind="stable")[:keep]] = True
    return mask


def by_chain(model: Any, dataset: Any, keep: int, seed: int, epochs: int) -> tuple[np.ndarray, float, float]:
    """Return the chain's mask, its seconds on the clock and of the processor."""
    from mcprune.api import prune

    began, used = time.monotonic(), time.process_time()
    result = prune(
        dataset,
        keep=keep,
        model=model,
        sites="weights",
        frozen=True,
        finetune="none",
        epochs=epochs,
        batch_size=BATCH,
        seed=seed,
        threads=1,
    )
    return result.mask.support, time.monotonic() - began, time.process_time() - used


def tests(model: Any, mask: np.ndarray, data: Any, seed: int, is_updated: bool) -> dict[str, float]:
    """Return test accuracies of a mask: as found and, if asked for, after least squares, after a short gradient update."""
    import torch

    from mcprune.sites.gates import GatedModel
    from mcprune.sites.site_map import site_map
    from mcprune.surgery.shrink import shrink
    from mcprune.training.finetune import finetune_least_squares, finetune_steps
    from mcprune.training.metrics import accuracy

    sites, chosen = site_map(model, "weights", data.n_inputs), torch.from_numpy(mask)
    x, y = torch.from_numpy(data.train.features), torch.from_numpy(data.train.targets)
    x_test, y_test = torch.from_numpy(data.test.features), torch.from_numpy(data.test.targets)
    gated = GatedModel(model, sites)
    out = {"mask only": accuracy(gated, x_test, y_test, gated.hard_gates(mask))}
    if not is_updated:
        return out
    solved = finetune_least_squares(model, sites, chosen, x)
    out["least squares"] = accuracy(shrink(solved, sites, mask, input_shape=(data.n_inputs,)), x_test, y_test)
    trained = finetune_steps(
        model,
        sites,
        chosen,
        x,
        y,
        epochs=UPDATE_EPOCHS,
        batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=0.0,
        seed=seed,
    )
    out["gradient"] = accuracy(shrink(trained, sites, mask, input_shape=(data.n_inputs,)), x_test, y_test)
    return out


def main() -> None:
    """Measure, print, write after every seed."""
    parser = common.parser(__doc__.splitlines()[0], with_plot=False)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds")
    options = parser.parse_args()

    import torch

    from mcprune.data.load import load
    from mcprune.data.prepare import prepare
    from mcprune.environment import use_threads
    from mcprune.training.metrics import accuracy

    use_threads(1)
    dataset = load("mnist")
    sparsities = (0.98,) if options.quick else SPARSITIES
    epochs = 1 if options.quick else SEARCH_EPOCHS
    found: list[dict[str, Any]] = []
    models: dict[int, tuple[Any, Any]] = {}
    for seed in SEEDS[: 1 if options.quick else options.seeds]:
        data = prepare(dataset, seed=seed, validation=0.15, test=0.2, scale="auto")
        models[seed] = data, dense(data, seed)
        right = accuracy(models[seed][1], torch.from_numpy(data.test.features), torch.from_numpy(data.test.targets))
        found.append({"seed": seed, "sparsity": 0.0, "way": "dense", "dense": right})
        print(f"seed {seed}: dense {right:.4f}", flush=True)
    for sparsity, (seed, (data, model)) in itertools.product(sparsities, models.items()):
        keep = round((1 - sparsity) * sum(parameter.numel() for parameter in model.parameters()))
        masks = {"magnitude": (by_magnitude(model, keep), 0.0, 0.0)}
        masks |= {name: (by_measure(name, model, data, keep), 0.0, 0.0) for name in MEASURES}
        masks["chain"] = by_chain(model, dataset, keep, seed, epochs)
        for way, (mask, clock, used) in masks.items():
            assert int(mask.sum()) == keep
            one = {"seed": seed, "sparsity": sparsity, "way": way, "seconds": clock, "cpu_seconds": used}
            found.append({**one, **tests(model, mask, data, seed, way in UPDATED)})
            print(found[-1], flush=True)
        if options.out is not None:
            part = {"machine": common.machine(1), "runs": found, "rows": rows(found), "is_partial": True}
            common.write(options.out, part)
    common.report(rows(found), 1, options.out, runs=found, options={"dense_epochs": DENSE_EPOCHS, "search_epochs": epochs,
        "update_epochs": UPDATE_EPOCHS, "updated": UPDATED, "hidden": HIDDEN, "seeds": sorted({one["seed"] for one in found})})  # fmt: skip


def rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over the seeds, the chain's beside their floors."""
    out = []
    for sparsity, way in sorted({(one["sparsity"], one["way"]) for one in found}):
        runs = [one for one in found if (one["sparsity"], one["way"]) == (sparsity, way)]
        for how in ("dense", "mask only", "least squares", "gradient", "seconds", "cpu_seconds"):
            values = [one[how] for one in runs if how in one and not (how.endswith("seconds") and way != "chain")]
            if not values:
                continue
            is_time = how.endswith("seconds")
            place = {"mask only": 0, "gradient": 1}.get(how)
            bar = FLOORS[sparsity][place] if way == "chain" and place is not None and sparsity in FLOORS else None
            name = f"{way}, {sparsity:.0%} sparse, {how}" if sparsity else "dense"
            spread = statistics.stdev(values) if len(values) > 1 else None
            out.append(
                common.row(
                    name, statistics.mean(values), "s" if is_time else "", bar, "lower" if is_time else "higher",
                    spread=spread, count=len(values),
                )
            )  # fmt: skip
    return out


if __name__ == "__main__":
    main()
