"""Make the method of a plan: evaluators, moves, n(t), the chain."""

from __future__ import annotations

import numpy as np
import torch

from mcprune.chain import moves
from mcprune.chain.ranks.gates import BOX, flips
from mcprune.chain.schedules import Schedule, Waves
from mcprune.config.resolved import ChainOptions, GradientOptions, ImportanceOptions, KeepScheduleSettings
from mcprune.config.rules import POOL
from mcprune.distributed.evaluation import SharedEvaluator
from mcprune.errors import ConfigError, ModelError
from mcprune.evaluators.base import Canonical, Evaluator
from mcprune.evaluators.choose import SHORT, EvaluationProblem, choose, examine, make_canonical, select_by_name
from mcprune.evaluators.folded import FoldedObjective
from mcprune.methods.gradient.method import Gradient
from mcprune.methods.importance.method import Importance
from mcprune.methods.markov.lookahead import fitting
from mcprune.methods.markov.method import ChainSettings, Markov
from mcprune.methods.markov.proposals import MeasuredProposals
from mcprune.objectives.base import Objective, Rows
from mcprune.objectives.dense import DenseDivergence
from mcprune.objectives.losses import loss_of
from mcprune.session.build.gradient import make_gradient
from mcprune.session.build.importance import make_importance
from mcprune.session.build.plan import Plan
from mcprune.session.build.starts import make_starts, scorer_of
from mcprune.sites.space import SearchSpace
from mcprune.types import IntArray

# Evaluators that can reject a candidate after a part of the rows, the faster first.
STAGED = ("fused", "suffix")
# Sites that are tried before a block; the number of sites from which a pool is bounded, and the bounds.
FALLING = (
    16  # with a frozen classifier, blocks make fewer decisions by this factor while n(t) falls, so that it falls faster
)
TRIALS, MANY, FUSED_POOL, SLOW_POOL = 1024, 2048, 2048, 512


def most_evaluation_rows(plan: Plan) -> int:
    """Return the largest number of evaluation rows."""
    return max(1, plan.folds.rows)


