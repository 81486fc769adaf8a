"""What the screens show of the gradient path: alpha and decided gates in place of proposals."""

import io

from rich.console import Console

from mcprune.cli.live import LiveScreen
from mcprune.cli.screen import PlainScreen, watch
from mcprune.report.summary import harden_lines
from mcprune.report.terminal import PlainOutput, RichOutput

HARDEN = {"kept_before": 11, "away": 2.25, "near_hard": 0.5, "last_crossed": [0, 30, 10, 20], "steps": 1000}


def gradient(story):
    events = story(config={"method": "gradient"})
    for event in events:
        if event.kind == "progress":
            event.data.update(alpha=12.5, near_hard=0.75, proposals=0, accepted=0, acceptance=None)
        if event.kind == "done":
            event.data.update(method="gradient", harden=HARDEN)
    return events


def test_plain_lines_have_the_gradients_columns(story):
    stream = io.StringIO()
    with PlainScreen(PlainOutput(stream)) as screen:
        assert watch(iter(gradient(story)), screen) == 0
    text = stream.getvalue()
    header = next(line for line in text.splitlines() if "L_cla" in line)
    line = next(line for line in text.splitlines() if "/80 " in line)
    for title, figure in (("alpha", "12.5"), ("at 0 or 1", "75.0%")):
        assert line[: header.index(title) + len(title)].endswith(figure)
    assert "proposals" not in text
    assert "before hardening: 11 gates above one half (+3 of n), |sum of gates - n| = 2.2, 50.0%" in text


def test_the_live_display_too(story):
    stream = io.StringIO()
    output = RichOutput(Console(file=stream, width=80, force_terminal=True, markup=False, highlight=False))
    with LiveScreen(output) as screen:
        for event in gradient(story):
            screen.show(event)
            if event.kind == "progress":
                output.console.print(screen._draw())
    assert "12.5" in stream.getvalue()
    assert "proposals" not in stream.getvalue()


def test_when_the_gates_were_decided():
    lines = harden_lines({"method": "gradient", "n": 8, "harden": HARDEN})
    assert lines[1] == "3 gates crossed one half, the last time at step 20 (median) and 30 (the last one) of 1,000"
    still = harden_lines({"method": "gradient", "n": 8, "harden": {**HARDEN, "last_crossed": [0, 0]}})
    assert still[1] == "no gate has crossed one half in 1,000 steps"
    assert harden_lines({"method": "markov", "n": 8, "harden": HARDEN}) == harden_lines({"n": 8}) == []
