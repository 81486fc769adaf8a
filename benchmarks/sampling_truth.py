"""Samples of masks beside masks that are retrained (a part of `benchmarks/sampling.py`)."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from sampling_common import RUN, Rows, cost
from sampling_law import boltzmann, masks_of

import mcprune
from mcprune.sampling.from_run import sample_folder
from mcprune.sampling.sample import SampleSettings
from mcprune.sampling.samples import Samples
from mcprune.session.build.dataset import load_dataset
from mcprune.session.checkpoints.classifiers import (
    SearchClassifiers,
    classifiers_config,
    read_classifiers,
    restore_classifiers,
)
from mcprune.training.cross_validation.out_of_fold import balanced_folds, draw_batches, score_out_of_fold

SEEDS, RETRAINING_STEPS = 2, 300


def truth(rows: Rows) -> dict[str, object]:
    """Breast cancer, 3 of 30 columns: P against retraining each of the 4,060 masks by cross-validation, for two seeds."""
    from sklearn.datasets import load_breast_cancer

    masks = masks_of(30, 3)
    x, y = load_breast_cancer(return_X_y=True)
    all_rows = _retrained(x, y, masks)
    for seed in range(len(rows.known), SEEDS):
        rows.add(_truth_of(seed, masks, all_rows))
    kinds = ("networks", "logistic regression", "logistic regression on all rows")
    return {
        "masks": len(masks),
        **{
            f"rank_correlation, {kind}": float(np.mean([one[kind]["rank_correlation"] for one in rows.known]))
            for kind in kinds
        },
    }


def _truth_of(seed: int, masks: np.ndarray, all_rows: np.ndarray) -> dict[str, object]:
    """Run, sample, and retrain each mask on the rows of the run: by networks as those of the run, and by another classifier."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        mcprune.prune("breast-cancer", keep=3, out=str(folder), seed=seed, **RUN)
        began = time.monotonic(), time.process_time()
        # Half of the columns have a P below .02: a standard error of .02 would leave their order to chance.
        drawn = sample_folder(folder, SampleSettings(precision=0.005))
        spent = time.monotonic() - began[0], time.process_time() - began[1]
        train = classifiers_of(folder).plan.splits.train
    samples, began_cpu = drawn.samples, time.process_time()
    own = _by_networks(train.features, train.targets, masks)
    cpu = time.process_time() - began_cpu
    logistic = _retrained(train.features.astype(float), train.targets, masks)
    return {
        "seed": seed,
        "rows": len(train.targets),
        "retraining_cpu_seconds_of_networks": cpu,
        "networks": _beside(samples, own, masks, own),
        "logistic regression": _beside(samples, logistic, masks, logistic),
        # The run has two thirds of the rows: even retraining on these has no more than `rank_correlation_of_retraining` with all rows.
        "logistic regression on all rows": _beside(samples, all_rows, masks, logistic),
        "P by networks against the best by logistic regression": _ranks(
            boltzmann(own, samples.temperature) @ masks, _share_of_best(logistic, masks)
        ),
        "sampling": cost(drawn, *spent),
        "P": dict(zip(samples.names, samples.probability.round(4).tolist(), strict=True)),
        "share_of_the_best_hundredth": _share_of_best(own, masks).round(4).tolist(),
    }


def classifiers_of(folder: Path) -> SearchClassifiers:
    """The classifiers of a finished run on one of the built-in data sets, and its rows."""
    content = read_classifiers(folder)
    config = classifiers_config(content, "the run")
    return restore_classifiers(content, config, load_dataset(config), name="the run")


def _share_of_best(losses: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of the best hundredth of masks that keeps each site."""
    return masks[np.argsort(losses)[: len(masks) // 100]].mean(axis=0)


def _ranks(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def _beside(samples: Samples, losses: np.ndarray, masks: np.ndarray, retrained: np.ndarray) -> dict[str, float]:
    """Compare P with the best masks by some losses; so much would P have that is computed from retrained masks."""
    share, order = _share_of_best(losses, masks), np.argsort(losses)
    place = int(np.flatnonzero((masks[order] == samples.best[0]).all(axis=1))[0])
    return {
        "rank_correlation": _ranks(samples.probability, share),
        # Many sites are in none of the best masks, and their order says nothing; nor does the size of a share in ranks.
        "correlation": float(np.corrcoef(samples.probability, share)[0, 1]),
        "rank_correlation_of_retraining": _ranks(boltzmann(retrained, samples.temperature) @ masks, share),
        "sites_without_a_share": int((share == 0).sum()),
        "best_percent": 100.0 * (place + 1) / len(masks),
    }


def _by_networks(x: np.ndarray, y: np.ndarray, masks: np.ndarray, at_once: int = 203) -> np.ndarray:
    """Return the cross-validated loss of each mask by networks that are trained on it from scratch: hidden units and dropout of the run."""
    draw = np.random.default_rng(0)
    fold = balanced_folds(y, draw)
    batches = draw_batches(fold, None, RETRAINING_STEPS, draw)
    columns = np.argwhere(masks)[:, 1].reshape(len(masks), -1)
    parts = [
        score_out_of_fold(x, y, columns[first : first + at_once], fold, batches, seed=0)[0].losses.mean(axis=1)
        for first in range(0, len(masks), at_once)
    ]
    return np.concatenate(parts)


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