def evaluation_problem(plan: Plan) -> EvaluationProblem:
    """Return the problem on which evaluators are compared: the present model, rows as in a block of the run, and its moves."""
    chain, data = plan.chain, plan.splits
    early = chain.keep_schedule.kind == "geometric" and plan.falls
    most = plan.evaluation.early_rows if early else plan.evaluation.rows
    rows = min(most, most_evaluation_rows(plan))
    chosen: slice | np.ndarray = slice(rows)
    if (
        not plan.is_plain_objective or data.train.weights is not None
    ):  # of all classes, also where the file is sorted by class
        chosen = _spread_rows(plan, rows)
    # Input by input, as EvaluationRows lays them out.
    features = plan.rows(np.ascontiguousarray(plan.seen(data.train.features[chosen]).T)).T
    return EvaluationProblem(
        gated=plan.gated,
        objective=_objective(plan),
        features=features,
        targets=torch.from_numpy(data.train.targets[chosen]).to(plan.device),
        plan=_evaluated_plan(chain, plan.gated.sites.size),
        keep=plan.keep if plan.space.is_count else max(1, plan.sites.size // 4),
        start_weight=chain.start_weight,
        sharpness=chain.gate_sharpness,
        lookahead=candidates_ahead(chain, plan.gated.sites.size, plan.runtime.max_memory),
        max_memory=plan.runtime.max_memory,
        early_reject=chain.early_reject or None,
        rows=_objective_rows(plan, chosen, features),
        classifiers=plan.stack,
        bounds=plan.folds.bounds,
    )


def _objective(plan: Plan) -> Objective:
    """Return the objective, of folds with a copy for each, which knows the classifier of the fold where it compares with it."""
    if isinstance(plan.objective, DenseDivergence):
        plan.objective.dense = plan.gated.model
    if len(plan.stack) == 1:
        return plan.objective
    folded = FoldedObjective(plan.objective, plan.folds.bounds)
    for part, gated in zip(folded.parts, plan.stack, strict=True):
        if isinstance(part, DenseDivergence):
            part.dense = gated.model
    return folded


def _spread_rows(plan: Plan, rows: int) -> IntArray:
    """Return indices of training rows at equal distances, of each fold's rows its part of a batch."""
    if len(plan.stack) == 1:
        return np.linspace(0, len(plan.splits.train.targets) - 1, rows).round().astype(np.int64)
    counts = np.diff(plan.folds.bounds(rows))
    places = [
        fold[np.linspace(0, len(fold) - 1, count).round().astype(np.int64)]
        for fold, count in zip(plan.folds.evaluation, counts, strict=True)
    ]
    return np.concatenate(places)


def _objective_rows(plan: Plan, chosen: slice | np.ndarray, features: torch.Tensor) -> Rows | None:
    """Return what the objective reads of the chosen training rows; None where that is nothing."""
    train = plan.splits.train
    weights, groups = (None if one is None else torch.from_numpy(one[chosen]) for one in (train.weights, train.groups))
    if plan.objective.reads_inputs:
        return Rows(weights, groups, features)
    return None if weights is None and groups is None else Rows(weights, groups)


def make_evaluators(plan: Plan) -> tuple[Evaluator, Canonical]:
    """Return the evaluator of the candidates, which several ranks share, and the canonical one.

    Raises
    ------
    ModelError
        The chosen evaluator is not usable.
    ConfigError
        Options that contradict each other.
    """
    evaluator, canonical = _own_evaluators(plan)
    ranks = plan.ranks
    if ranks is None:
        return evaluator, canonical
    name = ranks.broadcast(evaluator.name)  # chosen by the clock of rank 0
    if name != evaluator.name:
        evaluator = select_by_name(name, evaluation_problem(plan), canonical)
    shared = SharedEvaluator(evaluator, ranks)
    return shared, shared if evaluator is canonical else canonical


def _own_evaluators(plan: Plan) -> tuple[Evaluator, Canonical]:
    name, rate = plan.runtime.evaluator, plan.chain.early_reject
    problem = evaluation_problem(plan)
    canonical = make_canonical(problem)
    if rate:
        if name not in ("auto", *STAGED, *SHORT):
            raise ConfigError(
                f"--early-reject cannot use --evaluator {name}, which sees every row. Leave --evaluator out."
            )
        plan.notes.append(f"early_reject: approximate: a wrong rejection has a chance of about {rate:g}")
    if name != "auto":
        return select_by_name(name, problem, canonical), canonical
    if rate:
        for candidate in (staged := [examine(one, problem, canonical) for one in STAGED]):
            if candidate.evaluator is not None:
                return candidate.evaluator, canonical
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in staged)
        raise ModelError(
            f"--early-reject needs the evaluator {' or '.join(STAGED)}, and neither is usable in this run: {reasons}. Leave --early-reject "
            "out."
        )
    evaluator, why = choose(problem, canonical)
    if why:
        plan.notes.append(f"evaluator: {why}")
    return evaluator, canonical


def move_plan(chain: ChainOptions, sites: int) -> moves.MovePlan:
    """Return the mixture of moves; `informed` draws from equal scores until the chain has learned others."""
    equal = np.ones(sites) if chain.is_informed else None
    plan: moves.MovePlan = moves.move_plan(
        **chain.moves,
        block_size=chain.move_sites,
        box=BOX if chain.is_by_rank else chain.weight_bound,
        add=equal,
        remove=equal,
    )
    return plan


def _evaluated_plan(chain: ChainOptions, sites: int) -> moves.MovePlan:
    """Return moves whose candidates look to evaluators as those of the run: by rank nearly all exchange two sites."""
    pairs = {"site", "toggle", "exchange", "informed"}
    is_pairs = chain.is_by_rank and set(chain.moves) <= pairs
    return move_plan(chain._replace(moves={"exchange": 1.0}) if is_pairs else chain, sites)


