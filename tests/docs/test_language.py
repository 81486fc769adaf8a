"""README, pages and help are written in current English: the words that gave way to the field's own are gone."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from mcprune.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RETIRED = re.compile(
    r"\b(anew|told|met|mend(?:s|ed|ing)?|judg(?:e|es|ed|ing)|judge_on|judge_share|waves?|trad(?:e|es|ed|ing)|perturb\w*|"
    r"jitter\w*|speculat\w*|lanes?|circumstances|recipes?|begun|in front of|what is over|hard_floor|keepers?|lessons|"
    r"faces|informed_by|propose_by|wrong-rate|SmallModel|is_asked|rescued?|concluded?)\b",
    re.IGNORECASE,
)
# Of comments, docstrings and messages; names of the chain's own parts, such as waves, stay.
ARCHAIC = re.compile(
    r"\b(anew|thereof|whence|thence|hence|therein|wherein|hereby|thereby|hitherto|albeit|whilst|in front of)\b",
    re.IGNORECASE,
)
# Compiled kernels are left alone: an edit of a comment compiles them again everywhere.
SOURCES = [
    path
    for room in ("mcprune", "tests", "benchmarks", "examples")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path.name != "kernels.py"
]
# The table of the layout counts identifiers by these words.
COUNTED = re.compile(r"<!-- layout -->.*?<!-- /layout -->", re.DOTALL)
HELP = [
    ["--help"],
    ["run", "--help-all"],
    *(
        [*(word for word in usage.split() if word.islower()), "--help"]
        for each in COMMANDS.values()
        for usage, _ in each.lines
    ),
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_has_no_retired_word(path):
    assert RETIRED.findall(COUNTED.sub("", path.read_text())) == []


def test_sources_have_no_archaic_word():
    assert len(SOURCES) > 300
    found = {
        str(path.relative_to(ROOT)): ARCHAIC.findall(path.read_text()) for path in SOURCES if path != Path(__file__)
    }
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_the_help_has_no_retired_word(words):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main(words)
    assert len(printed.getvalue()) > 200
    assert RETIRED.findall(printed.getvalue()) == []


def test_retired_words_are_seen():
    """The control."""
    assert RETIRED.findall("Rows that judge are told anew; the judged mask") == ["judge", "told", "anew", "judged"]
    assert RETIRED.findall("a method, a metric, foretold") == []
    assert ARCHAIC.findall("Summed anew, in front of a block; renewed in fronts") == ["anew", "in front of"]
