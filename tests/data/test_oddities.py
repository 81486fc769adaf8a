"""Files as people have them: each is read as it is meant, or refused in a line that says what to do."""

from pathlib import Path

import pytest
from oddities import ODDITIES, outcome, page

ALL = [pytest.param(one, id=one.title) for oddities in ODDITIES.values() for one in oddities]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "file-oddities.md"


def test_there_are_forty_and_more():
    assert len(ALL) >= 40


@pytest.mark.parametrize("oddity", ALL)
def test_what_happens(oddity, tmp_path):
    dataset, says = outcome(oddity, tmp_path)
    text = "\n".join(says)
    for part in oddity.says:
        assert part in text
    if not oddity.features:
        assert dataset is None
        assert len(says) == 1
        return
    assert dataset is not None, text
    names = oddity.features.split("|" if "|" in oddity.features else " ")
    assert dataset.feature_names == tuple(names)
    assert dataset.features[0].tolist() == pytest.approx(oddity.first, nan_ok=True)
    assert dataset.labels == oddity.labels


def test_the_page_is_what_the_code_does():
    """`python tests/shared/oddities.py > docs/file-oddities.md` writes it."""
    assert PAGE.read_text() == page()
