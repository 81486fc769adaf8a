"""From a plan to its method at the start: evaluators, moves, n(t), the chain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from mcprune.chain import moves
from mcprune.chain.schedules import Schedule, Waves, parse
from mcprune.config.schema import Config
from mcprune.config.sections.measure import Scores
from mcprune.data.prepare import Prepared
from mcprune.distributed.evaluation import SharedEvaluator
from mcprune.errors import ConfigError, ModelError
from mcprune.evaluators.base import Evaluator
from mcprune.evaluators.choose import Case, choose, examine, named
from mcprune.evaluators.full import FullEvaluator
from mcprune.methods.gradient.method import Gradient
from mcprune.methods.importance.method import Importance
from mcprune.methods.importance.scorer import Scorer
from mcprune.methods.markov.lookahead import fitting
from mcprune.methods.markov.method import ChainSettings, Markov
from mcprune.methods.markov.proposals import MeasuredProposals
from mcprune.methods.markov.start import MeasureStart
from mcprune.objectives.base import Rows
from mcprune.objectives.specs import PLAIN
from mcprune.session.build.defaults import POOL, REGROWN_UNTIL
from mcprune.session.build.gradient import make_gradient
from mcprune.session.build.importance import make_importance, make_scorer
from mcprune.sites.site_map import SiteMap
from mcprune.sites.space import SearchSpace
from mcprune.storage.events import SiteGroup

if TYPE_CHECKING:  # a plan is made with the first of these functions
    from mcprune.session.build.plan import Plan

SHARPNESS = "geometric:1:16"
# Sites tried in front of a block; sites from which a pool is bounded, and its bounds.
FALLING = 16  # a frozen classifier's blocks make so many times fewer decisions while n(t) falls: it falls the faster
TRIALS, MANY, FUSED_POOL, SLOW_POOL = 1024, 2048, 2048, 512


def judging_rows(plan: Plan) -> int:
    """Return how many rows a candidate can be judged on at most."""
    share = plan.evaluation.fraction if plan.evaluation.on == "held-out" else 1.0
    return max(1, round(share * len(plan.prepared.y_train)))


def evaluation_case(plan: Plan) -> Case:
    """Return what the evaluators are judged on: the model as it is, rows as a block of the run has them, and its moves."""
    config, data = plan.config, plan.prepared
    early = config.chain.keep_schedule.kind == "geometric" and plan.falls
    most = plan.evaluation.early_rows if early else plan.evaluation.rows
    rows = min(most, judging_rows(plan))
    chosen: slice | np.ndarray = slice(rows)
    if (
        config.problem.objective != PLAIN or data.weights is not None
    ):  # of all classes, also where the file is sorted by class
        chosen = np.linspace(0, len(data.y_train) - 1, rows).round().astype(np.int64)
    return Case(
        gated=plan.gated,
        objective=plan.objective,
        # Input by input, as EvaluationRows lays them out.
        features=plan.rows(np.ascontiguousarray(data.x_train[chosen].T)).T,
        targets=torch.from_numpy(data.y_train[chosen]).to(plan.device),
        plan=move_plan(config, plan.sites.size),
        keep=plan.keep if plan.space.is_count else max(1, plan.sites.size // 4),
        start_weight=config.chain.start_weight,
        sharpness={
            "sigmoid": 1.0,
            "sharpened": parse(config.chain.gates.sharpness or SHARPNESS).value(0.5),
            "hard": math.inf,
        }[config.chain.gates.kind],
        ahead=candidates_ahead(config, plan.sites.size),
        max_memory=config.runtime.max_memory,
        wrong_rate=config.chain.early_reject,
        rows=_told(data, chosen),
    )


def _told(data: Prepared, chosen: slice | np.ndarray) -> Rows | None:
    """Return what the objective is told of the chosen training rows."""
    weights, groups = (None if one is None else torch.from_numpy(one[chosen]) for one in (data.weights, data.groups))
    return None if weights is None and groups is None else Rows(weights, groups)


def make_evaluators(plan: Plan) -> tuple[Evaluator, FullEvaluator]:
    """Return the evaluator that judges and the canonical one; of several ranks one that shares the candidates.

    Raises
    ------
    ModelError
        The evaluator that was asked for cannot serve.
    ConfigError
        Options that contradict each other.
    """
    evaluator, canonical = _own_evaluators(plan)
    ranks = plan.ranks
    if ranks is None:
        return evaluator, canonical
    name = ranks.told(evaluator.name)  # rank 0's clock has chosen
    if name != evaluator.name:
        evaluator = named(name, evaluation_case(plan), canonical)
    shared = SharedEvaluator(evaluator, ranks)
    return shared, cast(FullEvaluator, shared) if evaluator is canonical else canonical


def _own_evaluators(plan: Plan) -> tuple[Evaluator, FullEvaluator]:
    config = plan.config
    canonical = FullEvaluator(plan.gated, plan.objective, max_memory=config.runtime.max_memory)
    if config.chain.early_reject is not None:
        if config.runtime.evaluator not in ("auto", "fused"):
            raise ConfigError(
                f"--early-reject cannot use --evaluator {config.runtime.evaluator}, which sees every row; leave --evaluator out"
            )
        plan.notes.append(
            f"early_reject: approximate: a wrong rejection has a chance of about {config.chain.early_reject:g}"
        )
    case = evaluation_case(plan)
    if config.runtime.evaluator != "auto":
        return named(config.runtime.evaluator, case, canonical), canonical
    if config.chain.early_reject is not None:
        row = examine("fused", case, canonical)
        if row.evaluator is None:
            raise ModelError(f"--early-reject needs the fused evaluator, which cannot serve this run: {row.reason}")
        return row.evaluator, canonical
    evaluator, why = choose(case, canonical)
    if why:
        plan.notes.append(f"evaluator: {why}")
    return evaluator, canonical


def move_plan(config: Config, sites: int) -> moves.MovePlan:
    """Return the mixture of moves; `informed` draws from equal scores until the chain has better ones."""
    equal = np.ones(sites) if "informed" in config.chain.moves else None
    plan: moves.MovePlan = moves.move_plan(
        **config.chain.moves,
        block_size=config.chain.move_sites,
        box=config.chain.weight_bound,
        add=equal,
        remove=equal,
    )
    return plan


def candidates_ahead(config: Config, sites: int) -> int:
    """Return the most candidates that are evaluated ahead: no more than asked for, in a block, or in `max_memory`."""
    widest = moves.widest(move_plan(config, sites), sites)
    return min(
        config.chain.lookahead,
        config.chain.decisions,
        fitting(config.runtime.max_memory, config.chain.replicas.number, widest),
    )


def budget_over_time(config: Config, space: SearchSpace) -> tuple[Schedule | Waves, ...]:
    """Return n(t) of each count and cost(t) of each cost: the fall from all sites, and the waves after it where there is a pool.

    That of a single count is in items.
    """
    fixed = int(space.kept.sum()) if space.is_count else 0
    ends = zip(np.concatenate(space.whole).tolist(), np.concatenate(space.goal).tolist(), strict=True)
    return tuple(_fall(config, whole - fixed, end - fixed) for whole, end in ends)


def _fall(config: Config, whole: int, end: int) -> Schedule | Waves:
    schedule = config.chain.keep_schedule
    if schedule.kind == "constant" or end == whole:
        return Schedule("constant", float(end), float(end))
    fall = Schedule("geometric", float(whole), float(end), schedule.until or 0.5)
    if not schedule.regrow:
        return fall
    # n(t) never rises above all sites.
    return Waves(fall, min(schedule.height, whole / end - 1.0), schedule.regrow, REGROWN_UNTIL)


def scorer_of(plan: Plan, measure: Scores) -> Scorer:
    """Return what scores the sites of a plan by a measure, on its training rows."""
    data = plan.prepared
    targets = torch.from_numpy(data.y_train).to(plan.device)
    return make_scorer(plan.config, measure, plan.model, plan.sites, plan.rows(data.x_train), targets, plan.objective)


def make_method(plan: Plan) -> Markov | Gradient | Importance:
    """Return the method of a plan, at its start."""
    config = plan.config
    if config.method == "markov":
        chain = make_chain(plan)
        if plan.ranks is not None:
            chain.share(plan.ranks.agree)
        return chain
    if config.method == "importance":
        return make_importance(
            config,
            scorer_of(plan, config.importance.measure),
            keep=plan.keep,
            epochs=plan.epochs,
            epoch_steps=max(1, len(plan.prepared.y_train) // plan.batch_size),
            steps=plan.blocks * config.train.steps,
        )
    return make_gradient(
        config,
        sites=plan.sites.size,
        keep=plan.keep,
        rows=len(plan.prepared.y_train),
        steps=plan.blocks * config.train.steps,
        device=plan.device,
        floor=plan.space.layers_to_hold(plan.space.final_least),
    )


def make_chain(plan: Plan) -> Markov:
    """Return the chain of a plan, at its start."""
    config, space = plan.config, plan.space
    size = space.size
    sharpness = {
        "sigmoid": Schedule("constant", 1.0, 1.0),
        "sharpened": parse(config.chain.gates.sharpness or SHARPNESS),
        "hard": None,
    }[config.chain.gates.kind]
    evaluator, canonical = make_evaluators(plan)
    settings = ChainSettings(
        plan=move_plan(config, size),
        delta=parse(config.chain.delta),
        temperature=parse(config.chain.temperature),
        alpha=parse(config.chain.alpha),
        sharpness=sharpness,
        targets=budget_over_time(config, space),
        modified=config.chain.rejection == "modified",
        pooled=not config.chain.pool.is_off,
        pool=config.chain.pool.size or POOL,
        start_weight=config.chain.start_weight,
        decisions=config.chain.decisions,
        speculate=candidates_ahead(config, size),
        seed=config.runtime.seed,
        replicas=config.chain.replicas.number,
        hottest=config.chain.replicas.hottest if config.chain.replicas.hottest is not None else math.inf,
        swap_every=config.chain.replicas.swap_every or 0,
        adapt_delta=config.chain.adapt_delta,
        learned="informed" in config.chain.moves,
        warm_up=config.chain.warm_up if config.chain.warm_up is not None else 0.5,
        pressure=config.chain.keep_schedule.pressure,
        falling_decisions=max(1, config.chain.decisions // FALLING) if config.train.frozen else 0,
        trials=min(TRIALS, config.chain.decisions)
        if config.chain.proposals.name == "probes" and "informed" in config.chain.moves
        else 0,
        pool_limit=config.chain.pool.limit
        or (0 if size < MANY else FUSED_POOL if evaluator.name == "fused" else SLOW_POOL),
    )
    proposals, start = config.chain.proposals, config.chain.start
    return Markov(
        space,
        settings,
        evaluator,
        canonical,
        plan.objective.lower_bound,
        MeasuredProposals(scorer_of(plan, proposals), space) if proposals.is_measure else None,
        None
        if start is None
        else MeasureStart(
            scorer_of(plan, start),
            begin=(start.after or 0) / plan.epochs,
            how="layerwise" if start.layerwise else "global",
            floor=start.min_per_layer or 1,
        ),
    )


def site_groups(sites: SiteMap) -> tuple[SiteGroup, ...]:
    """Return the groups of sites as events hold them."""
    return tuple(SiteGroup(group.kind, group.layer, group.size) for group in sites.groups)
