"""The drawings and tables that docs/figures/make.py makes are those that are committed."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
RENEW = "make them again: python docs/figures/make.py"
sys.path.insert(0, str(FIGURES))
make, rows = importlib.import_module("make"), importlib.import_module("rows")


def test_the_drawings_are_those_of_the_script():
    drawings = make.drawings()
    assert len(drawings) == 6
    assert [name for name, content in drawings.items() if (FIGURES / name).read_text() != content] == [], RENEW


@pytest.mark.parametrize(("page", "name"), rows.BLOCKS, ids=lambda part: part)
def test_a_table_is_that_of_the_results(page, name):
    assert rows.block(page, name) == rows.BLOCKS[page, name](), RENEW


def test_new_figures_come_in_from_the_results(monkeypatch):
    """The control: other seeds, a seed that was run again, and an accuracy above the target change what is written."""
    content = rows.read("image_bars")
    first = next(run for run in content["runs"] if run["data"] == "mnist" and not run["options"])
    more = [
        {**first, "seed": seed, "judges": dict.fromkeys(rows.CLASSIFIERS, value)}
        for seed, value in ((0, 0.98), (7, 0.96))
    ]
    others = [run for run in content["runs"] if run["data"] != "mnist"]
    changed = {**content, "runs": [*others, first, *more]}
    read = rows.read
    monkeypatch.setattr(rows, "read", lambda name: changed if name == "image_bars" else read(name))
    assert rows.evaluated("mnist", "SVC") == [0.98, 0.96]
    assert "| MNIST, 50 of 784 pixels, two seeds | .9700 ± .0141 |" in rows.readme_results()
    text = rows.image_rows()
    assert "MNIST: two seeds" in text
    assert "four of eight" in text or "five of eight" in text


def test_the_picture_shows_the_kept_pixels_and_their_accuracy():
    run = json.loads(make.RUN.read_text())
    drawing = make.digits(run, make.THEMES[0])
    accuracy = {score["name"]: score["accuracy"] for score in run["result"]["scores"]}
    for name in make.BARS:
        assert f">{accuracy[name]:.3f}".replace("0.", ".") in drawing
    assert drawing.count("fill-opacity") == 3 * 64 + 3 * len(run["result"]["indices"])
