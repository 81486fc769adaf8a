import pytest

from mcprune.errors import ConfigError
from mcprune.path.search.levels import MOST_LEVELS, geometric_levels, parse_levels


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("5,10,20", (5, 10, 20)),
        ("20,5,10,5", (5, 10, 20)),
        ([20, 5], (5, 20)),
        (range(1, 4), (1, 2, 3)),
        ("2:5", (2, 3, 4, 5)),
        ("2:200", (2, 3, 5, 7, 11, 16, 25, 37, 57, 87, 132, 200)),
        ("2:200:3", (2, 20, 200)),
    ],
)
def test_lists_and_ranges(value, numbers):
    assert parse_levels(value).numbers == numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("5", "is one level"),
        (5, "is one level"),
        ("5:5", "is one level"),
        ("200:2", "Write the smaller number first: 2:200"),
        ("2:", "'' is not a whole number"),
        ("2:x", "'x' is not a whole number"),
        ("1:2:3:4", "has 4 parts"),
        ("0:5", "0 is out of range"),
        ("-3,5", "-3 is out of range"),
        ([1.5, 2], "'1.5' is not a whole number"),
        ([], "has no level"),
        ("1:100000:5000", f"Give {MOST_LEVELS} or fewer"),
    ],
)
def test_what_is_no_list_of_levels_is_refused_with_the_remedy(value, text):
    with pytest.raises(ConfigError, match=text):
        parse_levels(value)


def test_small_numbers_do_not_come_twice():
    levels = geometric_levels(1, 40, 12)
    assert len(levels) == len(set(levels)) == 12
    assert (levels[0], levels[-1]) == (1, 40)


def test_costs_are_levels_of_their_own_unit():
    levels = parse_levels("500:50000:3", "macs")
    assert (levels.unit, levels.option, levels.numbers) == ("macs", "macs", (500, 5000, 50000))
