"""What the screens show of the gradient path: alpha and decided gates in place of proposals."""

import io
from dataclasses import replace

from rich.console import Console

from mcprune.cli.live import LiveScreen
from mcprune.cli.screen import PlainScreen, watch
from mcprune.report.summary import hardened_lines
from mcprune.report.terminal import PlainOutput, RichOutput

OF_PROGRESS = {"alpha": 12.5, "near_hard": 0.75, "proposals": 0, "accepted": 0, "acceptance": None}


def gradient(story):
    events = story(config={"method": "gradient"}, of_progress=OF_PROGRESS)
    return [*events[:-1], replace(events[-1], method="gradient")]


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
    assert "before hardening: 11 gates above one half (+3 of n), |sum of gates - n| = 1.5, 50.0%" in text


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


def test_when_the_gates_were_decided(story):
    done = gradient(story)[-1]
    lines = hardened_lines(done)
    assert lines[1] == "3 gates crossed one half, the last time at step 20 (median) and 30 (the last one) of 1,000"
    still = hardened_lines(replace(done, hardened=replace(done.hardened, last_crossed=(0, 0))))
    assert still[1] == "no gate has crossed one half in 1,000 steps"
    assert hardened_lines(replace(done, method="markov")) == []
