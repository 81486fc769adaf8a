"""docs/architecture.md shows the layout as it is, and what has been reached stays so."""

import functools
import re
import tokenize
from pathlib import Path

import layout
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
RENEW = "python tests/shared/layout.py --write"
count = functools.cache(layout.count)


@pytest.mark.slow
def test_the_page_shows_the_layout_as_it_is():
    shown = re.search(r"<!-- layout -->\n(.*?)<!-- /layout -->", PAGE.read_text(), re.DOTALL)[1]
    assert shown.strip().splitlines() == layout.table(count()), f"make it again: {RENEW}"


@pytest.mark.slow
def test_the_session_asks_no_method_what_it_is():
    assert count().method_tests == 0


def test_rings_of_imports_are_seen():
    """The control: a ring is found, a chain is none."""
    assert [ring for ring in layout._components({"a": {"b"}, "b": {"a"}, "c": {"a"}}) if len(ring) > 1] == [["a", "b"]]
    assert layout._depth("c", {"a": set(), "b": {"a"}, "c": {"b"}}, set()) == 3


def test_names_are_those_of_the_tokenizer():
    path = Path(layout.__file__)
    with path.open("rb") as file:
        names = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME]
    assert layout._names(path.read_text(encoding="utf-8")) == names
