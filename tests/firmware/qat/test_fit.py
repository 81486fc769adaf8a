"""Quantisation-aware training: its integers give its outputs, its front is one, and the penalty makes networks small."""

import numpy as np
import pytest
import torch

from mcprune.errors import ConfigError, ModelError
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.network import plain_origin
from mcprune.firmware.qat.convert import check_equal, to_fixed
from mcprune.firmware.qat.fit import Snapshot, Training, on_front, train_rounded
from mcprune.firmware.qat.network import Bits

ROWS, INPUTS = 3000, 6


@pytest.fixture(scope="module")
def parts():
    draw = np.random.default_rng(0)
    features = np.clip(draw.normal(size=(ROWS, INPUTS)), -4, 4).astype(np.float32)
    features[:, 5] = np.abs(features[:, 5])
    targets = (features[:, 0] * features[:, 1] + features[:, 2] > 0).astype(np.int64) + (features[:, 5] > 1.2)
    return (features[:2000], targets[:2000]), (features[2000:], targets[2000:])


@pytest.fixture(scope="module")
def front(parts):
    return train_rounded(
        *parts, Training(hidden=(12, 8), epochs=60, batch_size=250, learning_rate=0.02, penalty=(1e-6, 3e-2))
    )


def test_the_integers_give_the_outputs_of_the_trained_network_on_all_rows(front, parts):
    rows = np.concatenate([parts[0][0], parts[1][0]])
    for snapshot in front:
        network = to_fixed(snapshot.model, plain_origin(INPUTS, 3))
        for scale in (1, 3):  # out of range as well
            check_equal(snapshot.model, network, scale * rows)
        with torch.no_grad():
            outputs = snapshot.model(torch.from_numpy(rows)).numpy()
        assert (network.forward(network.quantize_inputs(rows)) * network.logit_scale == outputs).all()


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_overflow_is_that_of_the_integers(parts, overflow):
    (snapshot,) = train_rounded(*parts, Training(hidden=(5,), epochs=1, overflow=overflow))
    model = snapshot.model
    model.tops *= 0.2  # so that many rows overflow
    network = to_fixed(model, plain_origin(INPUTS, 3))
    check_equal(model, network, parts[0][0])
    other = to_fixed(snapshot.model, plain_origin(INPUTS, 3))
    flipped = {"wrap": "saturate", "saturate": "wrap"}[overflow]
    model.overflow = flipped
    with pytest.raises(ModelError, match="differ from the trained network"):
        check_equal(model, other, parts[0][0])


def test_the_front_goes_from_accurate_to_small(front, parts):
    assert len(front) >= 4
    losses, sizes = [one.loss for one in front], [one.bit_operations for one in front]
    assert losses == sorted(losses)
    assert sizes == sorted(sizes, reverse=True)
    first, last = (costs(to_fixed(one.model, plain_origin(INPUTS, 3))) for one in (front[0], front[-1]))
    assert last.digits < 0.3 * first.digits
    network = to_fixed(front[0].model, plain_origin(INPUTS, 3))
    assert (network.predict(parts[1][0]) == parts[1][1]).mean() > 0.8


def test_bit_operations_are_those_of_the_bits(front):
    """The penalty counts at least the enclosed bits of the integers: grids may be finer than the lowest set bit."""
    for snapshot in front:
        assert snapshot.bit_operations >= costs(to_fixed(snapshot.model, plain_origin(INPUTS, 3))).ebops


def test_the_same_seed_gives_the_same_network_and_another_seed_another(parts):
    settings = Training(hidden=(4,), epochs=2)
    nets = [
        to_fixed(train_rounded(*parts, settings._replace(seed=seed))[0].model, plain_origin(INPUTS, 3))
        for seed in (0, 0, 1)
    ]
    assert (nets[0].layers[0].weight == nets[1].layers[0].weight).all()
    assert (nets[0].layers[0].weight != nets[2].layers[0].weight).any()


def test_without_trained_bits_all_grids_stay(parts):
    bits = Bits(inputs=3, weights=5, signals=4, is_trained=False)
    (*_, snapshot) = train_rounded(*parts, Training(hidden=(5,), epochs=4, every=4, bits=bits))
    network = to_fixed(snapshot.model, plain_origin(INPUTS, 3))
    assert {layer.fraction for layer in network.layers} == {5}
    assert set(network.inputs.fraction) == {3}
    check_equal(snapshot.model, network, parts[0][0])


def test_a_front_holds_no_snapshot_that_another_one_beats():
    snaps = [Snapshot(loss, size, 0, None) for loss, size in [(1, 9), (2, 5), (2, 6), (3, 5), (4, 1), (1, 9)]]
    assert [(one.loss, one.bit_operations) for one in on_front(snaps)] == [(1, 9), (2, 5), (4, 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalty": (0, 1)}, "does not grow"),
        ({"overflow": "clamp"}, "wrap or saturate"),
        ({"epochs": 0}, "1 or more"),
        ({"learning_rate": 0}, "no finite number above 0"),
        ({"learning_rate": float("nan")}, "no finite number above 0"),
        ({"penalty": (1e-6, float("inf"))}, "does not grow"),
    ],
)
def test_settings_that_cannot_be_are_refused(parts, change, message):
    with pytest.raises(ConfigError, match=message):
        train_rounded(*parts, Training(**change))
