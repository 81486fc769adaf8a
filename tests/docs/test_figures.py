"""The drawings and tables that docs/figures/make.py makes are those that are committed."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
RENEW = "draw them again: python docs/figures/make.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make", FIGURES / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_drawings_are_those_of_the_script(script):
    drawings = script.drawings()
    assert len(drawings) == 6
    assert [name for name, content in drawings.items() if (FIGURES / name).read_text() != content] == [], RENEW


def test_the_table_of_tables_is_that_of_the_results(script):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert script.tables() == page.split("<!-- tables -->\n")[1].split("<!-- /tables -->")[0], RENEW


def test_the_picture_shows_the_kept_pixels_and_their_accuracy(script):
    import json

    run = json.loads(script.RUN.read_text())
    drawing = script.digits(run, script.THEMES[0])
    accuracy = {score["name"]: score["accuracy"] for score in run["result"]["scores"]}
    for name in script.BARS:
        assert f">{accuracy[name]:.3f}".replace("0.", ".") in drawing
    assert drawing.count("fill-opacity") == 3 * 64 + 3 * len(run["result"]["indices"])
