"""Chains over the digits of random networks, and the check that their state is exact."""

import numpy as np
import pytest
from fixed_networks import random_network, random_rows

from mcprune.data.prepare import Rows
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.polish.engine.arrays import network_of
from mcprune.firmware.polish.engine.chain import Chain, mean_loss


def some_rows(seed, count, columns, classes, *, is_weighted=False):
    """Rows of classes that depend on several columns."""
    rng = np.random.default_rng([seed, 7])
    weights = rng.uniform(0.5, 2.0, count) if is_weighted else None
    features = random_rows(seed, count, columns)
    logits = np.maximum(features @ rng.normal(size=(columns, 8)), 0) @ rng.normal(size=(8, classes))
    return Rows(features, (logits - logits.mean(axis=0)).argmax(axis=1), weights)


def some_chain(seed, widths=(6, 5, 4, 3), unit="digits", count=700, **options):
    """A chain over a random network; options are those of `random_network`."""
    network = random_network(seed, widths, **options).but(logit_scale=2.0**-9)
    return Chain(network, some_rows(seed, count, widths[0], widths[-1], is_weighted=seed % 2 == 1), unit, seed)


def assert_exact(chain):
    """The state of every row and layer, the costs and the loss are those of the network as it stands."""
    network = network_of(chain.arrays, chain.network)
    inputs = network.quantize_inputs(chain.data.features)
    signals = network.signals(inputs)
    held = np.split(chain.arrays.rows.signals, np.cumsum(network.widths[:-1])[:-1])
    for expected, values in zip(signals, held, strict=False):
        assert (expected == values.T).all()
    assert (signals[-1] == chain.logits().T).all()
    first = 0
    for number, layer in enumerate(network.layers):
        sums = signals[number] @ layer.weight.T + layer.bias
        assert (sums == chain.arrays.rows.accumulators[first : first + len(layer.bias)].T).all()
        first += len(layer.bias)
    assert chain.cost == chain.arrays.net.costs.sum() == costs(network).of(chain.unit)
    assert chain.loss == pytest.approx(mean_loss(network, chain.data), rel=1e-6, abs=1e-6)
