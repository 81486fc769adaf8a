"""Parts of a study that is not made of runs: each a JSON file, kept when it is finished; what fails does not stop the rest."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcprune.errors import ConfigError, FolderError, McpruneError
from mcprune.storage.events import plain
from mcprune.storage.layout import check_free, read_json
from mcprune.studies.jobs import write_json

PARTS, FOLDER = "parts.json", "parts"


@dataclass(frozen=True)
class Part:
    """A part that is to be made.

    Attributes
    ----------
    name : str
        Of its file.
    key : dict
        What its figures depend on, in JSON's types: a finished part of another key is not this one.
    make : callable
        Gives its figures, a JSON object.
    is_whole : callable
        Tells whether figures that were read back still stand; what they need besides may be gone.
    """

    name: str
    key: dict[str, Any]
    make: Callable[[], dict[str, Any]]
    is_whole: Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Told:
    """What became of a part: `made` now, `kept` from before, or `failed`; with its figures or the message of the failure."""

    name: str
    status: str
    value: Mapping[str, Any]
    message: str = ""


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
        Those that end the study: all other parts would meet them too.

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
        self.errors: dict[str, str] = {}
        self._read()
        self._values: dict[str, dict[str, Any]] = {}
        for part in parts:
            held = self._held(part.name)
            if held is None:
                continue
            if held["key"] == part.key:
                self._values[part.name] = held["value"]
            elif not force:
                raise ConfigError(_difference(root, part, held["key"]))

    def value(self, name: str) -> dict[str, Any] | None:
        """Return the figures of a part, None while it is not finished."""
        part = next(part for part in self.parts if part.name == name)
        value = self._values.get(name)
        return value if value is not None and part.is_whole(value) else None

    def failures(self) -> dict[str, str]:
        """Return the message of each part that failed when it was last tried."""
        return {part.name: self.errors[part.name] for part in self.parts if part.name in self.errors}

    def run(self) -> Iterator[Told]:
        """Make what is not finished, in order.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C; the part that went on is made anew the next time.
        """
        self._write()
        for part in self.parts:
            value = self.value(part.name)
            if value is not None:
                yield Told(part.name, "kept", value)
                continue
            try:
                value = part.make()
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"; finished parts stay in {self.root}, and the same command goes on with the others"
                ) from None
            except self.fatal:
                raise
            except Exception as error:
                # Whatever it is, the others still have their turn.
                message = str(error) if isinstance(error, McpruneError) else f"{type(error).__name__}: {error}"
                self.errors[part.name] = message
                write_json(self.root / FOLDER / f"{part.name}.error.json", {"traceback": traceback.format_exc()})
                self._write()
                yield Told(part.name, "failed", {}, message)
                continue
            held = {"key": part.key, "value": value, "sha256": _digest(value)}
            write_json(self.root / FOLDER / f"{part.name}.json", held)
            self._values[part.name] = plain(value)  # as it will be read: numbers that are not finite are None
            if self.errors.pop(part.name, None) is not None:
                self._write()
            yield Told(part.name, "made", value)

    def _held(self, name: str) -> dict[str, Any] | None:
        """Return what a part's file holds; None where there is none, or it is broken, so that it is made again."""
        if not (self.root / FOLDER / f"{name}.json").exists():
            return None
        try:
            held = read_json(self.root / FOLDER, f"{name}.json")
        except FolderError:
            return None
        is_ours = isinstance(held.get("key"), dict) and isinstance(held.get("value"), dict)
        return held if is_ours and held.get("sha256") == _digest(held["value"]) else None

    def _read(self) -> None:
        path = self.root / PARTS
        if not path.exists():
            check_free(self.root, force=False)
            return
        held = read_json(self.root, PARTS)
        if held.get("kind") != self.kind:
            raise FolderError(
                f"the folder {str(self.root)!r} holds parts of {str(held.get('kind'))!r}, not of {self.kind!r}; choose another --out"
            )
        errors = held.get("errors")
        if not isinstance(errors, dict) or not all(isinstance(text, str) for text in errors.values()):
            raise FolderError(f"{str(path)!r} was changed: its messages are broken; choose another --out")
        self.errors = errors

    def _write(self) -> None:
        write_json(self.root / PARTS, {"kind": self.kind, "errors": self.errors})


def _digest(value: Mapping[str, Any]) -> str:
    """Of figures as they stand in the file: what was changed there is made again."""
    return hashlib.sha256(json.dumps(plain(dict(value)), sort_keys=True).encode()).hexdigest()


def _difference(root: Path, part: Part, met: Mapping[str, Any]) -> str:
    name = next(name for name in {**met, **part.key} if met.get(name) != part.key.get(name))
    return (
        f"{str(root)!r} holds the part {part.name!r} with {name} = {met.get(name, 'its default')}, not "
        f"{part.key.get(name, 'its default')}; choose another --out, or replace such parts with --force"
    )
