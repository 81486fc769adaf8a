"""Settled settings as a configuration again: what a run's folder records, from which the run repeats."""

from __future__ import annotations

import math

from mcprune.config.measures import ALL_SITES
from mcprune.config.resolved import (
    AlphaSettings,
    ChainOptions,
    Evaluation,
    GradientOptions,
    ImportanceOptions,
    MeasureSettings,
    SearchOptions,
)
from mcprune.config.schema import Config
from mcprune.config.sections.gradient import SCHEDULES, Alpha, GateOptimizer, Gradient, TrainedGates
from mcprune.config.sections.importance import Importance
from mcprune.config.sections.markov import EvaluationRows, Markov
from mcprune.config.sections.measure import UNSCORED, Proposals, Ranking, Start


def recorded_search(config: Config, search: SearchOptions, evaluation: Evaluation) -> dict[str, object]:
    """Return the options of [search] by flat name, as settled."""
    if isinstance(search, ChainOptions) and isinstance(config.search, Markov):
        return _chain(config.search, search, evaluation)
    if isinstance(search, GradientOptions) and isinstance(config.search, Gradient):
        return _gradient(config.search, search)
    assert isinstance(search, ImportanceOptions)
    assert isinstance(config.search, Importance)
    counts = search.counts
    rounds = config.search.rounds.but(number=None if counts else search.rounds, recover=search.recover)
    return {"measure": _ranking(config.search.measure, search.measure), "rounds": rounds}


def _chain(asked: Markov, chain: ChainOptions, evaluation: Evaluation) -> dict[str, object]:
    falls = chain.keep_schedule.kind == "geometric"
    schedule = asked.keep_schedule
    proposals = asked.proposals
    return {
        "moves": chain.moves,
        "gates": asked.gates.but(kind=chain.gates),
        "warm_up": chain.warm_up,
        "alpha": str(chain.alpha),
        "decisions": chain.decisions,
        "lookahead": chain.lookahead,
        "keep_schedule": schedule.but(until=chain.keep_schedule.until, regrow=chain.keep_schedule.regrow)
        if falls
        else schedule.but(kind="constant"),
        "pool": asked.pool.but(size=chain.pool_size or None),
        "replicas": asked.replicas.but(hottest=chain.hottest if chain.hottest < math.inf else None),
        "evaluation_rows": EvaluationRows(end=evaluation.rows, early=evaluation.early_rows),
        "eval_on": evaluation.on,
        "proposals": proposals.but(rows=_rows(chain.proposal_measure))
        if proposals.is_measure
        else Proposals(name=chain.proposals),
        "start": _start(asked, chain),
    }


def _start(asked: Markov, chain: ChainOptions) -> Start | None:
    if asked.start is None and not chain.starts:
        return None
    if asked.start is None or not asked.start.measure:
        return Start(name="+".join(chain.starts) or ALL_SITES)
    return Start(**dict(_ranking(asked.start, chain.start_measure))).but(
        name="+".join(chain.starts), after=chain.start_after
    )


def _gradient(asked: Gradient, gradient: GradientOptions) -> dict[str, object]:
    options: dict[str, object] = {
        "alpha": _alpha(gradient.alpha),
        "gate_optimizer": GateOptimizer(kind=asked.gate_optimizer.kind, learning_rate=gradient.learning_rate),
    }
    if gradient.alpha.kind != "auto":
        sharpness = str(gradient.sharpness) if gradient.gates == "annealed" else None
        options |= {
            "gates": (asked.gates or TrainedGates()).but(sharpness=sharpness),
            "weight_bound": gradient.weight_bound,
        }
    return options


def _alpha(alpha: AlphaSettings) -> Alpha:
    everything: dict[str, object] = {
        "value": str(alpha.value),
        "lambda_": alpha.strength,
        "lambda_end": alpha.strength_end,
        "epochs": alpha.epochs,
        "window": alpha.window,
        "window_kind": "literal" if alpha.is_literal else "products",
        "tolerance": alpha.tolerance,
        "factor": alpha.factor,
        "cap": alpha.cap,
        "pilots": alpha.pilots,
    }
    parts = {name: everything[name] for name in SCHEDULES[alpha.kind]}
    return Alpha(kind=alpha.kind).but(**parts)  # type: ignore[arg-type]


def _rows(measure: MeasureSettings) -> int | None:
    return None if measure.name in UNSCORED else measure.rows


def _ranking(asked: Ranking, measure: MeasureSettings) -> Ranking:
    return asked.but(rows=_rows(measure), min_per_layer=measure.min_per_layer)
