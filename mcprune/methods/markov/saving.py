"""The chain between two blocks as plain values and arrays, and back: positions, running sums, ladder, delta, scores, counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcprune.state import Saved, alike, arrays_of, fill_arrays

if TYPE_CHECKING:
    from mcprune.methods.markov.method import Markov


def save_chain(chain: Markov) -> Saved:
    """Return all that the chain's future depends on; its settings are not in it."""
    size = chain.step_size
    return {
        "state": arrays_of(chain.state),
        "sharpness": chain.sharpness,
        "blocks": chain.blocks,
        "last_target": chain.last_target,
        "ladder": arrays_of(chain.ladder),
        "statistics": arrays_of(chain.statistics),
        "step_size": None if size is None else {**arrays_of(size), "bounds": list(size.bounds)},
        "frozen_at": chain.frozen_at,
        # How wide the band is in which the canonical evaluator decides.
        "measured_error": chain.measured_error,
        "evaluator_error": chain.evaluator.error,
        "ahead": chain.ahead.save(),
        "trials": None if chain.trials is None else chain.trials.save(),
    }


def restore_chain(chain: Markov, saved: Saved) -> None:
    """Put a chain of the same settings where `save_chain` met it.

    Raises
    ------
    KeyError, TypeError, ValueError
        What is saved is not of such a chain.
    """
    fill_arrays(chain.state, saved["state"])
    if not np.isfinite(chain.state.position).all():
        raise ValueError("a position is not finite")
    if chain.wall is not None:
        chain.wall.refresh(chain.state)
    fill_arrays(chain.ladder, saved["ladder"])
    fill_arrays(chain.statistics, saved["statistics"])
    chain.sharpness = float(saved["sharpness"])
    chain.blocks, chain.last_target = int(saved["blocks"]), int(saved["last_target"])
    size = saved["step_size"]
    if (size is None) != (chain.settings.adapt_delta is None):
        raise ValueError("delta is adapted in the one and not in the other")
    if size is not None:
        assert chain.step_size is not None  # as the settings say
        low, high = map(float, size["bounds"])
        fill_arrays(chain.step_size, size)
        chain.step_size = chain.step_size._replace(bounds=(low, high))
    chain.frozen_at, chain.measured_error = (
        None if saved[name] is None else alike(saved[name], 0.0, name) for name in ("frozen_at", "measured_error")
    )
    if saved["evaluator_error"] != chain.evaluator.error:  # a screen's grows with what it has met
        chain.evaluator.error = float(saved["evaluator_error"])
    if (saved["trials"] is None) != (chain.trials is None):
        raise ValueError("sites are tried in the one and not in the other")
    if chain.trials is not None:
        chain.trials.restore(saved["trials"])
    chain.ahead.restore(saved["ahead"])
