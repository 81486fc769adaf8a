"""`reproduce flow`: the runs of the setting one after the other, each in a file of its own, and what they come to."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcprune.data.base import Dataset
from mcprune.errors import ConfigError, FolderError, McpruneError
from mcprune.session.flow_claims import rows, summary_words, table
from mcprune.session.flow_setting import MEASURES, Setting, make_rows
from mcprune.session.jobs import JOBS, RUNS, write_json
from mcprune.session.records import check_free, read_json

RESULTS = "results.json"
KIND = "reproduce flow"


@dataclass(frozen=True)
class Unit:
    """A run: a network and a seed, unpruned (`measure` is "") or pruned by a measure to a fraction."""

    network: str
    seed: int
    measure: str = ""
    fraction: float = 0.0

    @property
    def name(self) -> str:
        """Of its file."""
        tail = f"{self.measure}-{self.fraction:g}" if self.measure else "dense"
        return f"{self.network}-seed{self.seed}-{tail}"


def units(setting: Setting) -> list[Unit]:
    """Return every run; those of one network and seed follow each other, since they share their first epoch."""
    return [
        unit
        for network in setting.networks
        for seed in setting.seeds
        for unit in (
            Unit(network, seed),
            *(Unit(network, seed, measure, fraction) for fraction in setting.fractions for measure in MEASURES),
        )
    ]


class Store:
    """The finished runs below a folder.

    Raises
    ------
    ConfigError
        A finished run had other options, and `force` is not given.
    FolderError
        The folder holds something else, or cannot be written.
    """

    def __init__(self, root: Path, setting: Setting, *, force: bool = False) -> None:
        self.root, self.setting = root, setting
        self.units = units(setting)
        self.failed: dict[str, str] = {}
        if (root / JOBS).exists():
            held = read_json(root, JOBS)
            if held.get("kind") != KIND:
                raise FolderError(
                    f"the folder {str(root)!r} holds runs of {str(held.get('kind'))!r}, not of {KIND!r}; choose another --out"
                )
        else:
            check_free(root, force=False)
        self._found: dict[str, dict[str, Any]] = {}
        for unit in self.units:
            found = self._read(unit)
            if found is None:
                continue
            asked = json.loads(json.dumps(self._asked(unit)))
            if found["asked"] == asked:
                self._found[unit.name] = found
            elif not force:
                other = next(key for key in asked if found["asked"].get(key) != asked[key])
                raise ConfigError(
                    f"{str(root)!r} holds the run {unit.name!r} with {other} = {found['asked'].get(other)}, not {asked[other]}; choose "
                    "another --out, or replace such runs with --force"
                )

    def found(self, unit: Unit) -> dict[str, Any] | None:
        """Return what a finished run came to."""
        return self._found.get(unit.name)

    def finished(self) -> dict[Unit, dict[str, Any]]:
        """Return all that is finished."""
        return {unit: found for unit in self.units if (found := self.found(unit)) is not None}

    def run(self, dataset: Dataset) -> Iterator[tuple[Unit, str]]:
        """Make what is not finished, in order; yield each with `made`, `kept` or the message of its failure.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C; the run that went on is made anew the next time.
        """
        from mcprune.session.flow_training import Study
        from mcprune.session.machine import pick_device, use_threads

        use_threads(self.setting.threads)
        device = pick_device(self.setting.device)
        study: Study | None = None
        for unit in self.units:
            if unit.name in self._found:
                yield unit, "kept"
                continue
            try:
                if study is None or (study.network, study.seed) != (unit.network, unit.seed):
                    study = None  # its memory first
                    images = make_rows(dataset, self.setting.size, unit.network)
                    study = Study(unit.network, unit.seed, images, self.setting.size, device)
                found = (
                    study.pruned(unit.measure, unit.fraction) if unit.measure else study.dense(self.setting.fractions)
                )
                self._write(unit, {**found, "device": device.type})
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"; finished runs stay in {self.root}, and the same command goes on with the others"
                ) from None
            except (ConfigError, FolderError):
                raise  # all others would meet the same
            except Exception as error:
                # A measure that diverges must not stop the others.
                is_ours = isinstance(error, McpruneError)
                self.failed[unit.name] = str(error) if is_ours else f"{type(error).__name__}: {error}"
                if not is_ours:
                    write_json(self.root / RUNS / f"{unit.name}.failed.json", {"traceback": traceback.format_exc()})
                yield unit, self.failed[unit.name]
                continue
            yield unit, "made"

    def _asked(self, unit: Unit) -> dict[str, Any]:
        asked = self.setting.asked(unit.network)
        # The look of an unpruned run is at these fractions.
        return asked if unit.measure else {**asked, "fractions": list(self.setting.fractions)}

    def _path(self, unit: Unit) -> Path:
        return self.root / RUNS / f"{unit.name}.json"

    def _read(self, unit: Unit) -> dict[str, Any] | None:
        if not self._path(unit).exists():
            return None
        try:
            found = read_json(self._path(unit).parent, self._path(unit).name)
        except FolderError:  # half written: made again
            return None
        return found if isinstance(found.get("asked"), dict) and "accuracy" in found else None

    def _write(self, unit: Unit, found: Mapping[str, Any]) -> None:
        write_json(self.root / JOBS, {"kind": KIND, "words": self.setting.words()})
        write_json(self._path(unit), {"asked": self._asked(unit), **found})
        # As it will be read: numbers that are not finite are None.
        again = self._read(unit)
        assert again is not None
        self._found[unit.name] = again
        (self.root / RUNS / f"{unit.name}.failed.json").unlink(missing_ok=True)


def write_results(store: Store) -> dict[str, Any]:
    """Write results.json and return what it holds."""
    from mcprune.session.machine import cores, versions

    setting, finished = store.setting, store.finished()
    plain = [
        {"network": unit.network, "seed": unit.seed, "measure": unit.measure, "fraction": unit.fraction, **found}
        for unit, found in finished.items()
    ]
    made = rows(plain)
    devices = sorted({run["device"] for run in plain})
    found = {
        "source": "A Gradient Flow Framework for Analyzing Network Pruning (Lubana and Dick, ICLR 2021)",
        "setting": {
            "scale": setting.scale, "data": setting.data, "networks": list(setting.networks), "seeds": list(setting.seeds),
            "fractions": list(setting.fractions), "words": setting.words(),
        },
        "machine": {"cores": cores(), "threads": setting.threads, "devices": devices, **versions()},
        "rows": made,
        "summary": summary_words(made),
        "table": table(plain),
        "unfinished": [unit.name for unit in store.units if unit not in finished],
        "failures": store.failed,
        "runs": [{key: value for key, value in run.items() if key not in ("asked", "scatter", "curve")} for run in plain],
    }  # fmt: skip
    write_json(store.root / RESULTS, found)
    return found
