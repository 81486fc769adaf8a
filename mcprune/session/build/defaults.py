"""What a run's `auto` and missing values become, and the figures that they become."""

from __future__ import annotations

import math
from typing import Any

from mcprune.chain.schedules import parse
from mcprune.config.schema import Config
from mcprune.config.sections.markov import EvaluationRows, KeepSchedule, Pool, Replicas
from mcprune.config.sections.measure import Proposals
from mcprune.errors import ConfigError
from mcprune.sites.site_map import SiteMap

# Passes over the rows, and for few rows as many as make so many steps of backprop.
EPOCHS, SEARCH_STEPS, RETRAIN_STEPS = 30, 2_000, 2_500
LARGE_EPOCHS = 12  # for a chain on many rows: twice as many gave no better masks (docs/what-makes-a-good-mask.md)
LARGEST_DELTA = 1e6
SEARCH_HIDDEN = (512,)  # a wide layer judges more evenly than a narrow pair (docs/what-makes-a-good-mask.md)
JITTER = RETRAIN_JITTER = 0.1  # of the range 0..1 of a pixel
REGROWTHS, REGROWN_UNTIL = 40, 0.9  # share of the run at which n(t) has come to rest
UPDATE_EPOCHS, UPDATE_STEPS = 5, 500  # of the short update: passes, and as many as make so many steps on 64 rows
POOL = 32  # sites drawn for each one that must go or comes back
HOTTEST = 10.0  # times the temperature of the coldest replica
THREADS_A_CORE = 4  # more is a mistake; up to there a run of a larger machine is repeated as it was
END_ROWS, EARLY_ROWS = 4096, 2048  # of the evaluation batch, at the end and while n(t) falls
CHANNEL_ROWS = (1024, 512)  # a forward pass through maps is expensive
FROZEN_ROWS = (
    8192  # nothing goes stale between the blocks of a frozen classifier: they may be long, and their rows many
)
LARGE = 20_000  # rows from which a batch of backprop is large by default


def one_shot(config: Config, rows: int, sites: SiteMap, *, is_fixed: bool = False) -> dict[str, Any]:
    """Return what the kind of sites and a frozen classifier settle: the update, long blocks on many rows, informed moves.

    Where the classifier `is_fixed`, no parameter of it can be trained.
    """
    settled: dict[str, Any] = {}
    if config.retrain.finetune == "auto":
        usual = "short" if config.train.frozen or sites.weights else "warm" if sites.channels else "scratch"
        settled["finetune"] = "none" if is_fixed else usual
    if settled.get("finetune", config.retrain.finetune) == "short" and config.retrain.epochs is None:
        settled["retrain_epochs"] = max(UPDATE_EPOCHS, math.ceil(UPDATE_STEPS * (config.train.batch_size or 64) / rows))
    if config.method != "markov":
        return settled
    if config.train.frozen:
        # Nothing goes stale between blocks: they may be long, and their rows many.
        longer = {"decisions": 1024, "lookahead": 256}
        settled |= {name: value for name, value in longer.items() if not config.is_given(name)}
    if sites.weights and not config.is_given("moves"):
        settled["moves"] = {"informed": 0.9, "exchange": 0.1}
    if config.problem.groups is not None and not config.is_given("moves"):
        settled["moves"] = {"exchange": 0.75, "toggle": 0.25}  # trades of unequal groups leave gaps
    if config.chain.proposals.name == "auto":
        tries = bool(sites.weights) and "informed" in settled.get("moves", config.chain.moves)
        settled["proposals"] = Proposals(name="probes" if tries else "chain")
    return settled


def search_hidden(config: Config, rows: int, is_users_model: bool) -> tuple[int, ...]:
    """Return the widths of the classifier that is searched with; the one that is kept is `hidden`, trained afresh.

    Raises
    ------
    ConfigError
        Other widths where the classifier's own units, or a model of the user's, are searched.
    """
    may_differ = config.problem.sites == "inputs" and not is_users_model and config.model.name == "mlp"
    if config.model.search_hidden is None:
        is_wider = may_differ and rows >= LARGE and config.method == "markov" and not config.train.frozen
        return SEARCH_HIDDEN if is_wider else config.model.hidden
    if not may_differ and config.model.search_hidden != config.model.hidden:
        met = (
            "a model of your own" if is_users_model else f"sites={config.problem.sites!r}, model={config.model.name!r}"
        )
        raise ConfigError(
            f"search_hidden={','.join(map(str, config.model.search_hidden))} with {met}: only a built-in classifier whose inputs are "
            "the sites may be searched at other widths; leave --search-hidden out"
        )
    return config.model.search_hidden


