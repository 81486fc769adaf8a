"""What the chain is a function of, besides the losses, and what of it does not go together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mcprune.chain import moves, stepsize
from mcprune.chain.schedules import Schedule, Stairs, Waves
from mcprune.errors import ConfigError
from mcprune.sites.space import SearchSpace


@dataclass(frozen=True)
class ChainSettings:
    """Everything that the chain is a function of, besides the losses."""

    plan: moves.MovePlan
    delta: Schedule
    temperature: Schedule
    alpha: Schedule
    sharpness: Schedule | None  # None: hard gates
    targets: tuple[
        Schedule | Waves | Stairs, ...
    ]  # n(t) of each count of the budget (a single one: of the items), then cost(t) of each cost
    modified: bool
    pooled: bool  # the count follows n(t) by dropping the cheapest of a pool
    pool: int
    start_weight: float
    decisions: int
    lookahead: int
    seed: int
    replicas: int = 1  # R; the temperature is the coldest's
    hottest: float = math.inf  # temperature of the hottest of several
    swap_every: int = 0  # consumed proposals between rounds of swaps; 0: only at the ends of blocks
    adapt_delta: float | None = None  # the acceptance that delta is adapted to
    learned: bool = False  # `informed` draws by the chain's own statistics
    warm_up: float = 0.5  # share of the run during which ladder, delta and (at T > 0) scores are adapted
    pressure: float = 1.0  # n(t) is n (n(t) as planned / n)^(1 / pressure)
    trials: int = 0  # sites that are tried one by one before a block, for `informed` and the pool; 0: none
    falling_decisions: int = 0  # decisions of a block while n(t) is above n; 0: as many as later
    by_slopes: bool = False  # `informed` draws by the slopes of the loss at the present mask
    pool_limit: int = 0  # most sites that the pool evaluates at once; 0: no limit
    by_rank: bool = False  # the mask is the n largest weights, else the positive ones
    keeps_adapting: bool = False  # delta is adapted after the warm-up too: a person has switched it on

    def legs(self, *, is_falling: bool) -> Iterator[int]:
        """Give the decisions of each leg of a block; between two legs replicas swap."""
        left = self.falling_decisions if self.falling_decisions and is_falling else self.decisions
        leg = self.swap_every if self.replicas > 1 and self.swap_every else left
        while left > 0:
            yield min(leg, left)
            left -= leg


def check(settings: ChainSettings, space: SearchSpace) -> None:
    """Refuse settings that do not go together, or with the search space.

    Raises
    ------
    ConfigError
        Several replicas without 0 < temperature < hottest, or an adapted delta that no move uses or a schedule changes.
    """
    if settings.by_rank and not space.is_count:
        raise ConfigError(
            "Gates by rank keep a number of sites, but the budget is of costs or of several counts. Choose --gates hard."
        )
    if not space.is_count and not settings.pooled:
        raise ConfigError(
            "A budget of costs or of several counts is a constraint, which the chain cannot satisfy from above. Leave --pool none out."
        )
    ends = (settings.temperature.start, settings.temperature.end)
    if settings.replicas > 1 and min(ends) <= 0:
        raise ConfigError(
            f"replicas={settings.replicas} at temperature {settings.temperature}: replicas swap by their temperatures, so all "
            "must be above 0; give temperature a positive value, such as 1e-4, or use one replica"
        )
    if settings.replicas > 1 and not max(ends) < settings.hottest:
        raise ConfigError(
            f"hottest={settings.hottest:g}, but the coldest replica's temperature is {settings.temperature}; choose a hottest "
            "above it, or lower temperature"
        )
    if settings.adapt_delta is None:
        return
    if not settings.plan.probabilities[list(stepsize.USERS)].any():
        raise ConfigError(
            "adapt_delta is given, but none of the moves uses delta; give uniform, block or site a share of the moves, or leave "
            "adapt_delta out"
        )
    if settings.delta.start != settings.delta.end:
        raise ConfigError(
            f"adapt_delta is given, but delta={settings.delta} is a schedule of its own; give delta one number to start from"
        )
