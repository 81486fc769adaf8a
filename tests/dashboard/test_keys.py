"""Steering by keys in a terminal: on a pseudo-terminal, with a real run."""

import json
import os
import select
import subprocess
import sys
import time

import pytest

pty = pytest.importorskip("pty", reason="keys need a POSIX terminal")


@pytest.mark.slow
def test_keys_steer_a_run_in_a_terminal(tmp_path):
    import termios

    folder = tmp_path / "run"
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-m", "mcprune", "run", "--epochs", "100000", "--hidden", "8", "--keep", "16", "--compare", "no",
         "--retrain-epochs", "1", "--threads", "1", "--moves", "site", "--start", "all", "--out", str(folder)],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )  # fmt: skip
    seen = b""

    def until(*texts):
        nonlocal seen
        end = time.monotonic() + 90
        while not all(text in seen for text in texts):
            assert time.monotonic() < end, seen[-2000:]
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 65536)
        seen = b""

    until(b"keys: + - delta", b"delta 1   temperature 0")
    os.write(ours, b"+")
    until(b"1.25")
    os.write(ours, b"T")
    until(b"1e-06")
    os.write(ours, b"t")
    until(b"temperature 0 ")
    os.write(ours, b"x")  # no key: nothing happens
    os.write(ours, b"p")
    until(b"pause or resume")
    os.write(ours, b"-")
    until(b"delta 1 ")
    os.write(ours, b"p")
    os.write(ours, b"q")
    until(b"written to")
    assert process.wait(60) == 0
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    turned = [line["knobs"] for line in lines if line["event"] == "knob_changed"]
    assert turned == [{"delta": 1.25}, {"temperature": 1e-06}, {"temperature": 0.0}, {"delta": 1.0}]
    assert next(line for line in lines if line["event"] == "stopped")["reason"] == "stop"
    after = termios.tcgetattr(theirs)
    assert after[3] == before[3]  # echo and line mode are back
    os.close(ours)
    os.close(theirs)
