"""Effective samples and R-hat of a report: by ArviZ, which the engine's own estimate agrees with."""

import subprocess
import sys

import numpy as np
import pytest

from mcprune.chain import diagnostics
from mcprune.report.mixing import FEWEST, autocorrelation, mixing


def ar1(rho, steps=40_000, seed=0):
    """A series of the law x' = rho x + noise, whose autocorrelation time is (1 + rho) / (1 - rho)."""
    draw = np.random.default_rng(seed)
    values = np.zeros(steps)
    for i in range(1, steps):
        values[i] = rho * values[i - 1] + draw.normal()
    return values


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_ours_and_arviz_estimate_the_known_time(rho):
    series = ar1(rho)
    exact = (1 + rho) / (1 - rho)
    estimate = mixing(series)
    assert estimate.autocorrelation_time == pytest.approx(exact, rel=0.2)
    assert diagnostics.autocorrelation_time(series) == pytest.approx(exact, rel=0.2)
    assert estimate.effective == pytest.approx(diagnostics.effective_sample_size(series), rel=0.15)
    assert estimate.effective == pytest.approx(len(series) / estimate.autocorrelation_time)
    np.testing.assert_allclose(autocorrelation(series), diagnostics.autocorrelation(series), atol=1e-12)


def test_rhat_is_near_one_unless_the_halves_differ():
    series = ar1(0.5)
    assert mixing(series).rhat == pytest.approx(1.0, abs=0.01)
    drifting = series + np.linspace(0, 5, len(series))
    assert mixing(drifting).rhat > 1.2  # the control


@pytest.mark.parametrize(
    "series", [np.ones(50), np.arange(FEWEST - 1.0), np.empty(0)], ids=["constant", "short", "empty"]
)
def test_what_tells_nothing_is_not_estimated(series):
    assert np.isnan(mixing(series)).all()
    assert autocorrelation(series) is None


@pytest.mark.slow
def test_arviz_is_imported_where_it_is_used_only():
    code = "import sys, mcprune.report.tables, mcprune.report.charts.figures; print('arviz_stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
