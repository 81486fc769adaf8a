"""The tables of README.md and of the pages that follow benchmarks/results: new figures come in by `python docs/figures/make.py`.

A block of a page stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import firmware_rows
import sampling_rows
import transformer_rows

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
RETRAINED, MAGNITUDE, RANDOM = "hard mask, retrained", "first-layer magnitude", "random masks"
CLASSIFIERS = ("MLP", "SVC", "ExtraTrees", "1-NN")
LONG = {"MLP": "MLP 128-64", "SVC": "SVC, scikit-learn's default", "ExtraTrees": "ExtraTrees, 50 trees", "1-NN": "1-NN"}
IMAGES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
BEFORE = {"mnist": "features", "fashion-mnist": "features_fashion"}  # of the masks beside ours
SETS = {
    "spambase": "spambase",
    "satimage": "satimage",
    "pcmac": "PCMAC",
    "basehock": "BASEHOCK",
    "isolet": "Isolet",
    "coil20": "COIL-20",
    "yale": "Yale",
    "prostate-ge": "prostate",
    "hypercube": "hypercube",
}
REAL = [name for name in SETS if name != "hypercube"]
WAYS = {
    "prune": "mcprune",
    "forest": "forest",
    "l1": "L1",
    "rfe": "RFE",
    "f": "F",
    "straight-through": "straight-through",
    "random": "random",
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Row = dict[str, Any]


def read(name: str) -> Any:
    """Return a file of results."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def share(value: float, digits: int = 4) -> str:
    """Return a share without its leading zero."""
    return f"{value:.{digits}f}".removeprefix("0") if value < 1 else f"{value:.{digits}f}"


def mean(values: Sequence[float], digits: int = 4) -> str:
    """Return a mean with the standard deviation over seeds; of a single seed the value."""
    text = share(statistics.mean(values), digits)
    return text if len(values) < 2 else f"{text} ± {share(statistics.stdev(values), digits)}"


def word(count: int) -> str:
    """Return a small number as a word."""
    return NUMBERS[count] if count < len(NUMBERS) else f"{count}"


def seeds(count: int) -> str:
    """Return a number of seeds in words."""
    return f"{word(count)} seed{'' if count == 1 else 's'}"


def image_runs(data: str, **options: str) -> list[Row]:
    """Return the runs of image_bars.json by seed; of a seed that was run again the last."""
    runs = [run for run in read("image_bars")["runs"] if run["data"] == data and run["options"] == options]
    return list({run["seed"]: run for run in runs}.values())


def evaluated(data: str, classifier: str, **options: str) -> list[float]:
    """Return the test accuracies of a classifier on the kept pixels, one for each seed."""
    return [run["judges"][classifier] for run in image_runs(data, **options)]


def own_scores(data: str, row: str) -> list[float]:
    """Return a row of the runs' own final tables."""
    return [run["run's own scores"][row] for run in image_runs(data)]


def feature_row(data: str, way: str, classifier: str) -> Row:
    """Return a row of features.json or features_fashion.json."""
    rows = {row["name"]: row for row in read(BEFORE[data])["rows"]}
    return rows[f"{data}, {way}: {classifier}"]


def table_results() -> list[Row]:
    """Return the rows of tables.json, and of rfe.json what it has besides."""
    return [*read("tables")["rows"], *read("rfe")["rows"]]


def table_means() -> dict[tuple[str, int], dict[str, float]]:
    """Return the mean accuracies by set, number of columns and method."""
    means: dict[tuple[str, int], dict[str, float]] = {}
    for row in table_results():
        means.setdefault((row["set"], row["n"]), {}).setdefault(row["method"], row["mean"])
    return means


def useful_columns(name: str) -> dict[str, float]:
    """Return how many useful columns of a constructed table each method has kept."""
    return {row["method"]: row["useful"] for row in table_results() if row["set"] == name}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [" | ".join(line) for line in (head, *rows)]
    return "\n".join([f"| {lines[0]} |", "|" + "---|" * len(head), *(f"| {line} |" for line in lines[1:])]) + "\n"


