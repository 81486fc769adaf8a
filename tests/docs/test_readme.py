"""README.md: its size, its commands, its numbers, its program."""

import contextlib
import io
import json
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"


def section(title):
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def table(text):
    """Return the rows of the first table, without its head."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def results(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def rows_of(name):
    return {row["name"]: row for row in results(name)["rows"]}


def shown(value, digits=4):
    return f"{value:.{digits}f}".lstrip("0")


def test_it_fits_on_two_screens():
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1200


def test_the_first_program_comes_early():
    assert README.splitlines().index("```python") < 30


@pytest.mark.parametrize(("name", "end"), [("run", "-m mcprune run"), ("test", "-m pytest -n 2 --dist loadfile")])
def test_the_two_commands_stand_where_they_are_looked_for(name, end):
    """As .ci/run reads them: the second line behind the mark."""
    lines = README.splitlines()
    command = lines[lines.index(f"<!-- {name} -->") + 2]
    assert command.startswith("python3 -m venv")
    assert command.endswith(end)
    assert README.count(f"<!-- {name} -->") == 1


def test_its_links_lead_to_files_that_are_there():
    links = [*re.findall(r"\]\(([^)#\s]+)", README), *re.findall(r'(?:src|srcset)="([^"]+)"', README)]
    assert len(links) >= 25
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_pictures_are_small():
    pictures = re.findall(r"docs/figures/[\w.-]+", README)
    assert len(set(pictures)) == 5
    assert all((ROOT / picture).stat().st_size < 150 * 1024 for picture in pictures)


def test_its_parts_are_of_the_stated_number():
    assert len(table(section("Use it when"))) == 6
    assert section("What you get").count("\n- [") == 8
    assert len(table(section("Results"))) == 5
    program = section("From Python").split("```python\n", 1)[1].split("```", 1)[0]
    assert len(program.strip().splitlines()) == 12


def test_the_screen_is_that_of_the_recorded_run():
    screen = README.split("<!-- screen -->\n```text\n", 1)[1].split("```", 1)[0]
    recorded = results("digits_run")["result"]
    for score in recorded["scores"]:
        line = f"{score['name']}: test accuracy {score['accuracy']:.4f} at {score['kept']} sites"
        assert (line in screen) == (score["name"] != "hard mask, not retrained")
    kept = [
        8 * row + column
        for row, line in enumerate(_pixels(screen))
        for column, pixel in enumerate(line)
        if pixel == "██"
    ]
    assert kept == recorded["indices"]


def _pixels(screen):
    """The rows of the picture, two characters a pixel."""
    lines = screen.split("inputs: 16 of 64 kept\n")[1].splitlines()[:8]
    return [[line[2 + 2 * column : 4 + 2 * column] for column in range(8)] for line in lines]


def test_its_comparisons_are_those_of_the_benchmarks():
    cells = {row[0]: row[2] for row in table(section("Use it when"))}
    means = {
        (row["set"], row["n"], row["method"]): row["mean"]
        for file in ("tables", "rfe")
        for row in results(file)["rows"]
    }
    for tool, way in (("forest importances", "forest"), ("RFE", "rfe")):
        tasks = {(name, n) for name, n, method in means if method == way and (name, n, "prune") in means}
        better = sum(means[*task, way] > means[*task, "prune"] for task in tasks)
        worse = sum(means[*task, way] < means[*task, "prune"] for task in tasks)
        tables = len({name for name, _ in tasks})
        text = f"more accurate than mcprune in {better} of {len(tasks)} tasks on {tables} tables, less in {worse}"
        assert cells[tool].startswith(text), text
    ours, theirs = (
        rows_of("structured")["test error, retrained"],
        rows_of("torch_pruning")["Torch-Pruning, test error, retrained"],
    )
    shown_errors = [f"{100 * row['value']:.1f} ± {shown(100 * row['spread'], 1)}%" for row in (theirs, ours)]
    assert f"{shown_errors[0]}, mcprune {shown_errors[1]}" in cells["Torch-Pruning"]
    peers = results("peers")["runs"]["digits"]
    for way in ("lassonet", "chain, fused evaluator, falling temperature"):
        assert shown(statistics.mean(run[way]["test"] for run in peers), 3) in cells["LassoNet"]
    bench = {row["method"]: row for row in results("bench_mnist")["table"]}
    for way in ("straight-through", "markov"):
        text = f"{shown(bench[way]['retrained'])} ± {shown(bench[way]['retrained_spread'])}"
        assert text in cells["straight-through gates"]


@pytest.mark.slow
def test_its_program_prints_what_is_shown():
    """Line by line; numbers may differ from machine to machine in the second place."""
    program, output = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {})
    got, expected = printed.getvalue().splitlines(), output.splitlines()
    assert len(got) == len(expected) == 3
    assert len(got[0].split(", ")) == 5
    assert float(got[1].split()[1]) == pytest.approx(float(expected[1].split()[1]), abs=0.05)
    assert got[2] == expected[2]
