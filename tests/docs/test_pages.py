"""The pages: those with marked blocks are run as they stand, generated pages are those of the code, names and links are right."""

import re
import shlex
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from mcprune.cli.main import main
from mcprune.cli.pages import events_page
from mcprune.cli.pages.options_page import page
from mcprune.storage.events import KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
TUTORIALS = [
    "index.md",
    "results.md",
    "choose-columns.md",
    "trigger.md",
    "firmware.md",
    "own-models.md",
    "transformers.md",
    "how-many.md",
    "black-box.md",
    "which-bytes.md",
    "sensors.md",
]
# Packages that the installation of the first page does not bring; setup.cfg has them as extras.
OPTIONAL = [
    "pandas",
    "pyarrow",
    "polars",
    "matplotlib",
    "optuna",
    "skorch",
    "lightning",
    "nbformat",
    "onnx",
    "onnxruntime",
]
# A block may name packages of an extra, without which it is not run.
BLOCK = re.compile(r"<!-- test: (\w+)(?:, needs ([\w ]+))? -->\n```(\w+)\n(.*?)```", re.DOTALL)


@pytest.mark.long("every page that runs, as it stands")
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_as_it_stands(name, tmp_path, monkeypatch, capsys):
    """Every block in order, in one folder and one interpreter; without packages that the page does not install."""
    monkeypatch.chdir(tmp_path)
    page = (DOCS / name).read_text()
    blocks = BLOCK.findall(page)
    assert len(blocks) >= 3
    absent = [one for one in OPTIONAL if not re.search(rf"pip\s+install[^`#]*\b{one}\b", page)]
    known = {}
    for kind, needed, fence, text in blocks:
        assert kind == fence
        if not all(map(find_spec, needed.split())):
            continue
        with monkeypatch.context() as installed:
            for one in absent if not needed else ():
                installed.setitem(sys.modules, one, None)  # so that its import fails
            _run_block(kind, name, text, known, capsys)


def _run_block(kind, name, text, known, capsys):
    if kind == "python":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(text, name, "exec"), known)
        return
    for line in filter(None, map(str.strip, text.splitlines())):
        program, *arguments = shlex.split(line, comments=True)
        assert program == "mcprune"
        assert main(arguments) == 0, capsys.readouterr().err


def test_most_blocks_of_the_tutorials_are_run():
    """The control: what looks like a command or a program and is not run is the installation alone."""
    for name in TUTORIALS:
        text = (DOCS / name).read_text()
        left = re.findall(r"```(?:sh|python)\n(.*?)```", BLOCK.sub("", text), re.DOTALL)
        assert all("pip install" in block for block in left), name


def test_the_options_page_is_that_of_the_code():
    assert (DOCS / "options.md").read_text() == page(), (
        "regenerate it by: python -m mcprune.cli.pages.options_page > docs/options.md"
    )


def test_the_page_of_events_is_that_of_the_code():
    assert (DOCS / "events.md").read_text() == events_page.page(), (
        "regenerate it by: python -m mcprune.cli.pages.events_page > docs/events.md"
    )


@pytest.mark.parametrize("cls", [*KINDS.values(), *events_page.PARTS], ids=lambda cls: cls.__name__)
def test_every_field_of_an_event_is_documented(cls):
    documented, own = events_page.documented(cls), events_page.own_fields(cls)
    assert list(documented) == own
    assert all(meaning.endswith(".") for _, meaning in documented.values())


def test_the_options_page_has_every_option_with_a_default():
    from mcprune.cli.help import is_listed
    from mcprune.config.options import OPTIONS

    rows = [line for line in page().splitlines() if line.startswith("| `--")]
    assert {row.split("`")[1] for row in rows} == {entry.flag for entry in OPTIONS.values() if is_listed(entry)}
    cells = [re.split(r"(?<!\\)\|", row) for row in rows]
    assert all(len(row) == 7 for row in cells)
    parts = {line.split("`")[1] for line in page().splitlines() if line.startswith("| . `")}
    assert {"regrow", "pressure", "hottest", "early", "lambda_end", "min_per_layer", "recover", "distill"} <= parts
    # Code in a table: nothing empty, and no backslash before a bar, which the site would show.
    assert "``" not in page()
    assert re.search(r"`[^`\n|]*\\\|[^`\n]*`", page()) is None
    assert "<code>N:M&#124;RxC</code>" in page()
    # An option has a default of its own, or its parts have.
    options = {flag: entry for entry in OPTIONS.values() for flag in [entry.flag]}
    assert all(row[5].strip() or options[row[1].split("`")[1]].texts for row in cells)


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_links_lead_to_files_that_are_there(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_every_page_is_in_the_navigation():
    nav = (DOCS.parent / ".ci" / "mkdocs.yml").read_text()
    assert all(f" {path.relative_to(DOCS).as_posix()}\n" in nav for path in DOCS.rglob("*.md"))
