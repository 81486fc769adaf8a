"""`reproduce flow`: the runs of the setting one after the other, each in a file of its own, and their claims."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mcprune.data.base import Dataset
from mcprune.errors import ConfigError, FolderError
from mcprune.report.terminal import Output
from mcprune.studies.base import ClaimStudy, Outcome, Results
from mcprune.studies.claims import Claim
from mcprune.studies.parts import Figures, Part, Parts
from mcprune.studies.reproduce.flow.claims import accuracy_table, claims, table
from mcprune.studies.reproduce.flow.setting import Setting, Unit, make_rows, units

if TYPE_CHECKING:  # torch is loaded when a run is trained
    from mcprune.studies.reproduce.flow.training import Training

KIND = "reproduce flow"


class FlowStudy(ClaimStudy):
    """The runs of the paper's setting below a folder, and their claims.

    Parameters
    ----------
    root : Path
    setting : Setting
    dataset : Dataset
    force : bool
        Finished runs that had other options are replaced.

    Raises
    ------
    ConfigError
        A finished run had other options, and `force` is not set.
    DataError
        A network cannot take the data.
    FolderError
        The folder holds something else, or cannot be written.
    """

    source = "A Gradient Flow Framework for Analyzing Network Pruning (Lubana and Dick, ICLR 2021)"
    source_says = "the paper says"

    def __init__(self, root: Path, setting: Setting, dataset: Dataset, *, force: bool = False) -> None:
        self.root, self.setting, self.dataset, self.threads = root, setting, dataset, setting.threads
        self.units = {unit.name: unit for unit in units(setting)}
        self._training: Training | None = None
        parts = [
            Part(unit.name, self._key(unit), partial(self._train, unit), _is_whole) for unit in self.units.values()
        ]
        # Errors of options and folders end the study: all other runs would raise them too.
        self.parts = Parts(root, KIND, parts, force=force, fatal=(ConfigError, FolderError))
        for network in setting.networks:  # refused before any run
            make_rows(dataset, setting.size, network)

    @property
    def size(self) -> int:
        """See `Study.size`."""
        return len(self.units)

    def failures(self) -> dict[str, str]:
        """See `Study.failures`."""
        return self.parts.failures()

    def finished(self) -> dict[Unit, Figures]:
        """Return the figures of every finished run."""
        return {unit: figures for unit in self.units.values() if (figures := self.parts.value(unit.name)) is not None}

    def describe(self, name: str) -> str:
        """See `Study.describe`."""
        run, unit = self.parts.value(name) or {}, self.units[name]
        channels = f"{run['kept']:,} of {run['sites']:,} channels" if unit.measure else f"{run['sites']:,} channels"
        return f"{channels}, accuracy {run['accuracy']:.4f}, {run['seconds']:.1f} s"

    def run(self) -> Iterator[Outcome]:
        """See `Study.run`."""
        from mcprune.environment import use_threads

        use_threads(self.setting.threads)
        yield from self.parts.run()

    def claims(self) -> list[Claim]:
        """See `ClaimStudy.claims`."""
        return claims(self._flat())

    def results(self) -> Results:
        """See `Study.results`."""
        setting, runs, finished = self.setting, self._flat(), self.finished()
        return {
            **super().results(),
            "setting": {
                "scale": setting.scale, "data": setting.data, "networks": list(setting.networks), "seeds": list(setting.seeds),
                "fractions": list(setting.fractions), "description": setting.description(),
            },
            "machine": {"devices": sorted({run["device"] for run in runs})},
            "table": table(runs),
            "unfinished": [unit.name for unit in self.units.values() if unit not in finished],
            "runs": [{key: value for key, value in run.items() if key not in ("scatter", "curve")} for run in runs],
        }  # fmt: skip

    def report(self, results: Results, output: Output) -> None:
        """See `Study.report`."""
        super().report(results, output)
        output.lines(["test accuracy after training"])
        output.table(*accuracy_table(results))

    def write_page(self, path: Path, results: Results) -> None:
        """See `Study.write_page`."""
        from mcprune.studies.reproduce.flow.page import write_page

        write_page(path, self.finished(), results)

    def _flat(self) -> list[Figures]:
        return [
            {"network": unit.network, "seed": unit.seed, "measure": unit.measure, "fraction": unit.fraction, **figures}
            for unit, figures in self.finished().items()
        ]

    def _train(self, unit: Unit) -> Figures:
        from mcprune.environment import pick_device
        from mcprune.studies.reproduce.flow.training import Training

        device = pick_device(self.setting.device)
        if self._training is None or (self._training.network, self._training.seed) != (unit.network, unit.seed):
            self._training = None  # its memory first
            images = make_rows(self.dataset, self.setting.size, unit.network)
            self._training = Training(unit.network, unit.seed, images, self.setting.size, device)
        training, fractions = self._training, self.setting.fractions
        figures = training.pruned(unit.measure, unit.fraction) if unit.measure else training.dense(fractions)
        return {**figures, "device": device.type}

    def _key(self, unit: Unit) -> Figures:
        # Threads too: torch's last bits depend on them, and so early in training other bits drop other channels.
        options = {**self.setting.options(unit.network), "threads": self.setting.threads}
        # An unpruned run is also measured at these fractions.
        key = options if unit.measure else {**options, "fractions": list(self.setting.fractions)}
        return dict(json.loads(json.dumps(key)))


def _is_whole(figures: Figures) -> bool:
    return "accuracy" in figures
