"""A program that calls mcprune keeps its own signals; a command of the command line ends its run with a mask."""

import signal
import threading

import pytest
from commands import Command

from mcprune.session.interrupt import Interrupt, deferred_signals, own_signals

LOOP = """
import mcprune, os, signal
if {handler}:  # it may come while "ready" is printed: a second print would be refused
    signal.signal(signal.SIGTERM, lambda number, frame: os.write(1, b"the program's own handler\\n"))
class Ready(mcprune.Callback):
    def on_block(self, run, info):
        if run.blocks_done == 3:
            print("ready", flush=True)
mcprune.prune("wine", keep=4, epochs=2, retrain_epochs=1, threads=1)  # what is loaded and compiled comes first
try:
    for seed in range(3):
        mcprune.prune({arguments}, keep=16, seed=seed, epochs=4000, start="all", threads=1, callbacks=[Ready()])
        print("went on", flush=True)
except KeyboardInterrupt:
    print("raised", flush=True)
    raise
"""
ARGUMENTS = '"digits"'


def sent(number: signal.Signals, handler: bool = False) -> tuple[int, list[str]]:
    """Send a signal to a program in the middle of its first run; return its exit code and what it printed."""
    code = LOOP.format(handler=handler, arguments=ARGUMENTS)
    process = Command(code=code)
    assert process.stdout.readline() == "ready\n"  # of thousands of blocks a few are done
    process.send_signal(number)
    if handler:
        line = process.stdout.readline().strip()
        process.kill()
        _, error = process.communicate()
        assert line, error
        return process.returncode, [line]
    lines = process.communicate(timeout=600)[0].split("\n")
    return process.returncode, [line for line in lines if line]


@pytest.mark.slow
def test_ctrl_c_raises_in_the_program_that_called_prune():
    code, lines = sent(signal.SIGINT)
    assert lines == ["raised"]
    assert code != 0


@pytest.mark.long("SIGTERM as Ctrl-C and the program's own handler")
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deferred_signal_is_delivered_at_the_end(number):
    before, order = signal.getsignal(number), []
    try:
        signal.signal(number, lambda *_: order.append("delivered"))
        with own_signals(), deferred_signals():
            with deferred_signals():
                signal.raise_signal(number)
                order.append("written")
            order.append("closed")  # the inner one leaves it to the outer one
        assert order == ["written", "closed", "delivered"]
        signal.raise_signal(number)  # the handler is that of before
        assert order[3:] == ["delivered"]
        with deferred_signals():  # a program's own signals are left alone
            signal.raise_signal(number)
            order.append("written")
        assert order[4:] == ["delivered", "written"]
    finally:
        signal.signal(number, before)


def test_another_thread_defers_nothing_and_changes_no_handler():
    handlers = []

    def write():
        with deferred_signals():
            handlers.append(signal.getsignal(signal.SIGINT))

    with own_signals():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_an_interrupt_of_a_deferred_block_that_failed_tells_of_both():
    def write():
        with deferred_signals():
            signal.raise_signal(signal.SIGINT)
            raise OSError("the disk is full")

    with own_signals(), pytest.raises(KeyboardInterrupt) as caught:
        write()
    assert str(caught.value.__context__) == "the disk is full"
