"""What delta and temperature do: short searches on digits, judged on validation rows; the figures of the page on choosing them.

Temperature with the default's exchanges; delta with moves of one site at a temperature, where it matters. Each point is the mean over
seeds, its bar the sample deviation.

    python benchmarks/knobs.py --out benchmarks/results/knobs_digits.json --figures docs/figures
    python benchmarks/knobs.py --redraw benchmarks/results/knobs_digits.json --figures docs/figures
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from common import machine, parser, write  # isort: skip

COMMON: dict[str, Any] = {"data": "digits", "keep": 16, "epochs": 60, "compare": "no", "threads": 1}
LADDERS: dict[str, dict[str, Any]] = {
    "temperature": {"values": [0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1], "options": {}},
    "delta": {
        "values": [0.1, 0.5, 1, 2, 5, 10],
        "options": {"moves": "site=1", "temperature": 3e-4, "pool": "32"},
    },
}
WIDTH, HEIGHT, LEFT, TOP = 520, 190, 60, 30


def one(name: str, value: float, seed: int) -> dict[str, Any]:
    """Search once; what the events tell of it."""
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.session.loop import run_on
    from mcprune.storage.events import Hardened, Progress

    config = make_config(**{**COMMON, **LADDERS[name]["options"], name: value, "seed": seed})
    for event in run_on(config, load("digits"), None):
        if isinstance(event, Progress):
            last = event
        if isinstance(event, Hardened):
            return {
                "knob": name,
                "value": value,
                "seed": seed,
                "validation": event.validation_accuracy,
                "acceptance": last.accepted / last.proposals,
                "seconds": last.seconds,
            }
    raise AssertionError("a run ends with its mask")


def figure(name: str, runs: list[dict[str, Any]]) -> str:
    """Return validation accuracy and acceptance over the values of a knob, each with its spread, as an SVG."""
    values = LADDERS[name]["values"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 90}" height="{2 * HEIGHT + 110}" '
        f'viewBox="0 0 {WIDTH + 90} {2 * HEIGHT + 110}" font-family="sans-serif" font-size="12" fill="#1d2433">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for place, (field, title) in enumerate(
        (("validation", "validation accuracy of the mask as found"), ("acceptance", "share of accepted proposals"))
    ):
        found = [[run[field] for run in runs if run["value"] == value] for value in values]
        means = [mean(one) for one in found]
        spreads = [stdev(one) if len(one) > 1 else 0.0 for one in found]
        low = min(m - s for m, s in zip(means, spreads, strict=True))
        high = max(m + s for m, s in zip(means, spreads, strict=True))
        room = (high - low) * 0.08 or 0.01
        low, high, top = low - room, high + room, TOP + place * (HEIGHT + 44)

        def y(value: float, low: float = low, high: float = high, top: int = top) -> float:
            return top + HEIGHT * (1 - (value - low) / (high - low))

        x = [LEFT + WIDTH * (k + 0.5) / len(values) for k in range(len(values))]
        parts.append(f'<text x="{LEFT}" y="{top - 8}" font-size="13">{title}</text>')
        parts.append(f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#5b6577"/>')
        line = " ".join(f"{a:.1f},{y(b):.1f}" for a, b in zip(x, means, strict=True))
        parts.append(f'<polyline points="{line}" fill="none" stroke="#0072B2" stroke-width="1.5"/>')
        for a, b, s in zip(x, means, spreads, strict=True):
            parts.append(f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{y(b - s):.1f}" y2="{y(b + s):.1f}" stroke="#0072B2"/>')
            parts.append(f'<circle cx="{a:.1f}" cy="{y(b):.1f}" r="3.5" fill="#0072B2"/>')
        for tick in (low + room, high - room):
            parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.3f}</text>')
        for a, value in zip(x, values, strict=True):
            parts.append(f'<text x="{a:.1f}" y="{top + HEIGHT + 16}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{TOP + 2 * HEIGHT + 76}" text-anchor="middle">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Search over both ladders, print a line a run, write runs and figures."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--figures", type=Path, help="folder of the two figures")
    options.add_argument("--redraw", type=Path, help="draw what this file holds, search nothing")
    given = options.parse_args()
    runs: list[dict[str, Any]] = json.loads(given.redraw.read_text())["runs"] if given.redraw else []
    for name, ladder in LADDERS.items() if not runs else ():
        for value in ladder["values"]:
            for seed in range(1 if given.quick else 3):
                runs.append(one(name, value, seed))
                print(json.dumps(runs[-1]), flush=True)
    if given.out is not None:
        write(given.out, {"machine": machine(1), "options": {"common": COMMON, "ladders": LADDERS}, "runs": runs})
    if given.figures is not None:
        for name in LADDERS:
            text = figure(name, [run for run in runs if run["knob"] == name])
            (given.figures / f"knob_{name}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
