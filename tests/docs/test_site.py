"""The site of the documentation in a real browser: axe-core finds nothing serious, and no page is wider than a narrow screen."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long("builds the site and checks every page")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: the extra mcprune[docs]")
    out = tmp_path_factory.mktemp("site")
    subprocess.run([str(ROOT / ".ci" / "site"), str(out), sys.executable], check=True, cwd=ROOT)
    pages = sorted(
        path for path in out.rglob("*.html") if path.name != "404.html"
    )  # whose scripts have absolute addresses
    assert len(pages) > 50
    return pages


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_axe_finds_nothing_serious_on_any_page(site, browser, scheme, width):
    """The file axe.min.js of the npm package axe-core, named by MCPRUNE_AXE."""
    script = os.environ.get("MCPRUNE_AXE")
    if not script:
        pytest.skip("npm pack axe-core, and set MCPRUNE_AXE to its axe.min.js")
    axe, found = Path(script).read_text(), {}
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    for path in site:
        page.goto(path.as_uri())
        page.evaluate(axe)
        faults = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        if serious := [one["id"] for one in faults if one["impact"] in ("serious", "critical")]:
            found[path.name] = serious
    context.close()
    assert found == {}


def test_no_page_is_wider_than_a_narrow_screen(site, browser):
    page = browser.new_page(viewport={"width": 400, "height": 800})
    wide = []
    for path in site:
        page.goto(path.as_uri())
        if page.evaluate("document.documentElement.scrollWidth") > 400:
            wide.append(path.name)
    page.close()
    assert wide == []