def candidates_ahead(chain: ChainOptions, sites: int, max_memory: int) -> int:
    """Return the most candidates that are evaluated ahead: at most those of the options, of a block, and of `max_memory`."""
    plan = move_plan(chain, sites)
    widest = flips(plan, sites) if chain.is_by_rank else moves.widest(plan, sites)
    return min(chain.lookahead, chain.decisions, fitting(max_memory, chain.replicas, widest))


def budget_over_time(schedule: KeepScheduleSettings, space: SearchSpace) -> tuple[Schedule | Waves, ...]:
    """Return n(t) of each count and cost(t) of each cost: the fall from all sites, and the regrowths after it.

    A single count is in items.
    """
    fixed = space.fixed_count if space.is_count else 0
    ends = zip(np.concatenate(space.whole).tolist(), np.concatenate(space.goal).tolist(), strict=True)
    return tuple(schedule.over_time(whole - fixed, end - fixed) for whole, end in ends)


def make_method(plan: Plan) -> Markov | Gradient | Importance:
    """Return the method of a plan."""
    search = plan.search
    if isinstance(search, ImportanceOptions):
        return make_importance(search, scorer_of(plan, search.measure), plan.train, plan.keep)
    if isinstance(search, GradientOptions):
        return make_gradient(
            search,
            plan.train,
            sites=plan.sites.size,
            keep=plan.keep,
            seed=plan.runtime.seed,
            device=plan.device,
            layers=plan.space.layers_to_hold(plan.space.final_least),
        )
    chain = make_chain(plan)
    if plan.ranks is not None:
        chain.share(plan.ranks.broadcast_int)
    return chain


def make_chain(plan: Plan) -> Markov:
    """Return the chain of a plan."""
    options, space = plan.chain, plan.space
    size = space.size
    sharpness = {"sigmoid": Schedule("constant", 1.0, 1.0), "sharpened": options.sharpness}.get(options.gates)
    evaluator, canonical = make_evaluators(plan)
    is_probed = options.proposals == "probes" and options.is_informed
    is_sloped = options.proposals == "slopes" and options.is_informed
    if is_sloped and loss_of(plan.objective) is None:
        raise ConfigError(
            f"--proposals slopes needs the gradient of the objective, and {plan.objective.name!r} is no mean of losses of rows. Choose "
            "chain or probes."
        )
    settings = ChainSettings(
        plan=move_plan(options, size),
        delta=options.delta,
        temperature=options.temperature,
        alpha=options.alpha,
        sharpness=sharpness,
        targets=budget_over_time(options.keep_schedule, space),
        modified=options.is_modified,
        pooled=options.pool_size > 0,
        pool=options.pool_size or POOL.rules[-1].value,
        start_weight=options.start_weight,
        decisions=options.decisions,
        lookahead=candidates_ahead(options, size, plan.runtime.max_memory),
        seed=plan.runtime.seed,
        replicas=options.replicas,
        hottest=options.hottest,
        swap_every=options.swap_every,
        adapt_delta=options.adapt_delta or None,
        learned=options.is_informed,
        warm_up=options.warm_up,
        pressure=options.keep_schedule.pressure,
        falling_decisions=max(1, options.decisions // FALLING) if plan.train.is_frozen else 0,
        trials=min(TRIALS, options.decisions) if is_probed else 0,
        by_rank=options.is_by_rank,
        by_slopes=is_sloped,
        pool_limit=options.pool_limit or (0 if size < MANY else FUSED_POOL if evaluator.name == "fused" else SLOW_POOL),
    )
    is_scored = options.proposals == "measure"
    return Markov(
        space,
        settings,
        evaluator,
        canonical,
        plan.objective.lower_bound,
        MeasuredProposals(scorer_of(plan, options.proposal_measure), space) if is_scored else None,
        make_starts(plan),
        evaluates_items=plan.candidates is not None,
    )
