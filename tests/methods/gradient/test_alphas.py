"""Schedules of alpha on the gradient path, epoch by epoch, against sequences worked out by hand."""

import math

import pytest

from mcprune.chain.schedules import Schedule
from mcprune.methods.gradient.alphas import FIRST, Constant, Decades, Stall, Timed, Windowed


def played(schedule, epochs):
    """alpha of the first epoch, and after each of (L_cla, L_pru, variance)."""
    state = schedule.init()
    values = [schedule.value(state, 0.0)]
    for cla, pru, variance in epochs:
        schedule.end_epoch(state, cla, pru, variance)
        values.append(schedule.value(state, 0.0))
    return values


def capped(schedule, epochs):
    """Epochs whose alpha was cut."""
    state = schedule.init()
    for epoch in epochs:
        schedule.end_epoch(state, *epoch)
    return state.capped


def after(rule, epochs, now, variance=0.0):
    """lambda once so many epochs are complete, of one that was `now`."""
    state = windowed(rule).init()
    state.epochs, state.strength = epochs, now
    return rule.after(state, variance)


def windowed(rule, window=10, products=True, cap=1e6):
    return Windowed(rule, window=window, products=products, cap=cap)


def test_timed_alpha_is_a_function_of_the_time_alone():
    ramp = Timed(Schedule("geometric", 0.1, 10.0))
    assert [ramp.value(ramp.init(), share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 1.0, 10.0])
    assert played(Timed(Schedule("constant", 10.0, 10.0)), [(9.0, 0.1, 0.0)] * 3) == [10.0] * 4
    assert math.isnan(ramp.init().strength)


def test_ratio_is_the_quotient_of_means_over_complete_epochs():
    epochs = [(2.0, 0.5, 0.0), (1.0, 0.25, 0.0), (0.6, 0.05, 0.0), (0.2, 0.3, 0.0)]
    by_hand = [FIRST, 2.0 / 0.5, 1.5 / 0.375, 0.8 / 0.15, 0.4 / 0.175]  # a window of 2: the last two only
    assert played(windowed(Constant(), window=2), epochs) == pytest.approx(by_hand)


def test_a_constant_lambda_cancels_in_both_readings():
    epochs = [(2.0 / k, 0.5 / k**2, 0.0) for k in range(1, 30)]
    ratio = played(windowed(Constant()), epochs)
    for products in (True, False):
        assert played(windowed(Constant(1e6), products=products), epochs) == pytest.approx(ratio)


def test_a_jump_of_lambda_is_a_pulse_that_decays_as_the_window_refills():
    """The slides' run: 160 epochs, x10 every 20, means over 10. L_cla = 3 and L_pru = .5 throughout, so the ratio is 6."""
    values = played(windowed(Decades(1.0, 1e7, 20)), [(3.0, 0.5, 0.0)] * 160)
    assert values[0] == FIRST
    assert values[1:20] == pytest.approx([6.0] * 19)
    pulse = [10 / (1 + 0.9 * k) for k in range(11)]
    assert [round(value, 2) for value in pulse[:4]] == [10.0, 5.26, 3.57, 2.7]
    for jump in range(20, 141, 20):
        # The window holds k products of the new lambda: mean (10 - k + 10 k) / 10 of the old product.
        assert values[jump : jump + 11] == pytest.approx([6.0 * part for part in pulse])
        assert values[jump + 10 : jump + 20] == pytest.approx([6.0] * 10)
    assert values[160] == pytest.approx(6.0)  # lambda has reached its end after seven jumps: the eighth is none


def test_the_literal_window_has_no_pulse():
    epochs = [(3.0 + k % 3, 0.5 + k % 2, 0.0) for k in range(60)]
    literal = played(windowed(Decades(1.0, 1e7, 20), products=False), epochs)
    assert literal == pytest.approx(played(windowed(Constant()), epochs))
    assert literal != pytest.approx(played(windowed(Decades(1.0, 1e7, 20)), epochs))


@pytest.mark.parametrize("every", [1.0, 2.5, 20.0])
def test_lambda_rises_by_the_clock_and_ends(every):
    rule = Decades(1.0, 1e7, every)
    values = [after(rule, epoch, 1.0) for epoch in range(400)]
    assert values[0] == 1.0
    assert values[math.ceil(every)] == pytest.approx(10.0)
    assert max(values) == values[-1] == 1e7
    assert values == sorted(values)
    assert after(rule, 10**9, 1.0) == 1e7  # no power that overflows
    assert after(Decades(3.0, 20.0, 1.0), 1, 3.0) == 20.0  # never above the end


def test_stall_raises_lambda_when_the_variance_stands_still():
    rule = Stall(1.0, 100.0, 4.0, 0.1, 2)
    state, seen = windowed(rule).init(), []
    # two equal epochs; change; two still ones; after a rise the comparison starts again
    for variance in [0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]:
        state.strength = rule.after(state, variance)
        seen.append(state.strength)
    assert seen == [1.0, 4.0, 4.0, 4.0, 4.0, 16.0, 16.0, 64.0, 64.0, 100.0]


def test_stall_pulses_like_a_decade_where_it_rises():
    values = played(windowed(Stall(1.0, 1e7, 10.0, 0.1, 4)), [(3.0, 0.5, 0.0)] * 6)
    assert values == pytest.approx(
        [FIRST, 6.0, 6.0, 6.0, 60.0 / (1 + 0.0), 6.0 * 10 / (1 + 9 / 5), 6.0 * 10 / (1 + 18 / 6)]
    )


def test_a_vanishing_penalty_is_capped_and_counted():
    schedule = windowed(Constant(), window=1, cap=50.0)
    epochs = [(1.0, 0.5, 0.0), (1.0, 0.0, 0.0), (1.0, 0.001, 0.0), (1.0, 0.5, 0.0)]
    assert played(schedule, epochs) == [FIRST, 2.0, 50.0, 50.0, 2.0]
    assert capped(schedule, epochs) == 2
    assert played(schedule, [(0.0, 0.0, 0.0)])[1] == 50.0  # 0 / 0 is no NaN
    assert capped(schedule, [(0.0, 0.0, 0.0)]) == 1
    assert played(windowed(Constant(1e30), cap=1e30), [(1.0, 1e-300, 0.0)])[1] == 1e30  # nothing overflows
