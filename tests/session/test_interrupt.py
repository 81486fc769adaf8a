"""A program that calls mcprune keeps its own signals; a command of the command line ends its run with a mask."""

import signal
import subprocess
import sys

import pytest

from mcprune.session.interrupt import Interrupt, own_signals

LOOP = """
import mcprune, signal
if {handler}:
    signal.signal(signal.SIGTERM, lambda number, frame: print("the program's own handler", flush=True))
mcprune.prune("wine", keep=4, epochs=2, retrain_epochs=1, threads=1)  # what is loaded and compiled comes first
print("ready", flush=True)
try:
    for seed in range(3):
        mcprune.prune({arguments}, keep=16, seed=seed, epochs=4000, threads=1)
        print("went on", flush=True)
except KeyboardInterrupt:
    print("raised", flush=True)
    raise
"""
ARGUMENTS = '"digits"'


def sent(number: signal.Signals, handler: bool = False) -> tuple[int, list[str]]:
    """Send a signal to a program in the middle of its first run; return its exit code and what it printed."""
    code = LOOP.format(handler=handler, arguments=ARGUMENTS)
    # A shell starts background jobs with SIGINT ignored, which a child would inherit.
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        process.wait(1)
        pytest.fail("the run was over before the signal")
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    if handler:
        line = process.stdout.readline().strip()
        process.kill()
        process.communicate()
        return process.returncode, [line]
    lines = process.communicate(timeout=60)[0].split("\n")
    return process.returncode, [line for line in lines if line]


def test_ctrl_c_raises_in_the_program_that_called_prune():
    code, lines = sent(signal.SIGINT)
    assert lines == ["raised"]
    assert code != 0  # 130, or 1 where a library runs code while the interpreter ends


@pytest.mark.slow
def test_sigterm_ends_a_program_without_a_handler():
    assert sent(signal.SIGTERM) == (-signal.SIGTERM, [])


@pytest.mark.slow
def test_sigterm_meets_the_programs_own_handler():
    assert sent(signal.SIGTERM, handler=True)[1] == ["the program's own handler"]


def test_only_a_command_takes_the_signals():
    before = signal.getsignal(signal.SIGINT)
    with Interrupt(signal.SIGINT) as interrupt:
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not interrupt.should_stop
    with own_signals(), Interrupt(signal.SIGINT) as interrupt:
        signal.raise_signal(signal.SIGINT)  # the control: noted, and nothing is raised
        assert interrupt.should_stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
