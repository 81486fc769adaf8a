"""The page of a report in a real browser, opened from disk."""

import json
from dataclasses import replace

import pytest
from sampled_run import samples_of
from selection import long_but

from mcprune.cli.report import write_report
from mcprune.config.schema import make_config
from mcprune.sampling.summary import write_summary
from mcprune.session.loop import run

pytestmark = [pytest.mark.browser, pytest.mark.slow]


# How many titles of panels lie on each other.
OVERLAPS = """(() => {
  const boxes = [...document.querySelectorAll('.annotation')].map((one) => one.getBoundingClientRect());
  return boxes.filter((one, place) => boxes.slice(place + 1).some((other) => one.left < other.right && other.left < one.right
    && one.top < other.bottom && other.top < one.bottom)).length;
})() TELL"""


OPEN = "document.querySelectorAll('details').forEach((fold) => { fold.open = true; })"
HIGHEST = 3000  # pixels at a width of 1280, with the folds closed


def until(page, words):
    """Wait until an expression is true: the page's policy forbids playwright's own way, which evaluates texts in the page."""
    for _ in range(600):
        if page.evaluate(words):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {words}")


def test_every_figure_is_drawn_without_a_network(browser, story, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    told = story(30)
    for place, event in enumerate(told):  # what does not change has no curve
        if event.kind == "progress":
            end = event.block / 30
            losses = {"loss": 1 - 0.5 * end, "classification_loss": 0.9 - 0.5 * end, "selection_loss": 0.1 - 0.1 * end}
            told[place] = replace(
                event, acceptance=0.1 * end, gate_sum=60 - event.block, kept=60 - event.block, **losses
            )
    told[3] = replace(told[3], delta=0.5)
    (folder / "events.jsonl").write_text("".join(event.to_json() + "\n" for event in told), encoding="utf-8")
    path = write_report(str(folder))
    said, asked = [], []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    figures = page.evaluate("Object.keys(FIGURES)")
    page.evaluate(OPEN)
    until(page, "Object.keys(FIGURES).every(id => document.querySelector(`#${id} .main-svg`))")
    lines = page.evaluate("document.querySelectorAll('.scatterlayer .trace').length")
    # The control: what is not in the page is refused by its own policy.
    refused = page.evaluate("fetch('https://example.org/').then(() => 'open', () => 'refused')")
    page.set_viewport_size({"width": 400, "height": 900})
    until(page, "document.documentElement.scrollWidth <= 400")
    until(
        page, "Object.keys(FIGURES).some(id => document.getElementById(id).clientHeight > 800)"
    )  # panels below each other
    until(page, OVERLAPS.replace("TELL", "=== 0"))
    page.screenshot(path=str(tmp_path / "report-400.png"), full_page=True)
    page.close()
    assert len(figures) >= 4
    assert lines >= 8
    assert asked == [path.as_uri()], json.dumps(asked)
    assert refused == "refused"
    assert [text for text in said if "example.org" not in text] == []
    assert any("Content Security Policy" in text for text in said)


RUNS = {
    "pixels": {"keep": 16, "start": "all+forest"},
    "columns": {"data": "wine", "keep": 4, "start": "all+forest+l1"},
    "units": {"data": "wine", "sites": "inputs,units", "keep": 20},
    "weights": {"data": "wine", "sites": "weights", "keep": 60},
}


@pytest.mark.parametrize("kind", long_but("pages of sites like these", RUNS, "pixels", "columns"))
def test_a_page_is_at_most_three_screens_high_and_fits_a_narrow_one(browser, tmp_path, kind):
    options = {"epochs": 10, "retrain_epochs": 3, "compare": "yes", "hidden": (24, 12), "threads": 1, **RUNS[kind]}
    list(run(make_config(**options, out=str(tmp_path / "run"))))
    if kind == "columns":  # as if it had been sampled
        write_summary(tmp_path / "run", samples_of([0, 6, 9, 12], 13))
    path, errors = write_report(str(tmp_path / "run")), []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    drawn = "[...document.querySelectorAll('div[id^=figure]')].filter((box) => !box.closest('details'))"
    until(page, f"{drawn}.every((box) => box.querySelector('.main-svg'))")
    assert page.evaluate(f"{drawn}.length") >= 4
    assert page.evaluate("document.documentElement.scrollHeight") <= HIGHEST
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.screenshot(path=str(tmp_path / f"{kind}-1280.png"), full_page=True)
    page.set_viewport_size({"width": 400, "height": 900})
    until(page, "document.documentElement.scrollWidth <= 400")
    page.screenshot(path=str(tmp_path / f"{kind}-400.png"), full_page=True)
    # The control: with its folds open the page is higher, and their figures are drawn.
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate(OPEN)
    until(page, "Object.keys(FIGURES).every((id) => document.querySelector(`#${id} .main-svg`))")
    assert page.evaluate("document.documentElement.scrollHeight") > HIGHEST
    page.close()
    assert errors == []
