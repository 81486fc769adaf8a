"""The part of `resolve` that settles [search], one function for each method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from mcprune.chain.schedules import Schedule, parse, parse_temperature
from mcprune.config import rules
from mcprune.config.facts import Facts, Traits
from mcprune.config.measures import ALL_SITES, COLUMN_SELECTORS, COMBINED, INLINE, is_mask_file
from mcprune.config.resolved import (
    AlphaSettings,
    ChainOptions,
    GradientOptions,
    ImportanceOptions,
    KeepScheduleSettings,
    MeasureSettings,
    TrainSettings,
)
from mcprune.config.sections.gradient import SCHEDULES, Alpha, Gradient, TrainedGates
from mcprune.config.sections.importance import Importance
from mcprune.config.sections.markov import KeepSchedule, Markov
from mcprune.config.sections.measure import Ranking, Scores, Start
from mcprune.errors import ConfigError

CONSTANT = Schedule("constant", 1.0, 1.0)
NO_MEASURE = MeasureSettings("", 0, 0.0, False, 1)
T = TypeVar("T")


def value_or(value: T | None, usual: T) -> T:
    """Return a value that was given, or the usual one."""
    return usual if value is None else value


def resolve_chain(search: Markov, facts: Facts, traits: Traits, train: TrainSettings) -> ChainOptions:
    """Settle the chain.

    Raises
    ------
    ConfigError
        Regrowth that nothing could follow, a start after the end of the run.
    """
    moves = value_or(search.moves, rules.MOVES.pick(traits))
    starts, shares = resolve_starts(search, traits)
    schedule = resolve_keep_schedule(_keep_schedule(search, facts, starts, shares), traits)
    _check_chain(search, facts, traits, moves)
    temperature = parse_temperature(search.temperature)
    warmth = max(temperature.start, temperature.end)
    replicas = search.replicas
    usual = rules.HOTTEST * warmth if replicas.number > 1 and warmth > 0 else math.inf
    proposals = search.proposals.name
    if proposals == "auto":
        proposals = rules.PROPOSALS.pick(traits) if "informed" in moves else "chain"
    # While n(t) falls the law is another in every block: nothing that was learned there is worth keeping.
    falling = schedule.until if schedule.kind == "geometric" and facts.falls else 0.0
    return ChainOptions(
        moves=dict(moves),
        move_sites=search.move_sites,
        delta=parse(search.delta),
        adapt_delta=value_or(search.adapt_delta, 0.0),
        warm_up=value_or(search.warm_up, max(0.5, falling)),
        temperature=temperature,
        replicas=replicas.number,
        hottest=value_or(replicas.hottest, usual),
        swap_every=value_or(replicas.swap_every, 0),
        alpha=parse(value_or(search.alpha, rules.CHAIN_ALPHA.pick(traits))),
        is_modified=search.rejection == "modified",
        gates=value_or(search.gates.kind, rules.CHAIN_GATES.pick(traits)),
        sharpness=parse(value_or(search.gates.sharpness, rules.SHARPNESS.pick(traits))),
        keep_schedule=schedule,
        pool_size=0 if search.pool.is_off else value_or(search.pool.size, rules.POOL.pick(traits)),
        pool_limit=value_or(search.pool.limit, 0),
        start_weight=search.start_weight,
        weight_bound=search.weight_bound,
        decisions=value_or(search.decisions, rules.DECISIONS.pick(traits)),
        lookahead=value_or(search.lookahead, rules.LOOKAHEAD.pick(traits)),
        early_reject=value_or(search.early_reject, 0.0),
        proposals="measure" if search.proposals.is_measure else proposals,
        proposal_measure=_measure(search.proposals, traits) if search.proposals.is_measure else NO_MEASURE,
        starts=starts,
        start_shares=shares,
        rivals=_rivals(starts, facts),
        start_measure=NO_MEASURE
        if search.start is None or not search.start.measure
        else _ranking(search.start, traits),
        start_after=0.0 if search.start is None or not search.start.measure else _start_after(search, traits, train),
    )


def _check_chain(search: Markov, facts: Facts, traits: Traits, moves: Mapping[str, float]) -> None:
    for scores in search.measures:
        if scores.measure == "loss-tracked":
            flag = "--start" if scores is search.start else "--proposals"
            raise ConfigError(
                f"{flag} loss-tracked: only --method importance watches the steps of training. Choose loss."
            )
    if search.proposals.is_measure and "informed" not in moves:
        raise ConfigError(
            f"--proposals {search.proposals} sets how the move informed draws its sites, and --moves has none. Add --moves "
            "exchange=1,informed=1."
        )
    if search.proposals.name == "slopes" and "weights" in facts.kinds:
        raise ConfigError("--proposals slopes cannot score single weights, whose gates all rows share. Choose probes.")
    if search.start is not None:
        _check_columns(search.start, facts)
    if search.start is not None and search.start.measure:
        _check_floor(search.start, facts)
        _check_start(search.start, facts)
    if search.pool.is_off and not facts.is_single:
        raise ConfigError(
            f"{facts.budget} with pool=none: such a budget holds at every step, and the chain cannot come from above it. Leave --pool "
            "none out."
        )
    alpha = parse(value_or(search.alpha, "0"))
    if not facts.is_single and max(alpha.start, alpha.end) > 0:
        raise ConfigError(
            f"alpha={search.alpha} with {facts.budget}: such a budget holds at every step, and nothing pushes towards it. Leave --alpha "
            "out."
        )
    is_by_rank = traits.is_by_rank
    if is_by_rank and max(alpha.start, alpha.end) > 0:
        raise ConfigError(
            f"alpha={search.alpha} with gates=rank: n(t) holds at every step, and nothing pushes towards it. Leave --alpha out, or "
            "choose --gates hard."
        )
    if is_by_rank and not facts.is_single:
        raise ConfigError(
            f"gates=rank with {facts.budget}: by rank a number of sites is kept, not a cost or several numbers. Choose --gates hard."
        )
    if search.pool.is_off and not is_by_rank and facts.n < facts.size and set(moves) <= {"exchange", "informed"}:
        raise ConfigError(
            f"pool=none, but exchanges never change how many sites are kept, so the chain could not reach {facts.n}. Add another move, "
            "such as --moves exchange=3,toggle=1, or leave --pool none out."
        )
    delta = parse(search.delta)
    if max(delta.start, delta.end) > rules.LARGEST_DELTA:
        raise ConfigError(f"delta={search.delta} is beyond all weights. Choose at most {rules.LARGEST_DELTA:g}.")


def resolve_starts(search: Markov, traits: Traits) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the starts of the chains, all sites first, and the share of the run at which each begins; empty for all sites alone."""
    names = rules.START.pick(traits).split("+") if search.start is None else list(search.start.names)
    names.sort(key=lambda name: name != ALL_SITES)
    if names == [ALL_SITES]:
        return (), ()
    first = rules.ALL_SITES_SHARE if names[0] == ALL_SITES else 1.0 / len(names)
    others = (1.0 - first) / max(1, len(names) - 1)
    return tuple(names), (0.0, *(first + place * others for place in range(len(names) - 1)))


