"""The result in a sentence, and whether a simpler way does as well."""

from dataclasses import replace

import pytest

from mcprune.storage.answer import SHORT, kept_doubts, noun, sentence, sentences, simpler_way
from mcprune.storage.events import Playoff, Scored, SiteGroup, Standing

PIXELS = (SiteGroup("inputs", "", 64),)


def row(name, accuracy, spread=None, **fields):
    return Scored(name, 16, accuracy, spread, 5 if spread else 1, fields.pop("objective", None), 1.0, **fields)


ROWS = [
    row("all sites", 0.9861),
    row("hard mask, not retrained", 0.94),
    row("hard mask, retrained", 0.9772),
    row("random masks", 0.8871, 0.0212),
    row("first-layer magnitude", 0.9669, behind=0.0103, behind_error=0.004),
]


def test_the_sentence_of_a_full_comparison():
    text = "16 of 64 pixels keep .977 of .986 test accuracy; random ones .887 +- .021; magnitude .967"
    assert sentence(ROWS, PIXELS, (8, 8), 16) == text


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (ROWS[1:3], "16 of 64 pixels reach .977 test accuracy"),
        (ROWS[1:2], "16 of 64 pixels reach .940 test accuracy"),
        ([row("hard mask, retrained", None)], "16 of 64 pixels are kept; without test rows no accuracy was measured"),
        ([ROWS[0], row("hard mask, retrained", 0.99)], "16 of 64 pixels reach .990 test accuracy (all 64: .986)"),
        ([ROWS[0], row("hard mask, retrained", 0.9861)], "16 of 64 pixels keep .986 of .986 test accuracy"),
        ([row("hard mask, retrained", 1.0)], "16 of 64 pixels reach 1.000 test accuracy"),
    ],
)
def test_the_sentence_says_what_was_measured(rows, text):
    assert sentence(rows, PIXELS, (8, 8), 16) == text


def test_a_short_comparison_is_named_as_one():
    rows = [
        ROWS[2],
        *(replace(one, name=one.name + SHORT) for one in (ROWS[0], *ROWS[3:])),
        row("hard mask" + SHORT, 0.95),
    ]
    assert sentence(rows, PIXELS, (8, 8), 16) == (
        "16 of 64 pixels reach .977 test accuracy; after a short training they keep .950 of .986; random ones .887 +- .021; "
        "magnitude .967"
    )


def test_the_objective_is_part_of_the_sentence():
    rows = [row("hard mask, retrained", 0.9, objective=0.0123)]
    assert sentence(rows, PIXELS, None, 16, "1 - AUC") == "16 of 64 columns reach .900 test accuracy; 1 - AUC 0.0123"


def test_sites_have_the_name_of_their_kind():
    units = SiteGroup("units", "a", 8)
    assert noun(PIXELS, (8, 8)) == noun(PIXELS, (1, 8, 8)) == "pixels"
    assert noun(PIXELS, (3, 8, 8)) == "inputs"
    assert noun(PIXELS, None) == "columns"
    assert noun((units,), None) == "units"
    assert noun((*PIXELS, units), (8, 8)) == "sites"


STANDINGS = (
    Standing("chain from forest", 0.2, 0.95, 0.0, 0.0, 2),
    Standing("l1", 0.203, 0.95, 0.003, 0.004, 1),
    Standing("forest", 0.25, 0.94, 0.05, 0.004, 1),
)
PLAYOFF = Playoff(STANDINGS, 1.0, 0.5, 0.8, 0.05, False, 1000, (300, 300), 1.0)


def test_a_simpler_way_is_named_within_one_standard_error():
    assert simpler_way(ROWS, None) == ""  # .0103 behind, at an error of .004
    near = [*ROWS[:-1], replace(ROWS[-1], behind=0.003)]
    assert simpler_way(near, None) == (
        "A simpler way does as well within one standard error: first-layer magnitude (test accuracy .003 +- .004 lower)."
    )
    ahead, same = (simpler_way([*ROWS[:-1], replace(ROWS[-1], behind=behind)], None) for behind in (-0.003, 0.0))
    assert ahead.endswith(": first-layer magnitude (test accuracy .003 +- .004 higher).")
    assert same.endswith(": first-layer magnitude (the same test accuracy).")
    text = simpler_way(ROWS, PLAYOFF)
    assert "l1 without a chain (0.0030 +- 0.0040 behind in loss)" in text
    assert "forest" not in text
    won = replace(PLAYOFF, finalists=STANDINGS[1:])
    assert "l1 without a chain (it won the playoff)" in simpler_way(ROWS, won)


@pytest.mark.parametrize("name", ["chain from l1", "best on validation rows"])
def test_what_only_a_search_gives_is_no_simpler_way(name):
    won = Playoff(
        (Standing(name, 0.1, 0.95, 0.0, 0.0, 2), Standing("f", 0.2, 0.9, 0.1, 0.01, 1)),
        0.5,
        0.7,
        0.4,
        0.01,
        False,
        100,
        (5, 5),
        1.0,
    )
    assert "without a chain" not in simpler_way(ROWS, won)


def test_a_page_has_whole_sentences():
    assert sentences("16 reach .9 +- .1", "A simpler way.") == ["16 reach .9 ± .1.", "A simpler way."]
    assert sentences("16 reach .9", "") == ["16 reach .9."]
    assert sentences("", "") == []


def test_a_choice_no_better_than_random_is_called_so():
    text = simpler_way(ROWS, replace(PLAYOFF, is_random=True))
    assert text.startswith("No finalist differs from random columns")


def test_doubtful_columns_among_the_kept_are_named():
    doubtful = {"mc_weight": "weight", "run": "constant"}
    assert (
        kept_doubts(["pt", "mc_weight"], doubtful)
        == "Doubtful columns are among the kept: mc_weight looks like sample weights."
    )
    assert kept_doubts(["pt"], doubtful) == ""
