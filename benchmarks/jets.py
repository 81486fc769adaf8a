"""Which n features of simulated jets tag a top: the chain under background rejection itself, beside what optimises cross-entropy.

Five kinds of jets (q, g, W, Z, t) simulated by jets_simulation.py: Pythia, without multiple interactions or a detector. Everything
said here is of simulated jets. Each way keeps n features; its small classifier is retrained in the same way with cross-entropy
and judged on jets that no search or retraining has seen: the share of the other four kinds that passes where half of the tops are
kept, its inverse (the rejection, as it is quoted), and the accuracy over all five kinds. Test jets are set aside by a seed of
their own, the same for all ways; the spread is over seeds of the search.

    python benchmarks/jets_simulation.py jets.csv --jets 20000
    python benchmarks/jets.py --data jets.csv --out benchmarks/results/jets.json
"""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import command, parser, report, row

EFFICIENCY, SIGNAL, TEST_SHARE = 0.5, "t", 0.3
COMMON = {"--target": "kind", "--compare": "no", "--hidden": "64,32"}
WAYS: dict[str, dict[str, str]] = {
    "chain, rejection": {"--objective": f"rejection:{EFFICIENCY}:{SIGNAL}", "--evaluation-rows": "8192"},
    "chain, cross-entropy": {},
    "straight-through gradient": {"--method": "gradient", "--gates": "straight-through"},
    "importance: magnitude": {"--method": "importance", "--measure": "magnitude"},
    "importance: loss": {"--method": "importance", "--measure": "loss"},
    "importance: fisher": {"--method": "importance", "--measure": "fisher"},
}
QUICK_WAYS = ("chain, rejection", "chain, cross-entropy", "importance: loss")


def split(data: Path, folder: Path) -> tuple[Path, list[list[str]], list[str]]:
    """Write the rows for searching into the folder; return their file, the test rows and the header."""
    with data.open(newline="", encoding="utf-8") as stream:
        header, *rows = list(csv.reader(stream))
    np.random.default_rng(2024).shuffle(rows)
    cut = round(TEST_SHARE * len(rows))
    out = folder / "jets.csv"
    with out.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows[cut:]])
    return out, rows[:cut], header


def passing(scores: Any, is_signal: Any) -> float:
    """Return the share of the background above the threshold that keeps half of the signal; what ties with it passes."""
    threshold = np.sort(scores[is_signal])[::-1][int(np.ceil(EFFICIENCY * is_signal.sum())) - 1]
    return float((scores[~is_signal] >= threshold).mean())


def one(way: str, seed: int, keep: int, data: Path, test: tuple[Any, Any], more: dict[str, str]) -> dict[str, Any]:
    """Search with a seed; return what the small model does on the test jets."""
    import mcprune

    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "run"
        given = {**COMMON, **WAYS[way], **more, "--data": str(data), "--keep": str(keep), "--seed": str(seed)}
        given |= {"--out": str(out)}
        seconds, _, code = command(["run", "--quiet", *[part for pair in given.items() for part in pair]])
        if code:
            raise SystemExit(f"{way}, seed {seed}: the run ended with code {code}")
        small = mcprune.load(out)
    rows, kinds = test
    chances = np.asarray(small.predict_proba(rows), np.float64)
    place = small.labels.index(SIGNAL)
    # The log-odds, not the probability: float32 puts confident jets to exactly 1.
    others = np.delete(chances, place, axis=1).sum(axis=1)
    scores = np.log(np.maximum(chances[:, place], 1e-300)) - np.log(np.maximum(others, 1e-300))
    is_signal = kinds == SIGNAL
    share = passing(scores, is_signal)
    return {
        "way": way,
        "seed": seed,
        "kept": list(small.names),
        "passing": share,
        "rejection": 1 / share if share else None,
        "accuracy": float((np.asarray(small.labels)[chances.argmax(axis=1)] == kinds).mean()),
        "seconds": seconds,
    }


def main() -> None:
    """Run all ways and seeds and report."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--data", type=Path, help="csv of jets_simulation.py; without it jets are simulated here")
    options.add_argument("--jets", type=int, default=20_000, help="to simulate without --data (default: 20000)")
    options.add_argument("--keep", type=int, default=6, help="features to keep (default: 6)")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="another option of run")
    given = options.parse_args()
    more = {f"--{name.removeprefix('--')}": value for name, _, value in (part.partition("=") for part in given.set)}
    more["--threads"] = str(given.threads)
    ways = QUICK_WAYS if given.quick else tuple(WAYS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = given.data
        if data is None:
            data = folder / "all.csv"
            script = Path(__file__).with_name("jets_simulation.py")
            count = 2_000 if given.quick else given.jets
            subprocess.run([sys.executable, str(script), str(data), "--jets", str(count)], check=True)
        searched, lines, header = split(data, folder)
        target = header.index("kind")
        kinds = np.array([line[target] for line in lines])
        rows = np.array([[float(cell) for place, cell in enumerate(line) if place != target] for line in lines])
        found = []
        for seed in range(1 if given.quick else given.seeds):
            for way in ways:
                found.append(one(way, seed, given.keep, searched, (rows, kinds), more))
                last = found[-1]
                print(
                    f"simulated jets, seed {seed}, {way}: {last['passing']:.4%} of the background passes, accuracy "
                    f"{last['accuracy']:.4f}, {last['seconds']:.0f} s: {', '.join(last['kept'])}",
                    flush=True,
                )
    figures = []
    for way in ways:
        runs = [run for run in found if run["way"] == way]
        for field, unit, better in (("passing", "share", "lower"), ("accuracy", "share", "higher")):
            values = [run[field] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else None
            words = "background that passes at 50% of tops" if field == "passing" else "accuracy, five kinds"
            figures.append(row(f"{way}: {words}", statistics.mean(values), unit, None, better, spread=spread))
    print(f"simulated jets: {len(kinds):,} test jets, {given.keep} of {len(header) - 1} features, {len(found)} runs")
    report(
        figures,
        given.threads,
        given.out,
        jets="simulated: Pythia 8, anti-kt 0.8, no multiple interactions, no detector",
        test_jets=len(kinds),
        keep=given.keep,
        features=[name for name in header if name != "kind"],
        ways=json.loads(json.dumps({way: WAYS[way] for way in ways})),
        options={**COMMON, **more},
        runs=found,
    )


if __name__ == "__main__":
    main()
