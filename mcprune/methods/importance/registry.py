"""The measures by name, and `score`, which applies one to all sites and ranks scores that are not finite last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from mcprune.config.measures import MEASURES, check_name
from mcprune.errors import NumericalError
from mcprune.methods.importance import first_order, second_order
from mcprune.methods.importance.evidence import Evidence
from mcprune.models.modes import attention_of_products, evaluating
from mcprune.types import FloatArray, IntArray

SHOWN = 5


@dataclass(frozen=True)
class Measure:
    """A measure of the importance of sites; the lowest score is dropped first.

    Attributes
    ----------
    score : callable
        Evidence -> ndarray (N,).
    needs_gradient : bool
    temperature : float
        Default divisor of the logits.
    passes : float
        Cost in forward and backward passes over the rows, a forward pass counting a third; nan if it grows with the classes.
    """

    score: Callable[[Evidence], FloatArray]
    needs_gradient: bool = True
    temperature: float = 1.0
    passes: float = 1.0

    def work(self, classes: int) -> float:
        """Return the cost in passes for a number of classes."""
        return (1.0 + 2.0 * classes) / 3.0 if math.isnan(self.passes) else self.passes


REGISTRY: Mapping[str, Measure] = MappingProxyType(
    {
        "magnitude": Measure(first_order.magnitude, needs_gradient=False, passes=0.0),
        "magnitude-l1": Measure(first_order.magnitude_l1, needs_gradient=False, passes=0.0),
        "bn-scale": Measure(first_order.bn_scale, needs_gradient=False, passes=0.0),
        "loss": Measure(first_order.loss),
        "loss-elements": Measure(first_order.loss_elements),
        "loss-weighted": Measure(first_order.loss_weighted),
        "loss-tracked": Measure(first_order.loss_tracked, passes=0.0),
        # The temperature of the original GraSP, for smoother logits.
        "grasp": Measure(second_order.grasp, temperature=200.0, passes=4.0),
        "gradient-norm": Measure(second_order.gradient_norm, passes=4.0),
        "fisher": Measure(second_order.fisher),
        "fisher-batch": Measure(second_order.fisher_batch),
        "obd": Measure(second_order.obd, passes=math.nan),
        "obd-row-sum": Measure(second_order.obd_row_sum, passes=3.0),
        "random": Measure(first_order.random, needs_gradient=False, passes=0.0),
    }
)
assert tuple(REGISTRY) == MEASURES


@dataclass(frozen=True)
class Scores:
    """Scores of all sites.

    Attributes
    ----------
    values : ndarray of float64, shape (N,)
        Finite; the lowest is dropped first.
    nonfinite : ndarray of int64
        Sites whose score was not finite; they rank below all others, so they are dropped first.
    notes : tuple of str
        Remarks for the user.
    """

    values: FloatArray
    nonfinite: IntArray
    notes: tuple[str, ...] = ()


def measure(name: str) -> Measure:
    """Return the measure of that name.

    Raises
    ------
    ConfigError
        There is none; the nearest is suggested.
    """
    return REGISTRY[check_name(name)]


def score(name: str, evidence: Evidence) -> Scores:
    """Score all sites, with the model in evaluation mode.

    Raises
    ------
    ConfigError
        There is no such measure, or it cannot score these sites.
    NumericalError
        No score is finite.
    """
    chosen = measure(name)
    with evaluating(evidence.model), attention_of_products():
        values = np.array(chosen.score(evidence), np.float64)
    return ranked(name, values, evidence.owners.sites.names(), tuple(evidence.notes))


def ranked(name: str, values: FloatArray, sites: tuple[str, ...], notes: tuple[str, ...] = ()) -> Scores:
    """Rank scores that are not finite below all others, and note their sites.

    Raises
    ------
    NumericalError
        No score is finite.
    """
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size == values.size:
        raise NumericalError(
            f"no score of the measure {name!r} is finite: the classifier has diverged, or the gradient of its loss is not finite. "
            "Lower --learning-rate, or choose another --measure."
        )
    if bad.size:
        finite = values[np.isfinite(values)]
        values = np.where(np.isfinite(values), values, np.nextafter(finite.min(), -np.inf))
        names = ", ".join(sites[site] for site in bad[:SHOWN]) + (", ..." if bad.size > SHOWN else "")
        notes = (
            *notes,
            f"{name}: {bad.size:,} of {values.size:,} scores were not finite and count as the lowest: {names}",
        )
    return Scores(values, bad, notes)
