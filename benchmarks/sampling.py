"""How far samples of masks can be trusted, and how fast they are: the law, the errors of P, the truth, the calibration, the precision.

    python benchmarks/sampling.py [law] [truth] [calibration] [precision]

Each part adds its figures to benchmarks/results/sampling.json. `precision` needs MNIST in MCPRUNE_DATA.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import mcprune
from mcprune.chain import moves
from mcprune.chain import state as chain_state
from mcprune.chain.engine import run_table
from mcprune.environment import processor, versions
from mcprune.errors import SamplingError
from mcprune.sampling.from_run import sample_folder
from mcprune.sampling.sample import SampleSettings
from mcprune.sampling.samples import Samples

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "shared"))
from laws import boltzmann
from table_masks import burnt_in, masks_of, table_sampler, uneven_table

RESULTS = Path(__file__).parent / "results" / "sampling.json"
SITES, KEEP, TEMPERATURES = 20, 5, (0.1, 0.2, 0.5)
STEPS = 2_500_000  # of the compiled serial chain, at each temperature
TABLES = 10
RUN = {"threads": 1, "compare": "no", "retrain_epochs": 1}


def law() -> dict[str, object]:
    """Total variation from Boltzmann's law over all 15,504 masks, with a control, and how honest the errors of P are."""
    table = uneven_table(SITES)
    masks = masks_of(SITES, KEEP)
    codes = masks @ (1 << np.arange(SITES))
    lines = []
    for number, temperature in enumerate(TEMPERATURES):
        exact = boltzmann(table[codes], temperature)
        sampler = table_sampler(table, KEEP, temperature=temperature, seed=number)
        state = burnt_in(sampler)
        plan = sampler.method.mixture(state.probability, state.drawn)
        seen = _visits(table, codes, state.chains.chain.position, plan, temperature, number)
        floor = float(np.sqrt(exact / (4 * STEPS)).sum() * math.sqrt(2 / math.pi) / 2)
        draws, losses = sampler.draw(state, 400).arrays()
        samples = Samples(draws, losses, temperature, math.nan, tuple(map(str, range(SITES))))
        wrong = _without_ratio(sampler, temperature)
        away, wrong_away = (np.abs(one.probability - exact @ masks) / one.monte_carlo_error for one in (samples, wrong))
        lines.append(
            {
                "temperature": temperature,
                "total_variation": _variation(seen, exact),
                "total_variation_of_independent_masks": floor,
                "sites_within_two_errors_with_a_broken_q_ratio": int((wrong_away <= 2).sum()),
                "sites_within_two_errors": int((away <= 2).sum()),
                "sites": SITES,
                "ess": float(samples.ess.min()),
                "r_hat": samples.loss_r_hat,
            }
        )
    inside = sum(line["sites_within_two_errors"] for line in lines)
    return {"masks": len(codes), "steps": 4 * STEPS, "lines": lines, "within_two_errors": inside / (SITES * len(lines))}


def _without_ratio(sampler, temperature):
    """Samples by a wrong chain, the control: informed exchanges are accepted as if they were symmetric."""
    propose = moves.propose

    def broken(*arguments, **options):
        out = propose(*arguments, **options)
        return out._replace(log_ratio=np.zeros_like(out.log_ratio))

    moves.propose = broken
    try:
        draws, losses = sampler.draw(burnt_in(sampler), 400).arrays()
    finally:
        moves.propose = propose
    return Samples(draws, losses, temperature, math.nan, tuple(map(str, range(SITES))))


def _visits(table, codes, position, plan, temperature, seed):
    """Steps spent on each mask by the engine's serial chain."""
    state = chain_state.new_state(position, sharpness=math.inf)
    _, info = run_table(
        state, STEPS, table=table, plan=plan, delta=1.0, temperature=temperature, alpha=0.0, n=KEEP, sharpness=math.inf, seed=seed,
        chains=np.arange(len(position)) + 100,
    )  # fmt: skip
    return info.visits.sum(axis=0)[codes]


def _variation(counts, law):
    return float(np.abs(counts / counts.sum() - law).sum() / 2)