def _rivals(starts: tuple[str, ...], facts: Facts) -> tuple[str, ...]:
    """Return the selectors whose masks are finalists beside those of several starts, where these are selectors of columns too."""
    if len(starts) < 2 or not any(name in COLUMN_SELECTORS for name in starts):
        return ()
    is_small, is_narrow = facts.rows * facts.size <= rules.SMALL_TABLE, facts.size <= rules.NARROW
    combined = [name for name, parts in COMBINED.items() if set(parts) <= set(starts)]
    names = ("f", *combined, *("pairs",) * is_narrow, *("mutual-information",) * is_small)
    return tuple(name for name in names if name not in starts)


def _keep_schedule(search: Markov, facts: Facts, starts: tuple[str, ...], shares: tuple[float, ...]) -> KeepSchedule:
    """Return n(t) as asked; where nothing is said, that of chains that start from masks within the budget."""
    schedule = search.keep_schedule
    is_mask = len(starts) == 1 and is_mask_file(starts[0])
    if not starts or not (facts.is_single or is_mask) or search.is_set("keep_schedule"):
        return schedule
    return schedule.but(until=rules.UNTIL * shares[1]) if starts[0] == ALL_SITES else schedule.but(kind="constant")


def _check_columns(start: Start, facts: Facts) -> None:
    columns = [name for name in start.names if name in COLUMN_SELECTORS]
    if columns and facts.kinds != {"inputs"}:
        raise ConfigError(
            f"--start {start}: {columns[0]} scores columns of the data, but the sites are {', '.join(sorted(facts.kinds))}. Choose a "
            "measure, such as obd."
        )
    if (len(start.names) > 1 or columns) and not facts.is_single:
        names = "+".join("MASK" if name.startswith(INLINE) else name for name in start.names)
        remedy = "name one mask or one measure" if len(start.names) > 1 else "leave --start out"
        raise ConfigError(
            f"--start {names} needs one number of sites, but the budget is {facts.budget}. Give --keep one number, or {remedy}."
        )


