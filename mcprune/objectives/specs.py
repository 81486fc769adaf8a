"""How objectives are written, and which task each is for; no torch is needed to check a text."""

from __future__ import annotations

import difflib

from mcprune.errors import ConfigError

AUTO, PLAIN = "auto", "cross-entropy"
# How the objectives are written, with the least that each needs.
USAGE = {
    "cross-entropy": "cross-entropy",
    "error": "error",
    "auc": "auc",
    "rejection": "rejection:EFFICIENCY[:SIGNAL]",
    "significance": "significance[:S:B][:SIGNAL]",
    "kl": "kl",
    "cost": "cost:0,1;5,0 (rows are true classes)",
    "worst-group": "worst-group[:COLUMN]",
    "squared": "squared",
    "absolute": "absolute",
    "huber": "huber[:DISTANCE]",
    "quantile": "quantile:LEVEL",
    "poisson": "poisson",
    "binary-cross-entropy": "binary-cross-entropy",
    "exact-match": "exact-match",
}
# By task, the one by default first; those that backprop minimises too.
OF_TASK = {
    "classification": ("cross-entropy", "error", "auc", "rejection", "significance", "cost", "worst-group", "kl"),
    "regression": ("squared", "absolute", "huber", "quantile", "poisson"),
    "multilabel": ("binary-cross-entropy", "exact-match"),
}
LOSSES = ("cross-entropy", *OF_TASK["regression"], "binary-cross-entropy")
DEFAULTS = tuple(names[0] for names in OF_TASK.values())
FUNCTION = "function:"  # what the record says of a function that was given from Python


def is_file(text: str) -> bool:
    """Whether the text means a user's file."""
    return text.endswith(".py") or ".py:" in text


def is_loss(text: str) -> bool:
    """Whether the objective is the mean of a loss of rows, which backprop minimises too; `auto` becomes one."""
    return text.split(":", 1)[0] in (AUTO, *LOSSES) and not is_file(text)


def check_text(text: str) -> str:
    """Return the text of an objective, its name checked; what its parameters must fit is not known yet.

    Raises
    ------
    ConfigError
        No objective has that name.
    """
    name = text.split(":", 1)[0]
    if is_file(text) or text.startswith(FUNCTION) or name in USAGE or text == AUTO:
        return text
    near = difflib.get_close_matches(name, list(USAGE), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(
        f"there is no objective {name!r}{hint}; choose {', '.join(USAGE.values())}, or FILE.py:NAME of a function of your own"
    )


def objective_of_task(text: str, task: str) -> str:
    """Return the objective for a task: the default in place of `auto`.

    Raises
    ------
    ConfigError
        The objective is for another task.
    """
    if text == AUTO:
        return OF_TASK[task][0]
    name = text.split(":", 1)[0]
    if is_file(text) or text.startswith(FUNCTION) or name in OF_TASK[task]:
        return text
    raise ConfigError(
        f"objective={text!r}, but the task is {task}. Choose {', '.join(USAGE[one] for one in OF_TASK[task])}, or FILE.py:NAME of a "
        "function of your own"
    )
