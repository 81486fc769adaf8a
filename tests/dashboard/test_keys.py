"""Steering by keys in a terminal: on a pseudo-terminal, with a real run."""

import json
import os
import select
import time

import pytest
from commands import Command

# The command line in the terminal that the first argument names.
IN_TERMINAL = """
import os, sys
from mcprune.cli.main import main

terminal = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
for number in range(3):
    os.dup2(terminal, number)
sys.stdin = open(0, closefd=False)
sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", buffering=1, closefd=False) for number in (1, 2))
sys.exit(main(sys.argv[2:]))
"""

pty = pytest.importorskip("pty", reason="keys need a POSIX terminal")


@pytest.mark.slow
def test_keys_steer_a_run_in_a_terminal(tmp_path):
    import termios

    folder = tmp_path / "run"
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    options = ["--epochs", "100000", "--hidden", "8", "--keep", "16", "--compare", "no", "--retrain-epochs", "1", "--threads", "1",
               "--moves", "site", "--start", "all", "--out", str(folder)]  # fmt: skip
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = Command(os.ttyname(theirs), "run", *options, code=IN_TERMINAL, env=env)
    seen = b""

    def changes():
        events = folder / "events.jsonl"
        return events.read_text().count("knob_changed") if events.exists() else 0

    def until(*texts, recorded=0):
        """Read until the texts are on the screen, and so many changes are made and recorded."""
        nonlocal seen
        end = time.monotonic() + 300
        while not all(text in seen for text in texts) or changes() < recorded:
            assert time.monotonic() < end, seen[-2000:]
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 65536)
        seen = b""

    until(b"keys: + - delta", b"delta 1   temperature 0")
    os.write(ours, b"+")
    until(b"delta 1.25 ")
    os.write(ours, b"T")
    until(b"temperature 1e-06")
    os.write(ours, b"t")
    until(b"temperature 0 ")
    os.write(ours, b"x")  # no key: nothing happens
    os.write(ours, b"p")
    until(b"pause or resume")
    os.write(ours, b"-")
    until(b"delta 1 ", recorded=4)  # a search that ends makes no change any more
    os.write(ours, b"p")
    os.write(ours, b"q")
    until(b"written to")
    assert process.wait(300) == 0
    process.close()
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    turned = [line["knobs"] for line in lines if line["event"] == "knob_changed"]
    assert turned == [{"delta": 1.25}, {"temperature": 1e-06}, {"temperature": 0.0}, {"delta": 1.0}]
    assert next(line for line in lines if line["event"] == "stopped")["reason"] == "stop"
    after = termios.tcgetattr(theirs)
    assert after[3] == before[3]  # echo and line mode are back
    os.close(ours)
    os.close(theirs)
