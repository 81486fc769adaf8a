"""For all tests: a shell starts its background jobs with SIGINT ignored, which children inherit; here Ctrl-C is to be met."""

import signal
from collections.abc import Iterable

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # no test depends on the load of the machine
settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark long tests as slow, so that -m "not slow" leaves them out too; each says why it is long."""
    for item in items:
        for long in item.iter_markers("long"):
            if not long.args:
                raise pytest.UsageError(f"{item.nodeid} is long without a reason: pytest.mark.long(REASON)")
            item.add_marker("slow")


pytest_plugins = ["kernel_signatures", "quick_runs", "run_stories"]  # fixtures of tests/shared, for all rooms
