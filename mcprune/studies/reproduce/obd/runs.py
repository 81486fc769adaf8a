"""`reproduce obd`: Optimal Brain Damage tried on MNIST: trained nets, their weights pruned in one shot, and what a post states of it.

References
----------
.. [1] "Neural network compression using optimal brain damage" (September 2016), https://shekkizh.github.io/posts/2016/09/neural-networks-pruning/
.. [2] The public code that goes with it: github.com/shekkizh/TensorflowProjects, folder Model_Pruning.
.. [3] LeCun, Denker & Solla (1990), Optimal Brain Damage, NIPS 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import torch

from mcprune.config.rules import LARGE
from mcprune.data.base import Dataset
from mcprune.data.prepare import Splits, prepare
from mcprune.environment import cores, use_threads
from mcprune.studies.base import ClaimStudy, Outcome, Results
from mcprune.studies.claims import Claim
from mcprune.studies.parts import FOLDER, Part, Parts
from mcprune.studies.reproduce.obd.claims import claims
from mcprune.studies.reproduce.obd.curves import GLOBAL, Curves
from mcprune.studies.reproduce.obd.net import Net
from mcprune.studies.reproduce.obd.setting import NETS, Setting

KIND = "reproduce obd"


class ObdStudy(ClaimStudy):
    """The nets and chains of a setting below a folder, and the claims of the post.

    Parameters
    ----------
    root : Path
    setting : Setting
    dataset : Dataset
    force : bool
        Finished parts that had other options are replaced.

    Raises
    ------
    ConfigError, FolderError
        As of `Parts`.
    """

    source = "Neural network compression using optimal brain damage, a post of September 2016"
    source_says = "the post says"

    def __init__(self, root: Path, setting: Setting, dataset: Dataset, *, force: bool = False) -> None:
        self.root, self.setting, self.dataset, self.threads = root, setting, dataset, setting.threads

        @lru_cache(maxsize=1)  # the rows of one seed at a time
        def prepared(seed: int) -> Splits:
            parts = setting.config(seed).data_settings()
            return prepare(dataset, seed=seed, validation=parts.validation, test=parts.test, scale=parts.scale)

        self.nets = {
            (net, seed): Net(root / FOLDER / f"{net}-seed{seed}.npz", setting, dataset, prepared, net, seed)
            for seed in setting.seeds
            for net in NETS
        }
        # The chains come last: the rows of the post need none.
        parts = [
            Part(one.name, {**setting.key(), "net": one.net, "seed": one.seed}, one.measure, one.is_current)
            for one in self.nets.values()
        ]
        for one in self.nets.values():
            for percent in setting.chain_percents:
                key = {**setting.key(), "net": one.net, "seed": one.seed, "percent": percent, "chain": setting.chain}
                name = f"{one.name}-chain{percent}"
                parts.append(Part(name, key, partial(one.search, percent), one.is_current))
        self.parts = Parts(root, KIND, parts, force=force)

    @property
    def size(self) -> int:
        """See `Study.size`."""
        return len(self.parts.parts)

    def failures(self) -> dict[str, str]:
        """See `Study.failures`."""
        return self.parts.failures()

    def describe(self, name: str) -> str:
        """See `Study.describe`."""
        figures = self.parts.value(name) or {}
        right = f"{figures['dense']:.4f} unpruned" if "dense" in figures else f"{figures['accuracy']:.4f}"
        return f"{right}, {figures['seconds']['all']:.1f} s"

    def run(self) -> Iterator[Outcome]:
        """See `Study.run`."""
        before = torch.get_num_threads()
        chosen = self.setting.config(0).runtime.threads or (cores() if self.dataset.n_rows >= LARGE else 1)
        use_threads(chosen)
        try:
            yield from self.parts.run()
        finally:
            torch.set_num_threads(before)

    def curves(self) -> Curves:
        """Return the curves of all that is finished."""
        curves = Curves({}, {}, {})
        for (net, seed), one in self.nets.items():
            value = self.parts.value(one.name)
            if value is None:
                continue
            curves.dense.setdefault(net, {})[seed] = value["dense"]
            for curve in value["curves"]:
                curves.add(
                    (net, curve["measure"], curve["how"]), seed, curve["percent"], curve["accuracy"], curve["loss"]
                )
            chains = {
                percent: self.parts.value(f"{one.name}-chain{percent}") for percent in self.setting.chain_percents
            }
            done = {percent: value for percent, value in chains.items() if value is not None}
            curves.add(
                (net, "chain", GLOBAL),
                seed,
                list(done),
                [value["accuracy"] for value in done.values()],
                [value["loss"] for value in done.values()],
            )
        return curves

    def claims(self) -> list[Claim]:
        """See `ClaimStudy.claims`."""
        return claims(self.curves())

    def results(self) -> Results:
        """See `Study.results`."""
        setting, curves = self.setting, self.curves()
        values = {part.name: self.parts.value(part.name) for part in self.parts.parts}
        return {
            **super().results(),
            "setting": {
                "data": setting.data, "seeds": list(setting.seeds), "quick": setting.quick, "hidden": list(setting.hidden),
                "epochs": setting.epochs, "percents": list(setting.percents), "chain_percents": list(setting.chain_percents),
                "chain": setting.chain, "description": setting.description(),
            },
            "dense": [
                {"net": net, "seed": seed, "accuracy": value} for net, by_seed in curves.dense.items() for seed, value in by_seed.items()
            ],
            "curves": [
                {"net": net, "measure": measure, "how": how, "seed": seed, "percent": list(points),
                 "accuracy": list(points.values()), "loss": list(curves.loss[net, measure, how][seed].values())}
                for (net, measure, how), by_seed in curves.accuracy.items()
                for seed, points in by_seed.items()
            ],
            "seconds": {name: value["seconds"] for name, value in values.items() if value is not None},
        }  # fmt: skip

    def write_page(self, path: Path, results: Results) -> None:
        """See `Study.write_page`."""
        from mcprune.studies.reproduce.obd.page import write_page

        write_page(path, results, self.curves())
