"""Masks drawn from the law of good masks, and what they say of each site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcprune.errors import ConfigError
from mcprune.sampling import diagnostics
from mcprune.types import BoolArray, FloatArray

if TYPE_CHECKING:
    from xarray import DataTree

# R-hat up to which chains are taken to have one law, and the fewest effective samples, both of Vehtari et al. (2021).
MIXED, ENOUGH = 1.01, 400.0


class SiteSummary(NamedTuple):
    """One line of the table of sites."""

    site: int
    name: str
    probability: float
    error: float
    ess: float
    r_hat: float


@dataclass(frozen=True, eq=False)
class Samples:
    """Masks of exactly n sites, drawn by several chains with probability proportional to exp(-loss / temperature).

    Parameters
    ----------
    masks : ndarray of bool, shape (chains, draws, sites)
        True where the site is kept; each mask keeps as many sites.
    losses : ndarray of float64, shape (chains, draws)
        Total loss of each mask on the evaluation rows.
    temperature : float, > 0
        In the unit of the loss.
    paired_error : float
        Standard error of the difference of two masks' mean losses on the evaluation rows: masks whose losses differ by less cannot be told
        apart by these rows.
    names : tuple of str
        Of the sites.
    swap_rates : tuple of float
        Accepted share of the swaps of neighbouring rungs, from that of the loss on; empty without a ladder.

    Raises
    ------
    ConfigError
        Shapes that do not fit, fewer than two chains, or masks of different sizes.
    """

    masks: BoolArray
    losses: FloatArray
    temperature: float
    paired_error: float
    names: tuple[str, ...]
    swap_rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.masks.ndim != 3 or self.masks.shape[0] < 2 or 0 in self.masks.shape:
            raise ConfigError(
                f"The masks have shape {self.masks.shape}. Give (chains, draws, sites) of at least two chains."
            )
        if self.losses.shape != self.masks.shape[:2]:
            raise ConfigError(
                f"The losses have shape {self.losses.shape}, but the masks {self.masks.shape}. Give a loss a mask."
            )
        if len(self.names) != self.masks.shape[2]:
            raise ConfigError(
                f"{len(self.names)} names, but the masks have {self.masks.shape[2]} sites. Give a name a site."
            )
        sizes = np.unique(self.masks.sum(axis=2))
        if sizes.size > 1:
            raise ConfigError(
                f"The masks keep {sizes[0]} to {sizes[-1]} sites. Give masks that all keep the same number of sites."
            )

    @property
    def chains(self) -> int:
        """Number of chains."""
        return int(self.masks.shape[0])

    @property
    def draws(self) -> int:
        """Masks of each chain."""
        return int(self.masks.shape[1])

    @property
    def sites(self) -> int:
        """Number of sites."""
        return int(self.masks.shape[2])

    @property
    def keep(self) -> int:
        """Number of sites that each mask keeps."""
        return int(self.masks[0, 0].sum())

    @cached_property
    def flat_masks(self) -> BoolArray:
        """The masks of all chains one after the other, shape (chains * draws, sites)."""
        return self.masks.reshape(-1, self.sites)

    @cached_property
    def flat_losses(self) -> FloatArray:
        """The losses of `flat_masks`, shape (chains * draws,)."""
        return self.losses.reshape(-1)

    @cached_property
    def probability(self) -> FloatArray:
        """Estimate of P(site is kept), shape (sites,); they sum to n."""
        return np.asarray(self.masks.mean(axis=(0, 1)), np.float64)

    @cached_property
    def ess(self) -> FloatArray:
        """Effective sample size of the mean of each site, shape (sites,); all draws for a site that never changes."""
        return diagnostics.site_effective_size(self.masks)

    @cached_property
    def monte_carlo_error(self) -> FloatArray:
        """Standard error of `probability` as an estimate from finitely many draws, shape (sites,)."""
        return diagnostics.site_error(self.probability, self.ess, self.loss_ess)

    @cached_property
    def r_hat(self) -> FloatArray:
        """Rank-normalised split R-hat of each site, shape (sites,); 1 for a site that never changes."""
        return diagnostics.site_r_hat(self.masks)

    @cached_property
    def loss_r_hat(self) -> float:
        """Rank-normalised split R-hat of the loss."""
        return diagnostics.r_hat(self.losses)

    @cached_property
    def loss_ess(self) -> float:
        """Effective sample size of the loss, after rank normalisation."""
        return diagnostics.bulk_size(self.losses)

    @cached_property
    def loss_spread(self) -> float:
        """Standard deviation of the loss under the law."""
        return float(self.losses.std())

    @cached_property
    def best(self) -> tuple[BoolArray, float]:
        """The mask (sites,) of the lowest loss, and that loss."""
        place = int(np.argmin(self.flat_losses))
        return self.flat_masks[place], float(self.flat_losses[place])

    def to_arviz(self) -> DataTree:
        """Return the samples as ArviZ takes them, for `plot_trace(samples.to_arviz(), var_names=["loss"])` or `plot_forest(...)`.

        Returns
        -------
        xarray.DataTree
            Its group `posterior` has `kept` (chain, draw, site), 1 where the site is kept, and `loss` (chain, draw). Where ArviZ before 1.0
            is installed (Python 3.11), an `arviz.InferenceData` of the same content, which its plots need.

        Raises
        ------
        ConfigError
            Neither arviz nor arviz-base is installed.
        """
        posterior = {"kept": self.masks.astype(np.int8), "loss": self.losses}
        attributes = {"temperature": self.temperature, "paired_error": self.paired_error, "keep": self.keep}
        coords, dims = {"site": list(self.names)}, {"kept": ["site"]}
        if has_inference_data():
            import arviz

            data: DataTree = arviz.from_dict(posterior=posterior, coords=coords, dims=dims, posterior_attrs=attributes)
            return data
        try:
            from arviz_base import from_dict
        except ImportError:
            raise ConfigError(
                "to_arviz needs arviz-base, which is not installed. Install it with: pip install arviz-base."
            ) from None
        groups: Any = {"posterior": posterior}
        return from_dict(groups, coords=coords, dims=dims, attrs={"posterior": attributes})

    def summary(self) -> list[SiteSummary]:
        """One line a site, the most probable first; equal ones in the order of the sites."""
        order = np.argsort(-self.probability, kind="stable")
        columns = self.probability, self.monte_carlo_error, self.ess, self.r_hat
        return [SiteSummary(int(i), self.names[i], *(float(column[i]) for column in columns)) for i in order]


def has_inference_data() -> bool:
    """Whether ArviZ before 1.0 is installed, whose plots take no DataTree."""
    try:
        return metadata.version("arviz").startswith("0.")
    except metadata.PackageNotFoundError:
        return False
