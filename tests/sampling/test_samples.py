"""Samples: shapes, statistics against closed forms and ArviZ, errors."""

import math

import numpy as np
import pytest

from mcprune.errors import ConfigError
from mcprune.sampling import diagnostics
from mcprune.sampling.samples import Samples


def bernoulli_masks(seed: int, chains: int = 4, draws: int = 500) -> np.ndarray:
    """Masks of 2 of 5 sites, independent; site 4 is never kept and sites 0 and 1 exclude one another."""
    draw = np.random.default_rng(seed)
    masks = np.zeros((chains, draws, 5), bool)
    for chain in range(chains):
        for step in range(draws):
            masks[chain, step, draw.integers(2)] = True
            masks[chain, step, 2 + draw.integers(2)] = True
    return masks


def samples_of(masks: np.ndarray, losses: np.ndarray | None = None) -> Samples:
    if losses is None:
        losses = np.random.default_rng(9).normal(size=masks.shape[:2])
    return Samples(masks, losses, 0.1, 0.1, tuple("abcde"))


def test_statistics_of_independent_draws_are_those_of_the_binomial_law() -> None:
    samples = samples_of(bernoulli_masks(1))
    assert (samples.chains, samples.draws, samples.sites, samples.keep) == (4, 500, 5, 2)
    assert samples.probability.sum() == pytest.approx(2.0)
    assert np.abs(samples.probability[:4] - 0.5).max() < 4 * 0.5 / math.sqrt(2000)
    assert (np.abs(samples.ess[:4] / 2000 - 1.0) < 0.4).all()
    assert samples.monte_carlo_error[:4] == pytest.approx(0.5 / np.sqrt(samples.ess[:4]), rel=1e-3)
    assert (samples.r_hat < 1.01).all()
    assert samples.loss_r_hat < 1.01


def test_a_site_that_no_draw_keeps_has_an_error_above_zero() -> None:
    samples = samples_of(bernoulli_masks(2))
    assert samples.probability[4] == 0.0
    assert 0.5 / samples.loss_ess < samples.monte_carlo_error[4] < 2.0 / samples.loss_ess
    assert samples.r_hat[4] == 1.0


def test_r_hat_of_sites_is_arviz_rank_normalised_split() -> None:
    from arviz_stats.base import array_stats

    draw = np.random.default_rng(3)
    masks = draw.random((4, 101, 6)) < draw.random((4, 1, 6))
    expected = [
        float(array_stats.rhat(masks[:, :, i].astype(float), chain_axis=0, draw_axis=1, method="z_scale"))
        for i in range(6)
    ]
    assert diagnostics.site_r_hat(masks) == pytest.approx(expected, rel=1e-9)


def test_chains_that_stand_still_apart_have_no_finite_r_hat() -> None:
    masks = np.zeros((4, 50, 5), bool)
    masks[:2, :, :2] = True
    masks[2:, :, 2:4] = True
    samples = samples_of(masks, np.repeat([[1.0], [1.0], [2.0], [2.0]], 50, axis=1))
    assert np.isinf(samples.r_hat[:4]).all()
    assert samples.r_hat[4] == 1.0
    assert samples.loss_r_hat > 10


def test_few_draws_have_no_diagnostics() -> None:
    samples = samples_of(bernoulli_masks(1, draws=4))
    assert np.isnan(samples.r_hat).all()
    assert np.isnan(samples.ess).all()
    assert math.isnan(samples.loss_r_hat)
    assert math.isnan(samples.loss_ess)


def test_the_summary_has_the_most_probable_site_first_and_best_the_lowest_loss() -> None:
    masks = bernoulli_masks(1)
    masks[:, :100, :2] = [True, False]
    samples = samples_of(masks)
    lines = samples.summary()
    assert (lines[0].site, lines[0].name) == (0, "a")
    assert [line.probability for line in lines] == sorted(samples.probability, reverse=True)
    mask, loss = samples.best
    place = np.unravel_index(np.argmin(samples.losses), samples.losses.shape)
    assert loss == samples.losses[place]
    assert (mask == masks[place]).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"masks": np.ones((1, 5, 3), bool)}, "at least two chains"),
        ({"losses": np.zeros((2, 4))}, "Give a loss a mask"),
        ({"names": ("a",)}, "Give a name a site"),
        ({"masks": np.arange(30).reshape(2, 5, 3) % 4 > 1}, "same number of sites"),
    ],
)
def test_samples_that_do_not_fit_are_refused(change: dict[str, object], says: str) -> None:
    whole = {"masks": np.ones((2, 5, 3), bool), "losses": np.zeros((2, 5)), "names": ("a", "b", "c")}
    with pytest.raises(ConfigError, match=says):
        Samples(**{"temperature": 1.0, "paired_error": 0.1, **whole, **change})  # type: ignore[arg-type]