def _check_start(start: Start, facts: Facts) -> None:
    is_cut = start.layerwise or value_or(start.min_per_layer, 1) > 1
    if is_cut and not (facts.is_single and facts.is_plain):
        part = "layerwise" if start.layerwise else f"min_per_layer={start.min_per_layer}"
        raise ConfigError(
            f"--start {start.name},{part}: such a start is for one count of all sites, none of which must be kept or dropped. Leave "
            f"{part} out."
        )


def _check_floor(ranking: Ranking, facts: Facts) -> None:
    least = value_or(ranking.min_per_layer, rules.MIN_PER_LAYER.rules[-1].value)
    total = sum(min(least, layer.size) for layer in facts.layers)
    if facts.n < total:
        names = ", ".join(layer.name or "inputs" for layer in facts.layers)
        raise ConfigError(
            f"keep={facts.n} is below the {total:,} sites that {names} keep at least ({least} each), so a layer would be emptied. Raise "
            "--keep" + (", or lower min_per_layer." if least > 1 else ", or leave layers out of --sites.")
        )


def resolve_keep_schedule(schedule: KeepSchedule, traits: Traits) -> KeepScheduleSettings:
    """Settle n(t): over which fraction of the run it falls, and how often it rises again.

    Raises
    ------
    ConfigError
        Regrowth where nothing could follow it.
    """
    traits = traits._replace(is_followed=traits.is_followed and schedule.kind == "geometric")
    times = value_or(schedule.regrow, rules.REGROW.pick(traits))
    if schedule.regrow and not traits.is_followed:
        raise ConfigError(
            f"keep_schedule={schedule}, but n(t) rises again only where it is geometric and followed by a pool. Leave regrow out, or "
            "--pool none."
        )
    until = value_or(schedule.until, rules.UNTIL_REGROWTH if times else rules.UNTIL)
    if schedule.regrow and until >= rules.REGROWN_UNTIL:
        raise ConfigError(
            f"keep_schedule={schedule}: n(t) falls over {until:g} of the run, and regrowth ends at {rules.REGROWN_UNTIL:g} of it. Lower "
            "the fraction, or leave regrow out."
        )
    return KeepScheduleSettings(
        schedule.kind, until, times if until < rules.REGROWN_UNTIL else 0, schedule.height, schedule.pressure
    )


def _start_after(search: Markov, traits: Traits, train: TrainSettings) -> float:
    start = search.start
    assert start is not None
    usual = 0 if traits.is_frozen or train.pretrain else min(1, train.epochs - 1)  # trained already
    after = value_or(start.after, float(usual))
    if after >= train.epochs:
        raise ConfigError(
            f"--start {start}: after={after:g} leaves the chain none of {train.epochs} epochs. Lower it, or raise --epochs."
        )
    return after


def _measure(scores: Scores, traits: Traits) -> MeasureSettings:
    rows = value_or(scores.rows, rules.SCORE_ROWS.pick(traits))
    return MeasureSettings(
        scores.measure, rows, value_or(scores.temperature, 0.0), False, rules.MIN_PER_LAYER.pick(traits)
    )


