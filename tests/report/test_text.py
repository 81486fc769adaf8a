import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.report.text import columns, duration, number, ranges, some, wrapped


@pytest.mark.slow
@given(st.sets(st.integers(0, 60)))
def test_ranges_can_be_read_back(indices):
    back = []
    for part in ranges(sorted(indices)):
        first, _, last = part.partition("-")
        back += range(int(first), int(last or first) + 1)
    assert back == sorted(indices)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3600, "1:00:00"),
        (None, "-"),
        (float("nan"), "-"),
        (-1, "-"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), True])
def test_what_is_no_number_is_a_dash(value):
    assert number(value, ".3f") == "-"


def test_long_lists_tell_how_much_is_left_out():
    texts = [str(index) for index in range(1003)]
    assert some(texts, 3) == "0, 1, 2 ... and 1,000 more"
    assert some(texts[:3], 3) == "0, 1, 2"


@given(st.lists(st.text("abc,-", min_size=1, max_size=12), min_size=1), st.integers(20, 60))
def test_wrapping_loses_no_name(names, width):
    lines = wrapped(", ".join(names), width)
    assert " ".join(line.strip() for line in lines) == ", ".join(names)
    assert all(len(line) <= width for line in lines)


def test_columns_are_aligned():
    lines = columns(["", "value"], [["a", "1"], ["long name", "23456789"]])
    assert lines == [
        "              value",
        "---------  --------",
        "a                 1",
        "long name  23456789",
    ]
