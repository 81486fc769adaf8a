"""Take the screenshot of the live page: a run of the digits, a while after n(t) has reached n. Needs playwright and chromium.

python docs/figures/live_page.py            # writes docs/figures/live-page.png
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMAND = ["-m", "mcprune", "tune", "--no-browser", "--quiet", "--port", "0", "--threads", "1", "--temperature", "1se"]


def take(path: Path, width: int, height: int, scheme: str, seconds: float) -> None:
    """Start a run, let it go on for some seconds, and write what its page shows."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        own = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
        process = subprocess.Popen([sys.executable, *COMMAND], stdout=subprocess.PIPE, text=True, cwd=folder, env=own)
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address is not None
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(address[0])
            page.wait_for_timeout(1000 * seconds)
            page.screenshot(path=path)
            browser.close()
        finally:
            process.terminate()
            process.wait(60)


def main() -> None:
    """Write the screenshot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "live-page.png")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--seconds", type=float, default=60, help="between the start of the run and the screenshot")
    args = parser.parse_args()
    take(args.out, args.width, args.height, args.scheme, args.seconds)
    print(f"{args.out}: {args.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