def truth() -> dict[str, object]:
    """Breast cancer, 3 of 30 columns: P against retraining each of the 4,060 masks by cross-validation."""
    from scipy.stats import spearmanr
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    began = time.process_time()
    masks = masks_of(30, 3)
    losses = _retrained(x, y, masks)
    seconds = time.process_time() - began
    order = np.argsort(losses)
    best = order[: len(masks) // 100]
    share = masks[best].mean(axis=0)
    with tempfile.TemporaryDirectory() as folder:
        mcprune.prune("breast-cancer", keep=3, out=str(Path(folder) / "run"), seed=0, **RUN)
        began = time.monotonic(), time.process_time()
        drawn = sample_folder(Path(folder) / "run", SampleSettings())
        spent = time.monotonic() - began[0], time.process_time() - began[1]
    samples = drawn.samples
    by_retraining = boltzmann(losses, samples.temperature) @ masks
    mask, _ = samples.best
    place = int(np.flatnonzero((masks[order] == mask).all(axis=1))[0])
    return {
        "masks": len(masks),
        "retraining_cpu_seconds": seconds,
        "rank_correlation": float(spearmanr(samples.probability, share).statistic),
        # Half of the sites are in none of the best masks, and their order says nothing; nor does the size of a share in ranks.
        "correlation": float(np.corrcoef(samples.probability, share)[0, 1]),
        "rank_correlation_with_p_by_retraining": float(spearmanr(samples.probability, by_retraining).statistic),
        "sites_without_a_share": int((share == 0).sum()),
        "place_of_the_best_drawn_mask": place,
        "best_percent": 100.0 * (place + 1) / len(masks),
        "sampling": _cost(drawn, *spent),
        "sites": [
            {"name": line.name, "probability": line.probability, "share_of_the_best_hundredth": float(share[line.site])}
            for line in samples.summary()
        ],
    }


def _retrained(x, y, masks, folds=5, steps=12, ridge=1e-2):
    """Return the cross-validated loss of each mask: logistic regression on columns, squares and products, by Newton's method."""
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    draw = np.random.default_rng(0)
    fold = draw.permutation(len(y)) % folds
    losses = np.empty(len(masks))
    for number, mask in enumerate(masks):
        a, b, c = x[:, mask].T
        features = np.stack([np.ones_like(a), a, b, c, a * a, b * b, c * c, a * b, a * c, b * c], axis=1).clip(-9, 9)
        total = 0.0
        for part in range(folds):
            train, test = fold != part, fold == part
            weights, rows = np.zeros(features.shape[1]), features[train]
            for _ in range(steps):
                p = 1.0 / (1.0 + np.exp(-np.clip(rows @ weights, -30, 30)))
                curvature = (rows * (p * (1 - p))[:, None]).T @ rows + ridge * train.sum() * np.eye(len(weights)) / 10
                weights -= np.linalg.solve(curvature, rows.T @ (p - y[train]) + ridge * train.sum() * weights / 10)
            margin = (2 * y[test] - 1) * (features[test] @ weights)
            total += np.logaddexp(0.0, -margin).sum()
        losses[number] = total / len(y)
    return losses


def calibration(tables: int = TABLES) -> dict[str, object]:
    """Of the sites with P in [.8, .9] on generated tables, the share that is informative."""
    inside, right, refused = 0, 0, 0
    for seed in range(tables):
        draw = np.random.default_rng(seed)
        sites, informative = 14, 5
        chosen = draw.permutation(sites)[:informative]
        x = draw.normal(size=(300, sites)).astype(np.float32)
        logit = x[:, chosen] @ draw.uniform(0.15, 1.0, informative) * draw.choice([-1, 1])
        y = (draw.random(300) < 1 / (1 + np.exp(-2 * logit))).astype(int)
        result = mcprune.prune(x, y, keep=5, seed=seed, epochs=15, **RUN)
        try:
            samples = result.sample((x, y), precision=0.05)
        except SamplingError:
            refused += 1
            continue
        band = (samples.probability >= 0.8) & (samples.probability <= 0.9)
        inside += int(band.sum())
        right += int(band[chosen].sum())
    return {
        "tables": tables,
        "refused": refused,
        "sites_in_the_band": inside,
        "informative": right,
        "share": right / inside if inside else None,
    }


def precision() -> dict[str, object]:
    """Time to R-hat at most 1.01 and 400 effective draws: a table of 30 columns, and MNIST at n = 50."""
    out = {}
    for name, options, seconds in (
        ("breast-cancer", {"keep": 10}, 60.0),
        ("mnist", {"keep": 50, "max_time": 120, "threads": 2}, 180.0),
    ):
        with tempfile.TemporaryDirectory() as folder:
            mcprune.prune(name, out=str(Path(folder) / "run"), seed=0, **{**RUN, **options})
            began = time.monotonic(), time.process_time()
            try:
                drawn = sample_folder(Path(folder) / "run", SampleSettings(max_time=seconds))
            except SamplingError as error:
                out[name] = {"refused": str(error), "max_time": seconds}
                continue
            out[name] = _cost(drawn, time.monotonic() - began[0], time.process_time() - began[1])
    return out


def _cost(drawn, seconds, cpu):
    samples = drawn.samples
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "chains": samples.chains,
        "draws": samples.draws,
        "r_hat_of_the_loss": samples.loss_r_hat,
        "largest_r_hat_of_a_site": float(samples.r_hat.max()),
        "ess_of_the_loss": samples.loss_ess,
        "smallest_ess_of_a_site": float(samples.ess.min()),
        "largest_error_of_p": float(samples.monte_carlo_error.max()),
        "temperature": samples.temperature,
        "paired_error": samples.paired_error,
        "spread": samples.loss_spread,
        "acceptance": drawn.acceptance,
    }


PARTS = {"law": law, "truth": truth, "calibration": calibration, "precision": precision}


def main(names: list[str]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or PARTS:
        load, began, cpu = os.getloadavg()[0], time.monotonic(), time.process_time()
        figures = PARTS[name]()
        results[name] = {
            "command": f"python benchmarks/sampling.py {name}",
            "machine": {"processor": processor(), "cores": os.cpu_count(), "platform": platform.machine()},
            "threads": 1,
            "versions": versions(),
            "load_average_before": load,
            "load_average_after": os.getloadavg()[0],
            "seconds": time.monotonic() - began,
            "cpu_seconds": time.process_time() - cpu,
            **figures,
        }
        RESULTS.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
        print(name, json.dumps(figures, indent=1)[:2000], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
