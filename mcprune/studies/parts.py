"""Parts of a study that is not made of runs: each a JSON file, kept when it is finished; a failure does not stop the others."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcprune.errors import FolderError
from mcprune.storage.events import plain
from mcprune.storage.layout import read_json
from mcprune.studies.base import Options, Outcome, changed_options, error_text, interrupted, read_index, write_json
from mcprune.types import JsonObject

PARTS, FOLDER = "parts.json", "parts"
Figures = JsonObject  # of a part, in JSON's types


@dataclass(frozen=True)
class Part:
    """A part of a study.

    Attributes
    ----------
    name : str
        The name of its file.
    key : dict
        What its figures depend on, in JSON's types: a finished part of another key is not this one.
    compute : callable
        Returns its figures.
    is_valid : callable
        Whether figures that were read back still hold; what they need besides may be gone.
    """

    name: str
    key: Options
    compute: Callable[[], Figures]
    is_valid: Callable[[Figures], bool]


class Parts:
    """The parts below one folder.

    Parameters
    ----------
    root : Path
        Figures go to root/parts/NAME.json; root/parts.json says what the folder is for, and which parts failed.
    kind : str
        A folder of another kind is refused.
    parts : sequence of Part
        A later one may need an earlier one.
    force : bool
        Finished parts of another key are replaced; else they are refused.
    fatal : tuple of exception types
        Those that end the study, since all other parts would raise them too.

    Raises
    ------
    ConfigError
        A finished part of the same name has another key.
    FolderError
        The folder holds something else, or cannot be written.
    """

    def __init__(
        self, root: Path, kind: str, parts: list[Part], *, force: bool = False, fatal: tuple[type[Exception], ...] = ()
    ) -> None:
        self.root, self.kind, self.parts, self.fatal = root, kind, parts, fatal
        self.errors = self._read()
        self._values: dict[str, Figures] = {}
        for part in parts:
            record = self._record(part.name)
            if record is None:
                continue
            if record["key"] == part.key:
                self._values[part.name] = record["value"]
            elif not force:
                raise changed_options(root, part.name, record["key"], part.key)

    def value(self, name: str) -> Figures | None:
        """Return the figures of a part, None while it is not finished."""
        part = next(part for part in self.parts if part.name == name)
        value = self._values.get(name)
        return value if value is not None and part.is_valid(value) else None

    def failures(self) -> dict[str, str]:
        """Return the message of each part that failed when it was last tried."""
        return {part.name: self.errors[part.name] for part in self.parts if part.name in self.errors}

    def run(self) -> Iterator[Outcome]:
        """Compute what is not finished, in order.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C; the current part is computed again the next time.
        """
        self._write()
        for part in self.parts:
            if self.value(part.name) is not None:
                yield Outcome(part.name, "kept")
                continue
            try:
                value = part.compute()
            except KeyboardInterrupt:
                raise interrupted(self.root) from None
            except self.fatal:
                raise
            except Exception as error:
                # Whatever it is, the others still have their turn.
                self.errors[part.name] = error_text(error)
                write_json(self.root / FOLDER / f"{part.name}.error.json", {"traceback": traceback.format_exc()})
                self._write()
                yield Outcome(part.name, "failed", self.errors[part.name])
                continue
            record = {"key": part.key, "value": value, "sha256": _digest(value)}
            write_json(self.root / FOLDER / f"{part.name}.json", record)
            self._values[part.name] = plain(value)  # as it will be read: numbers that are not finite are None
            if self.errors.pop(part.name, None) is not None:
                self._write()
            yield Outcome(part.name, "new")

    def _record(self, name: str) -> Figures | None:
        """Return the content of a part's file; None where there is none, or it is broken, so that the part is computed again."""
        if not (self.root / FOLDER / f"{name}.json").exists():
            return None
        try:
            record = read_json(self.root / FOLDER, f"{name}.json")
        except FolderError:
            return None
        is_ours = isinstance(record.get("key"), dict) and isinstance(record.get("value"), dict)
        return record if is_ours and record.get("sha256") == _digest(record["value"]) else None

    def _read(self) -> dict[str, str]:
        index = read_index(self.root, PARTS, self.kind)
        if index is None:
            return {}
        errors = index.get("errors")
        if not isinstance(errors, dict) or not all(isinstance(text, str) for text in errors.values()):
            raise FolderError(f"{str(self.root / PARTS)!r} was changed: its messages are broken. Choose another --out")
        return errors

    def _write(self) -> None:
        write_json(self.root / PARTS, {"kind": self.kind, "errors": self.errors})


def _digest(value: Mapping[str, object]) -> str:
    """Return a digest of figures as in the file: a part whose file was changed is computed again."""
    return hashlib.sha256(json.dumps(plain(dict(value)), sort_keys=True).encode()).hexdigest()
