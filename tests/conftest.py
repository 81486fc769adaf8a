"""For all tests: a shell starts its background jobs with SIGINT ignored, which children inherit; here Ctrl-C is to be met."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["kernel_signatures", "quick_runs", "run_stories"]  # fixtures of tests/shared, for all rooms