def readme_results() -> str:
    """Return the five rows of README.md."""
    digits = own_scores("digits", RETRAINED)
    beside = [share(statistics.mean(own_scores("digits", row))) for row in (RANDOM, MAGNITUDE)]
    rows = [
        [
            f"digits, 16 of 64 pixels, {seeds(len(digits))}",
            mean(digits),
            f"{beside[0]} random, {beside[1]} first-layer magnitude",
        ]
    ]
    for data, title in IMAGES.items():
        values = evaluated(data, "MLP")
        random, magnitude = (share(feature_row(data, way, "MLP")["value"]) for way in ("random", "magnitude"))
        name = f"{title}, 50 of 784 pixels, {seeds(len(values))}"
        rows.append([name, mean(values), f"{random} random, {magnitude} first-layer magnitude"])
    of_tables = [values for (name, _), values in table_means().items() if name in REAL and WAYS.keys() <= values.keys()]
    of_ways = {way: share(statistics.mean(values[way] for values in of_tables), 3) for way in WAYS}
    beside = [f"{of_ways[way]} {name}" for way, name in WAYS.items() if way != "prune"]
    rows.append([f"{word(len(of_tables))} real tables, three classifiers", of_ways["prune"], ", ".join(beside)])
    useful = useful_columns("hypercube")
    beside = [f"{useful[way]:g} {name}" for way, name in WAYS.items() if way != "prune"]
    rows.append(["a constructed table, kept of its 20 useful columns", f"{useful['prune']:g}", ", ".join(beside)])
    return table(["task", "mcprune", "beside it"], rows)


def table_rows() -> str:
    """Return the table of tables.json: mean test accuracies, the best of a row in bold."""
    lines = []
    for (name, n), values in table_means().items():
        if name not in SETS:
            continue
        best = max(values[way] for way in WAYS if way in values)
        cells = [share(values[way], 3) if way in values else "" for way in WAYS]
        cells = [f"**{cell}**" if values.get(way) == best else cell for way, cell in zip(WAYS, cells, strict=True)]
        lines.append([f"{SETS[name]}, {n}", *cells])
    return table(["set, columns", *WAYS.values()], lines)


def image_rows() -> str:
    """Return today's default on images beside the targets, how many are reached, and the pixels by simple measures."""
    targets = read("image_bars")["bars"]
    values = {(data, one): evaluated(data, one) for data in IMAGES for one in CLASSIFIERS}
    head = ["classifier", *(part for title in IMAGES.values() for part in (title, "target"))]
    rows = [
        [LONG[one], *(part for data in IMAGES for part in (mean(values[data, one]), share(targets[data][one], 3)))]
        for one in CLASSIFIERS
    ]
    seconds = [f"{statistics.median(run['cpu seconds'] for run in image_runs(data)):.0f}" for data in IMAGES]
    rows.append(["the whole command, median seconds of the processor", seconds[0], "", seconds[1], ""])
    for way, title in (
        ("random", "the MLP on random pixels"),
        ("magnitude", "the MLP on those of the largest first-layer norm"),
    ):
        of_data = [share(feature_row(data, way, "MLP")["value"]) for data in IMAGES]
        rows.append([title, of_data[0], "", of_data[1], ""])
    gaps = {key: statistics.mean(found) - targets[key[0]][key[1]] for key, found in values.items()}
    reached, worst = sum(gap >= 0 for gap in gaps.values()), min(gaps, key=lambda key: gaps[key])
    text = f"Targets are the figures aimed at: {word(reached)} of {word(len(gaps))} {'is' if reached == 1 else 'are'} reached"
    if gaps[worst] < 0:
        text += f"; the largest gap is {share(-gaps[worst])}, of {worst[1]} on {IMAGES[worst[0]]}"
    of_data = ", ".join(f"{title}: {seeds(len(values[data, 'MLP']))}" for data, title in IMAGES.items())
    return f"{table(head, rows)}\n{of_data}; ± is the standard deviation over seeds. {text}.\n"


