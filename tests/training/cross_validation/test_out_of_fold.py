"""The share of each row in a mean over training and fresh rows."""

import numpy as np
import pytest

from mcprune.training.cross_validation.out_of_fold import FRESH_ROWS, row_shares


@pytest.mark.parametrize("fresh", [0, 6, FRESH_ROWS, 200])
def test_fresh_rows_have_half_of_the_weight_from_thirty_on(fresh):
    weights = np.random.default_rng(0).uniform(0.1, 3.0, 100 + fresh)
    is_fresh = np.arange(100 + fresh) >= 100
    share = row_shares(weights, is_fresh)
    assert share.sum() == pytest.approx(1.0)
    assert share[is_fresh].sum() == pytest.approx(0.5 * min(1.0, fresh / FRESH_ROWS))
    for part in (is_fresh, ~is_fresh):
        np.testing.assert_allclose(share[part] * weights[part].sum(), weights[part] * share[part].sum())


def test_fresh_rows_of_weight_0_leave_the_others_their_shares():
    weights = np.r_[np.full(50, 2.0), np.zeros(40)]
    share = row_shares(weights, weights == 0)
    assert np.isfinite(share).all()
    np.testing.assert_allclose(share, weights / 100.0)
