"""The table of `mcprune evaluators`: which can be used, how fast, how exact, which is picked."""

from __future__ import annotations

import math
from typing import TextIO

from mcprune.chain import moves
from mcprune.config.schema import Config
from mcprune.environment import use_threads
from mcprune.evaluators.choose import Candidate, make_canonical, survey
from mcprune.report.terminal import choose
from mcprune.report.text import number, wrapped
from mcprune.session.build.dataset import load_dataset
from mcprune.session.build.markov import evaluation_problem, make_evaluators
from mcprune.session.build.planner import make_plan
from mcprune.training.classifiers import describe_classifier

SECONDS = 0.2  # of timing, for each evaluator and kind of move
HEADER = ["evaluator", "one-site moves/s", "exchange moves/s", "times the loop", "off canonical", ""]


def show(config: Config, stream: TextIO) -> None:
    """Measure the evaluators for a run of this configuration and print the table.

    Raises
    ------
    McpruneError
        What `mcprune run` would refuse, such as an evaluator named in the options that cannot be used.
    """
    plan = make_plan(config, load_dataset(config))
    use_threads(plan.runtime.threads)
    problem = evaluation_problem(plan)
    evaluator, _ = make_evaluators(plan)
    # Under hard gates a site move changes nothing unless its weight crosses 0, as a toggle's does.
    single = moves.move_plan(toggle=1.0) if math.isinf(problem.sharpness) else moves.move_plan(site=1.0)
    mixtures = {"site": single, "exchange": moves.move_plan(exchange=1.0)}
    candidates = survey(problem, make_canonical(problem), mixtures, SECONDS)
    output = choose(stream)
    kinds = ",".join(dict.fromkeys(group.kind for group in plan.sites.groups))
    sites = f"{plan.sites.size:,} sites ({kinds})"
    words = describe_classifier(
        plan.settings.model, plan.model, plan.splits.n_inputs, is_users_model=plan.is_users_model
    )
    output.lines(
        [
            f"{plan.splits.name}: {sites}, classifier {words}, evaluation batch of "
            f"{len(problem.targets):,} rows; {plan.device}, {plan.runtime.threads} threads, {problem.lookahead} candidates ahead",
            "",
        ]
    )
    output.table(HEADER, [cells(one, candidates[0], evaluator.name) for one in candidates])
    away: list[str] = []
    if plan.method != "markov":
        away += wrapped(
            f"note: --method {plan.method} proposes nothing, so it uses none of these: the figures are what a chain would have",
            output.width,
        )
    for candidate in candidates:
        if candidate.reason:
            away += wrapped(f"{candidate.name} cannot be used: {candidate.reason}", output.width)
    output.lines([*away, *(f"note: {note}" for note in plan.notes)])


def cells(candidate: Candidate, loop: Candidate, picked: str) -> list[str]:
    """Return one row of the table; an evaluator that cannot be used has no figures."""
    last = "picked" if candidate.name == picked else "" if candidate.evaluator is not None else "cannot be used"
    ratios = [rate / loop.rates[name] for name, rate in candidate.rates.items()]
    return [
        candidate.name,
        number(candidate.rates.get("site"), ",.0f"),
        number(candidate.rates.get("exchange"), ",.0f"),
        " / ".join(f"{ratio:.2f}" for ratio in ratios) or "-",
        number(candidate.difference, ".1e"),
        last,
    ]
