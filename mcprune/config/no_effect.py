"""Options that do nothing under what the data, the sites and other options settle: refused where a value of one's own was given."""

from __future__ import annotations

from typing import NamedTuple

from mcprune.config.facts import Traits
from mcprune.config.options import OPTIONS, option
from mcprune.config.parsing import shown
from mcprune.config.resolved import ChainOptions, Evaluation
from mcprune.config.rules import worded
from mcprune.config.schema import Config
from mcprune.config.unused import idle_after
from mcprune.errors import ConfigError

# Moves whose step has the half-width delta.
OF_DELTA = ("site", "block", "uniform")
# What acts on the size of a weight; by rank the order of the weights is all that counts.
BY_SIZE = ("rejection", "start_weight", "weight_bound")


class Idle(NamedTuple):
    """Options without effect: their flat names, what they need, and what there is instead."""

    names: tuple[str, ...]
    need: str
    instead: str


def check_effects(config: Config, traits: Traits, chain: ChainOptions, evaluation: Evaluation, finetune: str) -> None:
    """Refuse options with a value of their own that this run would not read; `check_options` has those that no run reads.

    Raises
    ------
    ConfigError
        Naming the option, what it needs, and what there is instead.
    """
    idle = _of_chain(config, chain, evaluation) if traits.is_chain else []
    idle.append(Idle(idle_after(finetune), "another --finetune", f"--finetune {finetune}"))
    for names, need, instead in idle:
        for name in names:
            value = config.value(name)
            if config.is_set(name) and value is not None and value != _default(config, name):
                raise ConfigError(
                    f"{option(name)} {shown(name, value)} does nothing under {instead}: it needs {need}. Leave it out, or change that."
                )


def _default(config: Config, name: str) -> object:
    entry = OPTIONS[name]
    return type(config.sections()[entry.section]).model_fields[entry.field].default


def _of_chain(config: Config, chain: ChainOptions, evaluation: Evaluation) -> list[Idle]:
    moves = {name for name, share in chain.moves.items() if share > 0}
    mixture, on = f"--moves {worded(chain.moves)}", f"--eval-on {evaluation.on}"
    idle = []
    if chain.is_by_rank:
        idle.append(Idle(BY_SIZE, "gates by the size of the weights, such as --gates hard", "--gates rank"))
    if not moves & set(OF_DELTA):
        idle.append(Idle(("delta",), f"one of the moves {', '.join(OF_DELTA)}", mixture))
    if "block" not in moves:
        idle.append(Idle(("move_sites",), "the move block", mixture))
    if evaluation.on != "folds":
        idle.append(Idle(("eval_folds",), "--eval-on folds", on))
    if evaluation.on != "held-out":
        idle.append(Idle(("eval_fraction",), "--eval-on held-out", on))
    schedule = config.chain.keep_schedule
    if schedule.kind == "constant" and schedule != type(schedule)(kind="constant"):
        raise ConfigError(
            f"keep_schedule={schedule}, but a constant n(t) neither falls nor rises. Write constant alone, or geometric."
        )
    return idle
