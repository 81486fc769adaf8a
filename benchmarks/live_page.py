"""The live page in chromium without a window, for benchmarks/live.py: beside a run, and its memory over minutes at full speed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
WARM = 60.0  # seconds until all series are full: what grows before is what they hold


def missing() -> str:
    """Return what is missing for a browser, or nothing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return "" if any(map(shutil.which, NAMES)) else "no chromium on the path"


@contextlib.contextmanager
def opened(address: str) -> Iterator[Any]:
    """Open the page in a browser of its own; it goes on by itself while nothing is asked."""
    from playwright.sync_api import sync_playwright

    path = next(found for name in NAMES if (found := shutil.which(name)))
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(address, timeout=120_000)
        page.locator("#status", has_text="running").wait_for(timeout=120_000)
        yield page
        chromium.close()


def memory(address: str, seconds: float, every: float = 20.0) -> dict[str, Any]:
    """Return the page's JavaScript heap in MiB and its nodes, each time after a forced collection.

    Returns
    -------
    dict
        `heap` as (seconds, MiB) pairs, `nodes` likewise; `messages` that the page has drawn from, `points` of its series at the end.
    """
    with opened(address) as page:
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        began = time.perf_counter()
        heap: list[tuple[float, float]] = []
        nodes: list[tuple[float, float]] = []
        while (now := time.perf_counter() - began) < seconds or not heap:
            time.sleep(min(every, max(0.0, seconds - now)))
            devtools.send("HeapProfiler.collectGarbage")
            at = round(time.perf_counter() - began, 1)
            figures = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
            heap.append((at, round(figures["JSHeapUsedSize"] / 2**20, 2)))
            nodes.append((at, figures["Nodes"]))
        return {
            "heap": heap,
            "nodes": nodes,
            "messages": page.evaluate("Charts.rows()"),
            "points": page.evaluate("Charts.length()"),
        }
