"""Whether copies come out as the substitutes that they are, by `mcprune sample`.

Ten tables of 30 columns: 6 informative ones, each with two noisy copies (correlation .95 with it), and 12 of noise; the class is drawn by
the logistic of the sum of the six. With n = 6 each triple of a signal and its copies should come out as one group: found is a triple that
is a group, false a group with columns of different triples or with noise. The control are two tables of 12 informative columns that do not
depend on each other and 18 of noise, n = 6: whatever is reported there is false.

    python benchmarks/substitutes.py --out benchmarks/results/substitutes.json
    python benchmarks/substitutes.py --rows 1000 --out benchmarks/results/substitutes_1000.json

Each table is written as soon as it is done, and a later run with the same --out goes on from there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, parser, report, row, write

SIGNALS, COPIES, NOISE, CORRELATION, WEIGHT = 6, 2, 12, 0.95, 1.5
CONTROLS = 2


def table(seed: int, rows: int, copies: int = COPIES, signals: int = SIGNALS) -> tuple[np.ndarray, ...]:
    """Return columns (rows, 30) in a random order, classes, and the signal that each column is of, -1 for noise."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(rows, signals))
    parts = [base]
    for _ in range(copies):
        parts.append(CORRELATION * base + (1.0 - CORRELATION**2) ** 0.5 * rng.normal(size=base.shape))
    columns = SIGNALS * (1 + COPIES) + NOISE
    parts.append(rng.normal(size=(rows, columns - signals * (1 + copies))))
    x = np.concatenate(parts, axis=1)
    group = np.r_[np.tile(np.arange(signals), 1 + copies), np.full(columns - signals * (1 + copies), -1)]
    scale = WEIGHT * (SIGNALS / signals) ** 0.5
    y = rng.random(rows) < 1.0 / (1.0 + np.exp(-scale * base.sum(axis=1)))
    order = rng.permutation(columns)
    return x[:, order].astype(np.float32), y.astype(np.int64), group[order]


def sampled(x: np.ndarray, y: np.ndarray, seed: int, precision: float) -> dict[str, Any]:
    """Run and sample a table; return the JSON of the command, and the seconds it took."""
    with tempfile.TemporaryDirectory() as name:
        file, folder = Path(name) / "table.npz", Path(name) / "run"
        np.savez(file, X=x, y=y)
        options = {
            "--data": file,
            "--keep": SIGNALS,
            "--seed": seed,
            "--threads": 1,
            "--precision": precision,
            "--compare": "no",
            "--retrain-epochs": 2,
            "--out": folder,
        }
        began = time.perf_counter()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "mcprune", "sample", "--json"),
                *[str(part) for pair in options.items() for part in pair],
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"table {seed}: mcprune sample ended with code {done.returncode}: {done.stderr[-500:]}")
        return {**json.loads(done.stdout), "seconds_in_all": time.perf_counter() - began}


def judged(content: dict[str, Any], group: np.ndarray) -> dict[str, Any]:
    """Return what of the groups of a table is right."""
    found = [{one["site"] for one in each["sites"]} for each in content["substitutes"]["groups"]]
    truth = [set(np.flatnonzero(group == signal).tolist()) for signal in range(SIGNALS)]
    pairs = [pair["sites"] for pair in content["substitutes"]["pairs"]]
    return {
        "triples_found": sum(triple in found for triple in truth),
        "groups": len(found),
        "groups_false": sum(not any(each <= triple for triple in truth) for each in found),
        "pairs": len(pairs),
        "pairs_false": sum(bool(group[a] < 0 or group[a] != group[b]) for a, b in pairs),
        "costs": [
            one["cost"] for each in content["substitutes"]["groups"] for one in each["sites"] if one["cost"] != 0.0
        ],
        "cost_of_any_other": [each["cost_of_any_other"] for each in content["substitutes"]["groups"]],
        "temperature": content["temperature"],
        "paired_error": content["paired_error"],
        "loss": content["loss"],
        "seconds": content["seconds_in_all"],
        "pairs_tested": content["substitutes"]["pairs_tested"],
        "pairs_exchanged": content["substitutes"]["pairs_exchanged"],
    }


def measured(out: Path | None, chosen: dict[str, Any], tables: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each table and control: what the file has of this version and these options, else measured now and written at once."""
    content: dict[str, Any] = {"machine": machine(1), "options": chosen, "tables": [], "controls": []}
    if out is not None and out.exists():
        before = json.loads(out.read_text())
        if before["options"] == chosen:
            content |= {name: [one for one in before[name] if "seed" in one] for name in ("tables", "controls")}
    for seed in range(tables + CONTROLS):
        of = content["tables" if seed < tables else "controls"]
        one = next((one for one in of if one["seed"] == seed), None)
        if one is None:
            copies = (COPIES, SIGNALS) if seed < tables else (0, 2 * SIGNALS)
            x, y, group = table(seed, chosen["rows"], *copies)
            truth = group if seed < tables else np.arange(len(group))
            one = {"seed": seed, **judged(sampled(x, y, seed, chosen["precision"]), truth)}
            of.append(one)
            if out is not None:
                write(out, content)
        print(
            f"table {seed}: {one['triples_found']} triples, {one['groups_false']} of {one['groups']} groups false",
            flush=True,
        )
        yield seed, one


def main() -> None:
    """Sample the tables and report."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--tables", type=int, default=10)
    options.add_argument("--rows", type=int, default=500)
    options.add_argument(
        "--precision", type=float, default=0.01, help="of P(kept); the number of draws follows from it"
    )
    arguments = options.parse_args()
    tables = 2 if arguments.quick else arguments.tables
    chosen = {"tables": tables, "rows": arguments.rows, "precision": arguments.precision}
    results, controls = list[dict[str, Any]](), list[dict[str, Any]]()
    for seed, one in measured(arguments.out, chosen, tables):
        (results if seed < tables else controls).append(one)

    def total(name: str, of: list[dict[str, Any]]) -> int:
        return sum(one[name] for one in of)

    triples, groups, pairs = SIGNALS * tables, total("groups", results), total("pairs", results)
    report(
        [
            row("true triples found", total("triples_found", results) / triples, "share", 0.9, "higher", f"of {triples}"),
            row("false groups", total("groups_false", results) / max(1, groups), "share", 0.1, "lower", f"of {groups}"),
            row("false pairs", total("pairs_false", results) / max(1, pairs), "share", 0.1, "lower", f"of {pairs}"),
            row(
                "pairs reported of independent columns", total("pairs", controls), "", 0, "lower",
                f"of {total('pairs_tested', controls)} tested, {CONTROLS} tables",
            ),
            row("run and sample a table", float(np.median([one["seconds"] for one in results])), "s", None, "lower"),
        ],
        1,
        arguments.out,
        options=chosen,
        tables=results,
        controls=controls,
    )  # fmt: skip


if __name__ == "__main__":
    main()
