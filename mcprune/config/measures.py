"""Names of the measures; apart from the registry, so that reading options imports no torch."""

from __future__ import annotations

import difflib

from mcprune.errors import ConfigError

MEASURES = (
    "magnitude", "magnitude-l1", "bn-scale", "loss", "loss-elements", "loss-weighted", "loss-tracked", "grasp", "gradient-norm",
    "fisher", "fisher-batch", "obd", "obd-row-sum", "random",
)  # fmt: skip
# Other people's names for them.
ALIASES = {
    "l2": "magnitude", "l1": "magnitude-l1", "batch-norm": "bn-scale", "taylor": "loss", "loss-preservation": "loss",
    "biased-loss": "loss-weighted", "tracked": "loss-tracked", "gradient-norm-preservation": "gradient-norm",
}  # fmt: skip


def check_name(name: str) -> str:
    """Return the measure's own name.

    Raises
    ------
    ConfigError
        There is none of that name; the nearest is suggested.
    """
    measure = ALIASES.get(name, name)
    if measure not in MEASURES:
        near = difflib.get_close_matches(name, [*MEASURES, *ALIASES], n=1)
        guess = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(f"there is no measure {name!r}{guess}; the measures are {', '.join(MEASURES)}")
    return measure
