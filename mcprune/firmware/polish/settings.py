"""Settings of the chain over digits, and how budget and temperature fall."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mcprune.errors import ConfigError
from mcprune.firmware.counting.costs import UNITS, Unit

MOVES = ("exchange", "neighbour", "within", "bias", "swap", "remove")
COOLED = 0.8  # part of the blocks after which the temperature is 0
DROPS_EVERY, DROPS_UNTIL = (
    4,
    0.75,
)  # blocks, once the budget has fallen, and the part of the blocks after which none is dropped
TRIED = 0.4  # part of a block's proposals by which units are compared
COLD_DIGITS = 128  # from so many digits on the temperature falls like 1 / digits


@dataclass(frozen=True)
class PolishSettings:
    """Settings of `polish`.

    Attributes
    ----------
    budget : int
        The result costs at most so much.
    unit : {'digits', 'digit-bits', 'ebops', 'adders', 'luts'}
        Of the budget; see mcprune/firmware/counting/costs.py.
    proposals : int
        In all, those of tried units included.
    blocks : int
        The proposals are made in so many blocks; between them units and bits are tried, and the best network is stored.
    descent : float, in 0..1
        Part of the blocks over which the budget falls from the start's cost, by the same factor in each block.
    temperature : float
        At the start, in the unit of the mean loss; it falls to 0. A chain at temperature T is above the least loss by about T / 2 for
        each digit that is free to move, so it is divided by the digits of the network over 128 where there are more.
    drops : int
        Units and inputs that a block tries to drop; 0: none is dropped as a whole.
    moves : str
        Kinds of candidates, separated by commas: exchange, neighbour, within, bias, swap, remove; or all.
    adaptive : bool
        Propose those more often that have gained more for their work in the blocks before.
    guided : bool
        Try additions alone before each block, and draw those that did well more often.
    input_noise : float
        Above 0, each training row decides twice: as it is, and once with normal noise of this deviation on its scaled inputs. Against
        overfitting of few rows.
    seed : int

    Raises
    ------
    ConfigError
        A value out of range.
    """

    budget: int
    unit: Unit = "digits"
    proposals: int = 400_000
    blocks: int = 40
    descent: float = 0.5
    temperature: float = 3e-5
    drops: int = 1
    moves: str = "all"
    adaptive: bool = True
    guided: bool = True
    input_noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.unit not in UNITS:
            raise ConfigError(f"budget_in={self.unit!r} is no unit of a budget. Choose {', '.join(UNITS)}.")
        for name, least in (("budget", 1), ("proposals", 1), ("blocks", 1), ("drops", 0), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise ConfigError(f"{name}={value} is too small. Choose {least} or more.")
        if self.blocks > self.proposals:
            raise ConfigError(
                f"blocks={self.blocks} is more than proposals={self.proposals}, so some have none. Choose as many proposals at least."
            )
        unknown = [name for name in self.moves.split(",") if name not in (*MOVES, "all")]
        if unknown:
            raise ConfigError(
                f"moves={self.moves!r} names the unknown {unknown[0]!r}. Choose among {', '.join(MOVES)}."
            )
        if not 0 <= self.descent <= 1:
            raise ConfigError(f"descent={self.descent} is out of range. Choose 0 to 1.")
        for name in ("temperature", "input_noise"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name}={value} is out of range. Choose a finite number, 0 or more.")

    def budget_at(self, block: int, start: int, budget: int) -> float:
        """Return the budget at the beginning of a block, of a network that cost `start` at first."""
        falling = max(round(self.descent * self.blocks), 1)
        if block >= falling or start <= budget:
            return float(budget)
        return float(start * (budget / start) ** (block / falling))

    def temperature_at(self, block: int, digits: int) -> float:
        """Return the temperature of a block that starts from a network of so many digits."""
        return self.temperature * max(1 - block / (COOLED * self.blocks), 0.0) * COLD_DIGITS / max(digits, COLD_DIGITS)

    def tries_drops(self, block: int) -> bool:
        """Return whether a block tries to drop units."""
        is_at_budget = block % DROPS_EVERY == 0 and block < DROPS_UNTIL * self.blocks
        return self.drops > 0 and (block < self.descent * self.blocks or is_at_budget)

    def block_proposals(self) -> int:
        """Return the proposals that one chain makes in a block."""
        walks = sum(1 + TRIED * (self.drops + 1) * self.tries_drops(block) for block in range(self.blocks))
        return max(int(self.proposals / walks), 1)
