"""Whether P says how often a site is informative, on generated tables (a part of `benchmarks/sampling.py`)."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
from sampling_common import RUN, Rows
from sampling_law import boltzmann, masks_of

import mcprune
from mcprune.errors import SamplingError
from mcprune.sampling.from_run import sample_folder
from mcprune.sampling.sample import SampleSettings

# Generated tables: rows, columns, informative ones, the correlation of neighbours, and the bounds of the weights.
TABLES, WEAK_ROWS, WEAK_SITES, INFORMATIVE, CORRELATION, WEIGHTS, WEAKER = 50, 400, 12, 4, 0.6, (0.5, 2.5), (0.1, 1.0)
# Evaluation rows of these runs, and multiples of 1 / rows as temperatures.
EVALUATED, MULTIPLES = 260, (1.0, 1.5, 2.0, 3.0)
# The multiple that is calibrated on these tables, and the number of fresh ones on which it is tried.
CALIBRATED, FRESH = 2.0, 30


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


def calibration_cold(rows: Rows) -> dict[str, object]:
    """Both kinds of tables at T = 1 / rows, where exp(-L / T) is the likelihood of the evaluation rows, and at multiples of it.

    `P` is sampled at 1 / rows, with classifiers that are trained further for that temperature; the others are from the losses of all masks.
    """
    return _at_temperature(rows, 1.0, 0, 2 * TABLES)


def calibration_fresh(rows: Rows) -> dict[str, object]:
    """P sampled at T = 2 / rows, on tables of other seeds than those on which this temperature was chosen."""
    return _at_temperature(rows, CALIBRATED, TABLES, FRESH)


def _at_temperature(rows: Rows, times: float, first: int, tables: int) -> dict[str, object]:
    """Sample tables of both kinds in turns, from a seed on, at a multiple of 1 / rows."""
    masks = masks_of(WEAK_SITES, INFORMATIVE)
    for number in range(len(rows.known), tables):
        seed, weights = first + number // 2, (WEIGHTS, WEAKER)[number % 2]
        x, y, chosen = weak_table(seed, weights)
        found = _probabilities_at(x, y, seed, masks, times)
        rows.add({"seed": seed, "weights": list(weights), "informative": sorted(chosen.tolist()), **found})
    sampled = [one for one in rows.known if "refused" not in one]
    laws = [name for name in sampled[0] if name.startswith("P")]
    return {
        "refused": len(rows.known) - len(sampled),
        "laws": {law: _calibration_of(sampled, law) for law in laws},
        **{
            f"laws, weights {low:g} to {high:g}": {
                law: _calibration_of([one for one in sampled if one["weights"] == [low, high]], law) for law in laws
            }
            for low, high in (WEIGHTS, WEAKER)
        },
    }


def _probabilities_at(x: np.ndarray, y: np.ndarray, seed: int, masks: np.ndarray, times: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        mcprune.prune(x, y, keep=INFORMATIVE, seed=seed, epochs=15, out=str(path), **RUN)
        try:
            drawn = sample_folder(path, SampleSettings(temperature=times / EVALUATED, precision=0.03), data=(x, y))
        except SamplingError as error:
            return {"refused": str(error)}
    if drawn.rows != EVALUATED:
        raise SystemExit(f"{drawn.rows} evaluation rows, not {EVALUATED}.")
    losses = drawn.evaluate(masks)
    return {
        "P": drawn.samples.probability.round(4).tolist(),
        **{
            f"P of all masks at T = {each:g} / rows": (boltzmann(losses, each / EVALUATED) @ masks).round(4).tolist()
            for each in MULTIPLES
        },
    }


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
