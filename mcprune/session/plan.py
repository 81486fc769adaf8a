"""From a configuration and a data set to a run that can start: every `auto` settled, every refusal made, nothing written."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from mcprune.arrays import Float32Array
from mcprune.chain import moves
from mcprune.chain.floor import best_mask
from mcprune.chain.schedules import Schedule, Waves, parse
from mcprune.data.base import Dataset
from mcprune.data.prepare import Prepared, prepare
from mcprune.errors import ConfigError, ModelError
from mcprune.evaluate.base import Evaluator
from mcprune.evaluate.choose import Case, choose, examine, named, refuse_random
from mcprune.evaluate.full import FullEvaluator
from mcprune.evaluate.ranks import Ranks, SharedEvaluator
from mcprune.methods.ahead import fitting
from mcprune.methods.cost_pool import CostBudget
from mcprune.methods.fixed import FixedMarkov
from mcprune.methods.gradient import Gradient
from mcprune.methods.importance.method import Importance
from mcprune.methods.importance.scorer import Scorer
from mcprune.methods.importance.starts import SiteWeights, Started
from mcprune.methods.markov import ChainSettings, Markov
from mcprune.objective.base import Objective, Rows
from mcprune.objective.named import make_objective
from mcprune.objective.texts import PLAIN
from mcprune.pruning.gates import GatedModel
from mcprune.pruning.sites import SiteMap, site_map
from mcprune.session.classifiers import evaluation_rows, fresh_classifier, shrunken
from mcprune.session.config import RunConfig
from mcprune.session.constraints import Constraints, constraints
from mcprune.session.machine import cores, pick_device
from mcprune.session.options_gradient import check_options
from mcprune.session.options_oneshot import check_one_shot
from mcprune.session.plan_budget import settle_budget
from mcprune.session.plan_gradient import make_gradient, settle
from mcprune.session.plan_importance import make_importance, make_scorer, settle_importance, settle_start
from mcprune.session.recipe import for_grey_images
from mcprune.session.rows import HELD_OUT_BELOW
from mcprune.session.scoring import coded_groups, try_objective

# Passes over the rows, and for few rows as many as make so many steps of backprop.
EPOCHS, SEARCH_STEPS, RETRAIN_STEPS = 30, 2_000, 2_500
LARGE_EPOCHS = 12  # for a chain on many rows: twice as many gave no better masks (docs/what-makes-a-good-mask.md)
LARGEST_DELTA = 1e6
SEARCH_HIDDEN = (512,)  # a wide layer judges more evenly than a narrow pair (docs/what-makes-a-good-mask.md)
JITTER = RETRAIN_JITTER = 0.1  # of the range 0..1 of a pixel
WAVES, WAVES_UNTIL = 40, 0.9  # share of the run at which n(t) has come to rest
UPDATE_EPOCHS, UPDATE_STEPS = 5, 500  # of the short update: passes, and as many as make so many steps on 64 rows
# Sites tried in front of a block; sites from which a pool is bounded, and its bounds.
FALLING = 16  # a frozen classifier's blocks make so many times fewer decisions while n(t) falls: it falls the faster
TRIALS, MANY, FUSED_POOL, SLOW_POOL = 1024, 2048, 2048, 512
HOTTEST = 10.0  # times the temperature of the coldest replica
THREADS_A_CORE = 4  # more is a mistake; up to there a run of a larger machine is repeated as it was
LARGE = 20_000  # rows from which a batch of backprop is large by default


@dataclass
class Plan:
    """A run that can start."""

    config: RunConfig  # nothing is None but target, max_time and out
    prepared: Prepared
    model: nn.Module
    origin: nn.Module  # as it was before the search
    sites: SiteMap
    gated: GatedModel
    objective: Objective
    device: torch.device
    keep: int  # n; N where the budget is a cost
    epochs: int
    blocks: int
    batch_size: int
    retrain_epochs: int
    is_users_model: bool
    fixed: Constraints | None = None  # sites that must be kept or dropped
    spent_forwards: int = 0  # on pilots, before the search
    notes: list[str] = field(default_factory=list)
    cost: CostBudget | None = None  # the budget, where it is a cost
    ranks: Ranks | None = None  # the processes that share the candidates; None: this one alone

    @property
    def falls(self) -> bool:
        """Whether the budget is below the whole model."""
        return self.cost.limit < self.cost.costs.whole if self.cost is not None else self.keep < self.sites.size

    def rows(self, features: Float32Array) -> torch.Tensor:
        """Return scaled rows as the model takes them, on the run's device."""
        return torch.from_numpy(features).to(self.device)


