"""The statements of the slides against figures: what was measured, a threshold, and whether the statement holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mcprune.session.measures import RunFigures

Runs = Mapping[str, Mapping[int, RunFigures]]
Row = dict[str, Any]

HOLDS, NOT, UNCLEAR = "holds", "does not hold", "unclear"
# Pruning is complete when so large a share of n, at most, is missing or too many, and such a share of the gates is decided;
# it is well done when a fresh classifier on the mask is at most so much below the best mask of all these runs.
# A run that does not work and that had fewer than such a share of n open at some time was too drastic, wherever it ended.
COUNT, DECIDED, BELOW, DIP = 0.1, 0.9, 0.02, 0.5
# alpha rises gradually: its mean over an eighth of the run never falls by more than a tenth from one eighth to the next,
# never rises by more than a factor of ten, and is three times as high in the last as in the first.
PARTS, FALL, JUMP, RISE = 8, 0.9, 10.0, 3.0
START = 1 / (1 + math.exp(-4.0))  # the gates at the start
LITTLE, DRASTIC, WORKS = "too little", "too drastic", "works"
WORKING = (
    f"works: gates above one half within {COUNT:.0%} of n before hardening, at least {DECIDED:.0%} of the gates within .01 of 0 or 1, and the "
    f"retrained accuracy at most {BELOW:g} below the best of all runs; else too drastic: fewer than {DIP:.0%} of n open at some time, too few "
    "at the end, or sites so badly chosen that the accuracy is lower; else too little: more sites are left, or gates are undecided"
)
GRADUAL = (
    f"gradual: the mean of alpha over an eighth of the run falls by at most {1 - FALL:.0%} and rises by at most x{JUMP:g} to the next, and "
    f"rises by at least x{RISE:g} over the run"
)


def outcome(run: RunFigures, best: float) -> str:
    """Return `works`, `too little` or `too drastic`; `best` is the best retrained accuracy of all runs."""
    room = max(1.0, COUNT * run.n)
    is_complete = abs(run.kept_before - run.n) <= room and run.near_hard >= DECIDED
    if is_complete and run.retrained >= best - BELOW:
        return WORKS
    lowest = min(event["kept"] for event in run.progress)
    if is_complete or lowest < DIP * run.n or run.kept_before < run.n - room:
        return DRASTIC
    return LITTLE


def alpha_means(run: RunFigures) -> list[float]:
    """Return the mean of alpha over each eighth of the epochs that were made."""
    last = run.progress[-1]["epoch"]
    parts: list[list[float]] = [[] for _ in range(PARTS)]
    for event in run.progress:
        parts[min(PARTS - 1, int(PARTS * event["epoch"] / last))].append(event["alpha"])
    return [math.fsum(part) / len(part) for part in parts if part]


def is_gradual(means: Sequence[float]) -> bool:
    """Tell whether alpha rises gradually, from its means over the eighths."""
    steps = [later / earlier for earlier, later in pairwise(means)]
    return bool(steps) and all(FALL <= step <= JUMP for step in steps) and means[-1] >= RISE * means[0]


def halfway(run: RunFigures) -> float | None:
    """Return the epoch at which the sum of the gates had come half of the way from N to n; None for never."""
    middle = (run.N + run.n) / 2
    return next((event["epoch"] for event in run.progress if event["gate_sum"] <= middle), None)


def slopes(sites: int, gate: float) -> tuple[float, float, float]:
    """Return prod_i s_i and N dL/ds_i of L_rej and of L_rej', where all gates are equal.

    L_rej: 1 - 2 s. L_rej': 1 - 2 s + N s^(N-1). Positive: descent closes the gate.
    """
    product = math.exp(sites * math.log(gate))
    plain = 1.0 - 2.0 * gate
    return product, plain, plain + sites * product / gate


def rows(runs: Runs, keep: int) -> list[Row]:
    """Return a row for each statement; where a run is missing the verdict is `unclear`."""
    best = max((run.retrained for by_seed in runs.values() for run in by_seed.values()), default=0.0)
    made = [
        _fixed(runs, best), _ratio(runs, best), _general(runs, best), _surface(runs), _modified(runs, best), _strengths(runs, best),
        _decade(runs, best, "decade", "5a"), _decade(runs, best, "decade-literal", "5b"), _stall(runs, best), _chain(runs, best),
        _both(runs, best, keep),
    ]  # fmt: skip
    return made


def _fixed(runs: Runs, best: float) -> Row:
    used = [name for name in runs if name.startswith("fixed-") and not name.endswith("modified")]
    words, works = _told(runs, used, best)
    verdict = _verdict([HOLDS if not any(works[name]) else NOT if all(works[name]) else UNCLEAR for name in used])
    if any(all(works[name]) for name in used):
        verdict = NOT
    return _row(
        "1",
        "A fixed alpha prunes too little or too drastically",
        "When we set a fixed value for alpha the weights are updated too little or too drastically",
        "fixed alpha of " + ", ".join(name.removeprefix("fixed-") for name in used),
        words,
        f"holds if no alpha works, does not hold if one does. {WORKING}",
        verdict,
        used,
    )


def _ratio(runs: Runs, best: float) -> Row:
    used = [name for name in ("ratio-slow", "ratio", "ratio-fast") if name in runs]
    text, verdict = _only_if_gradual(runs, used, best)
    return _row(
        "2a",
        "alpha = <L_cla> / <L_pru> works only when it then rises gradually",
        "Defining alpha as <L_cla> / <L_pru> over the last 10 epochs works fine only if L_pru decreases in such a way that alpha increases "
        "gradually",
        "the schedule ratio at a quarter of the pruner's step, at the step, at four times the step",
        text,
        f"holds if those that work, at least one, are those where alpha rises gradually; does not hold if one works without. {GRADUAL}",
        verdict,
        used,
    )


def _general(runs: Runs, best: float) -> Row:
    used = [name for name in runs if not name.startswith("chain")]
    text, verdict = _only_if_gradual(runs, used, best, short=True)
    return _row(
        "2b",
        "Pruning is well and complete only if alpha increases gradually",
        "In general, pruning occurs well and completely only if alpha is increasing gradually",
        "all runs of the gradient path, a ramp of alpha from .02 to 30 among them",
        text,
        f"holds if all that work, at least one, have an alpha that rises gradually; does not hold if one has not. {WORKING}. {GRADUAL}",
        verdict,
        used,
    )


def _only_if_gradual(runs: Runs, used: Iterable[str], best: float, short: bool = False) -> tuple[str, str]:
    with_: list[str] = []
    without: list[str] = []
    parts = []
    for name in used:
        for seed, run in runs[name].items():
            means = alpha_means(run)
            gradual, what = is_gradual(means), outcome(run, best)
            if what == WORKS:
                (with_ if gradual else without).append(f"{name} ({means[0]:.3g} to {means[-1]:.3g})")
            parts.append(
                f"{name}, seed {seed}: alpha {means[0]:.3g} to {means[-1]:.3g} ({'gradual' if gradual else 'not gradual'}), "
                f"{run.kept_before} of {run.n} kept, {what}"
            )
    verdict = NOT if without else HOLDS if with_ else UNCLEAR
    if not short:
        return "; ".join(parts) or "nothing", verdict
    text = f"of {len(parts)} runs, working with an alpha that rises gradually: {', '.join(with_) or 'none'}"
    return (
        f"{text}; working with another alpha (means over the first and the last eighth): {', '.join(without) or 'none'}",
        verdict,
    )


def _surface(runs: Runs) -> Row:
    sizes = sorted({2, 64, 784} | {run.N for by_seed in runs.values() for run in by_seed.values()})
    figures = {size: slopes(size, START) for size in sizes}
    text = "; ".join(
        f"N = {size}: product {product:.2g}, slope {plain:.3f} of L_rej, {modified:+.3f} of L_rej'"
        for size, (product, plain, modified) in figures.items()
    )
    _, plain, modified = figures[784]
    # At s = 1 the slope is N - 1 > 0: closing a gate lowers L_rej', so (1, ..., 1) is no minimum of it for any N > 1.
    is_no_minimum = all(slopes(size, 1.0)[2] > 0 for size in sizes)
    verdict = HOLDS if is_no_minimum and abs(modified - plain) <= 0.01 * abs(plain) else NOT
    return _row(
        "3a",
        "(1, ..., 1) is no minimum of L_rej' any more, but its product term vanishes for large N",
        "Introducing the product has the effect of excluding the point (1, ..., 1) from the minima of L_rej but does not increase the "
        "slope of L_pru in that region because it goes to 0 for big values of N",
        "the two losses themselves, all gates at sigmoid(4) = .982; the slope is N dL/ds of one gate, positive where descent closes it",
        text
        + f"; at (1, ..., 1) the slope of L_rej' is N - 1, that of L_rej -1. Small data differ: at N = 64 the product is {figures[64][0]:.2f}",
        "holds if closing a gate lowers L_rej' at (1, ..., 1) for every N, and at N = 784 the slopes at the start differ by less than 1%",
        verdict,
        [],
    )


def _modified(runs: Runs, best: float) -> Row:
    pairs = [
        (a, b) for a, b in (("fixed-1", "fixed-1-modified"), ("ratio", "ratio-modified")) if a in runs and b in runs
    ]
    parts, cured, slow = [], [], []
    for plain_name, modified_name in pairs:
        for seed in sorted(set(runs[plain_name]) & set(runs[modified_name])):
            plain, modified = runs[plain_name][seed], runs[modified_name][seed]
            before, after = halfway(plain), halfway(modified)
            is_faster = after is not None and (before is None or after <= before / 2)
            cured.append(is_faster or (outcome(plain, best) == LITTLE and outcome(modified, best) == WORKS))
            slow.append(outcome(plain, best) == LITTLE)
            parts.append(
                f"{plain_name}, seed {seed}: half of the way after {_epochs(before)} with L_rej and {_epochs(after)} with L_rej', "
                f"{plain.kept_before} and {modified.kept_before} of {plain.n} kept at the end"
            )
    verdict = (
        UNCLEAR if not cured else NOT if any(cured) and (all(cured) or any(slow)) else HOLDS if any(slow) else UNCLEAR
    )
    if pairs:
        sites = next(iter(runs[pairs[0][0]].values())).N
        parts.append(
            f"here N = {sites}, and the product of the gates is {slopes(sites, START)[0]:.2g} at the start (3a)"
        )
    if cured and not any(slow):
        parts.append("no run with L_rej was too slow here, so there is nothing to cure")
    return _row(
        "3b",
        "L_rej' does not cure the slow updates",
        "The problem of weights updated very slowly still persists, so the reason is not that (1, ..., 1) is a minimum point for L_rej",
        "a fixed alpha of 1 and the schedule ratio, each with L_rej and with L_rej'",
        "; ".join(parts) or "nothing",
        "holds if L_rej' neither comes half of the way (sum of gates (N + n) / 2) in half of the epochs nor works where L_rej does too "
        "little; unclear if no run with L_rej does too little",
        verdict,
        [name for pair in pairs for name in pair],
    )


def _strengths(runs: Runs, best: float) -> Row:
    used = [name for name in runs if name.startswith("lambda-")]
    words, works = _told(runs, used, best)
    verdict = UNCLEAR if not used else NOT if any(any(works[name]) for name in used) else HOLDS
    difference = None
    if "ratio" in runs:
        pairs = [
            (one["alpha"], other["alpha"])
            for name in used
            for seed in set(runs[name]) & set(runs["ratio"])
            for one, other in zip(runs[name][seed].progress, runs["ratio"][seed].progress, strict=False)
        ]
        difference = max((abs(a - b) / b for a, b in pairs), default=None)
    if difference is not None:
        words += f"; alpha is that of ratio within {difference:.1g}, since mu takes out what a constant lambda puts in"
    return _row(
        "4",
        "A larger fixed lambda (1e5, 1e6, 1e7) does not work",
        "Tested with lambda = 1e5, 1e6, 1e7: not working, weights still updated too little and too drastically",
        "the schedule mu-lambda with lambda of " + ", ".join(name.removeprefix("lambda-") for name in used),
        words,
        f"holds if none works, does not hold if one does. {WORKING}",
        verdict,
        [*used, *(["ratio"] if "ratio" in runs else [])],
    )


def _decade(runs: Runs, best: float, name: str, number: str) -> Row:
    used = [name] if name in runs else []
    words, works = _told(runs, used, best, with_alpha=True)
    how = (
        "the window holds the products lambda L_pru of past epochs, so that a jump of lambda is a pulse of alpha"
        if name == "decade"
        else "the literal formula, in which lambda cancels: the same alpha as ratio"
    )
    return _row(
        number,
        f"lambda x10 every 20 epochs works ({'products' if name == 'decade' else 'literal'})",
        "That is why L_tot = L_cla + mu lambda L_pru with lambda x10 every 20 epochs from lambda = 1 to 1e7 is working fine",
        f"the schedule decade over 160 epochs; {how}",
        words,
        f"holds if it works for all seeds. {WORKING}",
        _verdict([HOLDS if one else NOT for name in used for one in works[name]]),
        used,
    )


def _stall(runs: Runs, best: float) -> Row:
    used = ["stall"] if "stall" in runs else []
    words, works = _told(runs, used, best, with_alpha=True)
    last = [run.progress[-1]["lambda"] for name in used for run in runs[name].values()]
    words += "".join(f"; lambda ended at {value:g}" for value in last if value is not None)
    return _row(
        "6",
        "lambda that rises when the variance of the weights stops changing works",
        "IDEA: define lambda in such a way that it increases gradually if the variance of the weights is not changing",
        "the schedule stall: lambda x2 when the variance has changed by less than 1% in 4 epochs, from 1 up to 1e7",
        words,
        f"the slides only propose it; holds if it works for all seeds. {WORKING}",
        _verdict([HOLDS if one else NOT for name in used for one in works[name]]),
        used,
    )


def _chain(runs: Runs, best: float) -> Row:
    used = ["chain-slides"] if "chain-slides" in runs else []
    words, works = _told(runs, used, best)
    return _row(
        "7a",
        "The chain w + delta rand[-1, 1], taken when L_tot falls, prunes instead of backprop",
        "Use Markov chain instead of back propagation to update pruner weights; weights updated only if L_tot_new < L_tot_old",
        "--preset slides: all sites at once, n constant, alpha 10, delta 1",
        words,
        f"the slides only propose it; holds if it works for all seeds in its time. {WORKING}",
        _verdict([HOLDS if one else NOT for name in used for one in works[name]]),
        used,
    )


def _both(runs: Runs, best: float, keep: int) -> Row:
    found = {name: _mean([run.retrained for run in by_seed.values()]) for name, by_seed in runs.items()}
    gradient = {name: value for name, value in found.items() if not name.startswith("chain")}
    text, verdict = "nothing", UNCLEAR
    if "chain" in found and gradient:
        name = max(gradient, key=lambda name: gradient[name])
        kept = [run.kept_before for run in runs["chain"].values()]
        plain = f", the slides' chain {found['chain-slides']:.4f}" if "chain-slides" in found else ""
        text = f"chain {found['chain']:.4f} with {_list(kept)} of {keep} kept before the last step; best of backprop {gradient[name]:.4f} ({name}){plain}"
        verdict = HOLDS if set(kept) == {keep} and found["chain"] >= gradient[name] - BELOW else NOT
    return _row(
        "7b",
        "Both strategies prune: the chain, with moves that this program adds, ends at exactly n and no worse than backprop",
        "PLAN: investigate both strategies",
        "the default chain (n(t) falls, then kept and dropped sites are exchanged) beside the best run of the gradient path",
        text,
        f"holds if the chain is at exactly n for all seeds and its retrained accuracy at most {BELOW:g} below the best of backprop",
        verdict,
        list(found),
    )


def _told(
    runs: Runs, used: Sequence[str], best: float, *, with_alpha: bool = False
) -> tuple[str, dict[str, list[bool]]]:
    """Return each run in words, and whether it works, by name and seed."""
    parts, works = [], {}
    for name in used:
        outcomes = {seed: outcome(run, best) for seed, run in runs[name].items()}
        works[name] = [what == WORKS for what in outcomes.values()]
        for seed, run in runs[name].items():
            label = name if len(runs[name]) == 1 else f"{name}, seed {seed}"
            parts.append(
                f"{label}: {run.kept_before} of {run.n} kept, {run.near_hard:.0%} decided, retrained {run.retrained:.4f}: {outcomes[seed]}"
            )
            if with_alpha:
                means, losses = alpha_means(run), [event["cla"] for event in run.progress]
                parts[-1] += (
                    f" (alpha {means[0]:.3g} to {means[-1]:.3g} as L_cla went from {losses[0]:.3g} to {losses[-1]:.3g})"
                )
    return "; ".join(parts) or "nothing: the run failed or is not finished", works


def _verdict(parts: Sequence[str]) -> str:
    return parts[0] if parts and len(set(parts)) == 1 else UNCLEAR


def _row(
    number: str, claim: str, says: str, run: str, measured: str, threshold: str, verdict: str, used: list[str]
) -> Row:
    return {
        "number": number, "claim": claim, "says": says, "run": run, "measured": measured, "threshold": threshold, "verdict": verdict,
        "runs": used,
    }  # fmt: skip


def _epochs(value: float | None) -> str:
    return "no epoch" if value is None else f"{value:.0f} epochs"


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(values))))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
