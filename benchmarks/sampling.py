"""How far samples of masks can be trusted, and how fast they are: the law, the errors of P, the truth, the calibration, the precision.

    python benchmarks/sampling.py [law] [truth] [calibration] [calibration_weak] [precision] [mnist]

Each part adds its figures to benchmarks/results/sampling.json; a part that was cut off goes on with the rows that it has.
`mnist` needs MNIST in MCPRUNE_DATA.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sampling_law import boltzmann, law, masks_of

import mcprune
from mcprune.environment import processor, versions
from mcprune.errors import SamplingError
from mcprune.sampling.from_run import sample_folder
from mcprune.sampling.sample import SampleSettings
from mcprune.sampling.samples import Samples
from mcprune.storage.checkpoint import read_checkpoint
from mcprune.storage.layout import SAMPLES

RESULTS = Path(__file__).parent / "results" / "sampling.json"
# Generated tables: rows, columns, informative ones, the correlation of neighbours, and the bounds of the weights.
TABLES, WEAK_ROWS, WEAK_SITES, INFORMATIVE, CORRELATION, WEIGHTS, WEAKER = 50, 400, 12, 4, 0.6, (0.5, 2.5), (0.1, 1.0)
RUN = {"threads": 1, "compare": "no", "retrain_epochs": 1}


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
        # Half of the columns have a P below .02: a standard error of .02 would leave their order to chance.
        drawn = sample_folder(Path(folder) / "run", SampleSettings(precision=0.005))
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


def weak_table(seed: int, weights: tuple[float, float] = WEIGHTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns (rows, 12), each correlated with the next ones, classes, and the 4 informative columns, some of them weak."""
    draw = np.random.default_rng(seed)
    noise = draw.normal(size=(WEAK_ROWS, WEAK_SITES))
    x = noise.copy()
    for site in range(1, WEAK_SITES):
        x[:, site] = CORRELATION * x[:, site - 1] + math.sqrt(1 - CORRELATION**2) * noise[:, site]
    chosen = draw.permutation(WEAK_SITES)[:INFORMATIVE]
    logit = x[:, chosen] @ (draw.uniform(*weights, INFORMATIVE) * draw.choice([-1, 1], INFORMATIVE))
    y = (draw.random(WEAK_ROWS) < 1 / (1 + np.exp(-logit))).astype(int)
    return x.astype(np.float32), y, chosen


def calibration(rows: Rows) -> dict[str, object]:
    """Of the sites with P in [.8, .9] on generated tables, the share that is informative; and by tenths of P."""
    return _calibrated(rows, WEIGHTS)


def calibration_weak(rows: Rows) -> dict[str, object]:
    """The same on tables with weaker columns, so that more sites have a P in between."""
    return _calibrated(rows, WEAKER)


def _calibrated(rows: Rows, weights: tuple[float, float]) -> dict[str, object]:
    """Sample each table; P also from the losses of all masks, at lower temperatures, and from logistic regressions of all masks."""
    masks = masks_of(WEAK_SITES, INFORMATIVE)
    for seed in range(len(rows.known), TABLES):
        x, y, chosen = weak_table(seed, weights)
        rows.add({"seed": seed, "informative": sorted(chosen.tolist()), **_probabilities(x, y, seed, masks)})
    laws = [name for name in rows.known[0] if name.startswith("P")]
    return {
        "weights": list(weights),
        "refused": sum("refused" in one for one in rows.known),
        "laws": {law: _calibration_of(rows.known, law) for law in laws},
    }


def _probabilities(x: np.ndarray, y: np.ndarray, seed: int, masks: np.ndarray) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        mcprune.prune(x, y, keep=INFORMATIVE, seed=seed, epochs=15, out=str(path), **RUN)
        try:
            drawn = sample_folder(path, SampleSettings(precision=0.03), data=(x, y))
        except SamplingError as error:
            return {"refused": str(error)}
    samples, rows = drawn.samples, drawn.rows
    losses, logistic = drawn.evaluate(masks), _logistic(x, y, masks)
    by_law = {
        "P": samples.probability,
        "P of all masks": boltzmann(losses, samples.temperature) @ masks,
        "P at T = 1 / rows": boltzmann(losses, 1 / rows) @ masks,
        "P by logistic regression": boltzmann(logistic, samples.temperature) @ masks,
        "P by logistic regression at T = 1 / rows": boltzmann(logistic, 1 / len(y)) @ masks,
    }
    return {
        "temperature": samples.temperature,
        "temperature_times_rows": samples.temperature * rows,
        **{law: values.round(4).tolist() for law, values in by_law.items()},
    }


def _calibration_of(rows: list[dict], law: str) -> dict[str, object]:
    """How many sites with a P in the band, and in each tenth, are informative."""
    known = [one for one in rows if law in one]
    p = np.concatenate([one[law] for one in known])
    right = np.concatenate([np.isin(np.arange(WEAK_SITES), one["informative"]) for one in known])
    tenths = []
    for low in np.arange(0, 10) / 10:
        band = (p >= low) & (p < low + 0.1) if low < 0.85 else p >= low
        tenths.append({"from": float(low), "sites": int(band.sum()), "informative": int(right[band].sum())})
    band = (p >= 0.8) & (p <= 0.9)
    inside, count = int(band.sum()), int(right[band].sum())
    return {
        "tables": len(known),
        "sites_in_the_band": inside,
        "informative": count,
        "share": count / inside if inside else None,
        "share_interval": _wilson(count, inside),
        "tenths": tenths,
    }


