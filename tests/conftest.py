"""For all tests: the same random numbers in every run, the marker of long tests, and signals as a terminal has them."""

import random
import signal
import sys
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import settings

# No test depends on the load of the machine, and each tries the same examples in every run. `pytest --hypothesis-profile=explore` looks
# for others.
settings.register_profile("explore", deadline=None)
settings.register_profile("repeated", deadline=None, derandomize=True)
settings.load_profile("repeated")

UNLIKE = 73_127  # a seed that no test and no default of the package has: weights that are drawn again with one of those are others

# A shell starts its background jobs with SIGINT ignored, which children inherit; here Ctrl-C must arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed the global generators: what a test draws without a seed depends neither on its worker nor on the tests before it."""
    random.seed(UNLIKE)
    np.random.seed(UNLIKE)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(UNLIKE)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark long tests as slow, so that -m "not slow" leaves them out too; each says why it is long."""
    for item in items:
        for long in item.iter_markers("long"):
            if not long.args:
                raise pytest.UsageError(f"{item.nodeid} is long without a reason: pytest.mark.long(REASON)")
            item.add_marker("slow")


pytest_plugins = ["kernel_signatures", "quick_runs", "run_stories"]  # fixtures of tests/shared, for all rooms
