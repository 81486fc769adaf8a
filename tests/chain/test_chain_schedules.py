"""Schedules: values by hand, both ends met exactly, text that reads back, errors that name the part."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.chain.schedules import Schedule, parse
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
