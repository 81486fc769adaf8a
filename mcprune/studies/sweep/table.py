"""What a sweep prints: the best trials as a table, its summary, the command that repeats the best."""

from __future__ import annotations

import shlex

from mcprune.config.options import option
from mcprune.config.parsing import shown
from mcprune.studies.base import Options, Results

BEST = 10


def header(results: Results) -> list[str]:
    """Return the titles over `cells`."""
    return ["trial", "accuracy", "spread", *results["setting"]["vary"], "seconds"]


def cells(trial: Options) -> list[str]:
    """Return a finished trial as a row of the table; the spread is a standard deviation over seeds."""
    import statistics

    scores = trial["scores"]
    spread = f"{statistics.stdev(scores):.4f}" if len(scores) > 1 else "-"
    values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in trial["values"].values()]
    return [str(trial["place"] + 1), f"{trial['score']:.4f}", spread, *values, f"{trial['seconds']:.1f}"]


def best_trials(results: Results) -> list[Options]:
    """Return the best complete trials, at most 10, the best first."""
    by_number = {trial["number"]: trial for trial in results["trials"]}
    return [by_number[number] for number in results["ranking"][:BEST]]


def command(results: Results) -> str:
    """Return the command line of a run with the options of the best trial."""
    setting, best = results["setting"], results["best"]
    options = {**setting["options"], **best["values"], "seed": setting["seeds"][0]}
    parts = ["mcprune", "run"]
    for name, value in options.items():
        if value is not None:
            # Floats in full: a rounded temperature is another run.
            text = repr(value) if isinstance(value, float) else shown(name, value)
            parts += [option(name), shlex.quote(text)]
    return " ".join(parts)


def summary(results: Results) -> list[str]:
    """Return what counted, how many trials there are, and which options mattered."""
    setting, states = results["setting"], [trial["state"] for trial in results["trials"]]
    seeds = setting["seeds"]
    weights = setting["options"].get("sample_weight")
    lines = [
        f"accuracy: {results['objective']}"
        + (f", weighted by the column {weights!r}" if weights else "")
        + (f", mean over {len(seeds)} seeds" if len(seeds) > 1 else f", seed {seeds[0]}"),
        f"{states.count('complete')} trials complete, {states.count('pruned')} pruned, {states.count('failed')} failed",
    ]
    shares = results["importances"]
    if shares is None:
        return [*lines, "importances: they need 4 complete trials that differ"]
    text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return [*lines, f"importances (share of the variance between complete trials, fANOVA): {text}"]
