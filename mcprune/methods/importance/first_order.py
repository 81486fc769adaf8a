"""Measures of magnitude and of first order: evidence -> scores (N,), the lowest dropped first."""

from __future__ import annotations

import numpy as np
import torch

from mcprune.errors import ConfigError
from mcprune.methods.importance.evidence import Evidence, Tensors
from mcprune.random import Stream, generator
from mcprune.sites.owners import Owners
from mcprune.types import FloatArray


def magnitude(evidence: Evidence) -> FloatArray:
    """Return |theta|_2 over the parameters of each site."""
    return np.asarray(np.sqrt(evidence.owners.sums({name: theta**2 for name, theta in evidence.theta.items()})))


def magnitude_l1(evidence: Evidence) -> FloatArray:
    """Return |theta|_1 over the parameters of each site."""
    return evidence.owners.sums({name: theta.abs() for name, theta in evidence.theta.items()})


def bn_scale(evidence: Evidence) -> FloatArray:
    """Return |gamma| of the batch-norm after each channel, summed where tied channels have several.

    Raises
    ------
    ConfigError
        A site has no batch-norm.
    """
    require_batch_norm(evidence.owners)
    scales = {name: theta.abs() for name, theta in evidence.theta.items() if name.endswith("weight")}
    return evidence.owners.sums(scales, "BatchNorm")


def require_batch_norm(owners: Owners) -> None:
    """Check that every site has a batch-norm of its own.

    Raises
    ------
    ConfigError
        A site has none; the message names its group.
    """
    ones = {name: torch.ones_like(tensor) for name, tensor in owners.parameters.items() if name.endswith("weight")}
    normed = owners.sums(ones, "BatchNorm")
    bare = next((group for group in owners.sites.groups if not normed[group.start : group.stop].all()), None)
    if bare is not None:
        raise ConfigError(
            f"bn-scale ranks sites by the scale of their batch-norm, and {bare.layer or 'inputs'!r} has none. Choose magnitude, "
            "or sites that end in a batch-norm."
        )


def loss(evidence: Evidence) -> FloatArray:
    """Return |sum theta g|: to first order, the change of the loss when the site is dropped."""
    return np.abs(evidence.owners.sums(_products(evidence)))


def loss_elements(evidence: Evidence) -> FloatArray:
    """Return the sum of |theta g|, in which changes of single weights do not cancel."""
    return evidence.owners.sums({name: value.abs() for name, value in _products(evidence).items()})


def loss_weighted(evidence: Evidence) -> FloatArray:
    """Return the sum of |theta^2 g|: loss preservation weighted by magnitude."""
    theta = evidence.theta
    return evidence.owners.sums({name: (value * theta[name]).abs() for name, value in _products(evidence).items()})


def loss_tracked(evidence: Evidence) -> FloatArray:
    """Return the mean of |sum theta g| over the training steps since the last round.

    Raises
    ------
    ConfigError
        No training step was recorded.
    """
    if evidence.tracked is None:
        raise ConfigError(
            "loss-tracked is a mean over training steps, and none was recorded. Train for an epoch first, or choose loss."
        )
    return evidence.tracked


def random(evidence: Evidence) -> FloatArray:
    """Return uniform random scores, the baseline of all measures."""
    return generator(evidence.seed, Stream.RANDOM_SCORES).random(evidence.owners.sites.size)


def _products(evidence: Evidence) -> Tensors:
    return {name: theta * evidence.gradient[name] for name, theta in evidence.theta.items()}
