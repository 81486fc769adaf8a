"""What is sent to the page: numbered messages in a bounded buffer, each encoded once, and series of bounded length."""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from collections.abc import Callable

from mcprune.storage.events import plain
from mcprune.types import JsonObject

# Messages kept for who comes back: at ten a second a hundred seconds of them.
KEPT = 1000
# Points of a series; when it is full every second point goes, and from then on every second one is taken.
POINTS = 600


class Message:
    """One message; its bytes are made when the first reader asks, and shared by all."""

    __slots__ = ("_bytes", "data", "kind", "name")

    def __init__(self, name: str, kind: str, data: object) -> None:
        self.name = name
        self.kind = kind
        self.data = data
        self._bytes: bytes | None = None

    def bytes(self) -> bytes:
        """Return the message as a server-sent event."""
        if self._bytes is None:
            text = json.dumps(plain(self.data), allow_nan=False, separators=(",", ":"))
            self._bytes = f"id: {self.name}\nevent: {self.kind}\ndata: {text}\n\n".encode()
        return self._bytes


class Stream:
    """Messages in the order of their numbers; any thread may publish, any may read."""

    def __init__(self, kept: int = KEPT) -> None:
        self._boot = secrets.token_hex(4)  # numbers of another process mean nothing here
        self._count = 0
        self._kept: deque[Message] = deque(maxlen=kept)
        self._lock = threading.Lock()
        self._readers: set[Callable[[], None]] = set()
        self.is_closed = False

    @property
    def last(self) -> str:
        """The id of the latest message."""
        return f"{self._boot}-{self._count}"

    def publish(self, kind: str, data: object) -> None:
        """Append a message and wake the readers."""
        with self._lock:
            self._count += 1
            self._kept.append(Message(self.last, kind, data))
            readers = tuple(self._readers)
        for wake in readers:
            wake()

    def after(self, last: str) -> list[Message] | None:
        """Return the messages behind the one of that id; None where some of them are gone or the id is not ours."""
        boot, _, number = last.partition("-")
        with self._lock:
            if boot != self._boot or not number.isdecimal() or len(number) > 18 or int(number) > self._count:
                return None
            missing = self._count - int(number)
            if missing > len(self._kept):
                return None
            return list(self._kept)[len(self._kept) - missing :]

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called after each message; return what ends that."""
        with self._lock:
            self._readers.add(wake)
        return lambda: self._readers.discard(wake)

    @property
    def readers(self) -> int:
        """How many listen."""
        return len(self._readers)

    def close(self) -> None:
        """No more will come: readers end."""
        self.is_closed = True
        for wake in tuple(self._readers):
            wake()


class Series:
    """Columns of numbers over time, at most `points` rows: thinned by halves, so that their distance stays even."""

    def __init__(self, points: int = POINTS) -> None:
        self.columns: dict[str, list[float | None]] = {}
        self.points = points
        self.stride = 1  # of so many rows one is taken
        self.rows = 0
        self._length = 0

    def add(self, row: dict[str, float | None]) -> None:
        """Add a row; a column that it does not have gets None, a new one gets None for the past."""
        self.rows += 1
        if (self.rows - 1) % self.stride:
            return
        for name in row:
            self.columns.setdefault(name, [None] * self._length)
        for name, column in self.columns.items():
            column.append(row.get(name))
        self._length += 1
        if self._length >= self.points:
            self.columns = {name: column[::2] for name, column in self.columns.items()}
            self._length = (self._length + 1) // 2
            self.stride *= 2

    def copy(self) -> JsonObject:
        """Return the columns with the stride and how many rows there were, for a page that continues the series."""
        columns = {name: list(column) for name, column in self.columns.items()}
        return {"columns": columns, "stride": self.stride, "rows": self.rows, "points": self.points}
