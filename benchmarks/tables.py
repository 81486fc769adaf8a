"""n columns of ordinary tables: ours beside the selectors of scikit-learn and peers, judged by fresh classifiers on test rows.

Eight real sets (MCPRUNE_TABLES names the folder with their npz files) and three generators whose useful columns are known. Rows are split
80/20 by seed 42, stratified. Judges: SVC(), 1-NN and ExtraTrees(50), the figure of a mask is their mean accuracy. The bar of a set is the
scikit-learn one-liner with the best mean of the three judges by cross-validation on the training rows; test rows have no say in it.

    MCPRUNE_TABLES=../shared/data python benchmarks/tables.py --out benchmarks/results/tables.json --page tables.html

With --speed whole commands are timed instead (`table_speed.py`).

Each mask is written as soon as it is judged, and a later run with the same --out goes on from there.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
import warnings
from html import escape
from pathlib import Path
from typing import Any

import common
import numpy as np
import table_selectors as selectors
import table_sets as sets
import table_speed

SEEDS, CV_FOLDS = 5, 3
# The mean of ours may be this much below the bar on a set, and must be so much above it on the mean of all.
SLACK, LEAD = 0.005, 0.015
QUICK_SETS, QUICK_METHODS = ("spambase", "hypercube"), ("prune", "f", "forest", "l1", "random")
OURS = ("prune", "MarkovSelector")
# What the small network of `prune` reaches at least on test rows.
RETRAINED = {"mnist-6000": 0.935}


def judge(table: sets.Table, keep: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return the test accuracies of fresh classifiers on the kept columns."""
    return accuracies(table.x[:, keep], table.y, table.x_test[:, keep], table.y_test, seed)


def accuracies(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, seed: int) -> dict[str, float]:
    """Return the accuracies of the three judges."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    judges = {"SVC": SVC(), "1-NN": KNeighborsClassifier(1), "ExtraTrees": ExtraTreesClassifier(50, random_state=seed)}
    return {name: float(one.fit(x, y).score(x_test, y_test)) for name, one in judges.items()}


def cross_validated(table: sets.Table, name: str, n: int) -> float:
    """Return the mean accuracy of the judges by cross-validation on the training rows, columns chosen again in each fold."""
    from sklearn.model_selection import StratifiedKFold

    select = selectors.ONE_LINERS[name]
    out = []
    for fit, rest in StratifiedKFold(CV_FOLDS, shuffle=True, random_state=sets.SPLIT_SEED).split(table.x, table.y):
        keep = select(table.x[fit], table.y[fit], n, 0)
        out += accuracies(table.x[fit][:, keep], table.y[fit], table.x[rest][:, keep], table.y[rest], 0).values()
    return statistics.mean(out)


def measure(table: sets.Table, name: str, n: int, seed: int) -> dict[str, Any]:
    """Choose columns and judge them."""
    clock, processor = time.perf_counter(), time.process_time()
    result = selectors.pruned(table.x, table.y, n, seed) if name == "prune" else None
    keep = selectors.SELECTORS[name](table.x, table.y, n, seed) if result is None else result.mask.indices
    run = {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - processor}
    if keep.size != n:
        raise SystemExit(f"{name} chose {keep.size} columns of {table.name} in place of {n}")
    scores = judge(table, keep)
    return {
        "set": table.name, "n": n, "method": name, "seed": seed, **run, "scores": scores,
        "mean": statistics.mean(scores.values()), "useful": table.useful(keep),
        "alike": None if result is None else selectors.alike(result), "keep": keep.tolist(),
        "retrained": None if result is None else float((result.model.predict(table.x_test) == table.y_test).mean()),
    }  # fmt: skip


def summary(runs: list[dict[str, Any]], bars: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each set, n and method: means over the seeds, the overlap of their masks, the lead over the bar.

    Beside the overlap stands that of equally good finalists of one run, `alike`.
    """
    rows = []
    for (name, n), of_set in _grouped(runs, "set", "n"):
        by_method = dict(_grouped(of_set, "method"))
        cv = bars.get(f"{name} {n}", {})
        best = max(cv, key=lambda one: cv[one]) if cv else None
        means = {(method): statistics.mean(run["mean"] for run in found) for (method,), found in by_method.items()}
        for (method,), found in by_method.items():
            pairs = [len({*a["keep"]} & {*b["keep"]}) / n for a, b in itertools.combinations(found, 2)]
            alike = [run["alike"] for run in found if run.get("alike") is not None]
            retrained = [run["retrained"] for run in found if run.get("retrained") is not None]
            useful = [run["useful"] for run in found if run["useful"] is not None]
            rows.append(
                {
                    "set": name, "n": n, "method": method, "seeds": len(found), "mean": means[method],
                    "spread": statistics.stdev(run["mean"] for run in found) if len(found) > 1 else None,
                    **{judge_: statistics.mean(run["scores"][judge_] for run in found) for judge_ in found[0]["scores"]},
                    "seconds": statistics.median(run["seconds"] for run in found),
                    "cpu": statistics.median(run["cpu"] for run in found),
                    "overlap": statistics.mean(pairs) if pairs and name in sets.REAL else None,
                    "alike": statistics.mean(alike) if alike else None,
                    "useful": statistics.mean(useful) if useful else None,
                    "retrained": statistics.mean(retrained) if retrained else None,
                    "is_bar": method == best, "lead": means[method] - means[best] if best in means else None,
                }
            )  # fmt: skip
    return rows


