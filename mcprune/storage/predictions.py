"""Predictions on test rows beside a result: probabilities of the pruned model and, where it was trained, of the one with all sites."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from mcprune.random import Stream, generator
from mcprune.storage.layout import PREDICTIONS
from mcprune.types import AnyArray, Float32Array, FloatArray, IntArray

MOST_VALUES = 2**19  # probabilities of a model that are stored: 2 MiB


class Predictions(NamedTuple):
    """Predictions on test rows.

    Attributes
    ----------
    targets : ndarray of int64, shape (rows,), or of float32, shape (rows, T)
        Class indices, or numbers.
    pruned : ndarray of float32, shape (rows, C)
        Probabilities by the pruned model, or numbers in the unit of the targets.
    whole : ndarray of float32, shape (rows, C), or None
        By a model with all sites.
    n_rows : int
        Test rows of the run; of many, a random part is stored.
    weights : ndarray of float64, shape (rows,), or None
        Sample weights; the file rounds them to float32.
    """

    targets: AnyArray
    pruned: Float32Array
    whole: Float32Array | None
    n_rows: int
    weights: FloatArray | None = None

    @property
    def is_numeric(self) -> bool:
        """Whether the targets are numbers, or several labels of a row."""
        return self.targets.dtype.kind == "f"


def stored_rows(n_rows: int, n_classes: int, seed: int) -> IntArray:
    """Return which test rows are stored, rising: all, or a random part of many."""
    most = max(1, MOST_VALUES // max(1, n_classes))
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(generator(seed, Stream.STORED_ROWS).choice(n_rows, most, replace=False))


def predictions_bytes(predictions: Predictions) -> bytes:
    """Return the content of the file; equal predictions give equal bytes."""
    tensors = {
        "targets": predictions.targets if predictions.is_numeric else predictions.targets.astype(np.int32),
        "pruned": predictions.pruned,
    }
    if predictions.whole is not None:
        tensors["whole"] = predictions.whole
    if predictions.weights is not None:
        tensors["weights"] = predictions.weights.astype(np.float32)
    return bytes(write_tensors(tensors, {"rows": str(predictions.n_rows)}))


def read_predictions(folder: str | Path, n_rows: int) -> Predictions | None:
    """Return the predictions of a run; None where there are none, or where they cannot be read.

    Parameters
    ----------
    folder : str or path
        Of the run.
    n_rows : int
        Test rows of the run.
    """
    try:
        tensors = read_tensors((Path(folder) / PREDICTIONS).read_bytes())
        targets, pruned = tensors["targets"], tensors["pruned"].astype(np.float32)
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    whole, weights = tensors.get("whole"), tensors.get("weights")
    is_numeric = targets.dtype.kind == "f"
    shape = pruned.shape if is_numeric else pruned.shape[:1]
    is_whole = pruned.ndim == 2 and targets.shape == shape and (whole is None or whole.shape == pruned.shape)
    if not is_whole or not targets.size:
        return None
    if not is_numeric:
        targets = targets.astype(np.int64)
        if not 0 <= targets.min() <= targets.max() < pruned.shape[1]:
            return None
    elif not all(np.isfinite(one).all() for one in (targets, pruned, whole) if one is not None):
        return None
    if weights is not None and (weights.shape != targets.shape[:1] or not (weights > 0).all()):
        return None
    return Predictions(targets, pruned, whole, n_rows, None if weights is None else weights.astype(np.float64))
