"""What a sweep prints: the best trials as a table, its summary, the command that repeats the best."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from mcprune.config.options import option
from mcprune.config.parsing import shown

BEST = 10


def header(found: Mapping[str, Any]) -> list[str]:
    """Return the titles over `cells`."""
    return ["trial", "accuracy", "spread", *found["setting"]["vary"], "seconds"]


def cells(trial: Mapping[str, Any]) -> list[str]:
    """Return what the tables show of a finished trial; the spread is a standard deviation over seeds."""
    import statistics

    scores = trial["scores"]
    spread = f"{statistics.stdev(scores):.4f}" if len(scores) > 1 else "-"
    values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in trial["values"].values()]
    return [str(trial["place"] + 1), f"{trial['score']:.4f}", spread, *values, f"{trial['seconds']:.1f}"]


def best_trials(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the best complete trials, at most 10, the best first."""
    by_number = {trial["number"]: trial for trial in found["trials"]}
    return [by_number[number] for number in found["ranking"][:BEST]]


def command(found: Mapping[str, Any]) -> str:
    """Return the command line of a run with the options of the best trial."""
    setting, best = found["setting"], found["best"]
    given = {**setting["options"], **best["values"], "seed": setting["seeds"][0]}
    parts = ["mcprune", "run"]
    for name, value in given.items():
        if value is not None:
            # Floats in full: a rounded temperature is another run.
            text = repr(value) if isinstance(value, float) else shown(name, value)
            parts += [option(name), shlex.quote(text)]
    return " ".join(parts)


def summary(found: Mapping[str, Any]) -> list[str]:
    """Say what counted, how many trials there are, and what mattered."""
    setting, states = found["setting"], [trial["state"] for trial in found["trials"]]
    seeds = setting["seeds"]
    lines = [
        f"accuracy: {found['objective']}"
        + (f", mean over {len(seeds)} seeds" if len(seeds) > 1 else f", seed {seeds[0]}"),
        f"{states.count('complete')} trials complete, {states.count('pruned')} pruned, {states.count('failed')} failed",
    ]
    shares = found["importances"]
    if shares is None:
        return [*lines, "importances: they need 4 complete trials that differ"]
    words = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return [*lines, f"importances (share of the variance between complete trials, fANOVA): {words}"]
