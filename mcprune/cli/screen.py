"""What a run shows while it goes: nothing, JSON lines, or plain lines. The live display is in live.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, TextIO

from mcprune.config.budgets import COST_UNITS
from mcprune.report import summary as table
from mcprune.report.terminal import Output, PlainOutput, choose, report, write
from mcprune.report.text import duration, number, wrapped
from mcprune.session.interrupt import CODES
from mcprune.storage.events import DONE, START, STOPPED, Event

Data = Mapping[str, Any]
Columns = tuple[tuple[str, str, str, int], ...]

# A line of progress when a tenth of the blocks has passed, but not twice within 2 s and not later than 10 s.
SHARE, SOONEST, LATEST = 0.1, 2.0, 10.0
REPEAT_HEADER = 20
EPOCH = 9  # width of its column

# (title, key, format, width) of the columns of progress
COLUMNS: Columns = (
    ("L_cla", "cla", ".4f", 7),
    ("L_sel", "sel", ".4f", 7),
    ("L_rej", "rej", ".4f", 7),
    ("gate sum", "gate_sum", ",.1f", 8),
    ("kept", "kept", ",d", 6),
    ("target", "target", ",d", 6),
    ("accepted", "acceptance", ".1%", 8),
    ("proposals/s", "proposals_per_second", ",.0f", 11),
)
# Of a budget that is a cost: there is no sum of gates to reach.
COST_COLUMNS: Columns = (
    *COLUMNS[:3],
    ("cost", "cost", ",d", 9),
    ("at most", "cost_target", ",d", 9),
    COLUMNS[4],
    *COLUMNS[6:],
)
# Under --method gradient the last two are these instead: nothing is proposed.
GRADIENT_COLUMNS: Columns = (*COLUMNS[:-2], ("alpha", "alpha", ".3g", 8), ("at 0 or 1", "near_hard", ".1%", 11))


class Screen:
    """An observer of a run that shows nothing: the base of all, with a hook for each kind of event."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, event: Event) -> None:
        """Hand the event to the hook of its kind; a kind that is not known is passed over."""
        hook = getattr(self, "on_" + event.kind, None)
        if hook is not None:
            hook(event.data)

    def close(self) -> None:
        """Leave the terminal as it was."""


class JsonScreen(Screen):
    """Every event as one line of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, event: Event) -> None:
        write(self._stream, event.line() + "\n")


class QuietScreen(Screen):
    """Only the run's folder, at the end: it can be caught by a script as it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def on_done(self, data: Data) -> None:
        if data.get("folder"):
            write(self._stream, f"{data['folder']}\n")


class TextScreen(Screen):
    """What the plain and the live screen share: the first lines, the notes, and the report at the end."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self._start: Data = {}
        self.columns = COLUMNS

    def on_start(self, data: Data) -> None:
        self._start = data
        self.columns = GRADIENT_COLUMNS if data.get("config", {}).get("method") == "gradient" else COLUMNS
        self.columns = COST_COLUMNS if data.get("cost") else self.columns
        if data.get("objective"):  # the chain judges by it: it stands where L_cla does
            self.columns = (("objective", "cla", ".4f", 9), *self.columns[1:])
        self.output.lines(start_lines(data))

    def on_note(self, data: Data) -> None:
        self.output.lines(wrapped(f"note: {data['text']}", self.output.width, indent=""))

    def on_knob(self, data: Data) -> None:
        self.output.lines(wrapped(knob_line(data), self.output.width, indent=""))

    def on_pace(self, data: Data) -> None:
        self.output.lines(wrapped(pace_line(data), self.output.width, indent=""))

    def on_stopped(self, data: Data) -> None:
        self.output.lines([stopped_line(data)])

    def on_harden(self, data: Data) -> None:
        self.output.lines([harden_line(data, self._start.get("objective"))])

    def on_done(self, data: Data) -> None:
        start = {name: self._start.get(name) for name in ("name", "N", "n", "sites")}
        report(self.output, {**start, **data})
        if data.get("is_cut_short") and data.get("folder"):
            self.output.lines([f"cut short: mcprune resume {data['folder']} goes on from where it was"])


class PlainScreen(TextScreen):
    """Aligned lines of plain text, few enough to be read."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._shown: tuple[float, float] | None = None  # block and seconds of the last line
        self._lines = 0
        self._counts = (0, 0)  # proposals and accepted ones up to the last line

    def on_progress(self, data: Data) -> None:
        if not self._is_due(data):
            return
        # Of all proposals since the last line: a single window may hold none that was accepted.
        proposals, accepted = data.get("proposals"), data.get("accepted")
        if proposals is not None and accepted is not None and proposals > self._counts[0]:
            since = (accepted - self._counts[1]) / (proposals - self._counts[0])
            self._counts = (proposals, accepted)
            data = {**data, "acceptance": since}
        self._shown = (data["block"], data["seconds"])
        if self._lines % REPEAT_HEADER == 0:
            self.output.lines([progress_header(self.columns)])
        self._lines += 1
        self.output.lines([progress_line(data, self.columns)])

    def on_row(self, data: Data) -> None:
        sites = number(data.get("sites"), ",d")
        value = data.get("objective")
        beside = "" if value is None else f", {self._start.get('objective')} {number(value, '.4f')}"
        accuracy = number(data.get("accuracy"), ".4f")
        self.output.lines([f"{data['name']}: test accuracy {accuracy}{beside} at {sites} sites"])

    def _is_due(self, data: Data) -> bool:
        if self._shown is None or data["block"] >= data["blocks"]:
            return True
        blocks = data["block"] - self._shown[0]
        seconds: float = data["seconds"] - self._shown[1]
        return seconds >= LATEST or bool(seconds >= SOONEST and blocks >= SHARE * data["blocks"])


