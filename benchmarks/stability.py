"""How alike the kept sets of several seeds are: the mean Jaccard overlap of all pairs, for the chain and the other ways to a mask.

The overlap of two random sets of n of N is about n / (2 N - n), which stands beside. A set may differ and be as good: the accuracy of the
small models, retrained, stands beside as well. With --consensus R each seed runs R chains and keeps the n inputs that most of them keep
(ties by the mean pruner weight), judged on new splits of the training rows: what that gives in overlap and accuracy is printed beside one
chain, and decides whether it would be worth an option. A seed changes the split of the rows as well as the search.

    python benchmarks/stability.py --out benchmarks/results/stability.json
    python benchmarks/stability.py --data mnist --rows 6000 --keep 50 --consensus 3
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import command, parser, report, row

WAYS: dict[str, dict[str, str]] = {
    "chain": {},
    "straight-through gradient": {"--method": "gradient", "--gates": "straight-through"},
    "importance: magnitude": {"--method": "importance", "--measure": "magnitude"},
    "importance: loss": {"--method": "importance", "--measure": "loss"},
    "importance: fisher": {"--method": "importance", "--measure": "fisher"},
}


def jaccard(sets: list[set[int]]) -> float:
    """Return the mean of |both| / |either| over all pairs."""
    return statistics.mean(len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2))


def one(way: str, seed: int, options: dict[str, str]) -> dict[str, Any]:
    """Run one way with a seed; return its set, weights, accuracies."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "run"
        given = {**WAYS[way], **options, "--seed": str(seed), "--compare": "no", "--out": str(out)}
        seconds, _, code = command(["run", "--quiet", *[part for pair in given.items() for part in pair]])
        if code:
            raise SystemExit(f"{way}, seed {seed}: the run ended with code {code}")
        mask, result = (json.loads((out / file).read_text()) for file in ("mask.json", "result.json"))
    rows = {line["name"]: line for line in result["scores"]}
    return {
        "way": way,
        "seed": seed,
        "keep": mask["indices"],
        "N": mask["n_sites"],
        "weights": mask["weights"],
        "accuracy": rows["hard mask, retrained"]["accuracy"],
        "seconds": seconds,
    }


def agreed(runs: list[dict[str, Any]], n: int) -> list[int]:
    """Return the n sites that most of the runs keep; ties by their mean weight, then by index."""
    votes = np.zeros(runs[0]["N"])
    for run in runs:
        votes[run["keep"]] += 1
    mean = np.mean([np.clip(run["weights"], -8, 8) for run in runs], axis=0)
    return sorted(int(site) for site in np.lexsort((-mean, -votes))[:n])


def judged(data: str, keep: list[int], seed: int) -> float:
    """Return the accuracy of a small classifier on these columns, over three random splits of the rows that are no given test part.

    The splits are new ones, but a data set without a test part has no rows that the searches did not see in one role or another: it
    compares two sets that were found in the same way, and is no estimate of accuracy.
    """
    import warnings

    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from mcprune.data.load import load

    rows = load(data)
    train = np.setdiff1d(np.arange(len(rows.targets)), [] if rows.test_rows is None else rows.test_rows)[:6000]
    x, y = rows.features[train][:, keep], rows.targets[train]
    scores = []
    for part in range(3):
        a, b, c, d = train_test_split(x, y, test_size=0.3, random_state=100 * seed + part, stratify=y)
        net = make_pipeline(
            StandardScaler(), MLPClassifier((32,), max_iter=60, random_state=part, early_stopping=False)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores.append(net.fit(a, c).score(b, d))
    return statistics.mean(scores)


def some(data: str, rows: int, folder: Path) -> str:
    """Write so many rows that are no given test part into the folder, drawn by a fixed seed; return the file."""
    from mcprune.data.load import load

    whole = load(data)
    own = np.setdiff1d(np.arange(len(whole.targets)), [] if whole.test_rows is None else whole.test_rows)
    drawn = np.sort(np.random.default_rng(2024).permutation(own)[:rows])
    out = folder / f"{data}.npz"
    shape = whole.image_shape or whole.features.shape[1:]
    np.savez(out, X=whole.features[drawn].reshape(len(drawn), *shape), y=np.asarray(whole.targets)[drawn])
    return str(out)


def main() -> None:
    """Run all ways and seeds and report."""
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--data", default="breast-cancer")
    options.add_argument("--rows", type=int, default=0, help="so many rows of the data, drawn once (default: all)")
    options.add_argument("--keep", type=int, default=8)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument(
        "--consensus", type=int, default=0, metavar="R", help="also: R chains a seed and what they agree on"
    )
    options.add_argument("--ways", default="", help="names with commas (default: all; --quick: without the gradient)")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="another option of run")
    given = options.parse_args()
    more = {f"--{name.removeprefix('--')}": value for name, _, value in (part.partition("=") for part in given.set)}
    more |= {"--data": given.data, "--keep": str(given.keep), "--threads": str(given.threads)}
    told = {**more, "rows": given.rows} if given.rows else dict(more)
    with tempfile.TemporaryDirectory() as folder:
        if given.rows:
            more["--data"] = some(given.data, given.rows, Path(folder))
        found, figures = measured(given, more)
    size = found[0]["N"] if found else given.keep
    figures.append(row("random sets: Jaccard overlap, about", given.keep / (2 * size - given.keep), "", None, "higher"))
    report(figures, given.threads, given.out, options=told, runs=[{**run, "weights": None} for run in found])


def measured(given: Any, more: dict[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run all ways and seeds; return the runs and the figures."""
    ways = [way for way in given.ways.split(",") if way]
    ways = ways or [
        way for way in WAYS if not (given.quick and way in ("straight-through gradient", "importance: fisher"))
    ]
    seeds = 3 if given.quick else given.seeds
    found: list[dict[str, Any]] = []
    figures = []
    for way in ways:
        runs = [one(way, seed, more) for seed in range(seeds)]
        found += runs
        overlap, scores = jaccard([set(run["keep"]) for run in runs]), [run["accuracy"] for run in runs]
        print(f"{way}: overlap {overlap:.3f}, test accuracy {statistics.mean(scores):.4f}, {seeds} seeds", flush=True)
        figures.append(row(f"{way}: Jaccard overlap of kept sets", overlap, "", None, "higher", f"{seeds} seeds"))
        figures.append(
            row(
                f"{way}: test accuracy",
                statistics.mean(scores),
                "share",
                None,
                "higher",
                spread=statistics.stdev(scores),
            )
        )
    if given.consensus > 1:
        groups = []
        for seed in range(seeds):
            groups.append([one("chain", 1000 + seed * given.consensus + r, more) for r in range(given.consensus)])
        both = {
            "one chain": [group[0]["keep"] for group in groups],
            f"what {given.consensus} chains agree on": [agreed(group, given.keep) for group in groups],
        }
        for name, sets in both.items():
            overlap = jaccard([set(each) for each in sets])
            scores = [judged(more["--data"], each, place) for place, each in enumerate(sets)]
            print(f"{name}: overlap {overlap:.3f}, validation accuracy {statistics.mean(scores):.4f}", flush=True)
            figures.append(row(f"{name}: Jaccard overlap", overlap, "", None, "higher", f"{seeds} seeds"))
            figures.append(
                row(
                    f"{name}: validation accuracy",
                    statistics.mean(scores),
                    "share",
                    None,
                    "higher",
                    spread=statistics.stdev(scores),
                )
            )
    return found, figures


if __name__ == "__main__":
    main()
