"""Unit moves and bits of signals."""

import numpy as np
import pytest
from digit_chains import assert_exact, some_chain
from fixed_networks import random_network

from mcprune.firmware.counting.costs import costs
from mcprune.firmware.fixed_point import requantize
from mcprune.firmware.polish.bit_moves import bit_moves, bit_round, changed_format
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.arrays import network_of
from mcprune.firmware.polish.engine.chain import Walk
from mcprune.firmware.polish.objective_walk import Decisions
from mcprune.firmware.polish.unit_moves import Drop, chosen_drops, possible_drops, walk_with_drops, without_signals


def logits_from(network, layer, values):
    """Logits of the values that a layer reads."""
    for number in range(layer, len(network.layers)):
        one = network.layers[number]
        values = values @ one.weight.T + one.bias
        if one.activation is not None:
            rectified = np.maximum(values, 0) if one.relu else values
            values = requantize(rectified, network.accumulator_fraction(number), one.activation)
    return values


def test_without_a_signal_the_network_reads_a_constant():
    network = random_network(3, density=0.8, zeros=0)
    rows = np.random.default_rng(0).normal(size=(50, 6)) * 3
    signals = network.signals(network.quantize_inputs(rows))
    for layer, place in ((0, 2), (1, 3), (2, 0)):
        changed = signals[layer].copy()
        changed[:, place] = 5
        smaller = without_signals(network, [Drop(layer, place, 5, 0.0, 0)])
        got = smaller.forward(smaller.quantize_inputs(rows))
        assert (got == logits_from(network, layer, changed)).all()
        assert smaller.widths[layer] < network.widths[layer]


def test_drops_are_ordered_by_what_they_cost_for_what_they_free():
    chain = some_chain(5, zeros=0)
    drops = possible_drops(chain)
    assert [drop.score for drop in drops] == sorted(drop.score for drop in drops)
    before = costs(chain.network).digits
    for drop in drops:
        assert before - costs(without_signals(chain.network, [drop])).digits == drop.freed > 0
    single = chosen_drops(drops, 3, 0.0, chain.network.widths, np.random.default_rng(0))
    assert len({(one.layer, one.place) for (one,) in single}) == 3
    draws = [chosen_drops(drops, 1, 0.0, chain.network.widths, np.random.default_rng(seed))[0][0] for seed in range(60)]
    assert 30 <= draws.count(drops[0]) < 60  # the first is the likeliest, and not the only one
    *_, together = chosen_drops(drops, 1, before, chain.network.widths, np.random.default_rng(0))
    assert len(together) > 2
    assert sum(drop.freed for drop in together) <= before
    assert min(without_signals(chain.network, together).widths) >= 1
    assert chosen_drops([], 2, 0.0, chain.network.widths, np.random.default_rng(0)) == []
    assert_exact(chain)


def test_a_unit_is_dropped_where_that_is_better_after_as_many_proposals():
    dropped = 0
    for seed in range(8):
        chain = some_chain(seed, zeros=0)
        walk = Walk(600, chain.cost, 0.4 * chain.cost, 0.0)
        best, evaluated, is_dropped = walk_with_drops(chain, walk, Decisions(), 3, np.random.default_rng(1))
        assert best.cost <= walk.budget_to
        assert evaluated > 600
        assert_exact(best)
        if is_dropped:
            dropped += 1
            assert sum(best.network.widths) < sum(chain.network.widths)
            assert best.loss < chain.loss
        else:
            assert best is chain
    assert dropped > 2


@pytest.mark.parametrize("unit", ["digits", "luts"])
def test_a_budget_with_room_is_filled_by_digits_that_gain(unit):
    chain = some_chain(3, unit=unit)
    chain.walk(Walk(50, 0.5 * chain.cost, 0.5 * chain.cost, 0.0))
    cost, loss = chain.cost, chain.loss
    assert chain.fill(1.5 * cost) > 30
    assert cost < chain.cost <= 1.5 * cost
    assert chain.loss < loss
    assert_exact(chain)
    full = chain.cost
    assert chain.fill(full) == 0


@pytest.mark.parametrize("unit", ["digits", "luts"])
def test_additions_that_did_well_alone_are_drawn_more_often(unit):
    chain = some_chain(5, unit=unit, count=400)
    net, rows, scratch = chain.arrays
    before = net.weights.copy()
    assert 100 < chain.probe(8 * 400) <= 400
    assert (net.weights == before).all()
    assert_exact(chain)
    sums, count = chain.guide.sums, len(chain.guide.weights)
    assert sums[-1] == 1
    assert (np.diff(sums) > 0).all()
    assert (np.diff(sums, 2) < 1e-12).all()  # the better the likelier

    def change(place):
        changes = np.zeros((kernels.MOST_CHANGES, 4), np.int64)
        out = np.zeros(2)
        kernels.put(net, changes, 0, int(chain.guide.weights[place]), int(chain.guide.deltas[place]))
        kernels.apply(net, changes, 1, 1)
        kernels.evaluate(net, rows, scratch, changes, 1, 0, 400, -1, False, out)
        kernels.apply(net, changes, 1, -1)
        return out[0]

    assert np.mean([change(place) for place in range(10)]) < np.mean([change(count - 1 - place) for place in range(10)])
    drawn = [kernels.addition(net, chain.guide, chain.random_state) for _ in range(2000)]
    best = (int(chain.guide.weights[0]), int(chain.guide.deltas[0]))
    assert drawn.count(best) / 2000 > 0.5 * kernels.GUIDED * sums[0]


def test_a_guided_chain_is_exact_too():
    chain = some_chain(4, unit="luts")
    decisions = Decisions(None, True)
    for _ in range(3):
        assert decisions.advance(chain, Walk(1600, chain.cost, 0.9 * chain.cost, 1e-4)) > 800
        assert len(chain.guide.sums) > 50
        assert_exact(chain)


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_bits_of_inputs_and_units_stay_exact(rounding, overflow):
    for seed in range(4):
        chain = some_chain(seed, unit="digit-bits", rounding=rounding, overflow=overflow)
        before = chain.cost
        made = bit_round(chain, 1e-3, np.random.default_rng(seed))
        assert made > 0
        assert_exact(chain)
        assert chain.cost != before
        chain.walk(Walk(200, chain.cost, 0.9 * chain.cost, 0.0))
        assert_exact(chain)


def test_bits_at_no_price_only_lower_the_loss():
    chain = some_chain(2, unit="ebops")
    loss = chain.loss
    bit_round(chain, 0.0, np.random.default_rng(0))
    assert chain.loss <= loss + 1e-12


def test_a_move_changes_one_bit_at_one_end():
    network = random_network(2, zeros=0)
    for move in bit_moves(network):
        old, new = network.formats[move.layer], changed_format(network.formats[move.layer], move)
        assert (new.bits - old.bits).sum() == move.step
        assert (new.fraction - old.fraction).sum() == (move.step if move.end == "low" else 0)


def test_the_network_of_a_chain_has_its_formats():
    chain = some_chain(1, unit="digit-bits")
    bit_round(chain, 1e-2, np.random.default_rng(0))
    result = network_of(chain.arrays, chain.network)
    assert costs(result).digit_bits == chain.cost