def digits_text() -> str:
    """Return the sentence on the digits."""
    ours, magnitude = own_scores("digits", RETRAINED), own_scores("digits", MAGNITUDE)
    run = next(row for row in read("digits_run")["result"]["scores"] if row["name"] == MAGNITUDE)
    return (
        f"16 of 64 pixels, {seeds(len(ours))}: {mean(ours)}, and {mean(magnitude)} by first-layer magnitude, which does as well\n"
        f"([image_bars.json](../benchmarks/results/image_bars.json)). The run that README.md shows is in\n"
        f"[digits_run.json](../benchmarks/results/digits_run.json): {share(run['accuracy'])} by magnitude there.\n"
    )


def move_rows() -> str:
    """Return whole runs on Fashion-MNIST with `site` alone, with some exchanges, and with the default of many rows."""
    data = "fashion-mnist"
    kinds = (
        ("`site`, 64 decisions", {"moves": "site=1", "decisions": "64"}),
        ("`site=0.9,exchange=0.1`, 64 decisions", {"moves": "site=0.9,exchange=0.1", "decisions": "64"}),
        ("`site=0.7,exchange=0.3`, 128 decisions, the default", {}),
    )
    rows = [
        [name, f"{len(image_runs(data, **options))}", *(mean(evaluated(data, one, **options)) for one in CLASSIFIERS)]
        for name, options in kinds
    ]
    return table(["moves", "seeds", *CLASSIFIERS], rows)


def peer_rows(data: str) -> str:
    """Return what other tools reach on the images beside today's default."""
    columns = ("SVC", "1-NN", "ExtraTrees", "MLP")
    count = len(image_runs(data))
    rows = [["mcprune", *(mean(evaluated(data, one)) for one in columns), f"measured, {seeds(count)}"]]
    of_ways: dict[str, dict[str, Row]] = {}
    for row in read(BEFORE[data])["rows"]:
        match = re.fullmatch(rf"{data}, (.*): ({'|'.join(columns)})", row["name"])
        if match and row["value"] is not None and match[1] != "chain":
            of_ways.setdefault(match[1], {})[match[2]] = row
    last = [way for way in (*SIMPLE, ALL) if way in of_ways]
    order = [way for way in of_ways if way not in last] + last
    for way in order:
        found = of_ways[way]
        run = re.fullmatch(r"(.*) \(one run here, (.*)\)", way)
        source = f"one run here, {run[2]}" if run else "measured, three seeds" if way in SIMPLE else "published"
        cells = [share(found[one]["value"]) if one in found else "" for one in columns]
        rows.append([SIMPLE.get(way, run[1] if run else way), *cells, source])
    return table([IMAGES[data], *columns, "from"], rows)


ALL = "all 784"
SIMPLE = {"magnitude": "first-layer magnitude", "random": "random"}


def error_rates() -> str:
    """Return false discovery rate and power of the methods on known-answer tables; of those measured on some tables a sentence."""
    content = read("fdr")
    runs = [run for run in content["runs"] if "error" not in run]
    most = max(one["tables"] for one in content["summary"])
    lines, notes = [], []
    for one in content["summary"]:
        if one["tables"] < most:
            own = [run for run in runs if run["method"] == one["method"]]
            places = {(run["kind"], run["seed"]) for run in own}
            ours = [run for run in runs if run["method"] == "mcprune" and (run["kind"], run["seed"]) in places]
            notes.append(
                f"{one['method']} was measured on {one['tables']} of these tables: {_rate_and_power(own)} in "
                f"{one['cpu']:.0f} s; mcprune on the same: {_rate_and_power(ours)}."
            )
            continue
        low, high = one["fdr_interval"]
        least, best = one["power_interval"]
        rate = f"{share(one['fdr'], 3)} ({share(low, 3)} to {share(high, 3)})"
        power = f"{share(one['power'], 3)} ({share(least, 3)} to {share(best, 3)})"
        lines.append([one["method"], rate, power, f"{one['cpu']:.1f} s"])
    text = table(["method", "false discovery rate", "power", "processor, median"], lines)
    return text + "".join(f"\n{note}\n" for note in notes)


