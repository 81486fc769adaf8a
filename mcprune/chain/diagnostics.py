"""What a run tells about its chain: acceptance, autocorrelation time, effective samples, best so far."""

import math

import numpy as np

from mcprune.chain.moves import KINDS
from mcprune.chain.state import ChainState, StepInfo
from mcprune.errors import ConfigError
from mcprune.types import AnyArray, FloatArray, IntArray

__all__ = ["BestSoFar", "Tally", "autocorrelation", "autocorrelation_time", "effective_sample_size"]


class Tally:
    """Running counts of proposals and acceptances by move, all replicas together."""

    def __init__(self) -> None:
        self.proposed: IntArray = np.zeros(len(KINDS), np.int64)
        self.accepted: IntArray = np.zeros(len(KINDS), np.int64)
        self.null = 0
        self.nonfinite = 0

    def add(self, info: StepInfo) -> None:
        """Count one batch."""
        self.proposed += info.proposed.sum(axis=0)
        self.accepted += info.accepted.sum(axis=0)
        self.null += int(info.null.sum())
        self.nonfinite += int(info.nonfinite.sum())

    @property
    def consumed(self) -> int:
        """Proposals in all, null steps among them."""
        return int(self.proposed.sum())

    def acceptance(self) -> float:
        """Return the accepted share of all proposals; nan before the first."""
        return float(self.accepted.sum()) / self.consumed if self.consumed else math.nan

    def rates(self) -> dict[str, float]:
        """Return the accepted share of each move that was proposed, by its name."""
        return {
            name: int(accepted) / int(proposed)
            for name, proposed, accepted in zip(KINDS, self.proposed, self.accepted, strict=True)
            if proposed
        }


def autocorrelation(series: AnyArray) -> FloatArray | None:
    """Autocorrelation at every lag from 0, which is 1; None for a constant series, which has none.

    Parameters
    ----------
    series : ndarray, shape (steps,) or (replicas, steps), finite
        As `autocorrelation_time` takes it.

    Returns
    -------
    ndarray, shape (steps,), or None

    Raises
    ------
    ConfigError
        For fewer than 2 steps or values that are not finite.
    """
    values: FloatArray = np.array(series, dtype=np.float64, ndmin=2)
    steps = values.shape[-1]
    if values.ndim != 2 or steps < 2 or not np.isfinite(values).all():
        raise ConfigError(f"A series of shape {np.shape(series)}: give at least 2 steps of finite values.")
    if values.min() == values.max():
        return None
    values -= values.mean()
    values /= np.abs(values).max()
    # zeros behind the series keep the circular correlation of the FFT from wrapping around
    spectrum = np.fft.rfft(values, n=1 << (2 * steps - 1).bit_length(), axis=-1)
    covariance: FloatArray = np.fft.irfft(np.abs(spectrum) ** 2, axis=-1)[:, :steps].mean(axis=0)
    shares: FloatArray = covariance / covariance[0]
    return shares


def autocorrelation_time(series: AnyArray, *, window: float = 5.0) -> float:
    """Integrated autocorrelation time, in steps of the series: 1 + 2 sum of the autocorrelations.

    The sum ends at the first lag M with M >= window * max(tau(M), 1): longer sums only gather noise.

    Parameters
    ----------
    series : ndarray, shape (steps,) or (replicas, steps), finite
        Replicas are chains of the same law: their autocovariances about the common mean are averaged.
    window : float
        Sokal's constant c.

    Returns
    -------
    float
        1 for independent values; below 1 where neighbours are opposed; nan for a constant series, which says
        nothing about mixing. Trust it only where there are at least some 50 tau steps.

    Raises
    ------
    ConfigError
        For fewer than 2 steps or values that are not finite.

    References
    ----------
    .. [1] Sokal (1997), Monte Carlo methods in statistical mechanics, in Functional Integration, Springer,
    section 3.
    """
    shares = autocorrelation(series)
    if shares is None:
        return math.nan
    steps = len(shares)
    taus = 2.0 * np.cumsum(shares) - 1.0
    # tau(1) of opposed neighbours is near 0: the window must not close on it
    enough = np.arange(steps) >= window * np.maximum(taus, 1.0)
    return float(taus[np.argmax(enough) if enough.any() else steps - 1])


def effective_sample_size(series: AnyArray) -> float:
    """Independent values that the series is worth: length over autocorrelation time; nan if constant."""
    return float(np.size(series)) / autocorrelation_time(series)


class BestSoFar:
    """The lowest loss seen and where: a wrapper, so that the chain itself needs no flag for it.

    Losses of different batches or classifiers do not compare: call `reset` when either changes.
    """

    def __init__(self) -> None:
        self.loss = math.inf
        self.step = -1
        self.position: FloatArray | None = None

    def reset(self) -> None:
        """Forget."""
        self.loss, self.step, self.position = math.inf, -1, None

    def update(self, state: ChainState) -> bool:
        """Look at all replicas; True where one is strictly better. Copies its position; NaN is never best."""
        losses = np.where(np.isnan(state.loss), math.inf, state.loss)
        replica = int(np.argmin(losses))
        if not losses[replica] < self.loss:
            return False
        self.loss, self.step = float(losses[replica]), int(state.step[replica])
        self.position = state.position[replica].copy()
        return True
