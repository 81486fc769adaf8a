"""Whether a first line names the columns."""

import pytest

from mcprune.data.formats.header import find_header, known_header


def _header(first, *rows, target=None):
    return find_header(first, lambda: iter(rows), target)


@pytest.mark.parametrize(
    ("first", "rows", "expected"),
    [
        (["a", "b"], [["1", "2"]], True),
        (["1", "2"], [["3", "4"]], False),
        (["5.1", "3.5", "Iris-setosa"], [["4.9", "3.0", "Iris-setosa"]], False),
        (["400", "402", "label"], [["0.1", "0.2", "1"]], True),
        (["0", "1", "2", "species"], [["5.1", "3.5", "1.4", "setosa"]], True),
        (["0", "1", "2"], [["5.1", "3.5", "1.4"]], True),
        (["a", "b"], [], True),
        (["900", "905", "910", "quality"], [["1", "2", "3", "ripe"], ["1", "2", "3", "rotten"]], True),
        (["1", "2", "3", "ripe"], [["1", "2", "3", "rotten"], ["1", "2", "3", "ripe"]], False),
        (["r1", "5.1", "setosa"], [["r2", "4.9", "other"], ["r3", "4.9", "setosa"]], False),
        (["5.1", "?", "setosa"], [["4.9", "3.0", "setosa"]], False),
        (["5.1", "NA", "setosa"], [["4.9", "3.0", "other"], ["1", "2", "setosa"]], False),
        (["0", "1", "2"], [["0", "1", "2"]], False),
        (["900", "905", "910", "915", "920"], [["0.1", "0.2", "0.2", "0.3", "1"]], True),
        (["1", "2", "3"], [["2", "2", "1"]], False),
        (["900.5", "903", "910", "915", "920"], [["0.1", "0.2", "0.2", "0.3", "1"]], False),
        (["3a", "1"], [["31", "2"], ["3a", "3"]], False),
        (["400.1", "410.7", "420.3", "0"], [[".1", ".2", ".3", str(i % 2)] for i in range(12)], True),
        (["400.1", "410.7", "420.3", "0"], [[".1", ".2", ".3", str(i % 2)] for i in range(8)], False),
        (["400.1", ".2", "420.3", "0"], [[".1", ".2", ".3", str(i % 2)] for i in range(12)], False),
        (["5.1", "?", "rotten"], [["4.9", "3.0", "ripe"], ["4.7", "3.2", "ripe"]], False),
        (["5.1", "3.5", "rotten"], [["4.9", "3.0", "ripe"], ["5.7", "3.8", "ripe"]], False),
        (["5.1", "5.1", "rotten"], [["4.9", "3.0", "ripe"], ["4.7", "3.2", "ripe"]], False),
        (["True", "False", "yes"], [["False", "False", "no"], ["True", "True", "yes"]], False),
        (["p", "x", "s"], [["p", "y", "s"], ["e", "x", "t"]], False),
        (["p", "x", "s"], [["1", "y", "s"], ["2", "z", "t"]], True),
        (["2026-01-05", "1.5", "setosa"], [["2026-01-06", "2.5", "other"]], False),
        (["2026-01", "2026-02", "kind"], [["1.5", "2.5", "a"], ["1", "2", "b"]], True),
        (["2019", "2020", "2021", "kind"], [["2019", "2020", "2022", "a"], ["2020", "2021", "2023", "b"]], True),
        (["a", "a", "label"], [["1", "2", "x"]], True),
        (["1.5", "2.5", "3.5", "0"], [[str(2.5 + i), str(3.5 + i), str(4.5 + i), "1"] for i in range(12)], False),
    ],
)
def test_what_counts_as_a_header(first, rows, expected):
    assert _header(first, *rows).is_header is expected


def test_a_header_that_is_not_beyond_doubt_is_said_with_the_way_to_say_otherwise():
    assert _header(["a", "b"], ["1", "2"]).note == ""
    assert _header(["1", "2", "x"], ["1", "2", "x"]).note == ""
    assert "--header no" in _header(["900", "905", "quality"], ["1", "2", "ripe"]).note
    assert "--header no" in _header(["900", "905", "910", "915", "920"], ["1", "1", "2", "3", "1"]).note
    assert "--header yes" in _header(["900.5", "903", "910", "915", "920"], ["1", "1", "2", "3", "1"]).note


def test_the_target_s_name_tells_the_header():
    assert _header(["1", "5", "9"], ["1", "2", "3"], target="9") == (True, "")
    assert not _header(["1", "5", "9"], ["1", "2", "3"], target="7").is_header


# --- names known from a run


def _known(first, *rows, names=("900", "905", "910", "915"), required=None, target="quality"):
    return known_header(first, lambda: iter(rows), names, names if required is None else required, target).is_header


def test_known_numbers_are_a_header_with_or_without_the_class_in_any_order_with_others():
    rows = [["0.5", "0.25", "1", "2"], ["1", "1", "1", "1"]]
    assert _known(["900", "905", "910", "915"], *rows)
    assert _known(["915", "900", "910", "905"], *rows)
    assert _known(["915", "900", "910", "905", "quality"], *rows)
    assert _known(["900", "905", "910", "915", "920", "925"], *rows)
    assert _known(["905", "915"], *rows, required=("905", "915"))
    assert _known(["905"], ["3"], required=("905",))
    assert _known(["900", "905", "910", "916"], *rows)  # one is missing: the reader says which
    assert not _known(["0.5", "0.25", "1", "2"], ["900", "905", "910", "915"])
    assert not _known(["900", "3", "4", "5"], *rows)
    assert not _known(["900", "900", "910", "915"], *rows)


def test_rows_of_ranks_under_names_of_numbers_are_rows():
    names = ("0", "1", "2", "3")
    assert _known(["0", "1", "2", "3"], ["3", "1", "2", "0"], names=names)
    assert not _known(["3", "1", "2", "0"], ["0", "1", "3", "2"], names=names)
    assert not _known(["1", "1", "0", "1"], ["0", "1", "1", "1"], names=names, required=("0", "1"))


def test_texts_of_new_rows_are_no_header():
    rows = [["red", "x"], ["blue", "x"], ["red", "y"]]
    assert not known_header(["red", "x"], lambda: iter(rows), ("color", "kind"), ("color",), None).is_header
    assert known_header(["kind", "color"], lambda: iter(rows), ("color", "kind"), ("color",), None).is_header