def _rate_and_power(runs: Sequence[Row]) -> str:
    power = statistics.mean(run["power"] for run in runs if run["power"] is not None)
    return f"false discovery rate {share(statistics.mean(run['false'] for run in runs), 3)}, power {share(power, 3)}"


def prefix_rows() -> str:
    """Return the table of evaluations a second of a transformer, in multiples of the plain loop."""
    measured = {row["name"]: row for row in read("prefix")["rows"]}
    lines = []
    for name, row in measured.items():
        if ", --" in name:
            continue
        early = next((one for other, one in measured.items() if other.startswith(f"{name}, --early-reject")), None)
        goal = "" if row["bar"] is None else f"{row['bar']:g}, {'reached' if row['value'] >= row['bar'] else 'missed'}"
        staged = "" if early is None else f"{early['value']:.1f}"
        lines.append([name, f"{row['value']:.1f}", f"{row['every_row']:.1f}", staged, goal])
    head = ["candidates change", "times the plain loop", "without rejection", "`--early-reject .01`", "target"]
    return table(head, lines)


def pattern_rows() -> str:
    """Return the table of masks with a pattern of weights."""
    runs = read("patterns")["runs"]
    lines = []
    for pattern in dict.fromkeys(run["pattern"] for run in runs if run["pattern"]):
        cells = [pattern]
        for way in ("magnitude", "wanda", "chain"):
            scores = [run["test_accuracy"] for run in runs if (run["pattern"], run["way"]) == (pattern, way)]
            cells.append(mean(scores))
        lines.append(cells)
    dense = [run["test_accuracy"] for run in runs if not run["pattern"]]
    text = table(
        ["pattern", "largest weights", "weight times norm of its input (Wanda)", "chain, from the better one"], lines
    )
    return f"{text}\nTest accuracy; {seeds(len(dense))}, dense {mean(dense)}.\n"


def _made(build: Callable[[], firmware_rows.Table]) -> Callable[[], str]:
    return lambda: table(*build())


BLOCKS: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "results"): readme_results,
    ("docs/benchmarks.md", "tables"): table_rows,
    ("docs/benchmarks.md", "images"): image_rows,
    ("docs/benchmarks.md", "digits"): digits_text,
    ("docs/choosing-delta-and-temperature.md", "moves"): move_rows,
    ("docs/deep-models.md", "prefix"): prefix_rows,
    ("docs/refine.md", "patterns"): pattern_rows,
    ("docs/error-rate.md", "fdr"): error_rates,
    ("docs/other-tools.md", "mnist"): lambda: peer_rows("mnist"),
    ("docs/other-tools.md", "fashion"): lambda: peer_rows("fashion-mnist"),
    **{("docs/firmware.md", name): _made(build) for name, build in firmware_rows.TABLES.items()},
    **{(page, name): _made(build) for name, (page, build) in (sampling_rows.TABLES | transformer_rows.TABLES).items()},
}


def block(page: str, name: str) -> str:
    """Return what a page has between the marks of a block."""
    text = (ROOT / page).read_text()
    return text.split(f"<!-- {name} -->\n", 1)[1].split(f"<!-- /{name} -->", 1)[0]


def write() -> None:
    """Write all blocks into their pages."""
    for (page, name), build in BLOCKS.items():
        path = ROOT / page
        head, rest = path.read_text().split(f"<!-- {name} -->\n", 1)
        path.write_text(f"{head}<!-- {name} -->\n{build()}<!-- /{name} -->{rest.split(f'<!-- /{name} -->', 1)[1]}")
