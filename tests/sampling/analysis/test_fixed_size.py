from __future__ import annotations

import numpy as np
import pytest
from mask_laws import all_masks

from mcprune.sampling.analysis.fixed_size import independent_joint


@pytest.mark.parametrize(
    ("sites", "keep", "spread"), [(3, 1, 1.0), (3, 2, 1.0), (6, 2, 1.0), (8, 4, 2.0), (10, 7, 3.0), (10, 5, 6.0)]
)
def test_the_law_without_interactions_is_that_of_enumeration(sites: int, keep: int, spread: float) -> None:
    rng = np.random.default_rng(sites)
    masks = all_masks(sites, keep)
    shares = np.exp(masks @ (spread * rng.normal(size=sites)))
    shares /= shares.sum()
    exact = (masks * shares[:, None]).T @ masks.astype(float)
    joint = independent_joint(shares @ masks, np.arange(sites))
    np.testing.assert_allclose(joint, exact, atol=1e-9)
    # Control: the product of the two P is another law.
    assert np.abs(np.outer(shares @ masks, shares @ masks) - exact)[~np.eye(sites, dtype=bool)].max() > 1e-4


def test_sites_that_are_always_or_never_kept_leave_the_others_their_law() -> None:
    masks = all_masks(6, 2)
    shares = np.arange(1.0, len(masks) + 1)
    shares /= shares.sum()
    p = shares @ masks
    joint = independent_joint(np.r_[p, 1.0, 0.0], np.arange(8))
    np.testing.assert_allclose(joint[:6, :6], independent_joint(p, np.arange(6)), atol=1e-9)
    np.testing.assert_allclose(joint[6], np.r_[p, 1.0, 0.0])
    assert not joint[7].any()


def test_a_part_of_the_sites_has_the_joint_inclusion_of_all() -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(300)) * 40 * 0.5 + 20 / 300
    p = np.minimum(p, 0.95)
    p *= 40 / p.sum()
    some = np.array([4, 17, 250])
    joint = independent_joint(p, np.arange(300))
    np.testing.assert_allclose(independent_joint(p, some), joint[np.ix_(some, some)])
    # Each kept site has n - 1 others beside it.
    np.testing.assert_allclose(joint.sum(axis=1), 40 * p, rtol=1e-8)
