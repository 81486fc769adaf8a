"""Sums of squared per-row gradients, in closed form and by vmap."""

import numpy as np
import pytest
import torch
from scored_networks import CLASSES, ScoredNetwork, brute, convolutions
from torch import nn

from mcprune.methods.importance.registry import score
from mcprune.methods.importance.samples import label_slopes, squared_sums
from mcprune.sites.site_map import SiteGroup, SiteMap


class Twice(nn.Module):
    """One layer used twice, and a layer of another kind."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Conv1d(1, 4, 2), nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        hidden = torch.tanh(self.first(x[:, None]).mean(2))
        return self.last(torch.relu(self.again(torch.relu(self.again(hidden)))))


def test_rows_squares_are_exact_where_no_closed_form_serves():
    torch.manual_seed(4)
    sites = SiteMap((SiteGroup("channels", "first", 0, 4, ("first",), ("first",)), SiteGroup("units", "again", 4, 4)))
    owned = [
        [(f"{layer}.{part}", (j,)) for part in ("weight", "bias")] for layer in ("first", "again") for j in range(4)
    ]
    net = ScoredNetwork(Twice(), sites, (6,), owned)
    evidence = net.evidence(rows_at_once=7)
    scores = score("fisher", evidence)
    np.testing.assert_allclose(scores.values, brute(net, "fisher"), rtol=1e-8)
    assert "vmap" in scores.notes[0]
    np.testing.assert_allclose(net.score("obd"), brute(net, "obd"), rtol=1e-8)


@pytest.mark.parametrize("at_once", [1, 5, None])
def test_pieces_of_rows_change_nothing(at_once):
    net = convolutions()
    whole = net.score("fisher")
    np.testing.assert_allclose(net.score("fisher", rows_at_once=at_once), whole, rtol=1e-12)


def test_rows_squares_of_a_linear_over_several_places():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8, CLASSES))
    net = ScoredNetwork(
        model,
        SiteMap((SiteGroup("units", "0", 0, 4),)),
        (2, 3),
        [[(f"0.{p}", (j,)) for p in ("weight", "bias")] for j in range(4)],
    )
    np.testing.assert_allclose(net.score("fisher"), brute(net, "fisher"), rtol=1e-8)
    assert not net.evidence().notes


def test_closed_squares_meet_vmap_on_float32(monkeypatch):
    net = convolutions()
    closed = squared_sums(net.evidence(), label_slopes(net.evidence()))
    monkeypatch.setattr("mcprune.methods.importance.samples._is_closed", lambda _: False)
    opened = squared_sums(net.evidence(), label_slopes(net.evidence()))
    for name, value in closed.items():
        torch.testing.assert_close(value, opened[name], rtol=1e-8, atol=1e-12)
