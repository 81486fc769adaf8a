"""Measures of magnitude and of first order against the loss itself, each with a rule that must fail."""

import numpy as np
import pytest
from scored_networks import convolutions

from mcprune.errors import ConfigError
from mcprune.methods.importance.evidence import Evidence, row_losses
from mcprune.methods.importance.registry import score
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import SiteMap


def test_loss_is_the_change_of_the_loss_as_a_site_fades(net):
    """L((1 - e) theta) - L = -e sum theta g + O(e^2); sums of single changes do not pass for it."""
    fade = 1e-4
    scores = np.array([
        abs(net.scaled(site, 1 - fade, net.value) - net.scaled(site, 1 + fade, net.value)) / (2 * fade)
        for site in range(net.sites.size)
    ])  # fmt: skip
    np.testing.assert_allclose(net.score("loss"), scores, rtol=1e-5, atol=1e-7)
    if max(len(owned) for owned in net.owned) > 1 or net.owned[0][0][1][0] == slice(None):
        assert np.abs(net.score("loss-elements") - scores).max() > 1e-2 * scores.max()


def test_bn_scale_is_the_scale_of_the_batch_norms():
    net = convolutions()
    sites = SiteMap(net.sites.groups[:1])
    evidence = Evidence(
        net.model, Owners(net.model, sites), [(net.x, net.y)], losses=row_losses(CrossEntropy(), "loss")
    )
    scales = sum(net.parameters[name].detach().abs() for name in ("1.weight", "4.weight"))
    np.testing.assert_allclose(score("bn-scale", evidence).values, scales)
    with pytest.raises(ConfigError, match=r"bn-scale ranks .* '6' has none"):
        net.score("bn-scale")