def evaluation_rows(config: Config, sites: SiteMap, fit: int | None, notes: list[str]) -> EvaluationRows:
    """Return how many rows evaluate a candidate, no more than `fit`, the rows whose maps fit in memory where channels are sites."""
    given = config.chain.evaluation_rows
    usual_end, usual_early = END_ROWS, EARLY_ROWS
    if sites.channels:
        usual_end, usual_early = CHANNEL_ROWS
    elif config.train.frozen and config.method == "markov":
        usual_end = FROZEN_ROWS
    settled = {
        "end": usual_end if given.end is None else given.end,
        "early": usual_early if given.early is None else given.early,
    }
    for name, wanted in settled.items():
        if fit is not None and fit < wanted:
            settled[name] = fit
            notes.append(f"evaluation rows, {name}: {fit:,} of {wanted:,}, so that their maps fit in --max-memory")
    return EvaluationRows(**settled)


def keep_schedule(config: Config, rows: int, *, may_rise: bool = True) -> KeepSchedule:
    """Return n(t), settled: over which part of the run it falls, and how often it rises again; by default never unless it `may_rise`.

    Raises
    ------
    ConfigError
        Regrowth where nothing could follow it.
    """
    schedule = config.chain.keep_schedule
    falls = schedule.kind == "geometric" and not config.chain.pool.is_off
    if schedule.regrow and not falls:
        raise ConfigError(
            f"keep_schedule={schedule}, but n(t) rises again only where it is geometric and followed by a pool; leave regrow out, or "
            "--pool none"
        )
    if schedule.kind == "constant":
        return schedule
    temperature = parse(config.chain.temperature)
    # At T > 0 the law has to stay the same for a while: n(t) comes to rest once.
    # On few rows regrowth has not helped: the blocks are too few to train what comes back.
    # Under a cost it brings back mostly inputs, cheap while few units read them (docs/budgets.md).
    # Channels that come back are behind batch-norms that have not seen them for long: the loss of all goes up with them.
    # A frozen classifier has nothing to train of what comes back.
    is_bounded = any(
        bound is not None for bound in (config.problem.macs, config.problem.parameters, config.problem.groups)
    )
    may_rise = may_rise and not is_bounded and not config.train.frozen
    is_usual = may_rise and falls and temperature.start == temperature.end == 0 and rows >= LARGE
    times = schedule.regrow if schedule.regrow is not None else REGROWTHS if is_usual else 0
    until = schedule.until if schedule.until is not None else 0.3 if times else 0.5
    if schedule.regrow and until >= REGROWN_UNTIL:
        raise ConfigError(
            f"keep_schedule={schedule}: n(t) falls over {until:g} of the run, and regrowth ends at {REGROWN_UNTIL:g} of it; lower the "
            "fraction, or leave regrow out"
        )
    return schedule.but(until=until, regrow=times if until < REGROWN_UNTIL else 0)


def pool(config: Config) -> Pool:
    """Return the pool with its size."""
    given = config.chain.pool
    return given.but(size=POOL) if given.size is None and not given.is_off else given


def replicas(config: Config) -> Replicas:
    """Return the ladder with its hottest temperature."""
    ladder = config.chain.replicas
    temperature = parse(config.chain.temperature)
    warmth = max(temperature.start, temperature.end)
    is_open = ladder.number > 1 and ladder.hottest is None and warmth > 0
    return ladder.but(hottest=HOTTEST * warmth) if is_open else ladder


def warm_up(config: Config, schedule: KeepSchedule, falls: bool) -> float:
    """Return the end of the warm-up."""
    if config.chain.warm_up is not None:
        return config.chain.warm_up
    # While n(t) falls the law is another in every block: nothing that was found there is worth keeping.
    return max(0.5, (schedule.until or 0.5) if schedule.kind == "geometric" and falls else 0.0)
