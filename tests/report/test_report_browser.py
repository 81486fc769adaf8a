"""The page of a report in a real browser, opened from disk."""

import json
from dataclasses import replace

import pytest

from mcprune.cli.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]


# How many titles of panels lie on each other.
OVERLAPS = """(() => {
  const boxes = [...document.querySelectorAll('.annotation')].map((one) => one.getBoundingClientRect());
  return boxes.filter((one, place) => boxes.slice(place + 1).some((other) => one.left < other.right && other.left < one.right
    && one.top < other.bottom && other.top < one.bottom)).length;
})() TELL"""


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
    until(page, "Object.keys(FIGURES).every(id => document.querySelector(`#${id} .main-svg`))")
    lines = page.evaluate("document.querySelectorAll('.scatterlayer .trace').length")
    # The control: what is not in the page is refused by its own policy.
    refused = page.evaluate("fetch('https://example.org/').then(() => 'open', () => 'refused')")
    page.set_viewport_size({"width": 400, "height": 900})
    until(page, "document.documentElement.scrollWidth <= 400")
    until(page, "document.querySelector('#figure2').clientHeight > 800")  # panels below each other
    until(page, OVERLAPS.replace("TELL", "=== 0"))
    page.screenshot(path=str(tmp_path / "report-400.png"), full_page=True)
    page.close()
    assert len(figures) >= 4
    assert lines >= 8
    assert asked == [path.as_uri()], json.dumps(asked)
    assert refused == "refused"
    assert [text for text in said if "example.org" not in text] == []
    assert any("Content Security Policy" in text for text in said)
