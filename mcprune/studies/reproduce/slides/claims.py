"""The statements of the slides against figures: what was measured, a threshold, and whether the statement holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from mcprune.storage.run_metrics import LEAST_EPOCHS, RunFigures, has_enough_work
from mcprune.studies.claims import HOLDS, NOT, UNCLEAR, Claim, Verdict, unanimous
from mcprune.studies.reproduce.slides.verdicts import (
    BELOW,
    GRADUAL,
    LITTLE,
    START,
    WORKING,
    WORKS,
    alpha_means,
    halfway,
    is_gradual,
    outcome,
    slopes,
)  # fmt: skip

Runs = Mapping[str, Mapping[int, RunFigures]]
SHORT = f"a chain had fewer than {LEAST_EPOCHS} epochs"


def claims(runs: Runs, keep: int) -> list[Claim]:
    """Return every claim of the slides; where a run is missing the verdict is `unclear`.

    Parameters
    ----------
    runs : mapping
        Finished runs by name, then by seed.
    keep : int
        n, in sites.
    """
    best = max((run.retrained for by_seed in runs.values() for run in by_seed.values()), default=0.0)
    return [
        _fixed(runs, best), _ratio(runs, best), _general(runs, best), _surface(runs), _modified(runs, best), _strengths(runs, best),
        _decade(runs, best, "decade", "5a"), _decade(runs, best, "decade-literal", "5b"), _stall(runs, best), _chain(runs, best),
        _both(runs, best, keep),
    ]  # fmt: skip


def _fixed(runs: Runs, best: float) -> Claim:
    used = [name for name in runs if name.startswith("fixed-") and not name.endswith("modified")]
    text, works = _outcomes(runs, used, best)
    none_works = not any(any(works[name]) for name in used)
    verdict = NOT if any(all(works[name]) for name in used) else HOLDS if used and none_works else UNCLEAR
    return Claim(
        "1",
        "A fixed alpha prunes too little or too drastically",
        "When we set a fixed value for alpha the weights are updated too little or too drastically",
        "fixed alpha of " + ", ".join(name.removeprefix("fixed-") for name in used),
        text,
        f"holds if no alpha works, does not hold if one does. {WORKING}",
        verdict,
        tuple(used),
    )


def _ratio(runs: Runs, best: float) -> Claim:
    used = [name for name in ("ratio-slow", "ratio", "ratio-fast") if name in runs]
    text, verdict = _only_if_gradual(runs, used, best)
    return Claim(
        "2a",
        "alpha = <L_cla> / <L_pru> works only when it then rises gradually",
        "Defining alpha as <L_cla> / <L_pru> over the last 10 epochs works fine only if L_pru decreases in such a way that alpha increases "
        "gradually",
        "the schedule ratio at a quarter of the pruner's step, at the step, at four times the step",
        text,
        f"holds if those that work, at least one, are those where alpha rises gradually; does not hold if one works without. {GRADUAL}",
        verdict,
        tuple(used),
    )


def _general(runs: Runs, best: float) -> Claim:
    used = [name for name in runs if not name.startswith("chain")]
    text, verdict = _only_if_gradual(runs, used, best, short=True)
    return Claim(
        "2b",
        "Pruning is well and complete only if alpha increases gradually",
        "In general, pruning occurs well and completely only if alpha is increasing gradually",
        "all runs of the gradient path, a ramp of alpha from .02 to 30 among them",
        text,
        f"holds if all that work, at least one, have an alpha that rises gradually; does not hold if one has not. {WORKING}. {GRADUAL}",
        verdict,
        tuple(used),
    )


def _only_if_gradual(runs: Runs, used: Iterable[str], best: float, short: bool = False) -> tuple[str, Verdict]:
    gradual_ones: list[str] = []
    others: list[str] = []
    parts = []
    for name in used:
        for seed, run in runs[name].items():
            means = alpha_means(run)
            gradual, what = is_gradual(means), outcome(run, best)
            if what == WORKS:
                (gradual_ones if gradual else others).append(f"{name} ({means[0]:.3g} to {means[-1]:.3g})")
            parts.append(
                f"{name}, seed {seed}: alpha {means[0]:.3g} to {means[-1]:.3g} ({'gradual' if gradual else 'not gradual'}), "
                f"{run.kept_before} of {run.n} kept, {what}"
            )
    verdict: Verdict = NOT if others else HOLDS if gradual_ones else UNCLEAR
    if not short:
        return "; ".join(parts) or "nothing", verdict
    text = f"of {len(parts)} runs, working with an alpha that rises gradually: {', '.join(gradual_ones) or 'none'}"
    return (
        f"{text}; working with another alpha (means over the first and the last eighth): {', '.join(others) or 'none'}",
        verdict,
    )


def _surface(runs: Runs) -> Claim:
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
    return Claim(
        "3a",
        "(1, ..., 1) is no minimum of L_rej' any more, but its product term vanishes for large N",
        "Introducing the product has the effect of excluding the point (1, ..., 1) from the minima of L_rej but does not increase the "
        "slope of L_pru in that region because it goes to 0 for big values of N",
        "the two losses themselves, all gates at sigmoid(4) = .982; the slope is N dL/ds of one gate, positive where descent closes it",
        f"{text}; at (1, ..., 1) the slope of L_rej' is N - 1, that of L_rej -1. So few sites as 64 differ: there the product is not small",
        "holds if closing a gate lowers L_rej' at (1, ..., 1) for every N, and at N = 784 the slopes at the start differ by less than 1%",
        verdict,
    )


def _modified(runs: Runs, best: float) -> Claim:
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
    return Claim(
        "3b",
        "L_rej' does not cure the slow updates",
        "The problem of weights updated very slowly still persists, so the reason is not that (1, ..., 1) is a minimum point for L_rej",
        "a fixed alpha of 1 and the schedule ratio, each with L_rej and with L_rej'",
        "; ".join(parts) or "nothing",
        "holds if L_rej' neither comes half of the way (sum of gates (N + n) / 2) in half of the epochs nor works where L_rej does too "
        "little; unclear if no run with L_rej does too little",
        verdict,
        tuple(name for pair in pairs for name in pair),
    )


def _strengths(runs: Runs, best: float) -> Claim:
    used = [name for name in runs if name.startswith("lambda-")]
    text, works = _outcomes(runs, used, best)
    verdict = UNCLEAR if not used else NOT if any(any(works[name]) for name in used) else HOLDS
    difference = None
    if "ratio" in runs:
        pairs = [
            (one.alpha, other.alpha)
            for name in used
            for seed in set(runs[name]) & set(runs["ratio"])
            for one, other in zip(runs[name][seed].progress, runs["ratio"][seed].progress, strict=False)
            if one.alpha is not None and other.alpha is not None
        ]
        difference = max((abs(a - b) / b for a, b in pairs), default=None)
    if difference is not None:
        text += f"; alpha is that of ratio within {difference:.1g}, since mu takes out what a constant lambda puts in"
    return Claim(
        "4",
        "A larger fixed lambda (1e5, 1e6, 1e7) does not work",
        "Tested with lambda = 1e5, 1e6, 1e7: not working, weights still updated too little and too drastically",
        "the schedule mu-lambda with lambda of " + ", ".join(name.removeprefix("lambda-") for name in used),
        text,
        f"holds if none works, does not hold if one does. {WORKING}",
        verdict,
        (*used, *(["ratio"] if "ratio" in runs else [])),
    )


def _decade(runs: Runs, best: float, name: str, number: str) -> Claim:
    used = [name] if name in runs else []
    text, works = _outcomes(runs, used, best, with_alpha=True)
    how = (
        "the window holds the products lambda L_pru of past epochs, so that a jump of lambda is a pulse of alpha"
        if name == "decade"
        else "the literal formula, in which lambda cancels: the same alpha as ratio"
    )
    return Claim(
        number,
        f"lambda x10 every 20 epochs works ({'products' if name == 'decade' else 'literal'})",
        "That is why L_tot = L_cla + mu lambda L_pru with lambda x10 every 20 epochs from lambda = 1 to 1e7 is working fine",
        f"the schedule decade over 160 epochs; {how}",
        text,
        f"holds if it works for all seeds. {WORKING}",
        unanimous([one for name in used for one in works[name]]),
        tuple(used),
    )


def _stall(runs: Runs, best: float) -> Claim:
    used = ["stall"] if "stall" in runs else []
    text, works = _outcomes(runs, used, best, with_alpha=True)
    last = [run.progress[-1].schedule_lambda for name in used for run in runs[name].values()]
    text += "".join(f"; lambda ended at {value:g}" for value in last if value is not None)
    return Claim(
        "6",
        "lambda that rises when the variance of the weights stops changing works",
        "IDEA: define lambda in such a way that it increases gradually if the variance of the weights is not changing",
        "the schedule stall: lambda x2 when the variance has changed by less than 1% in 4 epochs, from 1 up to 1e7",
        text,
        f"the slides only propose it; holds if it works for all seeds. {WORKING}",
        unanimous([one for name in used for one in works[name]]),
        tuple(used),
    )


def _chain(runs: Runs, best: float) -> Claim:
    used = ["chain-slides"] if "chain-slides" in runs else []
    text, works = _outcomes(runs, used, best)
    return Claim(
        "7a",
        "The chain w + delta rand[-1, 1], taken when L_tot falls, prunes instead of backprop",
        "Use Markov chain instead of back propagation to update pruner weights; weights updated only if L_tot_new < L_tot_old",
        "--preset slides: all sites at once, n constant, alpha 10, delta 1",
        text,
        f"the slides only propose it; holds if it works for all seeds in its time, unclear if {SHORT}. {WORKING}",
        unanimous([one for name in used for one in works[name]]) if _enough(runs, used) else UNCLEAR,
        tuple(used),
    )


def _both(runs: Runs, best: float, keep: int) -> Claim:
    accuracies = {name: _mean([run.retrained for run in by_seed.values()]) for name, by_seed in runs.items()}
    gradient = {name: value for name, value in accuracies.items() if not name.startswith("chain")}
    text, verdict = "nothing", UNCLEAR
    if "chain" in accuracies and gradient:
        name = max(gradient, key=lambda name: gradient[name])
        kept = [run.kept_before for run in runs["chain"].values()]
        plain = f", the slides' chain {accuracies['chain-slides']:.4f}" if "chain-slides" in accuracies else ""
        text = (
            f"chain {accuracies['chain']:.4f} with {_list(kept)} of {keep} kept before the last step; best of backprop "
            f"{gradient[name]:.4f} ({name}){plain}"
        )
        if _enough(runs, ["chain"]):
            verdict = HOLDS if set(kept) == {keep} and accuracies["chain"] >= gradient[name] - BELOW else NOT
    return Claim(
        "7b",
        "Both strategies prune: the chain, with moves that this program adds, ends at exactly n and no worse than backprop",
        "PLAN: investigate both strategies",
        "the default chain (n(t) falls, then kept and dropped sites are exchanged) beside the best run of the gradient path",
        text,
        f"holds if the chain is at exactly n for all seeds and its retrained accuracy at most {BELOW:g} below the best of "
        f"backprop, unclear if {SHORT}",
        verdict,
        tuple(accuracies),
    )


def _outcomes(
    runs: Runs, used: Sequence[str], best: float, *, with_alpha: bool = False
) -> tuple[str, dict[str, list[bool]]]:
    """Return what became of each run as text, and whether it works, by name and seed."""
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
                means = alpha_means(run)
                losses = [loss for event in run.progress if (loss := event.classification_loss) is not None]
                parts[-1] += (
                    f" (alpha {means[0]:.3g} to {means[-1]:.3g} as L_cla went from {losses[0]:.3g} to {losses[-1]:.3g})"
                )
    return "; ".join(parts) or "nothing: the run failed or is not finished", works


def _enough(runs: Runs, used: Sequence[str]) -> bool:
    """Whether every run had enough epochs for a verdict."""
    return all(has_enough_work(run) for name in used for run in runs[name].values())


def _epochs(value: float | None) -> str:
    return "no epoch" if value is None else f"{value:.0f} epochs"


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(values))))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
