"""Where text goes: plain lines to a file or pipe, rich ones to a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from mcprune.errors import FolderError
from mcprune.report import summary as table
from mcprune.report.text import columns, wrapped
from mcprune.storage.events import RunDone

if TYPE_CHECKING:
    from rich.console import Console


class Output(Protocol):
    """The place to which the screen and the final report are written."""

    @property
    def width(self) -> int:
        """Characters in a line."""
        ...

    @property
    def unicode(self) -> bool:
        """Whether block characters may be written."""
        ...

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines of text."""
        ...

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write a table."""
        ...


def speaks_unicode(stream: TextIO) -> bool:
    """Tell whether block characters may be written to the stream."""
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


def write(stream: TextIO, text: str) -> None:
    """Write a text at once.

    Raises
    ------
    BrokenPipeError
        The reader has closed the stream.
    FolderError
        The text cannot be written for another reason, such as a full disk.
    """
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FolderError(f"the output cannot be written: {error.strerror}. Send it elsewhere") from None


class PlainOutput:
    """Lines of plain text, each flushed, so that who reads them through a pipe sees them at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.width = max(shutil.get_terminal_size((100, 24)).columns, 20)
        self.unicode = speaks_unicode(stream)

    def lines(self, lines: Iterable[str]) -> None:
        """See `Output.lines`."""
        for line in lines:
            write(self._stream, line + "\n")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """See `Output.table`."""
        self.lines(columns(list(header), [list(row) for row in rows]))


class RichOutput:
    """A terminal. Texts are shown as they are: brackets in the name of a column are no markup."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.unicode = not console.options.ascii_only

    @property
    def width(self) -> int:
        """See `Output.width`."""
        return self.console.width

    def lines(self, lines: Iterable[str]) -> None:
        """See `Output.lines`."""
        from rich.text import Text

        for line in lines:
            self.console.print(Text(line), soft_wrap=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """See `Output.table`."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, name in enumerate(header):
            drawn.add_column(Text(name), justify="right" if place else "left", no_wrap=place > 0)
        for row in rows:
            drawn.add_row(*map(Text, row))
        self.console.print(drawn)


def choose(stream: TextIO) -> PlainOutput | RichOutput:
    """Return the output for a stream; a terminal that cannot move its cursor gets plain lines."""
    if not stream.isatty():
        return PlainOutput(stream)
    from rich.console import Console

    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    return PlainOutput(stream) if console.is_dumb_terminal else RichOutput(console)


def report(output: Output, done: RunDone) -> None:
    """Write the final report: the result in a sentence, the table, what is kept, the sizes, where everything lies.

    Parameters
    ----------
    output : Output
    done : RunDone
        The last event of the run, or its result.json.
    """
    sentences = [text for text in (done.summary, done.simpler) if text]
    output.lines(
        [
            "",
            *(line for text in sentences for line in wrapped(text, output.width, indent="")),
            *([""] if sentences else []),
        ]
    )
    objective = done.objective
    output.table(
        table.header(objective, done.task, is_weighted=done.is_weighted),
        [table.cells(score, objective, done.task) for score in done.scores],
    )
    output.lines(
        [
            "",
            *table.kept_lines(done, width=output.width, unicode=output.unicode),
            "",
            *table.hardened_lines(done),
            *table.size_lines(done),
            *table.weights_line(done.nonzero_weights),
            *table.adapted_lines(done.adapted),
            *table.files_line(done.folder, done.files),
        ]
    )