def start_lines(data: Data) -> list[str]:
    """Say what is run on what."""
    rows = data["rows"]
    groups = " + ".join(table.group_title(group) for group in data["sites"])
    keep = f"{data['n']:,} of {data['N']:,} sites to keep ({groups})"
    if cost := data.get("cost"):
        keep = f"at most {cost['limit']:,} of {cost['all']:,} {COST_UNITS[cost['in']]} to keep, {data['N']:,} sites ({groups})"
    parts = f"{rows['train']:,} training, {rows['validation']:,} validation, {rows['test']:,} test rows"
    threads = data.get("threads")
    device = f"{data['device']}, {threads} thread{'' if threads == 1 else 's'}" if threads else str(data["device"])
    return [
        f"mcprune {data['version']}: {data['name']}, {keep}",
        f"{parts}; classifier {data['classifier']}; {device}",
    ]


def epoch_of(data: Data) -> str:
    """Return the epoch so far of all epochs."""
    return f"{number(data.get('epoch'), '.1f')}/{number(data.get('epochs'), 'g')}"


def progress_header(columns: Columns = COLUMNS) -> str:
    """Return the titles over the lines of progress."""
    titles = [title.rjust(width) for title, _, _, width in columns]
    return "  ".join(["epoch".rjust(EPOCH), *titles, "time left"])


def progress_line(data: Data, columns: Columns = COLUMNS) -> str:
    """Return one line of progress, aligned with the titles."""
    figures = [number(data.get(key), form).rjust(width) for _, key, form, width in columns]
    return "  ".join([epoch_of(data).rjust(EPOCH), *figures, duration(data.get("seconds_left")).rjust(9)])


def knob_line(data: Data) -> str:
    """Say which knobs have been turned, and from what to what."""
    turned = [f"{name} {knob(data['before'].get(name))} -> {knob(value)}" for name, value in data["knobs"].items()]
    return f"block {number(data.get('block'), ',d')}: {', '.join(turned)}"


def pace_line(data: Data) -> str:
    """Say that the clock has changed how many blocks are planned."""
    block, before, now = (number(data.get(name), ",d") for name in ("block", "before", "blocks"))
    return f"block {block}: {now} blocks are planned, not {before}, so that n(t) and the other schedules end with the time (--max-time)"


def knob(value: Any) -> str:
    """Return the value of a knob as text."""
    if isinstance(value, Mapping):
        return " ".join(f"{name} {share:.0%}" for name, share in value.items())
    return "none" if value is None else number(value, "g")


def stopped_line(data: Data) -> str:
    """Say why the search ended early and what comes now."""
    reasons = {
        "interrupt": "interrupted",
        "terminate": "terminated",
        "max_time": "out of time (--max-time)",
        "stop": "stopped on the page",
        "replay": "ended as the run that is repeated",
    }
    reason = reasons.get(data["reason"], str(data["reason"]))
    return f"{reason} after block {number(data.get('block'), ',d')}: what is found so far is hardened and saved"


def harden_line(data: Data, objective: str | None = None) -> str:
    """Say what the hard mask is and how far the sum of the gates was from it."""
    accuracy = number(data.get("validation_accuracy"), ".4f")
    total, off = number(data.get("gate_sum"), ",.1f"), number(data.get("away"), ",.1f")
    away = f"the sum of gates was {total}, {off} away"
    kept, total = number(data.get("kept"), ",d"), number(data.get("N"), ",d")
    if cost := data.get("cost"):
        groups = "-".join(f"{count:,}" for count in cost["groups"])
        if "names" in cost:
            groups = ", ".join(cost["names"]) or "none"
        away = f"{groups} of the groups: {cost['kept']:,} of at most {cost['limit']:,} {COST_UNITS[cost['in']]}"
    value = data.get("validation_objective")
    beside = "" if value is None else f", {objective or 'objective'} {number(value, '.4f')}"
    return f"hard mask: {kept} of {total} sites ({away}); validation accuracy {accuracy}{beside}"


def choose_screen(stream: TextIO, *, quiet: bool = False, json: bool = False) -> Screen:
    """Return the screen that was asked for, else the live one in a terminal and plain lines elsewhere."""
    if json:
        return JsonScreen(stream)
    if quiet:
        return QuietScreen(stream)
    output = choose(stream)
    if isinstance(output, PlainOutput):
        return PlainScreen(output)
    from mcprune.cli.live import LiveScreen

    return LiveScreen(output)


def watch(events: Iterator[Event], screen: Screen) -> int:
    """Show the events of a run and return the exit code: 130 if it was interrupted, 143 if terminated, else 0.

    The iterator is closed on every way out: a screen that cannot go on (a closed pipe) ends the run too.
    The caller has entered the screen.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C where the run itself does not handle it; its text says where the files so far are.
    """
    code, folder = 0, None
    try:
        for event in events:
            if event.kind == START:
                folder = event.data.get("folder")
            elif event.kind == STOPPED:
                code = CODES.get(str(event.data.get("reason")), 0)
            elif event.kind == DONE and event.data.get("is_cut_short"):
                code = CODES.get(str(event.data.get("cut_short_by")), CODES["interrupt"])
            screen.show(event)
    except KeyboardInterrupt as interrupt:
        where = f"; the files written so far are in {folder}; mcprune resume {folder} goes on" if folder else ""
        raise type(interrupt)(where) from None
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()
    return code
