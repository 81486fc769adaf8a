"""The examples run as they stand: six scripts, and two notebooks by their cells, in a kernel where nbclient is installed."""

import importlib.util
import json
import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS, NOTEBOOKS = sorted(EXAMPLES.glob("*.py")), sorted(EXAMPLES.glob("*.ipynb"))


def test_their_number_and_their_list():
    assert (len(SCRIPTS), len(NOTEBOOKS)) == (6, 2)
    listed = re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == [path.name for path in sorted([*SCRIPTS, *NOTEBOOKS])]


def test_they_are_short():
    assert max(len(path.read_text().splitlines()) for path in SCRIPTS) <= 40


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    accuracy = re.findall(r"(?:accuracy|network): ([\d.]+)", capsys.readouterr().out)
    assert float(accuracy[-1]) > 0.7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    book = json.loads(path.read_text())
    assert (book["nbformat"], book["cells"][0]["cell_type"]) == (4, "markdown")
    assert all(cell["outputs"] == [] for cell in book["cells"] if cell["cell_type"] == "code")
    if importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel"):
        import nbclient
        import nbformat

        nbclient.NotebookClient(nbformat.reads(path.read_text(), 4), timeout=300).execute()
        return
    known = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path.name, "exec"), known)
