"""Schedules: values by hand, both ends met exactly, text that reads back, errors that name the part."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.chain import schedules
from mcprune.chain.schedules import Schedule, Stairs, Waves, parse
from mcprune.errors import ConfigError

NUMBERS = st.floats(-1e300, 1e300)
POSITIVE = st.floats(1e-300, 1e300)
UNTIL = st.floats(1e-6, 1.0)
SCHEDULES = st.one_of(
    NUMBERS.map(lambda x: Schedule("constant", x, x)),
    st.builds(Schedule, st.just("linear"), NUMBERS.map(lambda x: x / 4), NUMBERS.map(lambda x: x / 4), UNTIL),
    st.builds(Schedule, st.just("geometric"), POSITIVE, POSITIVE, UNTIL),
)


@pytest.mark.parametrize(
    ("text", "progress", "value"),
    [
        ("0.5", 0.3, 0.5),
        ("constant:2", 1.0, 2.0),
        ("linear:1:0", 0.25, 0.75),
        ("linear:1:0:0.5", 0.25, 0.5),
        ("linear:1:0:0.5", 0.75, 0.0),
        ("geometric:800:50", 0.5, 200.0),
        ("geometric:800:50:0.6", 0.3, 200.0),
        (" Linear : 0 : 4 ", 0.5, 2.0),
        (3, 0.5, 3.0),
    ],
)
def test_values_by_hand(text, progress, value):
    assert parse(text).value(progress) == pytest.approx(value, rel=1e-14)


@given(SCHEDULES)
def test_text_reads_back_as_an_equal_schedule(schedule):
    assert parse(str(schedule)) == schedule


@given(SCHEDULES, st.floats(-1, 2))
def test_ends_are_exact_and_values_between_them(schedule, progress):
    low, high = sorted((schedule.start, schedule.end))
    assert schedule.value(0.0) == schedule.start
    assert schedule.value(schedule.until) == schedule.value(1.0) == schedule.end
    slack = 1e-12 * max(abs(low), abs(high))
    assert low - slack <= schedule.value(progress) <= high + slack


@given(st.builds(Schedule, st.just("geometric"), st.floats(1, 1e6), st.floats(1, 1e6)), st.floats(0, 0.8))
def test_geometric_means_equal_factors_over_equal_times(schedule, progress):
    factors = [schedule.value(p + 0.1) / schedule.value(p) for p in (progress, progress + 0.1)]
    assert factors[0] == pytest.approx(factors[1], rel=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", "'fast' is not a number"),
        ("linear", "no values"),
        ("linear:1", "1 values after linear"),
        ("linear:1:2:0.5:7", "4 values"),
        ("linear:1:x", "'x' is not a number"),
        ("geometrc:1:2", "Did you mean geometric"),
        ("constant:1:2", "2 values after constant"),
        ("geometric:1:0", "must be positive"),
        ("linear:1:2:0", "until=0"),
        ("linear:1:2:1.5", "until=1.5"),
        ("nan", "finite"),
        ("linear:0:inf", "finite"),
        ("", "'' is not a number"),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_a_constant_that_changes_is_refused():
    with pytest.raises(ConfigError, match="constant"):
        Schedule("constant", 1.0, 2.0)
    with pytest.raises(ConfigError, match="finite"):
        Schedule("linear", math.nan, 2.0)


# Waves: n(t) falls, rises and falls again, each time less high, and rests at n.
FALL = Schedule("geometric", 784.0, 50.0, 0.3)


def test_before_and_after_the_waves_it_is_the_plain_fall():
    waves = Waves(FALL, 1.0, 40)
    for share in (0.0, 0.1, 0.299, 0.9, 0.95, 1.0):
        assert waves.value(share) == FALL.value(share)


def test_each_wave_begins_high_falls_and_rests_at_n():
    count = 6
    waves = Waves(FALL, 1.0, count)
    length = 0.6 / count
    tops = []
    for wave in range(count):
        begun = 0.3 + wave * length
        values = [waves.value(begun + length * part) for part in np.linspace(1e-6, 1 - 1e-6, 50)]
        assert all(a >= b - 1e-9 for a, b in itertools.pairwise(values))  # it falls
        assert values[-14:] == [50.0] * 14  # the last three tenths
        tops.append(values[0])
    assert tops[0] == pytest.approx(100.0, rel=1e-4)
    assert all(a > b for a, b in itertools.pairwise(tops))  # each less high than the one before
    # By hand: the last wave begins at share 5/6, its height is 1 - .7 * 5/6.
    assert tops[-1] == pytest.approx(50.0 * (2.0 - 0.7 * 5 / 6), rel=1e-4)


@pytest.mark.parametrize(
    ("height", "count", "until"), [(0.0, 4, 0.9), (-1.0, 4, 0.9), (1.0, 0, 0.9), (1.0, 4, 0.3), (1.0, 4, 1.5)]
)
def test_waves_that_cannot_be_are_refused(height, count, until):
    with pytest.raises(ConfigError):
        Waves(FALL, height, count, until)


def test_a_control_without_waves_never_rises():
    values = [math.ceil(FALL.value(share)) for share in np.linspace(0, 1, 200)]
    assert all(a >= b for a, b in itertools.pairwise(values))
    risen = [math.ceil(Waves(FALL, 1.0, 5).value(share)) for share in np.linspace(0, 1, 200)]
    assert sum(a < b for a, b in itertools.pairwise(risen)) == 5


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("1se", (1.0, 1.0)),
        ("geometric:2se:0.1se:0.5", (2.0, 0.1)),
        ("linear:1se:0", (1.0, 0.0)),
        ("linear:0:1SE", (0.0, 1.0)),
    ],
)
def test_a_temperature_may_be_in_standard_errors(text, ends):
    schedule = schedules.parse_temperature(text)
    assert (schedule.start, schedule.end) == ends
    assert schedule.unit == "se"
    assert schedules.parse_temperature(str(schedule)) == schedule


def test_units_are_not_mixed_and_stand_behind_temperatures_only():
    with pytest.raises(ConfigError, match="different units"):
        schedules.parse_temperature("geometric:1se:0.001")
    with pytest.raises(ConfigError, match="not a number"):
        schedules.parse("1se")
    with pytest.raises(ConfigError, match="not a number"):
        schedules.parse_temperature("1sd")
    assert schedules.parse_temperature("0se").unit == ""  # nothing is nothing in every unit
    assert schedules.parse_temperature("auto").unit == "se"
    assert schedules.parse_temperature(0.5).unit == ""


def test_stairs_rest_at_each_level_and_end_there():
    stairs = Stairs(100.0, (20.0, 10.0, 20.0), fall=0.25)
    assert stairs.value(0.0) == 100.0
    assert stairs.value(0.25) == 20.0
    assert [stairs.stop(share) for share in (0.1, 0.25, 0.3, 0.5, 0.51, 0.75, 0.76, 1.0)] == [-1, -1, 0, 0, 1, 1, 2, 2]
    assert 10.0 < stairs.value(0.55) < 20.0
    assert stairs.value(0.6) == stairs.value(0.75) == 10.0
    assert 10.0 < stairs.value(0.8) < 20.0
    assert stairs.value(1.0) == 20.0


def test_stairs_without_a_fall_begin_at_the_first_level():
    stairs = Stairs(20.0, (20.0, 10.0), fall=0.0)
    assert stairs.value(0.1) == 20.0
    assert stairs.value(1.0) == 10.0


def test_stairs_with_waves_rise_in_a_stop_and_end_at_its_level():
    stairs = Stairs(100.0, (20.0, 10.0), fall=0.2, waves=3, height=0.5)
    values = [stairs.value(share / 1000) for share in range(200, 601)]
    rises = sum(later > before + 0.01 for before, later in itertools.pairwise(values))
    assert rises == 3
    assert 25.0 < max(values[1:]) <= 30.0
    assert values[0] == values[-1] == 20.0
    assert stairs.value(1.0) == 10.0


def test_stops_of_stairs_take_time_by_their_weights():
    stairs = Stairs(100.0, (20.0, 10.0), fall=0.25, weights=(1.0, 2.0))
    assert stairs.ends == pytest.approx((0.5, 1.0))
    assert [stairs.stop(share) for share in (0.25, 0.26, 0.5, 0.51, 1.0)] == [-1, 0, 0, 1, 1]
    assert stairs.value(0.5) == 20.0
    assert stairs.value(0.5 + 0.3 * 0.5) == pytest.approx(10.0)


def test_the_phase_of_stairs_begins_again_at_each_stop():
    stairs = Stairs(100.0, (20.0, 10.0), fall=0.2)
    assert [stairs.phase(share) for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)] == pytest.approx([0, 0, 0.5, 0, 0.5, 1])
