"""Networks from real numbers on grids: the same logits as the network whose numbers they are; others are refused."""

from dataclasses import replace

import numpy as np
import pytest
from fixed_networks import random_network, random_rows

from mcprune.errors import ModelError
from mcprune.firmware.importers.assemble import QuantisedLayer, Quantiser, assemble, check_outputs


def quantised(network):
    """Return the layers of a network as another tool would hold them."""
    layers = []
    for number, (form, layer) in enumerate(zip(network.formats, network.layers, strict=True)):
        signed = form.signed & (form.bits > 0)
        quantiser = Quantiser(signed, form.bits - signed - form.fraction, form.fraction, form.overflow, form.rounding)
        weight = np.ldexp(layer.weight.astype(float), -layer.fraction)
        bias = np.ldexp(layer.bias.astype(float), -network.accumulator_fraction(number))
        layers.append(QuantisedLayer(quantiser, weight, bias, layer.relu))
    return layers


def real_logits(network, rows):
    return np.ldexp(network.forward(network.quantize_inputs(rows)).astype(float), -network.accumulator_fraction(2))


@pytest.mark.parametrize("seed", range(25))
def test_the_assembled_network_gives_the_same_logits(seed):
    network, rows = random_network(seed), random_rows(seed, 300, 6)
    built = assemble(quantised(network), network.origin)
    logits = built.forward(built.quantize_inputs(rows)) * built.logit_scale
    assert (logits == real_logits(network, rows)).all()
    check_outputs(built, lambda part: real_logits(network, part), rows, "other")


def test_outputs_that_differ_are_refused():
    network, rows = random_network(0), random_rows(0, 300, 6)
    built = assemble(quantised(network), network.origin)

    def shifted(part):
        return real_logits(network, part) + (part[:, :1] > 5) * 2.0**-20

    assert (rows[:, 0] > 5).any()
    with pytest.raises(ModelError, match=r"differ from the other model on \d+ of 300 rows"):
        check_outputs(built, shifted, rows, "other")
    with pytest.raises(ModelError, match="shape"):
        check_outputs(built, lambda part: real_logits(network, part)[:, :2], rows, "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": np.full((3, 4), 0.1)}, "no binary grid"),
        ({"bias": np.full(3, np.inf)}, "not finite"),
        ({"relu": True}, "follows the last layer"),
    ],
)
def test_numbers_off_the_grid_are_refused(change, message):
    network = random_network(0)
    *before, last = quantised(network)
    with pytest.raises(ModelError, match=message):
        assemble([*before, last._replace(**change)], network.origin)
    with pytest.raises(ModelError, match="no layer"):
        assemble([], network.origin)


def test_a_rounding_that_mcprune_does_not_know_is_refused():
    network = random_network(0)
    first, *rest = quantised(network)
    with pytest.raises(ModelError, match="half-even"):
        assemble([first._replace(inputs=first.inputs._replace(rounding="half-even")), *rest], network.origin)
    assert replace(network.layers[0]).fraction == network.layers[0].fraction
