"""Networks of integers against their definition in fractions; dead units; files; costs."""

import json
from fractions import Fraction

import numpy as np
import pytest
from fixed_networks import random_network, random_rows, reference_logits

from mcprune.data.scale import Scaler
from mcprune.errors import DataError, FolderError, ModelError
from mcprune.firmware.counting.costs import costs, layer_costs
from mcprune.firmware.dead import remove_dead, trim_formats
from mcprune.firmware.fixed_point import FixedFormat, quantize, uniform_format
from mcprune.firmware.network import FixedLayer, FixedNetwork, Origin, plain_origin
from mcprune.firmware.network_files import DESCRIPTION, NUMBERS, load_network, save_network

SEEDS = range(25)


@pytest.mark.parametrize("seed", SEEDS)
def test_logits_are_those_of_exact_fractions(seed):
    network, rows = random_network(seed), random_rows(seed, 20, 6)
    step = Fraction(1, 2) ** network.accumulator_fraction(2)
    logits = network.forward(network.quantize_inputs(rows))
    assert logits.dtype == np.int64
    for row, got in zip(rows, logits, strict=True):
        assert [int(value) * step for value in got] == reference_logits(network, row)


def test_rounding_of_ties_and_of_values_out_of_range():
    values = np.array([[0.5, 0.5, -0.5, 9.0, -9.0, 1.5]])
    form = FixedFormat([3] * 6, [0] * 6, [True] * 6, 0, "saturate", "nearest")
    assert quantize(values, form).tolist() == [[1, 1, 0, 3, -4, 2]]
    wrapped = FixedFormat([3] * 6, [0] * 6, [True] * 6, 0, "wrap", "floor")
    assert quantize(values, wrapped).tolist() == [[0, 0, -1, 1, -1, 1]]


@pytest.mark.parametrize("seed", SEEDS)
def test_without_dead_units_the_logits_are_the_same(seed):
    network, rows = random_network(seed, (6, 7, 5, 3), density=0.25, zeros=0.3), random_rows(seed, 50, 6)
    small = remove_dead(network)
    assert (small.forward(small.quantize_inputs(rows)) == network.forward(network.quantize_inputs(rows))).all()
    again = remove_dead(small)
    assert again.widths == small.widths
    for number, width in enumerate(small.widths[:-1]):
        is_read = (small.layers[number].weight != 0).any(axis=0)
        assert is_read.all() or width == 1


def test_some_network_loses_units_and_inputs():
    small = remove_dead(random_network(3, (6, 7, 5, 3), density=0.25, zeros=0.3))
    assert small.widths[0] < 6
    assert small.widths[1] < 7
    assert small.origin.names == tuple(f"x{column}" for column in small.origin.columns)


@pytest.mark.parametrize("seed", SEEDS)
def test_trimmed_formats_change_no_row_that_they_were_trimmed_on(seed):
    network = random_network(seed)
    inputs = network.quantize_inputs(random_rows(seed, 60, 6))
    small = trim_formats(network, inputs)
    assert (small.forward(inputs) == network.forward(inputs)).all()
    assert all((a.bits <= b.bits).all() for a, b in zip(small.formats, network.formats, strict=True))


def test_files_hold_the_whole_network(tmp_path):
    scaler = Scaler("standard", np.arange(6.0), np.full(6, 0.5))
    origin = Origin(np.array([1, 2, 4, 5, 7, 8]), 9, ("a", "b", "c", "d", "e", "é"), ("q", "g", "W"), scaler)
    network = random_network(4).but(origin=origin)
    save_network(network, tmp_path / "net")
    save_network(network, tmp_path / "again")
    loaded = load_network(tmp_path / "net")
    rows = random_rows(4, 30, 9)
    whole = network.quantize_inputs(rows, scaled=False)
    assert (loaded.quantize_inputs(rows, scaled=False) == whole).all()
    assert (loaded.forward(whole) == network.forward(whole)).all()
    assert (loaded.logit_scale, loaded.origin.labels, loaded.origin.names) == (2.0**-6, ("q", "g", "W"), origin.names)
    for name in (NUMBERS, DESCRIPTION):
        assert (tmp_path / "net" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def spoil(folder, change):
    content = json.loads((folder / DESCRIPTION).read_text())
    change(content)
    (folder / DESCRIPTION).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(version=9), "version is 9"),
        (lambda content: content.pop("layers"), "'layers' is missing"),
        (lambda content: content.update(numbers_sha256=""), "not the file that was written with it"),
        (lambda content: content.update(names=["a"]), "1 names"),
        (lambda content: content["inputs"].update(overflow="never"), "overflow 'never'"),
        (lambda content: content.update(format="other"), "format is not"),
    ],
)
def test_broken_files_are_refused(tmp_path, change, message):
    save_network(random_network(1), tmp_path)
    spoil(tmp_path, change)
    with pytest.raises(FolderError, match=message):
        load_network(tmp_path)


def test_a_folder_without_a_network(tmp_path):
    with pytest.raises(FolderError, match="holds no fixed-point network"):
        load_network(tmp_path)


def test_costs_by_hand():
    weight = np.array([[3, 0], [7, 4]])  # digits 2, 0; 2, 1; enclosed bits 2, 0; 3, 1
    last = np.array([[1, -5]])  # digits 1, 2; enclosed bits 1, 3
    inputs = FixedFormat([4, 3], [2, 2], [True, False], 2)
    hidden = FixedFormat([5, 2], [1, 1], [False, False], 1)
    layers = (FixedLayer(weight, 1, np.array([0, 1]), hidden), FixedLayer(last, 0, np.array([0]), relu=False))
    network = FixedNetwork(inputs, layers, 1.0, plain_origin(2, 1))
    first, second = layer_costs(network)
    # The accumulator of unit 1 reaches 7*8 + 4*7 + 1 = 85: 7 bits, the lowest by the bias.
    assert first[:5] == (3, 5, 4 * 2 + 4 * 2 + 3 + 7, 4 * 2 + 4 * 3 + 3 * 1, 1 + 2)
    assert second[:5] == (2, 3, 5 + 2 * 2, 5 * 1 + 2 * 3, 2)  # luts: test_tables.py
    assert costs(network).digits == 8
    assert costs(network).of("digit-bits") == 26 + 9


def test_wrong_networks_are_refused():
    network = random_network(2)
    with pytest.raises(ModelError, match="come in"):
        network.but(layers=network.layers[1:])
    with pytest.raises(ModelError, match="format of its activations"):
        network.but(layers=network.layers[:-1])
    with pytest.raises(ModelError, match="whole numbers"):
        FixedLayer(np.array([[0.5]]), 0, np.array([0]))
    with pytest.raises(ModelError, match="60 bits"):
        FixedNetwork(
            uniform_format(1, 32, 0, signed=True),
            (FixedLayer(np.array([[1 << 32]]), 0, np.array([0]), relu=False),),
            1.0,
            plain_origin(1, 1),
        )
    with pytest.raises(ModelError, match="bits"):
        uniform_format(2, 40, 0, signed=True)
    with pytest.raises(DataError, match="no fixed-point value"):
        network.quantize_inputs(np.full((1, 6), np.nan))
    with pytest.raises(DataError, match="6 columns"):
        network.quantize_inputs(np.zeros((1, 5)))
