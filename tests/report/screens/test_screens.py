import io
import json
import re
import time
from dataclasses import dataclass, replace

import pytest
from rich.console import Console

from mcprune.errors import FolderError
from mcprune.report.screens import pulse
from mcprune.report.screens.choose import choose_screen, watch
from mcprune.report.screens.lines import knob_line, replanned_line
from mcprune.report.screens.live import LiveScreen
from mcprune.report.screens.text import JsonScreen, PlainScreen, QuietScreen, Screen
from mcprune.report.summary import hardened_lines
from mcprune.report.terminal import PlainOutput, RichOutput, choose
from mcprune.storage.events import KINDS, Event, KnobChanged, Replanned, Stage, Stopped


def shown(events, make=lambda stream: PlainScreen(PlainOutput(stream))):
    stream = io.StringIO()
    with make(stream) as screen:
        code = watch(iter(events), screen)
    return code, stream.getvalue()


def progress_lines(text):
    return [line for line in text.splitlines() if "/80 " in line]


def test_a_finished_run_is_told_from_start_to_end(story):
    code, text = shown(story())
    assert code == 0
    for part in (
        "digits, 8 of 192 sites to keep (inputs + units of layers.0)",
        "1,221 training",
        "note: a [bold] note",
        "hard mask: 8 of 192 sites (the sum of gates was 9.5, 1.5 away)",
        "inputs: 4 of 64 kept",
        "units of layers.0: 4 of 128 kept",
        "0, 3-5",
        "17,226 before, 1,234 after",
        "runs/digits",
    ):
        assert part in text
    (random,) = [line for line in text.splitlines() if line.startswith("random masks  ")]
    assert random.split()[2:] == ["8", "0.8312", "0.0211", "5", "10.0"]


def test_figures_stand_under_their_titles(story):
    _, text = shown(story())
    header = next(line for line in text.splitlines() if "time left" in line)
    line = progress_lines(text)[0]
    for title, figure in [
        ("loss", "0.2500"),
        ("kept", "60"),
        ("accepted", "5.0%"),
        ("validation", "-"),
        ("time left", "-"),
    ]:
        end = header.index(title) + len(title)
        assert line[:end].endswith(figure)
        assert line[end : end + 1] in (" ", "")


@pytest.mark.parametrize("seconds", [0.001, 0.5, 3.0, 60.0])
def test_lines_of_progress_are_few_and_the_last_block_is_among_them(story, seconds):
    events = story(blocks=1000)
    for place, event in enumerate(events):
        if event.kind == "progress":
            events[place] = replace(event, seconds=seconds / 1000 * event.block)
    lines = progress_lines(shown(events)[1])
    # at most one each 2 s and one each tenth, at least one each 10 s, and the first and the last always
    assert 2 + seconds // 10 - 1 <= len(lines) <= 2 + max(min(seconds / 2, 10), seconds / 10)
    assert lines[-1].split()[0] == "80.0/80"


def test_json_is_one_strict_object_a_line_and_nothing_else(story):
    events = story()
    _, text = shown(events, JsonScreen)
    lines = text.splitlines()
    assert len(lines) == len(events)

    def refuse(constant):
        raise AssertionError(constant)

    for line, event in zip(lines, events, strict=True):
        record = json.loads(line, parse_constant=refuse)
        assert record.pop("event") == event.kind
        assert record == event.to_dict()
        if event.kind == "progress":
            assert record["rejection_loss"] is event.rejection_loss is None  # it was not a number


def test_quiet_prints_the_folder_alone(story):
    assert shown(story(), QuietScreen) == (0, "runs/digits\n")


@pytest.mark.parametrize(("reason", "code"), [("interrupt", 130), ("max_time", 0)])
def test_only_an_interrupt_changes_the_exit_code(story, reason, code):
    found, text = shown(story(stop=reason))
    assert found == code
    assert "after block 10: the mask so far is hardened and saved" in text
    assert "written to runs/digits" in text


@dataclass(frozen=True)
class Weather(Event):
    text: str


def test_a_kind_of_event_without_a_hook_is_passed_over(story):
    events = story()
    events.insert(3, Weather("fair"))
    assert shown(events)[1] == shown(story())[1]


def test_a_turned_knob_is_a_line():
    event = KnobChanged(
        block=1200,
        proposals=76800,
        knobs={"delta": 0.5, "moves": {"site": 0.25, "exchange": 0.75}},
        before={"delta": "linear:1:0.1", "moves": {"site": 1.0}},
    )
    assert knob_line(event) == "block 1,200: delta linear:1:0.1 -> 0.5, moves site 100% -> site 25% exchange 75%"


