"""Latencies of cut models: the table, the additive fit, and its refusals."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.exporters import latency
from mcprune.exporters.latency import LatencyModel, LatencyTable, cut_latency
from mcprune.models.flops import multiply_accumulates
from mcprune.models.mlp import MLP
from mcprune.sites.costs.count import model_costs
from mcprune.sites.site_map import site_map


def timed_of(model, kinds, width):
    sites = site_map(model, kinds, width)
    return LatencyModel(model, sites, model_costs(model, sites, "macs", input_shape=(width,)), 8, (width,))


@pytest.fixture
def clockless(monkeypatch):
    """Time that a formula tells: a constant, and a part for each multiply-accumulate of the cut model."""

    def seconds(models, shapes, rows, rounds):
        macs = [multiply_accumulates(model, shape) for model, shape in zip(models, shapes, strict=True)]
        return 4e-6 + 2e-10 * rows * np.array(macs)

    monkeypatch.setattr(latency, "cut_latency", seconds)


def test_what_is_a_sum_of_products_is_fitted_exactly(clockless):
    timed = timed_of(MLP((12, 30, 20, 3)), "inputs,units", 12)
    table = timed.table()
    assert table.counts.min() == 1
    assert (table.counts[0] == [12, 30, 20]).all()
    costs = timed.fit(table)
    draw = np.random.default_rng(0)
    for _ in range(20):
        c = draw.integers(1, [13, 31, 21])
        exact = 4e6 + 200 * 8 * (c[0] * c[1] + c[1] * c[2] + 3 * c[2])
        assert abs(int(costs.of(c)) - exact) <= 1e-3 * exact
    assert (costs.terms.each > 0).all()


def test_some_of_the_table_has_about_the_latency_that_is_asked_for(clockless):
    timed = timed_of(MLP((12, 30, 20, 3)), "inputs,units", 12)
    table = timed.table(limit=5e-6)
    assert len(table.seconds) == latency.POINTS + latency.NEAR
    near = table.seconds[latency.POINTS :]
    assert (near <= 5.001e-6).all()
    assert np.median(near) > 4.9e-6


def test_channels_of_a_convolution_are_timed_too(clockless):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten()),
        nn.Linear(16, 3),
    )
    timed = timed_of(model, "channels", 36)
    c = np.array([3, 2])
    macs = 16 * 9 * 3 + 4 * 9 * 3 * 2 + 4 * 2 * 3
    assert int(timed.fit(timed.table()).of(c)) == pytest.approx(4e6 + 200 * 8 * macs, rel=1e-3)


def test_a_wide_network_takes_longer_than_a_narrow_one():
    wide, narrow = (nn.Sequential(nn.Linear(512, width), nn.ReLU(), nn.Linear(width, 10)) for width in (2048, 16))
    before = torch.get_num_threads()
    slow, fast = cut_latency([wide, narrow], [(512,), (512,)], 64, 5)
    assert slow > 3 * fast > 0
    assert torch.get_num_threads() == before


def test_a_table_of_another_model_is_refused():
    timed = timed_of(MLP((12, 30, 20, 3)), "inputs,units", 12)
    with pytest.raises(ModelError, match="table is of 2 groups of sites, but the model has 3 of sizes"):
        timed.fit(LatencyTable(np.array([[3, 4]]), np.array([1e-5]), 8))
    with pytest.raises(ModelError, match="Measure it again"):
        timed.fit(LatencyTable(np.array([[13, 4, 5]]), np.array([1e-5]), 8))
