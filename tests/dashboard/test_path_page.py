"""The live page of a path in a real browser: the curve while it grows, at two widths; and what its view holds."""

import re

import numpy as np
import pytest
from commands import Command

import mcprune
from mcprune.dashboard.controller import RunController
from mcprune.path.search.progress import PathStatus

WAIT = 120_000  # milliseconds; a loaded machine only waits longer
# The command, whose path stays on its way down until the file `seen` is there: however long the browser takes to open the page.
PROGRAM = """
import sys, time
from pathlib import Path
from mcprune.cli.main import main
from mcprune.path.search.progress import PathStatus

event = PathStatus.event

def waiting(self, level, way, *rest, **named):
    while way != "down" and not Path("seen").exists():
        time.sleep(0.02)
    return event(self, level, way, *rest, **named)

PathStatus.event = waiting
sys.exit(main(sys.argv[1:]))
"""


def test_the_view_has_the_curve_as_far_as_it_is_known():
    view = RunController().view
    status = PathStatus((5, 10, 20), "sites", "columns")
    status.add(20, 0.9, 0.01, is_final=False)
    view.on_event(status.event(10, "down", 1))
    path = view.state()["run"]["path"]
    assert (path["level"], path["way"], path["stops_left"], path["answer"]) == (10, "down", 1, [])
    assert path["scores"] == [{"level": 20, "accuracy": 0.9, "accuracy_error": 0.01, "is_final": False}]
    status.add(20, 0.95, 0.02, is_final=True)
    status.add(20, 0.5, 0.02, is_final=False)  # a later search does not replace it
    view.on_event(status.event(20, "score"))
    assert view.status == "testing"
    assert view.state()["run"]["path"]["scores"][0]["accuracy"] == 0.95


@pytest.mark.slow
def test_the_page_of_a_path_gets_every_search_and_its_end():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(150, 6))
    page = RunController()
    states = []

    class Watched(mcprune.Callback):
        def on_event(self, event):
            states.append((page.view.status, (page.view.state()["run"].get("path") or {}).get("level")))

    options = {"seed": 0, "threads": 1, "epochs": 3, "progress": False, "callbacks": [page, Watched()]}
    path = mcprune.prune_path(x, (x[:, 0] > 0).astype(int), keep="1,3,5", **options)
    assert page.view.status == "done"
    shown = page.view.state()["run"]["path"]
    assert [score["level"] for score in shown["scores"]] == [1, 3, 5]
    assert all(score["is_final"] for score in shown["scores"])
    assert (shown["enough"], " ".join(shown["answer"])) == (path.enough, str(path))
    assert {level for status, level in states if status == "running"} >= {1, 3, 5}


def fits(page, width):
    """Whether the page is no wider than the window, and the whole curve is on the first screen."""
    box = page.locator("#path").bounding_box()
    is_inside = box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= 900
    return is_inside and page.evaluate("document.documentElement.scrollWidth") <= width


def until(page, is_so):
    """Wait until something is so: figures are drawn again after the window has changed."""
    for _ in range(WAIT // 50):
        if is_so():
            return
        page.wait_for_timeout(50)
    pytest.fail("it never was so")


@pytest.mark.slow
@pytest.mark.browser
def test_the_curve_grows_on_the_page(tmp_path, browser):
    expect = pytest.importorskip("playwright.sync_api").expect
    options = ["--keep", "6:48:4", "--epochs", "6", "--retrain-epochs", "3", "--threads", "1", "--at", "none"]
    command = ["path", "--data", "digits", "--live", "--no-browser", "--port", "0"]
    run = Command(*command, *options, "--out", "p", code=PROGRAM, cwd=tmp_path)
    address = run.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.goto(address)
    expect(page.locator("#path-words")).to_contain_text("on the way down", timeout=WAIT)
    page.wait_for_selector("#path .scatterlayer .trace .errorbar")  # the first level has its error
    expect(page.locator("#name")).to_have_text("digits, 6 to 48 pixels")
    assert page.locator("#finish").is_hidden()
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        until(page, lambda width=width: fits(page, width))
        page.screenshot(path=str(tmp_path / f"path-{width}.png"))
    (tmp_path / "seen").touch()
    expect(page.locator("#status")).to_have_text("done", timeout=WAIT)
    expect(page.locator("#path-words")).to_contain_text("are enough")
    assert page.locator("#path .legendtext").all_text_contents()[0] == "fresh classifiers"
    page.set_viewport_size({"width": 1280, "height": 900})
    until(page, lambda: fits(page, 1280))
    page.screenshot(path=str(tmp_path / "path-done.png"))
    page.reload()
    expect(page.locator("#path-words")).to_contain_text("are enough")
    context.close()
    assert run.wait(300) == 0
    run.close()
    assert faults == []