@pytest.mark.parametrize(
    ("limits", "option"),
    [
        ({"max_time": 60.0}, "--max-time"),
        ({"search_time": 60.0}, "--search-time"),
        ({"max_time": 60.0, "search_time": 45.0}, "--max-time"),
    ],
)
def test_what_did_not_fit_into_the_time_is_one_line(limits, option, story, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # on a narrower terminal the line is wrapped
    events = story(blocks=20)
    events[0] = replace(events[0], config={**events[0].config, **limits})
    for block in range(2, 15):  # thirteen of them, as one run had
        place = next(at for at, event in enumerate(events) if getattr(event, "block", 0) == block)
        events.insert(place + 1, Replanned(block, blocks=40 - block, blocks_before=41 - block, progress=0.3))
    lines = shown(events)[1].splitlines()
    assert [line for line in lines if "blocks" in line and "schedules" in line] == [
        "26 blocks were planned in the end, 20 at first; n(t) and the other schedules were stretched"
    ]
    assert len(lines) == len(shown(story(blocks=20))[1].splitlines()) + 1
    # A number of blocks that comes back to the planned one is not worth a line.
    again = [*events[:-4], Replanned(20, 20, 26, 1.0), *events[-4:]]
    assert "schedules" not in shown(again)[1]
    stopped = [*events[:-4], Stopped("max_time", 15), *events[-4:]]
    assert f"out of time ({option}) after block 15" in shown(stopped)[1]


def test_every_documented_kind_has_a_hook_on_the_plain_screen():
    assert all(hasattr(PlainScreen, "on_" + kind) for kind in KINDS)


def test_the_run_is_closed_when_the_screen_cannot_go_on(story):
    closed = []

    def events():
        try:
            yield from story()
        finally:
            closed.append(True)

    class Gone(Screen):
        def show(self, event):
            if event.kind == "progress":
                raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        watch(events(), Gone())
    assert closed == [True]


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


def test_an_output_that_takes_no_more_is_named(story):
    with pytest.raises(FolderError, match="No space left"):
        shown(story(), lambda _: JsonScreen(Full()))


class Coded(io.StringIO):
    encoding = "iso-8859-1"


def test_other_encodings_get_ascii(story):
    stream = Coded()
    with PlainScreen(PlainOutput(stream)) as screen:
        watch(iter(story()), screen)
    assert stream.getvalue().isascii()
    assert "##" in stream.getvalue()


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_the_kind_of_stream_decides_about_the_display(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose_screen(Terminal()), LiveScreen)
    assert isinstance(choose_screen(io.StringIO()), PlainScreen)
    assert isinstance(choose_screen(Terminal(), quiet=True), QuietScreen)
    assert isinstance(choose_screen(Terminal(), quiet=True, json=True), JsonScreen)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose(Terminal()), PlainOutput)


@pytest.mark.parametrize("width", [40, 100])
def test_the_live_screen_shows_the_figures_and_leaves_the_report(story, width):
    stream = Terminal()
    console = Console(file=stream, force_terminal=True, width=width, height=40, color_system=None, markup=False)
    screen = LiveScreen(RichOutput(console))
    with screen:
        for event in story():
            screen.show(event)
            if event.kind == "progress":
                screen._live.refresh()
    text = stream.getvalue()
    for part in ("kept 60", "accepted 4.7%", "note: a [bold] note", "units of layers.0: 4 of 128 kept"):
        assert part in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back
    # After the display was taken away the search is told in one line and the report follows.
    assert text.index("search: 1,280 proposals, 1,200 decisions, 60 accepted") < text.index("17,226 before")


# Screens of the gradient method: alpha and decided gates in place of proposals.
OF_GRADIENT = {"alpha": 12.5, "near_hard": 0.75, "proposals": 0, "decisions": 0, "accepted": 0, "acceptance": None}


def gradient_story(story):
    events = story(config={"method": "gradient"}, of_progress=OF_GRADIENT)
    return [*events[:-1], replace(events[-1], method="gradient")]


def test_plain_lines_have_the_gradients_columns(story):
    stream = io.StringIO()
    with PlainScreen(PlainOutput(stream)) as screen:
        assert watch(iter(gradient_story(story)), screen) == 0
    text = stream.getvalue()
    header = next(line for line in text.splitlines() if "time left" in line)
    line = next(line for line in text.splitlines() if "/80 " in line)
    for title, figure in (("gate sum", "61.5"), ("at 0 or 1", "75.0%")):
        assert line[: header.index(title) + len(title)].endswith(figure)
    assert "proposals" not in text
    assert "before hardening: 11 gates above one half (+3 of n), |sum of gates - n| = 1.5, 50.0%" in text