def make_plan(
    config: RunConfig,
    dataset: Dataset | Prepared,
    model: nn.Module | None = None,
    *,
    split_seed: int | None = None,
    function: Callable[..., Any] | None = None,
) -> Plan:
    """Settle everything that the configuration leaves open.

    Parameters
    ----------
    config : RunConfig
    dataset : Dataset, or Prepared where its parts are made already
    model : nn.Module, optional
        The user's own classifier of (B, N) rows; by default an MLP of `config.hidden`.
    split_seed : int, optional
        Draws the training, validation and test parts; by default `config.seed` does.
    function : callable, optional
        The objective, where it is a function that was given from Python.

    Raises
    ------
    McpruneError
        What cannot be run.
    """
    check_options(config)
    check_one_shot(config)
    if config.frozen and model is None and config.pretrain is None:
        raise ConfigError(
            "frozen=true, but the built-in classifier starts untrained; give --pretrain EPOCHS, or pass a trained model from Python"
        )
    device = pick_device(config.device)
    split = config.seed if split_seed is None else split_seed
    prepared = (
        dataset
        if isinstance(dataset, Prepared)
        else prepare(dataset, seed=split, validation=config.validation, test=config.test, scale=config.scale)
    )
    notes = [prepared.note] if prepared.note else []
    if len(prepared.y_train) >= LARGE:
        config = for_grey_images(config, prepared, is_own=model is None and config.model == "mlp")
    searched = _search_hidden(config, len(prepared.y_train), model is not None)
    classifier = model if model is not None else fresh_classifier(config, prepared, config.seed, hidden=searched)
    classifier = classifier.to(device)
    sites = site_map(classifier, config.sites, prepared.n_inputs)
    floor = sites.floor
    groups = 0 if floor is None else np.unique(floor[floor >= 0]).size
    if model is not None:
        _try_model(classifier, prepared, device)
        refuse_random(classifier, torch.from_numpy(prepared.x_train[: config.evaluation_rows]).to(device))
    if config.retrain_warp and prepared.image_shape is None:
        raise ConfigError(
            f"retrain_warp={config.retrain_warp:g}, but the rows of {prepared.name!r} are no images; leave --retrain-warp out"
        )
    if sites.channels and config.budget_in != "sites":
        raise ConfigError(
            f"budget_in={config.budget_in!r}, but channels that belong together have no known cost each; use --budget-in sites"
        )
    keep, cost = settle_budget(config, classifier, sites, prepared.name)
    if config.keep is None and cost is None:
        keep = max(keep, groups)
    if cost is None and keep < groups:
        raise ConfigError(
            f"keep={keep}, but {groups} layers must keep one site each, or no network is left; choose {groups} <= keep <= {sites.size}"
        )
    if config.budget_drops == "chain" and keep < sites.size and set(config.moves) <= {"exchange", "informed"}:
        raise ConfigError(
            "budget_drops=chain, but exchanges never change how many sites are kept, so the chain could not reach "
            f"{keep}; add another move, such as --moves exchange=3,toggle=1, or use --budget-drops pool"
        )
    if max(parse(config.delta).start, parse(config.delta).end) > LARGEST_DELTA:
        raise ConfigError(f"delta={config.delta} is beyond all weights; choose at most {LARGEST_DELTA:g}")
    fixed = constraints(config.must_keep, config.must_drop, sites.names(prepared.feature_names), keep)
    objective = make_objective(
        function or config.objective,
        prepared.labels,
        prepared.feature_names,
        is_weighted=prepared.weights is not None,
    )
    prepared = replace(prepared, groups=coded_groups(objective, prepared.x_train))
    alone = cost is None and config.start is None and config.propose_by is None
    if fixed is not None and not alone:
        raise ConfigError(
            "must_keep and must_drop are for a count of sites: leave them out, or leave out the budget in a cost, --start and "
            "--propose-by"
        )
    origin = copy.deepcopy(classifier)
    if (model is not None or sites.channels) and sites.size > 1:  # now rather than after the search
        first = np.arange(sites.size) > 0
        first = first if floor is None else best_mask(first.astype(float), max(sites.size - 1, groups), floor)
        shrunken(classifier, sites, first, prepared.n_inputs)
    # The gradient path is not judged: all rows train.
    judge_on = config.judge_on if config.method == "markov" else "train"
    rows = len(prepared.y_train)
    if judge_on == "auto":
        judge_on = "held-out" if rows < HELD_OUT_BELOW else "train"
        notes.append(f"judge_on: {judge_on} ({rows:,} training rows)")
    fitted = rows if judge_on == "train" else rows - round(config.judge_share * rows)
    batch_size = max(1, min(config.batch_size or (256 if rows >= LARGE else 64), fitted))
    steps = max(1, fitted // batch_size)
    usual = LARGE_EPOCHS if rows >= LARGE and config.method == "markov" else EPOCHS
    epochs = config.epochs or max(usual, math.ceil(SEARCH_STEPS / steps))
    all_rows = rows + len(prepared.y_validation)
    retrain_steps = max(1, all_rows // min(batch_size, all_rows))
    one_shot = _one_shot(config, rows, sites)
    # Found weights know the task already: as long as the search is long enough.
    usual_retrain = (
        epochs
        if one_shot.get("update", config.update) == "found"
        else max(EPOCHS, math.ceil(RETRAIN_STEPS / retrain_steps))
    )
    retrain = config.retrain_epochs or usual_retrain
    # Noise on the pixels was found to help perceptrons that see single pixels; batch-norms need none.
    is_pixels = prepared.image_shape is not None and not sites.channels
    evaluated = evaluation_rows(config, classifier, sites, prepared, notes)
    train_steps = min(config.train_steps, epochs * steps)
    # Steps on small batches of few rows are too short to share between threads.
    threads = config.threads or (cores() if rows >= LARGE else 1)
    if threads > THREADS_A_CORE * cores():
        notes.append(f"threads: {cores()}, the cores at hand; {threads} would spend their time waiting for each other")
        threads = cores()
    settled = config.model_copy(
        update={
            **one_shot,
            "keep": keep if cost is None else cost.limit,
            "search_hidden": searched,
            "jitter": config.jitter
            if config.jitter is not None
            else JITTER * (is_pixels and rows >= LARGE and not config.frozen),
            "retrain_jitter": config.retrain_jitter
            if config.retrain_jitter is not None
            else RETRAIN_JITTER * is_pixels,
            **evaluated,
            "judge_on": judge_on,
            "epochs": epochs,
            "batch_size": batch_size,
            "retrain_epochs": retrain,
            "threads": threads,
            "device": device.type,
            "train_steps": train_steps,
            **(
                settle(config, epochs, epochs * steps)
                if config.method == "gradient"
                else settle_importance(config, epochs, sites, keep)
                if config.method == "importance"
                else {
                    **settle_start(config, epochs, sites, keep),
                    **(budget := _budget(config, rows, may_rise=not sites.channels)),
                    **_adaptation(config, budget["budget_until"], cost is not None or keep < sites.size),
                    **({} if cost is None else {"alpha": "0.0"}),
                }
            ),
        }
    )
    plan = Plan(
        config=settled,
        prepared=prepared,
        model=classifier,
        origin=origin,
        sites=sites,
        gated=GatedModel(classifier, sites),
        objective=objective,
        device=device,
        keep=keep,
        cost=cost,
        epochs=epochs,
        blocks=max(1, math.ceil(epochs * steps / train_steps)),
        batch_size=batch_size,
        retrain_epochs=retrain,
        is_users_model=model is not None,
        notes=notes,
        fixed=fixed,
    )
    if config.objective != PLAIN or function is not None:  # now rather than after the first blocks
        try_objective(plan.gated, objective, evaluation_case(plan))
        notes.append(f"objective: the chain minimises {objective.words}; backprop minimises cross-entropy")
    return plan


def _one_shot(config: RunConfig, rows: int, sites: SiteMap) -> dict[str, Any]:
    """Return what the kind of sites and a frozen classifier settle: the update, long blocks on many rows, informed moves."""
    given = config.model_fields_set
    settled: dict[str, Any] = {}
    if config.update == "auto":
        settled["update"] = "gradient" if config.frozen or sites.weights else "found" if sites.channels else "fresh"
    if settled.get("update", config.update) == "gradient" and config.update_epochs is None:
        settled["update_epochs"] = max(UPDATE_EPOCHS, math.ceil(UPDATE_STEPS * (config.batch_size or 64) / rows))
    if config.method != "markov":
        return settled
    if config.frozen:
        # Nothing goes stale between blocks: they may be long, and their rows many.
        longer = {"decisions": 1024, "speculate": 256, "evaluation_rows": 8192}
        settled |= {name: value for name, value in longer.items() if name not in given}
    if sites.weights and "moves" not in given and config.preset == "default":
        settled["moves"] = {"informed": 0.9, "exchange": 0.1}
    if config.informed_by == "auto":
        tries = bool(sites.weights) and "informed" in settled.get("moves", config.moves) and config.propose_by is None
        settled["informed_by"] = "trials" if tries else "chain"
    return settled


def _search_hidden(config: RunConfig, rows: int, is_users_model: bool) -> tuple[int, ...]:
    """Return the widths of the classifier that is searched with; the one that is kept is `hidden`, trained afresh.

    Raises
    ------
    ConfigError
        Other widths where the classifier's own units, or a model of the user's, are searched.
    """
    may_differ = config.sites == "inputs" and not is_users_model and config.model == "mlp"
    if config.search_hidden is None:
        is_wider = may_differ and rows >= LARGE and config.method == "markov" and not config.frozen
        return SEARCH_HIDDEN if is_wider else config.hidden
    if not may_differ and config.search_hidden != config.hidden:
        met = "a model of your own" if is_users_model else f"sites={config.sites!r}, model={config.model!r}"
        raise ConfigError(
            f"search_hidden={','.join(map(str, config.search_hidden))} with {met}: only a built-in classifier whose inputs are "
            "the sites may be searched at other widths; leave --search-hidden out"
        )
    return config.search_hidden


def _budget(config: RunConfig, rows: int, *, may_rise: bool = True) -> dict[str, float]:
    """Return over which part of the run n(t) falls, and how many waves follow; none by default unless it `may_rise`.

    Raises
    ------
    ConfigError
        Waves where nothing could follow them.
    """
    falls = config.budget == "geometric" and config.budget_drops == "pool"
    if config.waves and not falls:
        raise ConfigError(
            f"waves={config.waves}, but n(t) is followed by a pool only with --budget geometric --budget-drops pool; "
            "leave --waves out"
        )
    temperature = parse(config.temperature)
    # At T > 0 the law has to stay the same for a while: n(t) comes to rest once.
    # On few rows waves have not helped: their blocks are too few to train what comes back.
    # Under a cost waves bring back mostly inputs, cheap while few units read them (docs/budgets.md).
    # Channels that come back are behind batch-norms that have not seen them for long: the loss of all goes up with them.
    # A frozen classifier has nothing to train of what comes back.
    may_rise = may_rise and config.budget_in == "sites" and not config.frozen
    is_usual = may_rise and falls and temperature.start == temperature.end == 0 and rows >= LARGE
    waves = config.waves if config.waves is not None else WAVES if is_usual else 0
    until = config.budget_until or (0.3 if waves else 0.5)
    if config.waves and until >= WAVES_UNTIL:
        raise ConfigError(
            f"waves={waves} after a fall of n(t) over {until:g} of the run: waves end at {WAVES_UNTIL:g} of it; "
            "lower --budget-until, or leave --waves out"
        )
    return {"waves": waves if until < WAVES_UNTIL else 0, "budget_until": until}


def _adaptation(config: RunConfig, until: float, falls: bool) -> dict[str, float]:
    """Return the end of the warm-up, and with replicas the hottest temperature.

    Raises
    ------
    ConfigError
        Options of replicas for a single chain.
    """
    for name in ("hottest", "swap_every"):
        if config.replicas == 1 and getattr(config, name) is not None:
            raise ConfigError(
                f"{name}={getattr(config, name):g}, but a single chain has no ladder; give --replicas 2 or more, or leave it out"
            )
    settled: dict[str, float] = {}
    temperature = parse(config.temperature)
    warmth = max(temperature.start, temperature.end)
    if config.replicas > 1 and config.hottest is None and warmth > 0:
        settled["hottest"] = HOTTEST * warmth
    if config.warm_up is None:
        # While n(t) falls the law is another in every block: nothing that was found there is worth keeping.
        settled["warm_up"] = max(0.5, until if config.budget == "geometric" and falls else 0.0)
    return settled


def _try_model(model: nn.Module, prepared: Prepared, device: torch.device) -> None:
    """Run the user's model on two rows: it must give one output a class."""
    model.eval()
    try:
        with torch.no_grad():
            out = model(torch.from_numpy(prepared.x_train[:2]).to(device))
    except Exception as error:  # the user's own code
        said = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"the model cannot be run on rows of {prepared.n_inputs} features ({type(error).__name__}: {said}); "
            "wrap it so that it takes (B, N)"
        ) from error
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError(
            "the model has no parameter that can be trained; give one with parameters, none frozen by mistake"
        )
    if not isinstance(out, torch.Tensor) or tuple(out.shape) != (2, prepared.n_classes):
        met = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ModelError(
            f"the model gives {met} for 2 rows; it must give (2, {prepared.n_classes}), one output a class"
        )


def evaluation_case(plan: Plan) -> Case:
    """Return what the evaluators are judged on: the model as it is, rows as a block of the run has them, and its moves."""
    config, data = plan.config, plan.prepared
    share = config.judge_share if config.judge_on == "held-out" else 1.0
    early = config.budget == "geometric" and plan.falls
    most = config.evaluation_rows_early if early else config.evaluation_rows
    rows = max(1, min(most, round(share * len(data.y_train))))
    chosen: slice | np.ndarray = slice(rows)
    if config.objective != PLAIN or data.weights is not None:  # of all classes, also where the file is sorted by class
        chosen = np.linspace(0, len(data.y_train) - 1, rows).round().astype(np.int64)
    return Case(
        gated=plan.gated,
        objective=plan.objective,
        # Input by input, as EvaluationRows lays them out.
        features=plan.rows(np.ascontiguousarray(data.x_train[chosen].T)).T,
        targets=torch.from_numpy(data.y_train[chosen]).to(plan.device),
        plan=move_plan(config, plan.sites.size),
        keep=plan.keep if plan.cost is None else max(1, plan.sites.size // 4),
        start_weight=config.start_weight,
        sharpness={"sigmoid": 1.0, "sharpened": parse(config.sharpness).value(0.5), "hard": math.inf}[config.gates],
        ahead=candidates_ahead(config, plan.sites.size),
        max_memory=config.max_memory,
        wrong_rate=config.wrong_rate if config.decide == "staged" else None,
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
    canonical = FullEvaluator(plan.gated, plan.objective, max_memory=config.max_memory)
    if config.decide == "staged":
        if config.evaluator not in ("auto", "fused"):
            raise ConfigError(
                f"--decide staged cannot use --evaluator {config.evaluator}, which sees every row; leave --evaluator out"
            )
        plan.notes.append(f"decide: staged, approximate: a wrong rejection has a chance of about {config.wrong_rate:g}")
    case = evaluation_case(plan)
    if config.evaluator != "auto":
        return named(config.evaluator, case, canonical), canonical
    if config.decide == "staged":
        row = examine("fused", case, canonical)
        if row.evaluator is None:
            raise ModelError(f"--decide staged needs the fused evaluator, which cannot serve this run: {row.reason}")
        return row.evaluator, canonical
    evaluator, why = choose(case, canonical)
    if why:
        plan.notes.append(f"evaluator: {why}")
    return evaluator, canonical


def move_plan(config: RunConfig, sites: int) -> moves.MovePlan:
    """Return the mixture of moves; `informed` draws from equal scores until the chain has better ones."""
    equal = np.ones(sites) if "informed" in config.moves else None
    plan: moves.MovePlan = moves.move_plan(
        **config.moves,
        block_size=config.move_sites,
        box=config.weight_bound,
        add=equal,
        remove=equal,
    )
    return plan


def candidates_ahead(config: RunConfig, sites: int) -> int:
    """Return the most candidates that are evaluated ahead: no more than asked for, in a block, or in `max_memory`."""
    widest = moves.widest(move_plan(config, sites), sites)
    return min(config.speculate, config.decisions, fitting(config.max_memory, config.replicas, widest))


def budget_over_time(config: RunConfig, sites: int, keep: int) -> Schedule | Waves:
    """Return n(t): its fall from all sites, and the waves after it where there is room and a pool to follow them."""
    if config.budget == "constant" or keep == sites:
        return Schedule("constant", float(keep), float(keep))
    fall = Schedule("geometric", float(sites), float(keep), config.budget_until or 0.5)
    if not config.waves:
        return fall
    # n(t) never rises above all sites.
    return Waves(fall, min(config.wave_height, sites / keep - 1.0), config.waves, WAVES_UNTIL)


def scorer_of(plan: Plan, measure: str) -> Scorer:
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
            scorer_of(plan, config.measure or "loss"),
            keep=plan.keep,
            epochs=plan.epochs,
            epoch_steps=max(1, len(plan.prepared.y_train) // plan.batch_size),
            steps=plan.blocks * config.train_steps,
        )
    return make_gradient(
        config,
        sites=plan.sites.size,
        keep=plan.keep,
        rows=len(plan.prepared.y_train),
        steps=plan.blocks * config.train_steps,
        device=plan.device,
        floor=plan.sites.floor,
    )


def make_chain(plan: Plan) -> Markov:
    """Return the chain of a plan, at its start."""
    config, keep = plan.config, plan.keep
    fixed = plan.fixed
    size = plan.sites.size if fixed is None else fixed.free.size
    keep -= 0 if fixed is None else fixed.kept.size
    sharpness = {
        "sigmoid": Schedule("constant", 1.0, 1.0),
        "sharpened": parse(config.sharpness),
        "hard": None,
    }[config.gates]
    whole, end = (size, keep) if plan.cost is None else (plan.cost.costs.whole, plan.cost.limit)
    target = budget_over_time(config, whole, end)
    evaluator, canonical = make_evaluators(plan)
    settings = ChainSettings(
        plan=move_plan(config, size),
        delta=parse(config.delta),
        temperature=parse(config.temperature),
        alpha=parse(config.alpha),
        sharpness=sharpness,
        target=target,
        keep=keep,
        modified=config.rejection == "modified",
        pooled=config.budget_drops == "pool",
        pool=config.pool,
        start_weight=config.start_weight,
        decisions=config.decisions,
        speculate=candidates_ahead(config, size),
        seed=config.seed,
        replicas=config.replicas,
        hottest=config.hottest if config.hottest is not None else math.inf,
        swap_every=config.swap_every or 0,
        adapt_delta=config.adapt_delta,
        learned="informed" in config.moves,
        warm_up=config.warm_up if config.warm_up is not None else 0.5,
        pressure=config.budget_pressure,
        cost=plan.cost,
        falling_decisions=max(1, config.decisions // FALLING) if config.frozen else 0,
        trials=min(TRIALS, config.decisions) if config.informed_by == "trials" and "informed" in config.moves else 0,
        pool_limit=config.pool_limit or (0 if size < MANY else FUSED_POOL if evaluator.name == "fused" else SLOW_POOL),
    )
    weights = None if config.propose_by is None else SiteWeights(scorer_of(plan, config.propose_by))
    if fixed is not None:
        bound = plan.objective.lower_bound
        return FixedMarkov(fixed.free, fixed.kept, plan.sites.size, settings, evaluator, canonical, bound)
    chain = (size, settings, evaluator, canonical, plan.objective.lower_bound, weights, plan.sites.floor)
    if config.start is None:
        return Markov(*chain)
    return Started(
        *chain,
        scorer=scorer_of(plan, config.start),
        begin=(config.start_after or 0) / plan.epochs,
        how="layerwise" if config.layerwise else "global",
        floor=config.floor or 1,
    )


def site_groups(sites: SiteMap) -> list[dict[str, Any]]:
    """Return the groups of sites as the events show them."""
    return [{"kind": group.kind, "layer": group.layer, "size": group.size} for group in sites.groups]
