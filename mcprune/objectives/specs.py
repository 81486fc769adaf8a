"""How objectives are written; no torch is needed to check a text."""

from __future__ import annotations

import difflib

from mcprune.errors import ConfigError

PLAIN = "cross-entropy"
# How the objectives are written, with the least that each needs.
USAGE = {
    "cross-entropy": "cross-entropy",
    "error": "error",
    "auc": "auc",
    "rejection": "rejection:EFFICIENCY[:SIGNAL]",
    "significance": "significance[:S:B][:SIGNAL]",
    "cost": "cost:0,1;5,0 (rows are true classes)",
    "worst-group": "worst-group[:COLUMN]",
}
FUNCTION = "function:"  # what the record says of a function that was given from Python


def is_file(text: str) -> bool:
    """Whether the text means a user's file."""
    return text.endswith(".py") or ".py:" in text


def check_text(text: str) -> str:
    """Return the text of an objective, its name checked; what its parameters must fit is not known yet.

    Raises
    ------
    ConfigError
        No objective has that name.
    """
    name = text.split(":", 1)[0]
    if is_file(text) or text.startswith(FUNCTION) or name in USAGE:
        return text
    near = difflib.get_close_matches(name, list(USAGE), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(
        f"there is no objective {name!r}{hint}; choose {', '.join(USAGE.values())}, or FILE.py:NAME of a function of your own"
    )
