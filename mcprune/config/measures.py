"""Names of the measures; apart from the registry, so that reading options imports no torch."""

from __future__ import annotations

import difflib

from mcprune.errors import ConfigError

MEASURES = (
    "magnitude", "magnitude-l1", "bn-scale", "loss", "loss-elements", "loss-weighted", "loss-tracked", "grasp", "gradient-norm",
    "fisher", "fisher-batch", "obd", "obd-row-sum", "random",
)  # fmt: skip
# Ways to score columns that need no classifier of ours: methods/columns.py.
COLUMN_SELECTORS = ("f", "pairs", "mutual-information", "forest", "l1", "ranks")
# Selectors that combine the scores of others.
COMBINED = {"ranks": ("forest", "l1")}
ALL_SITES = "all"
# Files of masks, and how a mask begins that is written out in place of a file.
MASK_FILES, INLINE = (".json", ".npy", ".npz", ".pt", ".pth", ".bin", ".safetensors"), "mask:"
# Other people's names for them.
ALIASES = {
    "l2": "magnitude", "batch-norm": "bn-scale", "taylor": "loss", "loss-preservation": "loss",
    "biased-loss": "loss-weighted", "tracked": "loss-tracked", "gradient-norm-preservation": "gradient-norm",
}  # fmt: skip


def check_name(name: str, others: tuple[str, ...] = ()) -> str:
    """Return the measure's own name; `others` are what else is possible, for the message.

    Raises
    ------
    ConfigError
        There is none of that name; the nearest is suggested.
    """
    measure = ALIASES.get(name, name)
    if measure not in MEASURES:
        near = difflib.get_close_matches(name, [*others, *MEASURES, *ALIASES], n=1)
        guess = f" (did you mean {near[0]!r}?)" if near else ""
        if others:
            raise ConfigError(
                f"there is no start {name!r}{guess}; the starts are {', '.join(others)}, a mask file such as runs/a/mask.json, and "
                f"the measures {', '.join(MEASURES)}"
            )
        raise ConfigError(f"there is no measure {name!r}{guess}; the measures are {', '.join(MEASURES)}")
    return measure


def is_mask_file(name: str) -> bool:
    """Whether the name of a start is the path of a mask file, or a mask itself."""
    return name.endswith(MASK_FILES) or name.startswith(INLINE) or "/" in name or "\\" in name


def is_measure(name: str) -> bool:
    """Whether a start is chosen by a measure, which scores the sites of the classifier in training."""
    return name != ALL_SITES and name not in COLUMN_SELECTORS and not is_mask_file(name)


def check_starts(text: str) -> str:
    """Return starts joined by +, each by its own name.

    Raises
    ------
    ConfigError
        One of them does not exist, stands twice, or is a second measure.
    """
    names = [name.strip() for name in text.split("+")]
    checked = [check_name(name, (ALL_SITES, *COLUMN_SELECTORS)) if is_measure(name) else name for name in names]
    if len({*checked}) < len(checked):
        raise ConfigError(f"start={text} has a start twice. Name each once.")
    measures = [name for name in checked if is_measure(name)]
    if len(measures) > 1:
        raise ConfigError(f"start={text} has {len(measures)} measures. Choose one of {', '.join(measures)}.")
    return "+".join(checked)
