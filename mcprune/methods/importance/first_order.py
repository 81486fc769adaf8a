"""Measures that need no gradient, or the gradient of the mean loss alone. Each: evidence -> scores (N,), lowest dropped first."""

from __future__ import annotations

import numpy as np
import torch

from mcprune.errors import ConfigError
from mcprune.methods.importance.evidence import Evidence, Tensors
from mcprune.random import Stream, generator
from mcprune.sites.owners import Owners
from mcprune.types import FloatArray


def magnitude(evidence: Evidence) -> FloatArray:
    """|theta|_2 over what the site owns."""
    return np.asarray(np.sqrt(evidence.owners.sums({name: theta**2 for name, theta in evidence.theta.items()})))


def magnitude_l1(evidence: Evidence) -> FloatArray:
    """|theta|_1."""
    return evidence.owners.sums({name: theta.abs() for name, theta in evidence.theta.items()})


def bn_scale(evidence: Evidence) -> FloatArray:
    """|gamma| of the batch-norm behind a channel, summed where tied channels have several.

    Raises
    ------
    ConfigError
        Sites without a batch-norm.
    """
    require_batch_norm(evidence.owners)
    scales = {name: theta.abs() for name, theta in evidence.theta.items() if name.endswith("weight")}
    return evidence.owners.sums(scales, "BatchNorm")


def require_batch_norm(owners: Owners) -> None:
    """Refuse sites without a batch-norm of their own.

    Raises
    ------
    ConfigError
        Naming the first group of them.
    """
    ones = {name: torch.ones_like(tensor) for name, tensor in owners.parameters.items() if name.endswith("weight")}
    normed = owners.sums(ones, "BatchNorm")
    bare = next((group for group in owners.sites.groups if not normed[group.start : group.stop].all()), None)
    if bare is not None:
        raise ConfigError(
            f"bn-scale ranks sites by the scale of their batch-norm, and {bare.layer or 'inputs'!r} has none; choose magnitude, "
            "or sites that end in a batch-norm"
        )


def loss(evidence: Evidence) -> FloatArray:
    """|sum theta g|: to first order, how much the loss changes when the site goes."""
    return np.abs(evidence.owners.sums(_products(evidence)))


def loss_elements(evidence: Evidence) -> FloatArray:
    """Sum of |theta g|: changes of single weights do not cancel."""
    return evidence.owners.sums({name: value.abs() for name, value in _products(evidence).items()})


def loss_weighted(evidence: Evidence) -> FloatArray:
    """Sum of |theta^2 g|, loss preservation weighted by magnitude."""
    theta = evidence.theta
    return evidence.owners.sums({name: (value * theta[name]).abs() for name, value in _products(evidence).items()})


def loss_tracked(evidence: Evidence) -> FloatArray:
    """Mean of |sum theta g| over the training steps since the last round.

    Raises
    ------
    ConfigError
        No training was watched.
    """
    if evidence.tracked is None:
        raise ConfigError(
            "loss-tracked is a mean over training steps, and none was watched; train for an epoch first, or choose loss"
        )
    return evidence.tracked


def random(evidence: Evidence) -> FloatArray:
    """Uniform numbers of the seed: the rival of all measures."""
    return generator(evidence.seed, Stream.RANDOM_SCORES).random(evidence.owners.sites.size)


def _products(evidence: Evidence) -> Tensors:
    return {name: theta * evidence.gradient[name] for name, theta in evidence.theta.items()}
