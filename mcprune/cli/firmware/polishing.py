"""A polish on the command line: its status line or page, its table and its JSON."""

from __future__ import annotations

import json as json_text
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mcprune.cli.firmware.start import Start
from mcprune.cli.tune import announce, linger, page_port
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.counting.solver import counter, has_solver
from mcprune.firmware.polish.polish import Polished, Standing, polish
from mcprune.firmware.polish.run import SOLVED_UNITS, PolishState
from mcprune.firmware.polish.settings import PolishSettings
from mcprune.report.screens.status_line import StatusLine
from mcprune.report.terminal import write
from mcprune.report.text import columns

if TYPE_CHECKING:
    from mcprune.dashboard.polish_page import PolishPage

REPORT = "polish.json"


class Screen(NamedTuple):
    """What is shown: little, one JSON object alone, a page by its options."""

    is_quiet: bool = False
    is_json: bool = False
    page: Mapping[str, object] | None = None


def polish_start(start: Start, settings: PolishSettings, objective: str, out: Path, screen: Screen) -> Polished:
    """Polish a network into a folder, and print the result."""
    is_silent = screen.is_quiet or screen.is_json
    watch = None if is_silent else Watch(settings)
    is_solved = settings.unit in SOLVED_UNITS and has_solver()
    with _page(start, settings, out, screen.page) as page:
        if page is not None and screen.page is not None:
            announce(page.server, screen.page["browser"] is not False, sys.stderr if is_silent else sys.stdout)

        def on_block(state: PolishState) -> None:
            for one in (watch, page.on_block if page is not None else None):
                if one is not None:
                    one(state)

        result = polish(
            start.network,
            start.splits,
            settings,
            objective=objective,
            solver_count=counter("luts" if settings.unit == "luts" else "adders") if is_solved else None,
            folder=out,
            on_block=on_block,
            steer=None if page is None else page.steer,
        )
        if watch is not None:
            watch.line.close()
        content = report_json(result, start)
        (out / REPORT).write_text(json_text.dumps(content, indent=1) + "\n")
        if screen.is_json:
            write(sys.stdout, json_text.dumps(content, allow_nan=False) + "\n")
        else:
            write(sys.stdout, "".join(f"{line}\n" for line in report_lines(result, start, out)))
        if page is not None:
            page.done(result)
            linger(page.stream)
    return result


def _page(
    start: Start, settings: PolishSettings, out: Path, options: Mapping[str, object] | None
) -> PolishPage | nullcontext[None]:
    if options is None:
        return nullcontext()
    from mcprune.dashboard.polish_page import PolishPage

    host = "127.0.0.1" if options["host"] is None else str(options["host"])
    return PolishPage(start.splits.name, settings, start.splits, page_port(options["port"]), host, str(out))


def report_lines(result: Polished, start: Start, out: Path) -> list[str]:
    """Return the result as a table of text."""
    before, after = result.before, result.after
    rows = [
        ["inputs and units", "-".join(map(str, before.widths)), "-".join(map(str, after.widths))],
        *(
            [name, f"{one:,}", f"{other:,}"]
            for name, one, other in zip(
                ("weights", "digits", "digit-bits", "EBOPs", "adders at most", "LUTs at most"),
                before.costs,
                after.costs,
                strict=True,
            )
        ),
        ["training loss", f"{before.loss:.4f}", f"{after.loss:.4f}"],
        *(
            [f"{part} accuracy", f"{value:.4f}", f"{after.accuracies[part]:.4f}"]
            for part, value in before.accuracies.items()
        ),
    ]
    used, budget = after.costs.of(result.settings.unit), result.settings.budget
    return [
        f"{start.description}; budget {budget:,} {result.settings.unit}, used {used:,}",
        "",
        *columns(["", "before", "after"], rows),
        "",
        f"{result.evaluated:,} candidates in {result.seconds:.1f} s of the processor; {result.dropped} units or inputs dropped as a whole",
        f"written: {out}",
    ]


def report_json(result: Polished, start: Start) -> dict[str, object]:
    """Return the result as JSON-able data."""
    return {
        "start": start.description,
        "settings": asdict(result.settings),
        "before": _standing_json(result.before),
        "after": _standing_json(result.after),
        "evaluated": result.evaluated,
        "dropped": result.dropped,
        "bits_moved": result.bits_moved,
        "moves": [move._asdict() for move in result.moves],
        "seconds": result.seconds,
    }


def _standing_json(standing: Standing) -> dict[str, object]:
    return {
        **standing.costs._asdict(),
        "widths": list(standing.widths),
        "loss": standing.loss,
        "accuracies": standing.accuracies,
    }


class Watch:
    """Shows where the chain is."""

    def __init__(self, settings: PolishSettings) -> None:
        self.settings = settings
        self.line = StatusLine(time.monotonic())

    def __call__(self, state: PolishState) -> None:
        """Show it where a line is due."""
        if not self.line.is_due(time.monotonic()):
            return
        cost = costs(state.network).of(self.settings.unit)
        text = f"block {state.block} of {self.settings.blocks}  {cost:,} {self.settings.unit}"
        if state.best is not None:
            text += f"  best within the budget {state.best_value:.4f} on the validation rows"
        self.line.show(text)
