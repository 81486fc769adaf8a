"""Options that only modify another one: written as KEY=VALUE behind it, as in --eval-on held-out,fraction=0.4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Place(NamedTuple):
    """Where a modifier is written: behind which option, under which key."""

    option: str
    key: str


# By flat name. In Python and in TOML files a modifier is an option of its own.
MODIFIERS: dict[str, Place] = {
    "decimal": Place("separator", "decimal"),
    "encoding": Place("separator", "encoding"),
    "pattern": Place("sites", "pattern"),
    "latency_rows": Place("latency", "rows"),
    "activation": Place("model", "activation"),
    "dropout": Place("model", "dropout"),
    "bias": Place("model", "bias"),
    "width": Place("model", "width"),
    "weight_decay": Place("learning_rate", "weight_decay"),
    "move_sites": Place("moves", "block_sites"),
    "adapt_delta": Place("delta", "adapt"),
    "rejection": Place("alpha", "rejection"),
    "start_weight": Place("gates", "start_weight"),
    "weight_bound": Place("gates", "weight_bound"),
    "lookahead": Place("decisions", "lookahead"),
    "train_steps": Place("decisions", "train_steps"),
    "eval_fraction": Place("eval_on", "fraction"),
    "eval_folds": Place("eval_on", "folds"),
    "early_reject": Place("evaluator", "early_reject"),
    "max_memory": Place("evaluator", "max_memory"),
    "search_time": Place("max_time", "search"),
    "rank_timeout": Place("train_ranks", "timeout"),
}


def modifiers_of(option: str) -> dict[str, str]:
    """Return the flat names of the modifiers of an option, by their keys."""
    return {place.key: name for name, place in MODIFIERS.items() if place.option == option}


def split_modifiers(options: Mapping[str, object]) -> dict[str, object]:
    """Return flat options with the modifiers that stand behind others as options; one that is set on its own counts more.

    Parameters
    ----------
    options : mapping
        Values of options are texts with `,KEY=VALUE` behind them, mappings with such keys, or anything else, which stays.
    """
    own: dict[str, object] = {}
    modifiers: dict[str, object] = {}
    for name, value in options.items():
        keys = modifiers_of(name)
        if not keys:
            own[name] = value
        elif isinstance(value, str):
            rest = []
            for piece in value.split(","):
                key, equals, text = (part.strip() for part in piece.partition("="))
                if equals and key in keys:
                    modifiers[keys[key]] = text
                else:
                    rest.append(piece)
            if rest or not value:
                own[name] = ",".join(rest)
        elif isinstance(value, Mapping):
            modifiers |= {keys[key]: part for key, part in value.items() if key in keys}
            own[name] = {key: part for key, part in value.items() if key not in keys}
        else:
            own[name] = value
    return {**modifiers, **own}