def test_the_live_display_of_the_gradient_too(story):
    stream = io.StringIO()
    output = RichOutput(Console(file=stream, width=80, force_terminal=True, markup=False, highlight=False))
    with LiveScreen(output) as screen:
        for event in gradient_story(story):
            screen.show(event)
            if event.kind == "progress":
                output.console.print(screen._draw())
    assert "gate sum 61.5   at 0 or 1 75.0%" in stream.getvalue()
    assert "proposals" not in stream.getvalue()


def test_when_the_gates_were_decided(story):
    done = gradient_story(story)[-1]
    lines = hardened_lines(done)
    assert lines[1] == "3 gates crossed one half, the last time at step 20 (median) and 30 (the last one) of 1,000"
    still = hardened_lines(replace(done, hardened=replace(done.hardened, last_crossed=(0, 0))))
    assert still[1] == "no gate has crossed one half in 1,000 steps"
    assert hardened_lines(replace(done, method="markov")) == []


def test_blocks_fit_into_the_time_only_where_it_is_limited():
    assert "30 of 90 blocks fitted into the time" in replanned_line(90, 30, is_timed=True)
    assert replanned_line(90, 30, is_timed=False).startswith("30 blocks were planned in the end, 90 at first")
    assert replanned_line(90, 120, is_timed=True).endswith("stretched")


def test_a_finished_or_repeated_run_is_not_fitted_into_the_time(story):
    events = story()
    start = replace(events[0], blocks=90, config={**events[0].config, "max_time": 60.0})
    told = [start, Replanned(10, 30, 90, 0.1), Stopped("finish", 30), *events[1:]]
    assert "fitted into the time" not in shown(told)[1]
    assert "fitted into the time" in shown([*told[:2], Stopped("max_time", 30), *told[3:]])[1]  # the control


def with_stage(story):
    events = story(blocks=2)
    return [
        *events[:2],
        Stage("compile", "loading the engine"),
        *events[2:4],
        Stage("playoff", "comparing"),
        *events[4:],
    ]


def test_a_stage_that_shows_itself_soon_has_no_line(story):
    lines = shown(with_stage(story))[1].splitlines()
    assert "comparing ..." in lines
    assert not [line for line in lines if "loading the engine" in line]


def test_a_silent_run_says_what_it_is_doing(story, monkeypatch):
    monkeypatch.setattr(pulse, "SILENCE", 0.2)
    stream = io.StringIO()
    with PlainScreen(PlainOutput(stream)) as screen:
        screen.show(Stage("retrain", "training the pruned model"))
        end = time.monotonic() + 60
        while not (lines := re.findall(r"^\.\.\. training the pruned model, 0:\d\d$", stream.getvalue(), re.MULTILINE)):
            assert time.monotonic() < end, stream.getvalue()
            time.sleep(0.02)
        screen.show(story()[-1])
        before = stream.getvalue()
    assert before.startswith("training the pruned model ...\n")
    assert not before.rstrip().endswith(lines[-1])  # what is said is not said again at once


def test_the_live_screen_names_a_stage(story):
    stream = Terminal()
    console = Console(file=stream, force_terminal=True, width=100, height=40, color_system=None, markup=False)
    with LiveScreen(RichOutput(console)) as screen:
        screen.show(Stage("compare", "training on random sites, 2 of 5, to compare"))
        screen._live.refresh()
    assert "training on random sites, 2 of 5, to compare" in stream.getvalue()


def test_the_result_is_a_sentence_before_the_table(story):
    events = story()
    summary, simpler = "8 of 192 sites keep .9 of .97", "A simpler way does as well: nothing."
    lines = shown([*events[:-1], replace(events[-1], summary=summary, simpler=simpler)])[1].splitlines()
    place = lines.index(summary)
    assert lines[place + 1] == simpler
    assert any("test accuracy" in line and "spread" in line for line in lines[place:])


def test_what_was_understood_of_the_data_is_said_first(story):
    lines = shown(story())[1].splitlines()
    assert lines[1].endswith("64 columns; 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)")
    assert "64 pixels" in shown(story(image_shape=(8, 8)))[1]


def test_a_doubtful_column_that_is_kept_is_called_doubtful_at_the_end(story):
    text = shown(story(doubtful={"site 10": "weight", "site 11": "constant"}))[1]
    assert text.splitlines()[-1] == "Doubtful columns are among the kept: site 10 looks like sample weights."
