"""Rounding folded into biases; alkaid's sums, where it is installed, are the network's."""

import numpy as np
import pytest
from fixed_networks import random_network, random_rows

from mcprune.errors import ConfigError, ModelError
from mcprune.firmware.counting import solver
from mcprune.firmware.counting.solver import floor_rounding, has_solver, solve, solve_layers, trace_network

needs_alkaid = pytest.mark.skipif(not has_solver(), reason="alkaid is not installed")


@pytest.mark.parametrize("seed", range(25))
def test_cutting_off_with_half_a_step_in_the_bias_is_rounding(seed):
    network, rows = random_network(seed, rounding="nearest"), random_rows(seed, 200, 6)
    cut = floor_rounding(network)
    assert all(layer.activation.rounding == "floor" for layer in cut.layers[:-1])
    inputs = network.quantize_inputs(rows)
    assert (cut.forward(inputs) == network.forward(inputs)).all()


def test_cutting_off_alone_is_another_network():
    network, rows = random_network(0, rounding="nearest"), random_rows(0, 200, 6)
    inputs = network.quantize_inputs(rows)
    cut = floor_rounding(network)
    plain = network.but(layers=tuple(
        layer if layer.activation is None else floored for layer, floored in zip(network.layers, [
            type(layer)(layer.weight, layer.fraction, layer.bias, other.activation, layer.relu)
            for layer, other in zip(network.layers, cut.layers, strict=True)], strict=True)))  # fmt: skip
    assert (plain.forward(inputs) != network.forward(inputs)).any()


def test_without_alkaid_the_message_names_the_extra(monkeypatch):
    monkeypatch.setattr(solver, "PACKAGE", "no_such_package")
    assert not has_solver()
    with pytest.raises(ConfigError, match=r"pip install 'mcprune\[firmware\]'"):
        trace_network(random_network(0))


@needs_alkaid
@pytest.mark.parametrize("seed", range(25))
def test_the_solver_computes_the_same_bits(seed):
    network, rows = random_network(seed), random_rows(seed, 300, 6)
    inputs = network.quantize_inputs(rows)
    point = network.accumulator_fraction(2)
    outputs = trace_network(network).predict(np.ldexp(inputs.astype(float), -network.inputs.common), n_threads=1)
    assert (np.ldexp(outputs, point) == network.forward(inputs)).all()


@needs_alkaid
def test_the_sum_over_layers_is_about_the_whole():
    network = random_network(1, (6, 8, 5, 3), zeros=0.0)
    whole, layers = solve(network), solve_layers(network)
    assert sum(layer.luts for layer in layers) == pytest.approx(whole.luts, rel=0.2)
    assert sum(layer.adders for layer in layers) == pytest.approx(whole.adders, rel=0.2)


def test_what_the_solver_cannot_take_is_counted_without_sharing(monkeypatch):
    import mcprune.firmware.counting.solver as module
    from mcprune.firmware.counting.costs import costs
    from mcprune.firmware.counting.sizes import layer_sizes

    def fail(*_):
        raise AssertionError("an interval does not cover all values")

    monkeypatch.setattr(module, "need_solver", lambda: None)
    monkeypatch.setattr(module, "import_module", lambda name: None)
    monkeypatch.setattr(module, "_symbolic", fail)
    network = random_network(1)
    with pytest.raises(ModelError, match="cannot trace this network: an interval"):
        module.trace_network(network)
    assert module.counter("adders")(network) == costs(network).adders
    monkeypatch.setattr("mcprune.firmware.counting.sizes.has_solver", lambda: True)
    assert [row.solved for row in layer_sizes(network)] == [None] * 3
