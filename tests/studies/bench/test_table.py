"""The tables of a comparison: numbers of any size, and methods that reached no accuracy."""

import pytest

from mcprune.studies.bench.table import never_line, short


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00154, "0.00154"), (0.5, "0.5"), (8.58, "8.58"), (999.6, "1,000"), (12345.6, "12,346"), (None, "-")],
)
def test_a_number_of_any_size_is_short(value, text):
    assert short(value) == text


def row(method, *counts):
    times = [{"accuracy": share, "count": count} for share, count in zip((0.94, 0.9), counts, strict=True)]
    return {"method": method, "times": times}


def test_methods_that_reached_nothing_are_named_once():
    assert never_line([row("one", 0, 2), row("two", 1, 1)]) == ""
    text = never_line([row("one", 0, 2), row("two", 0, 0), row("three", 0, 0)])
    assert text == (
        "Not among them: two, three, which had no mask of exactly n sites with a validation accuracy of 0.9 or more."
    )
    assert (
        never_line([row("two", 0, 0)])
        == "No method had a mask of exactly n sites with a validation accuracy of 0.9 or more."
    )
