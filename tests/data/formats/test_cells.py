"""Cells of text tables: numbers with either decimal mark, truth values, dates and gaps."""

import pytest

from mcprune.data.formats.cells import are_odd_numbers, decimal_evidence, is_date, is_missing_text, number_text


@pytest.mark.parametrize(
    ("cell", "with_point", "with_comma"),
    [
        ("1", "1", "1"),
        (" -3 ", "-3", "-3"),
        ("\u22125", "-5", "-5"),
        ("1e5", "1e5", "1e5"),
        ("1.5", "1.5", None),
        ("1,5", None, "1.5"),
        (",5", None, ".5"),
        (".5", ".5", None),
        ("0,125", None, "0.125"),
        ("1,234", "1234", "1.234"),
        ("1.234", "1.234", "1234"),
        ("1,234,567", "1234567", None),
        ("1.234.567", None, "1234567"),
        ("1,234.5", "1234.5", None),
        ("1.234,5", None, "1234.5"),
        ("12 345", "12345", "12345"),
        ("12\u202f345", "12345", "12345"),
        ("12'345.5", "12345.5", None),
        ("1,5E+03", None, "1.5E+03"),
        ("1 23", None, None),
        ("1,2345", None, "1.2345"),
        ("1_000", None, None),
        ("0x1", None, None),
        ("", None, None),
        ("x", None, None),
    ],
)
def test_a_number_under_each_decimal_mark(cell, with_point, with_comma):
    assert number_text(cell) == with_point
    assert number_text(cell, ",") == with_comma


@pytest.mark.parametrize(
    ("cell", "evidence"),
    [
        ("1.5", "."),
        ("1,5", ","),
        ("1,234", "?"),
        ("1.234", ""),
        ("1,234,567", "."),
        ("1.234,5", ","),
        ("7", ""),
        ("a,b", ""),
    ],
)
def test_which_mark_a_cell_shows(cell, evidence):
    assert decimal_evidence(cell) == evidence


@pytest.mark.parametrize(
    "cell",
    ["2026-01-05", "2026/1/5", "05.01.2026", "5/1/26", "2026-01-05 13:45", "2026-01-05T13:45:10.5Z", "13:45", "1:30 PM", "5 Jan 2026",
     "January 5, 2026", "2026-01"],
)  # fmt: skip
def test_dates_and_times(cell):
    assert is_date(cell)


@pytest.mark.parametrize("cell", ["1.5", "2026", "1.234.567", "3-4", "a-b", "5 kg", "May", "1/2", "10-20"])
def test_what_is_no_date(cell):
    assert not is_date(cell)


@pytest.mark.parametrize(
    "cells",
    [["4 kg", "5 kg", "6.5 kg"], ["3%", "4%", "9%"], ["$5", "$6", "$7.50"], ["1,5", "2,5", "3,5"], ["EUR 3", "EUR 4"]],
)  # fmt: skip
def test_numbers_in_a_form_that_is_not_read(cells):
    assert are_odd_numbers(cells)
    assert not are_odd_numbers(cells * 3)  # few values: they may be a category


@pytest.mark.parametrize(
    "cells",
    [
        ["red", "blue", "green"],
        ["18-25", "26-40", "41-60"],
        ["row 1", "row 2"],
        ["5a3f", "6b2c"],
        ["A1", "A2"],
        ["3+", "4-", "x"] * 4,
        [],
    ],
)
def test_categories(cells):
    assert not are_odd_numbers(cells)


def test_what_is_missing():
    assert all(map(is_missing_text, ["", " ", "NA", "nan", "N/A", "?", "NULL", "#N/A", "#DIV/0!", "\\N", "-", "<NA>"]))
    assert not any(map(is_missing_text, ["0", "x", "no", "false"]))