def _ranking(ranking: Ranking, traits: Traits) -> MeasureSettings:
    least = value_or(ranking.min_per_layer, rules.MIN_PER_LAYER.pick(traits))
    return _measure(ranking, traits)._replace(layerwise=ranking.layerwise, min_per_layer=least)


def resolve_gradient(search: Gradient, traits: Traits, train: TrainSettings) -> GradientOptions:
    """Settle the gradient path, from the length of the run.

    Raises
    ------
    ConfigError
        A part of alpha longer than the run.
    """
    optimizer = search.gate_optimizer
    steps = train.epochs * train.epoch_steps
    rate = min(rules.LARGEST_RATE, max(rules.LEAST_RATE, rules.TRAVEL / steps))
    usual_rate = float(f"{rate:.3g}") if optimizer.kind == "adam" else rules.SGD_RATE
    gates = value_or(search.gates, TrainedGates())
    bound = rules.BOUND_DRAWN if gates.kind == "straight-through" else rules.BOUND
    sharpness = parse(value_or(gates.sharpness, rules.SHARPNESS.pick(traits)))
    return GradientOptions(
        alpha=resolve_alpha(search.alpha, train.epochs),
        is_modified=search.rejection == "modified",
        gates=gates.kind,
        sharpness=sharpness if gates.kind == "annealed" else CONSTANT,
        optimizer=optimizer.kind,
        learning_rate=value_or(optimizer.learning_rate, usual_rate),
        start_weight=search.start_weight,
        weight_bound=value_or(search.weight_bound, bound),
    )


def resolve_alpha(alpha: Alpha, epochs: int) -> AlphaSettings:
    """Settle the parts of alpha for a run of so many epochs.

    Raises
    ------
    ConfigError
        A part that is longer than the run.
    """
    is_decade = alpha.kind == "decade"
    usual_epochs = epochs / rules.DECADES if is_decade else float(max(1, round(epochs / 40)))
    length = value_or(alpha.epochs, usual_epochs)
    usual_window = max(1, round(length * rules.WINDOW / 20)) if is_decade else rules.WINDOW
    settled = AlphaSettings(
        kind=alpha.kind,
        value=parse(value_or(alpha.value, rules.FIXED_ALPHA if alpha.kind == "fixed" else rules.RAMP)),
        strength=value_or(alpha.lambda_, 1e5 if alpha.kind == "mu-lambda" else 1.0),
        strength_end=value_or(alpha.lambda_end, max(1e7, value_or(alpha.lambda_, 0.0))),
        epochs=length,
        window=value_or(alpha.window, max(1, min(usual_window, epochs))),
        is_literal=alpha.window_kind == "literal",
        tolerance=value_or(alpha.tolerance, 0.01),
        factor=value_or(alpha.factor, 2.0),
        cap=value_or(alpha.cap, 1e6),
        pilots=value_or(alpha.pilots, rules.PILOTS),
    )
    for name in ("window", "epochs"):
        long = getattr(settled, name)
        if name in SCHEDULES[alpha.kind] and long > epochs:
            raise ConfigError(
                f"alpha={alpha}: {name}={long:g} is longer than the run of {epochs} epochs. Choose at most {epochs}, or more --epochs."
            )
    return settled


def resolve_importance(search: Importance, facts: Facts, traits: Traits, train: TrainSettings) -> ImportanceOptions:
    """Settle the rounds of an importance measure.

    Raises
    ------
    ConfigError
        Rounds, and epochs to recover, that do not fit into the run.
    """
    _check_floor(search.measure, facts)
    counts, epochs = value_or(search.rounds.counts, ()), train.epochs
    number = len(counts) if counts else search.rounds.number
    recover = search.rounds.recover
    if recover is None:
        recover = min(epochs // 2, epochs - min(value_or(number, 1), epochs))
    rounds = value_or(number, min(rules.ROUNDS.pick(traits), max(1, epochs - recover)))
    if rounds + recover > epochs:
        raise ConfigError(
            f"{rounds} rounds of one epoch and {recover} epochs to recover do not fit into {epochs} epochs. Raise --epochs, or lower "
            "--rounds or its recover."
        )
    return ImportanceOptions(_ranking(search.measure, traits), rounds, counts, recover, search.start_weight)
