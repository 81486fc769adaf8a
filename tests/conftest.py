"""For all tests: a shell starts its background jobs with SIGINT ignored, which children inherit; here Ctrl-C is to be met."""

import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Slow tests of these files take minutes in all: they are left out unless asked for by -m (`make test-all`).
LONG = (
    "distributed",
    "docs/test_pages.py",
    "goldens/test_resume_goldens.py",
    "methods/markov/enforce",
    "reliability/test_cut_off_runs.py",
    "session/test_max_time.py",
    "session/test_time_budget.py",
    "studies",
)
# Of the kills of the goldens these stay in the default selection.
KILLED = ("[inputs-0.15]", "[folds-0.62]", "[start-0.62]", "[hard-concrete-0.62]", "[weights-0.62]", "[tempered-0.15]")


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark the slow tests of `LONG` as long."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here).as_posix() if item.path.is_relative_to(here) else ""
        if place.startswith(LONG) and item.get_closest_marker("slow") and not item.name.endswith(KILLED):
            item.add_marker("long")


pytest_plugins = ["kernel_signatures", "quick_runs", "run_stories"]  # fixtures of tests/shared, for all rooms