def _grouped(runs: list[dict[str, Any]], *keys: str) -> list[tuple[tuple[Any, ...], list[dict[str, Any]]]]:
    out: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        out.setdefault(tuple(run[key] for key in keys), []).append(run)
    return list(out.items())


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the bars: the lead of ours over the best one-liner on each set, and on the mean of all."""
    out = [
        common.row(f"prune, {row['set']}: retrained", row["retrained"], "", RETRAINED[row["set"]], "higher")
        for row in rows
        if row["set"] in RETRAINED and row["retrained"] is not None and row["method"] == "prune"
    ]
    for method in OURS:
        leads = []
        for (name,), of_set in _grouped([row for row in rows if row["method"] == method], "set"):
            known = [row["lead"] for row in of_set if row["lead"] is not None]
            if known and name in sets.REAL:
                leads.append(statistics.mean(known))
                out.append(common.row(f"{method}, {name}: lead over the one-liner", leads[-1], "", -SLACK, "higher"))
        if leads:
            out.append(common.row(f"{method}: lead on the mean of all", statistics.mean(leads), "", LEAD, "higher"))
    return out


COLUMNS = (
    "set",
    "n",
    "method",
    "mean",
    "spread",
    "SVC",
    "1-NN",
    "ExtraTrees",
    "retrained",
    "lead",
    "useful",
    "overlap",
    "alike",
    "seconds",
    "cpu",
)


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row as text; the bar has a star."""
    out = []
    for name in COLUMNS:
        value = row[name]
        if name == "method" and row["is_bar"]:
            value = f"{value} *"
        places = 1 if name in ("seconds", "cpu", "useful") else 2 if name in ("overlap", "alike") else 4
        out.append("" if value is None else f"{value:.{places}f}" if isinstance(value, float) else str(value))
    return out


def page(rows: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """Return the table as HTML."""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(row)) + "</tr>"
        for row in sorted(rows, key=lambda row: (row["set"], row["n"], -row["mean"]))
    )
    style = "body{font:14px sans-serif}td,th{padding:2px 8px;text-align:right}tr:nth-child(even){background:#8881}"
    return (
        f"<!doctype html><meta charset='utf-8'><title>Tables</title><style>{style}</style><h1>n columns of ordinary tables</h1>"
        f"<p>Mean test accuracy of SVC, 1-NN and ExtraTrees; * the scikit-learn one-liner that cross-validation on the training "
        f"rows chose, over which the lead is taken. {escape(json.dumps(machine))}</p><table><tr>{head}</tr>\n{body}</table>\n"
    )


def options() -> Any:
    """Return what was asked for."""
    parser = common.parser(__doc__ or "", with_plot=False)
    parser.add_argument("--only", nargs="+", choices=tuple(sets.SETS), help="these sets")
    parser.add_argument("--methods", nargs="+", choices=tuple(selectors.SELECTORS), help="these selectors")
    parser.add_argument("--n", type=int, nargs="+", help="these numbers of columns in place of a set's own")
    parser.add_argument("--seeds", type=int, help=f"seeds of the selectors ({SEEDS})")
    parser.add_argument("--no-bar", action="store_true", help="leave out the cross-validation of the one-liners")
    parser.add_argument(
        "--speed", action="store_true", help="measure whole commands: seconds and memory, beside a forest"
    )
    parser.add_argument("--page", type=Path, metavar="FILE.html", help="write the table as a page")
    return parser.parse_args()


def main() -> None:
    """Choose, judge, print and write; go on where an earlier run stopped."""
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    asked = options()
    if asked.speed:
        table_speed.run(is_quick=asked.quick, out=asked.out)
        return
    names = asked.only or (QUICK_SETS if asked.quick else tuple(sets.SETS))
    methods = asked.methods or (QUICK_METHODS if asked.quick else tuple(selectors.SELECTORS))
    left_out = [name for name in methods if not selectors.is_installed(name)]
    if left_out:
        print(f"left out, not installed: {', '.join(left_out)}", flush=True)
    seeds = range(asked.seeds or (1 if asked.quick else SEEDS))
    content: dict[str, Any] = {"runs": [], "bars": {}}
    if asked.out is not None and asked.out.exists():
        content |= {key: value for key, value in json.loads(asked.out.read_text()).items() if key in content}
    done = {(run["set"], run["n"], run["method"], run["seed"]) for run in content["runs"]}

    def keep_content(rows: list[dict[str, Any]]) -> None:
        if asked.out is not None:
            common.write(asked.out, {"machine": common.machine(1), **content, "rows": rows})

    for name in names:
        ns = asked.n or sets.SETS[name][: 1 if asked.quick else None]
        for seed in seeds:
            table = sets.load(name, seed)
            for n, method in itertools.product(ns, [one for one in methods if one not in left_out]):
                is_once = method in selectors.UNSEEDED and name in sets.REAL and seed > 0
                if (name, n, method, seed) in done or is_once:
                    continue
                run = measure(table, method, n, seed)
                content["runs"].append(run)
                shown = "" if run["useful"] is None else f", {run['useful']} useful"
                print(
                    f"{name} n={n} {method} seed {seed}: {run['mean']:.4f}{shown}, {run['seconds']:.1f} s", flush=True
                )
                keep_content([])
        for n in () if asked.no_bar else ns:
            cv = content["bars"].setdefault(f"{name} {n}", {})
            for method in [one for one in methods if one in selectors.ONE_LINERS and one not in cv]:
                cv[method] = cross_validated(sets.load(name), method, n)
                keep_content([])
    rows = summary(content["runs"], content["bars"])
    widths = [max(len(one[i]) for one in [COLUMNS, *map(cells, rows)]) for i in range(len(COLUMNS))]
    for line in [list(COLUMNS), *map(cells, rows)]:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    bars = verdicts(rows)
    common.report(bars, 1, None)
    keep_content(rows)
    if asked.page is not None:
        asked.page.write_text(page(rows, common.machine(1)))


if __name__ == "__main__":
    main()