def _logistic(x: np.ndarray, y: np.ndarray, masks: np.ndarray, folds: int = 4, steps: int = 8) -> np.ndarray:
    """Cross-validated losses (K,) of logistic regressions on the columns of each mask, by Newton's method, all masks at once."""
    fold = np.random.default_rng(0).permutation(len(y)) % folds
    columns = np.argwhere(masks)[:, 1].reshape(len(masks), -1)
    features = np.concatenate([np.ones((len(masks), len(y), 1)), x[:, columns].transpose(1, 0, 2)], axis=2)
    total = np.zeros(len(masks))
    for part in range(folds):
        train, test = fold != part, fold == part
        rows, weights = features[:, train], np.zeros((len(masks), features.shape[2], 1))
        for _ in range(steps):
            p = 1 / (1 + np.exp(-(rows @ weights)))
            curvature = rows.transpose(0, 2, 1) @ (rows * (p * (1 - p))) + 1e-3 * np.eye(features.shape[2])
            weights -= np.linalg.solve(curvature, rows.transpose(0, 2, 1) @ (p - y[train][None, :, None]))
        margin = (2 * y[test] - 1) * (features[:, test] @ weights)[:, :, 0]
        total += np.logaddexp(0, -margin).sum(axis=1)
    return total / len(y)


def _wilson(count: int, total: int) -> list[float] | None:
    """Return the 95% interval of a share (Wilson)."""
    if not total:
        return None
    z, share = 1.96, count / total
    centre, half = share + z * z / (2 * total), z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return [(centre + sign * half) / (1 + z * z / total) for sign in (-1, 1)]


def precision() -> dict[str, object]:
    """Time to R-hat at most 1.01 and 400 effective draws: a table of 30 columns."""
    return _time_to_agree("breast-cancer", {"keep": 10}, 60.0)


def mnist() -> dict[str, object]:
    """The same of MNIST at n = 50, from a short run; one thread, at most 400 seconds of the clock."""
    return _time_to_agree("mnist", {"keep": 50, "max_time": 40}, 400.0)


def _time_to_agree(name: str, options: dict[str, object], seconds: float) -> dict[str, object]:
    """Run and sample a data set; where the chains do not agree, how far they are."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get(f"MCPRUNE_RUN_{name.upper()}", Path(temporary) / "run"))  # one that is finished
        if not folder.exists():
            mcprune.prune(name, out=str(folder), seed=0, **{**RUN, **options})
        began = time.monotonic(), time.process_time()
        try:
            drawn = sample_folder(folder, SampleSettings(max_time=seconds))
        except SamplingError as error:
            return {
                "refused": str(error),
                "max_time": seconds,
                **_reached(folder),
                "cpu_seconds": time.process_time() - began[1],
            }
        return _cost(drawn, time.monotonic() - began[0], time.process_time() - began[1])


def _reached(folder: Path) -> dict[str, object]:
    """What the samples in a folder are worth whose chains do not agree, in temperatures where it is a loss."""
    content = read_checkpoint(folder / SAMPLES)
    losses, state = content["losses"], content["state"]
    masks = np.unpackbits(content["masks"], axis=2, count=len(state["probability"])).astype(bool)
    if losses.shape[1] < 8:
        return {"draws": int(losses.shape[1])}
    temperature, companions = float(state["temperature"]), state["companions"]
    samples = Samples(masks, losses, temperature, math.nan, tuple(map(str, range(masks.shape[2]))))
    mean, spread = losses.mean(axis=1), losses.std(axis=1)
    return {
        "draws": samples.draws,
        "r_hat_of_the_loss": samples.loss_r_hat,
        "largest_r_hat_of_a_site": float(samples.r_hat.max()),
        "sites_with_r_hat_above_1.05": int((samples.r_hat > 1.05).sum()),
        "ess_of_the_loss": samples.loss_ess,
        "median_ess_of_a_site": float(np.median(samples.ess)),
        "temperature": temperature,
        "mean_losses_of_the_chains_apart": float((mean.max() - mean.min()) / temperature),
        "spread_within_chains": float(spread.mean() / temperature),
        "acceptance": float(state["accepted"] / max(1, state["decisions"])),
        "trades_with_companions": int(companions["asked"]),
        "trades_accepted": int(companions["accepted"]),
        "factor_of_the_model": float(companions["scale"]),
        "seconds_of_burn_in_and_draws": [float(value) for value in content["seconds"]],
    }


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


class Rows:
    """What a part has measured so far: each row is written at once, and a part that was cut off goes on."""

    def __init__(self, known: list[dict], write: Callable[[], None]) -> None:
        self.known, self.write = known, write

    def add(self, row: dict) -> None:
        """Add a row, and write it."""
        self.known.append(row)
        self.write()


PARTS = {
    "law": law, "truth": truth, "calibration": calibration, "calibration_weak": calibration_weak, "precision": precision,
    "mnist": mnist,
}  # fmt: skip
BY_ROWS = ("calibration", "calibration_weak")


def main(names: list[str]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    def write() -> None:
        RESULTS.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")

    for name in names or PARTS:
        load, began, cpu = os.getloadavg()[0], time.monotonic(), time.process_time()
        rows = results.get(name, {}).get("unfinished", [])
        if name in BY_ROWS:
            results[name] = {"unfinished": rows}
        figures = PARTS[name](Rows(rows, write)) if name in BY_ROWS else PARTS[name]()
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
            **({"rows": rows} if name in BY_ROWS else {}),
        }
        write()
        print(name, json.dumps(figures, indent=1)[:2000], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
