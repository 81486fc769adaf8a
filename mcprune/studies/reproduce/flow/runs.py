"""`reproduce flow`: the runs of the setting one after the other, each in a file of its own, and what they come to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcprune.data.base import Dataset
from mcprune.errors import ConfigError, FolderError
from mcprune.studies.jobs import write_json
from mcprune.studies.parts import Part, Parts
from mcprune.studies.reproduce.flow.claims import rows, summary_words, table
from mcprune.studies.reproduce.flow.setting import MEASURES, Setting, make_rows

if TYPE_CHECKING:  # torch is loaded when a run is made
    import torch

    from mcprune.studies.reproduce.flow.training import Study

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
    """The finished runs below a folder, as parts of a study.

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
        self._study: Study | None = None
        self._make: Callable[[Unit], dict[str, Any]] | None = None
        parts = [Part(unit.name, self._key(unit), partial(self._made, unit), _is_whole) for unit in self.units]
        self._parts = Parts(
            root, KIND, parts, force=force, fatal=(ConfigError, FolderError)
        )  # all others would meet the same

    @property
    def failed(self) -> dict[str, str]:
        """The message of each run that failed when it was last tried."""
        return self._parts.failures()

    def found(self, unit: Unit) -> dict[str, Any] | None:
        """Return what a finished run came to."""
        return self._parts.value(unit.name)

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
        from mcprune.environment import pick_device, use_threads

        use_threads(self.setting.threads)
        device = pick_device(self.setting.device)
        self._make = partial(self._trained, dataset, device)
        for unit, told in zip(self.units, self._parts.run(), strict=True):
            yield unit, told.message or told.status

    def _made(self, unit: Unit) -> dict[str, Any]:
        assert self._make is not None
        return self._make(unit)

    def _trained(self, dataset: Dataset, device: torch.device, unit: Unit) -> dict[str, Any]:
        from mcprune.studies.reproduce.flow.training import Study

        if self._study is None or (self._study.network, self._study.seed) != (unit.network, unit.seed):
            self._study = None  # its memory first
            images = make_rows(dataset, self.setting.size, unit.network)
            self._study = Study(unit.network, unit.seed, images, self.setting.size, device)
        study, fractions = self._study, self.setting.fractions
        found = study.pruned(unit.measure, unit.fraction) if unit.measure else study.dense(fractions)
        return {**found, "device": device.type}

    def _key(self, unit: Unit) -> dict[str, Any]:
        # Threads too: torch's last bits depend on them, and so early in training other bits drop other channels.
        asked = {**self.setting.asked(unit.network), "threads": self.setting.threads}
        # The look of an unpruned run is at these fractions.
        key = asked if unit.measure else {**asked, "fractions": list(self.setting.fractions)}
        return dict(json.loads(json.dumps(key)))


def _is_whole(found: Mapping[str, Any]) -> bool:
    return "accuracy" in found


def write_results(store: Store) -> dict[str, Any]:
    """Write results.json and return what it holds."""
    from mcprune.environment import cores, versions

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
        "runs": [{key: value for key, value in run.items() if key not in ("scatter", "curve")} for run in plain],
    }  # fmt: skip
    write_json(store.root / RESULTS, found)
    return found
