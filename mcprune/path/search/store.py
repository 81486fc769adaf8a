"""The finished parts of a path in its folder, from which a path that was cut off goes on to the same bits."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from torch import nn

from mcprune.config.schema import Config, make_config
from mcprune.data.fingerprint import fingerprint
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.weights import FROM_ARRAY
from mcprune.environment import describe_machine, machine_differences
from mcprune.errors import ConfigError, FolderError, brief
from mcprune.path.search.levels import Levels
from mcprune.session.build.plan import Plan
from mcprune.state import put_tensors, serialize
from mcprune.storage.atomic import Lock, write_whole
from mcprune.storage.checkpoint import read_checkpoint, write_checkpoint
from mcprune.storage.events import plain
from mcprune.storage.layout import PATH_UNFINISHED, read_json
from mcprune.types import JsonObject

REQUEST, CLOCK, ENDING, MODEL = "request.json", "clock.json", ".safetensors", "model"
FORMAT, SCHEMA = "mcprune-path-request", 1


class PathRequest(NamedTuple):
    """A path as it was asked for.

    Attributes
    ----------
    config : Config
    levels : Levels or None
        None for `auto`.
    at : str or None
        The levels that the command writes as runs, see `mcprune path --at`.
    needs : tuple of str
        What a resume must get from Python again: `data`, `model`, `objective`.
    """

    config: Config
    levels: Levels | None
    at: str | None = None
    needs: tuple[str, ...] = ()


class PathStore:
    """Keeps each part of a path once it is finished, and the state of the search in between; without a folder it keeps nothing.

    A part is a tree of plain values, arrays and tensors, and has a file of its own, which is written in one step.

    Parameters
    ----------
    folder : Path, optional
        Of the path, which is locked until `close`.
    request : PathRequest, optional
        Of a new path.

    Raises
    ------
    FolderError
        Another process has the folder open.

    Attributes
    ----------
    is_resumed : bool
    pinned : dict
        Options of a resumed path as they were settled then.
    """

    def __init__(self, folder: Path | None = None, request: PathRequest | None = None) -> None:
        self.folder, self.request = folder, request
        self.is_resumed = False
        self.pinned: dict[str, object] = {}
        self._differs = False
        self._facts: JsonObject = {}
        self._before = 0.0
        self._began = time.monotonic()
        self._lock: Lock | None = None
        if folder is not None and folder.is_dir():
            self._lock = Lock(folder)

    @classmethod
    def open(cls, folder: Path, *, anyway: bool = False) -> Self:
        """Return the store of a path that was cut off.

        Parameters
        ----------
        folder : Path
        anyway : bool
            Continue though versions, threads, device or data differ; then the bits of the result may differ.

        Raises
        ------
        FolderError
            There is nothing to continue, or another process has it open.
        """
        if not (folder / PATH_UNFINISHED / REQUEST).exists():
            raise FolderError(
                f"The path in {str(folder)!r} is finished, so there is nothing to resume. See mcprune path {folder}."
            )
        store = cls(folder)
        try:
            content = read_json(folder / PATH_UNFINISHED, REQUEST)
            if content.get("format") != FORMAT or content.get("schema") != SCHEMA:
                raise FolderError(f"{str(folder)!r} was written by another mcprune. Use that version, or --force.")
            levels = None if content["levels"] is None else Levels(tuple(content["levels"]), content["unit"])
            config = make_config(**content["options"])
            store.request = PathRequest(config, levels, content["at"], tuple(content["needs"]))
            then = content["machine"]
            store.pinned = {"threads": int(then["threads"]), "device": str(then["device"])}
            different = machine_differences(then)
            if different and not anyway:
                raise FolderError(
                    f"{str(folder)!r} was started elsewhere: {'; '.join(different)}. The path would not end in the same bits. "
                    "Use --anyway to continue it all the same."
                )
            store._facts, store._differs = content, anyway
            if (folder / PATH_UNFINISHED / CLOCK).exists():
                store._before = float(read_json(folder / PATH_UNFINISHED, CLOCK)["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            store.close()
            raise FolderError(
                f"{str(folder / PATH_UNFINISHED / REQUEST)!r} is broken ({error}). Start the path again with --force."
            ) from None
        except BaseException:
            store.close()
            raise
        store.is_resumed = True
        return store

    @property
    def began(self) -> float:
        """When the path began, by time.monotonic, as if it had not been cut off."""
        return self._began - self._before

    def begin(self, plan: Plan) -> None:
        """Write what was asked for, and of what data; of a resumed path compare the data.

        Raises
        ------
        FolderError
            The folder cannot be written, or the data are others.
        """
        if self.folder is None or self.request is None:
            return
        data = fingerprint(plan.splits)
        if self.is_resumed:
            if data != self._facts["data"] and not self._differs:
                raise FolderError(
                    f"The data {plan.splits.name!r} are not those that the path in {str(self.folder)!r} was started with. "
                    "Restore them, or use --anyway."
                )
            return
        config, levels, at, needs = self.request
        content = {
            "format": FORMAT,
            "schema": SCHEMA,
            "options": {name: value for name, value in config.set_options().items() if name not in ("out", "force")},
            "levels": None if levels is None else levels.numbers,
            "unit": "sites" if levels is None else levels.unit,
            "at": at,
            "needs": needs,
            "machine": describe_machine(plan.runtime.threads, plan.device.type),
            "data": data,
        }
        try:
            self._parts.parent.mkdir(parents=True, exist_ok=True)
            if self._lock is None:
                self._lock = Lock(self._parts.parent)
            if self._parts.exists():
                shutil.rmtree(self._parts)
            self._parts.mkdir()
            if plan.is_users_model:
                self.save(MODEL, serialize(plan.origin))
            write_whole(self._parts / REQUEST, (json.dumps(plain(content), indent=1) + "\n").encode())
        except OSError as error:
            raise self._unwritable(error) from None

    def with_first_parameters(self, model: nn.Module | None) -> nn.Module | None:
        """Return a copy of the user's model as the path began with it, where it is resumed; else the model.

        Raises
        ------
        FolderError
            It is another kind of model.
        """
        if model is None or not self.is_resumed or (saved := self.load(MODEL)) is None:
            return model
        copied = copy.deepcopy(model)
        try:
            put_tensors(copied, saved["parameters"], saved["buffers"])
        except ValueError as error:
            raise self.broken(f"the model is of another kind ({brief(error)})") from None
        return copied

    def load(self, name: str) -> JsonObject | None:
        """Return a part by name; None where it is not finished yet.

        Raises
        ------
        FolderError
            Its file is broken.
        """
        if self.folder is None or not (self._parts / (name + ENDING)).exists():
            return None
        try:
            return read_checkpoint(self._parts / (name + ENDING))
        except FolderError as error:
            raise self.broken(str(error)) from None

    def save(self, name: str, tree: Mapping[str, object]) -> None:
        """Write a part; one of that name is replaced.

        Raises
        ------
        FolderError
            It cannot be written; earlier parts are not touched.
        """
        if self.folder is None:
            return
        seconds = {"seconds": time.monotonic() - self.began}
        try:
            write_checkpoint(self._parts / (name + ENDING), dict(tree))
            write_whole(self._parts / CLOCK, json.dumps(seconds).encode())
        except OSError as error:
            raise self._unwritable(error) from None

    def remove(self, name: str) -> None:
        """Remove a part that is needed no more."""
        if self.folder is not None:
            with suppress(OSError):
                (self._parts / (name + ENDING)).unlink(missing_ok=True)

    def finish(self) -> None:
        """Remove all parts: the path is written."""
        if self.folder is not None:
            with suppress(OSError):
                shutil.rmtree(self._parts)

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def broken(self, why: str) -> FolderError:
        """Return the error that says that a part cannot be used."""
        return FolderError(f"The path in {str(self.folder)!r} cannot be resumed: {why}. Start it again with --force.")

    @property
    def _parts(self) -> Path:
        assert self.folder is not None
        return self.folder / PATH_UNFINISHED

    def _unwritable(self, error: OSError) -> FolderError:
        return FolderError(
            f"{str(self.folder)!r} cannot be written: {error.strerror or error}. Make room, or choose another --out."
        )


def parts_from_python(config: Config, *, has_model: bool, has_function: bool) -> tuple[str, ...]:
    """Return what a resume must get from Python again."""
    asked = config.data_settings()
    is_data = asked.source == FROM_PYTHON or asked.reading.sample_weight == FROM_ARRAY
    parts = {"data": is_data, "model": has_model, "objective": has_function}
    return tuple(name for name, is_missing in parts.items() if is_missing)


def check_parts(store: PathStore, *, has_data: bool, has_model: bool, has_function: bool) -> None:
    """Refuse to resume a path without what came from Python, or with what it did not have.

    Raises
    ------
    ConfigError
        Naming it, and the call.
    """
    assert store.request is not None
    call = f"mcprune.resume_path({str(store.folder)!r}, "
    for name, has_it, text in (
        ("data", has_data, "data=(X, y)"),
        ("model", has_model, "model=..."),
        ("objective", has_function, "objective=..."),
    ):
        if name in store.request.needs and not has_it:
            raise ConfigError(
                f"The {name} of the path in {str(store.folder)!r} came from Python and is not in its folder. "
                f"Resume from Python: {call}{text})."
            )
        if name != "data" and has_it and name not in store.request.needs:
            raise ConfigError(
                f"The path in {str(store.folder)!r} did not get its {name} from Python. Leave {name} out."
            )
