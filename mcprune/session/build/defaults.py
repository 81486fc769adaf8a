"""What a run's `auto` and missing values become, and the figures that they become."""

from __future__ import annotations

import math
from typing import Any

from mcprune.chain.schedules import parse
from mcprune.config.schema import Config
from mcprune.errors import ConfigError
from mcprune.sites.site_map import SiteMap

# Passes over the rows, and for few rows as many as make so many steps of backprop.
EPOCHS, SEARCH_STEPS, RETRAIN_STEPS = 30, 2_000, 2_500
LARGE_EPOCHS = 12  # for a chain on many rows: twice as many gave no better masks (docs/what-makes-a-good-mask.md)
LARGEST_DELTA = 1e6
SEARCH_HIDDEN = (512,)  # a wide layer judges more evenly than a narrow pair (docs/what-makes-a-good-mask.md)
JITTER = RETRAIN_JITTER = 0.1  # of the range 0..1 of a pixel
WAVES, WAVES_UNTIL = 40, 0.9  # share of the run at which n(t) has come to rest
UPDATE_EPOCHS, UPDATE_STEPS = 5, 500  # of the short update: passes, and as many as make so many steps on 64 rows
HOTTEST = 10.0  # times the temperature of the coldest replica
THREADS_A_CORE = 4  # more is a mistake; up to there a run of a larger machine is repeated as it was
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
        longer = {"decisions": 1024, "lookahead": 256, "evaluation_rows": 8192}
        settled |= {name: value for name, value in longer.items() if not config.is_given(name)}
    if sites.weights and not config.is_given("moves"):
        settled["moves"] = {"informed": 0.9, "exchange": 0.1}
    if config.problem.groups is not None and not config.is_given("moves"):
        settled["moves"] = {"exchange": 0.75, "toggle": 0.25}  # trades of unequal groups leave gaps
    if config.chain.proposals == "auto":
        tries = bool(sites.weights) and "informed" in settled.get("moves", config.chain.moves)
        settled["proposals"] = "probes" if tries else "chain"
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


def falling_budget(config: Config, rows: int, *, may_rise: bool = True) -> dict[str, float]:
    """Return over which part of the run n(t) falls, and how many waves follow; none by default unless it `may_rise`.

    Raises
    ------
    ConfigError
        Waves where nothing could follow them.
    """
    falls = config.chain.budget == "geometric" and config.chain.budget_drops == "pool"
    if config.chain.waves and not falls:
        raise ConfigError(
            f"waves={config.chain.waves}, but n(t) is followed by a pool only with --budget geometric --budget-drops pool; "
            "leave --waves out"
        )
    temperature = parse(config.chain.temperature)
    # At T > 0 the law has to stay the same for a while: n(t) comes to rest once.
    # On few rows waves have not helped: their blocks are too few to train what comes back.
    # Under a cost waves bring back mostly inputs, cheap while few units read them (docs/budgets.md).
    # Channels that come back are behind batch-norms that have not seen them for long: the loss of all goes up with them.
    # A frozen classifier has nothing to train of what comes back.
    is_bounded = any(
        bound is not None for bound in (config.problem.macs, config.problem.parameters, config.problem.groups)
    )
    may_rise = may_rise and not is_bounded and not config.train.frozen
    is_usual = may_rise and falls and temperature.start == temperature.end == 0 and rows >= LARGE
    waves = config.chain.waves if config.chain.waves is not None else WAVES if is_usual else 0
    until = config.chain.budget_until or (0.3 if waves else 0.5)
    if config.chain.waves and until >= WAVES_UNTIL:
        raise ConfigError(
            f"waves={waves} after a fall of n(t) over {until:g} of the run: waves end at {WAVES_UNTIL:g} of it; "
            "lower --budget-until, or leave --waves out"
        )
    return {"waves": waves if until < WAVES_UNTIL else 0, "budget_until": until}


def adaptation(config: Config, until: float, falls: bool) -> dict[str, float]:
    """Return the end of the warm-up, and with replicas the hottest temperature.

    Raises
    ------
    ConfigError
        Options of replicas for a single chain.
    """
    for name in ("hottest", "swap_every"):
        if config.chain.replicas == 1 and config.value(name) is not None:
            raise ConfigError(
                f"{name}={config.value(name):g}, but a single chain has no ladder; give --replicas 2 or more, or leave it out"
            )
    settled: dict[str, float] = {}
    temperature = parse(config.chain.temperature)
    warmth = max(temperature.start, temperature.end)
    if config.chain.replicas > 1 and config.chain.hottest is None and warmth > 0:
        settled["hottest"] = HOTTEST * warmth
    if config.chain.warm_up is None:
        # While n(t) falls the law is another in every block: nothing that was found there is worth keeping.
        settled["warm_up"] = max(0.5, until if config.chain.budget == "geometric" and falls else 0.0)
    return settled
