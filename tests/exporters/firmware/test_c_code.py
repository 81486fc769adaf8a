"""The C header of a fixed-point network: compiled, all its integers are the network's."""

import re
from dataclasses import replace

import numpy as np
import pytest
from fixed_networks import random_network, random_rows

from mcprune.data.scale import Scaler
from mcprune.errors import ModelError
from mcprune.exporters.c_header import compiler
from mcprune.exporters.firmware.c_code import c_header, run_c
from mcprune.firmware.network import FixedLayer

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")


@needs_compiler
@pytest.mark.parametrize("seed", range(8))
def test_all_rows_give_the_same_integers(seed):
    network, rows = random_network(seed), random_rows(seed, 400, 6)
    inputs = network.quantize_inputs(rows)
    logits, best = run_c(c_header(network), inputs, rows, 3)
    assert (logits == network.forward(inputs)).all()
    assert (best == network.predict(rows)).all()


@needs_compiler
def test_rows_as_in_the_data_are_scaled_inside():
    network = random_network(1)
    scaler = Scaler("standard", np.linspace(-2, 2, 6), np.linspace(0.3, 1.7, 6))
    network = network.but(origin=network.origin._replace(scaler=scaler))
    raw = random_rows(5, 300, 6)
    inputs = network.quantize_inputs(raw, scaled=False)
    logits, _ = run_c(c_header(network), inputs, raw, 3)
    assert (logits == network.forward(inputs)).all()


@needs_compiler
def test_sums_beyond_31_bits_are_wide_integers():
    network = random_network(2, overflow="saturate", zeros=0.0)
    layers = [replace(layer, weight=layer.weight * 2**24, bias=layer.bias * 2**24) for layer in network.layers]
    network = network.but(layers=tuple(layers))
    rows = random_rows(2, 100, 6)
    text = c_header(network)
    assert "typedef int64_t mcprune_sum;" in text
    logits, _ = run_c(text, network.quantize_inputs(rows), rows, 3)
    assert (logits == network.forward(network.quantize_inputs(rows))).all()
    assert np.abs(logits).max() > 2**31


@needs_compiler
def test_a_header_that_gives_other_inputs_is_noticed():
    network, rows = random_network(0, zeros=0.0), random_rows(0, 50, 6)
    with pytest.raises(ModelError, match="failed its check"):
        run_c(c_header(network), network.quantize_inputs(rows) + 1, rows, 3)


def test_weights_of_zero_cost_nothing_and_names_cannot_end_the_comment():
    network = random_network(4)
    names = ("a*/b", *network.origin.names[1:])
    network = network.but(origin=network.origin._replace(names=names))
    text = c_header(network)
    products = re.findall(r"\(mcprune_sum\)\w+\[\d+\]", text)
    assert len(products) == sum(int((layer.weight != 0).sum()) for layer in network.layers)
    assert "a*/b" not in text
    assert isinstance(network.layers[0], FixedLayer)
