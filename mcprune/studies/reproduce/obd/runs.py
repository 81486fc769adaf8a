"""`reproduce obd`: Optimal Brain Damage tried on MNIST: trained nets, their weights pruned in one shot, and what a post states of it.

References
----------
.. [1] "Neural network compression using optimal brain damage" (September 2016), https://shekkizh.github.io/posts/2016/09/neural-networks-pruning/
.. [2] The public code that goes with it: github.com/shekkizh/TensorflowProjects, folder Model_Pruning.
.. [3] LeCun, Denker & Solla (1990), Optimal Brain Damage, NIPS 2.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from mcprune.config.schema import Config, make_config
from mcprune.data.base import Dataset
from mcprune.data.prepare import Prepared, prepare
from mcprune.environment import cores, use_threads, versions
from mcprune.errors import FolderError
from mcprune.methods.importance.scorer import Scorer, ScoreSettings
from mcprune.methods.importance.selection import select
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy
from mcprune.session.build.defaults import LARGE
from mcprune.session.interrupt import CODES
from mcprune.session.steering import Steering
from mcprune.sites.site_map import SiteMap, site_map
from mcprune.storage.events import Event, Stopped
from mcprune.studies.jobs import write_json
from mcprune.studies.parts import FOLDER, Part, Parts
from mcprune.studies.reproduce.obd.claims import DROPOUT, GLOBAL, LAYERWISE, PLAIN, SIGNED, Figures, rows, summary_words
from mcprune.training.trainer import accuracy, fit
from mcprune.types import BoolArray, FloatArray

RESULTS, KIND = "results.json", "reproduce obd"
# The post drops 1 ... 19% layer by layer and 10 ... 70% of all layers; both are dropped both ways here, and more.
LIGHT, POST, BEYOND = tuple(range(1, 20)), tuple(range(10, 80, 10)), (80, 90, 95, 98)
KEEP_PROBABILITY = 0.8
NETS = {PLAIN: 0.0, DROPOUT: round(1.0 - KEEP_PROBABILITY, 6)}
MEASURES = ("magnitude", "obd", SIGNED, "obd-row-sum")
HOWS = (LAYERWISE, GLOBAL)
BATCH, RATE = 128, 2e-3
# Rows of a part of the forward pass over the test rows.
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Setting:
    """What is reproduced on which data, and how long; `threads` as `run` takes it."""

    data: str
    seeds: tuple[int, ...] = (0, 1, 2)
    quick: bool = False
    threads: Any = None
    hidden: tuple[int, ...] = (50, 50, 50, 50)
    epochs: int = 12
    percents: tuple[int, ...] = tuple(sorted({*LIGHT, *POST, *BEYOND}))
    chain_percents: tuple[int, ...] = (*POST, *BEYOND)
    # A frozen classifier's batches only count the chain's blocks: 99 of them on MNIST.
    chain: dict[str, Any] = field(default_factory=lambda: {"epochs": 1, "batch_size": 512})

    def options(self, seed: int) -> dict[str, Any]:
        """Return the options of the chain's runs, as `make_config` takes them."""
        threads = {} if self.threads is None else {"threads": self.threads}
        return {
            "data": self.data, "seed": seed, "compare": "no", "sites": "weights", "frozen": True, "finetune": "none", "start": "obd",
            "keep_schedule": "constant", "batch_size": BATCH, **threads, **self.chain,
        }  # fmt: skip

    def config(self, seed: int) -> Config:
        """Return the configuration that says how rows are split and scaled, for the nets as for the chain.

        Raises
        ------
        ConfigError
            Options that cannot be.
        """
        return make_config(**self.options(seed))

    def key(self) -> dict[str, Any]:
        """Return what the figures of a net depend on, besides its own name."""
        threads = {} if self.threads is None else {"threads": int(self.config(0).runtime.threads or 0)}
        return {
            "data": self.data, "hidden": list(self.hidden), "epochs": self.epochs, "percents": list(self.percents), **threads,
        }  # fmt: skip

    def words(self) -> str:
        """Say what the setting is, and which part of it the post does not give."""
        layers = "-".join(map(str, self.hidden))
        noisy = (
            " Small data: accuracies are steps of a fraction of a percent, and verdicts may differ from MNIST's."
            if self.quick
            else ""
        )
        return (
            f"{self.data}, seeds {', '.join(map(str, self.seeds))}. As in the post: a ReLU net with four hidden layers ({layers}), biases "
            "left alone, one shot after training, every percentage from the same trained net, no retraining, accuracy on the test rows, "
            f"dropout with keep probability {KEEP_PROBABILITY:g}. Not in the post, so chosen here: {self.epochs} epochs of Adam in batches "
            f"of {BATCH} with one cycle of the rate, every percentage both layer-wise and over all layers, percentages above 70, at least "
            "one weight left in each layer. OBD is h_kk theta^2 / 2 with the true diagonal of the Hessian over all training rows; 'Hessian "
            "row sum' and 'signed weight' are what the post's public code sorts by: H times a vector of ones on one batch, and the weight "
            f"itself, so that the most negative go first.{noisy}"
        )


QUICK: dict[str, Any] = {
    "hidden": (30, 30, 30, 30),
    "epochs": 100,
    "chain_percents": (30, 50, 70, 90),
    "chain": {"epochs": 6},
}


class Study:
    """The parts of a setting below a folder, and what came of them.

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

    def __init__(self, root: Path, setting: Setting, dataset: Dataset, *, force: bool = False) -> None:
        self.setting, self.dataset = setting, dataset

        @lru_cache(maxsize=1)  # one seed's rows at a time are held
        def prepared(seed: int) -> Prepared:
            config = setting.config(seed)
            return prepare(
                dataset, seed=seed, validation=config.data.validation, test=config.data.test, scale=config.data.scale
            )

        self.nets = {
            (net, seed): Net(root / FOLDER / f"{net}-seed{seed}.npz", setting, dataset, prepared, net, seed)
            for seed in setting.seeds
            for net in NETS
        }
        # The chains come last: the rows of the post need none.
        found = [
            Part(one.name, {**setting.key(), "net": one.net, "seed": one.seed}, one.measure, one.is_mine)
            for one in self.nets.values()
        ]
        for one in self.nets.values():
            for percent in setting.chain_percents:
                key = {**setting.key(), "net": one.net, "seed": one.seed, "percent": percent, "chain": setting.chain}
                name = f"{one.name}-chain{percent}"
                found.append(Part(name, key, partial(one.search, percent), one.is_mine))
        self.parts = Parts(root, KIND, found, force=force)

    def run(self) -> Iterator[Any]:
        """Make what is not finished; see `Parts.run`."""
        before = torch.get_num_threads()
        chosen = self.setting.config(0).runtime.threads or (cores() if self.dataset.n_rows >= LARGE else 1)
        use_threads(chosen)
        try:
            yield from self.parts.run()
        finally:
            torch.set_num_threads(before)

    def figures(self) -> Figures:
        """Return what is finished, as the rows need it."""
        found = Figures({}, {}, {})
        for (net, seed), one in self.nets.items():
            value = self.parts.value(one.name)
            if value is None:
                continue
            found.dense.setdefault(net, {})[seed] = value["dense"]
            for curve in value["curves"]:
                found.add(
                    (net, curve["measure"], curve["how"]), seed, curve["percent"], curve["accuracy"], curve["loss"]
                )
            made = {percent: self.parts.value(f"{one.name}-chain{percent}") for percent in self.setting.chain_percents}
            done = {percent: value for percent, value in made.items() if value is not None}
            found.add(
                (net, "chain", GLOBAL),
                seed,
                list(done),
                [value["accuracy"] for value in done.values()],
                [value["loss"] for value in done.values()],
            )
        return found

    def write_results(self) -> dict[str, Any]:
        """Write results.json and return what it holds."""
        setting, figures = self.setting, self.figures()
        made = rows(figures)
        seconds = {
            part.name: value["seconds"]
            for part in self.parts.parts
            if (value := self.parts.value(part.name)) is not None
        }
        found: dict[str, Any] = {
            "source": "Neural network compression using optimal brain damage, a post of September 2016",
            "setting": {
                "data": setting.data, "seeds": list(setting.seeds), "quick": setting.quick, "hidden": list(setting.hidden),
                "epochs": setting.epochs,
                "percents": list(setting.percents), "chain_percents": list(setting.chain_percents), "chain": setting.chain,
                "words": setting.words(),
            },
            "machine": {"cores": cores(), "threads": setting.threads, **versions()},
            "rows": made,
            "summary": summary_words(made),
            "failures": self.parts.failures(),
            "dense": [
                {"net": net, "seed": seed, "accuracy": value} for net, by_seed in figures.dense.items() for seed, value in by_seed.items()
            ],
            "curves": [
                {"net": net, "measure": measure, "how": how, "seed": seed, "percent": list(points),
                 "accuracy": list(points.values()), "loss": list(figures.loss[net, measure, how][seed].values())}
                for (net, measure, how), by_seed in figures.accuracy.items()
                for seed, points in by_seed.items()
            ],
            "seconds": seconds,
        }  # fmt: skip
        write_json(self.parts.root / RESULTS, found)
        return found


class Net:
    """One trained net: made once and kept in a file, scored once by each measure, pruned at every percentage."""

    def __init__(
        self, path: Path, setting: Setting, dataset: Dataset, prepared: Callable[[int], Prepared], net: str, seed: int
    ) -> None:
        self.path, self.setting, self.dataset, self.net, self.seed = path, setting, dataset, net, seed
        self.name = path.stem
        self._prepared = prepared
        self._digest = ""  # of the net in the file, nothing while it was not read

    @property
    def data(self) -> Prepared:
        """The rows: split and scaled as the chain's runs do it."""
        return self._prepared(self.seed)

    @property
    def _key(self) -> str:
        """What the trained net depends on."""
        return json.dumps([self.setting.key() | {"percents": None}, self.net, self.seed], sort_keys=True)

    def is_mine(self, value: Mapping[str, Any]) -> bool:
        """Tell whether figures are of the net that the file holds."""
        if not self._digest:
            self._read()
        return bool(self._digest) and value.get("digest") == self._digest

    def measure(self) -> dict[str, Any]:
        """Train the net if there is no file of it, and prune it by every measure at every percentage."""
        began = time.monotonic()
        model = self._read() or self._train()
        x, y = torch.from_numpy(self.data.x_train), torch.from_numpy(self.data.y_train)
        trained = time.monotonic() - began
        sites = site_map(model, "weights", self.data.n_inputs)
        whole = np.ones(sites.size, np.bool_)
        dense, dense_loss = self._tested(model, sites, whole)
        curves: list[dict[str, Any]] = []
        notes: list[str] = []
        for name in MEASURES:
            scores, told = self._scores(name, model, sites, x, y)
            notes += told
            for how in HOWS:
                points = [
                    self._tested(model, sites, select(scores, sites.groups, self._kept(sites, percent), how))
                    for percent in self.setting.percents
                ]
                curves.append(
                    {"measure": name, "how": how, "percent": list(self.setting.percents),
                     "accuracy": [point[0] for point in points], "loss": [point[1] for point in points]}
                )  # fmt: skip
        return {
            "digest": self._digest, "weights": sites.size, "dense": dense, "dense_loss": dense_loss, "train": accuracy(model, x, y),
            "curves": curves, "notes": notes, "seconds": {"training": trained, "all": time.monotonic() - began},
        }  # fmt: skip

    def search(self, percent: int) -> dict[str, Any]:
        """Let the chain choose which weights stay, from OBD's mask on."""
        from mcprune.api import prune_problem

        model = self._read()
        if model is None:
            raise FolderError(f"there is no trained net in {str(self.path)!r}; the same command trains it again")
        began = time.monotonic()
        sites = site_map(model, "weights", self.data.n_inputs)
        options = {
            name: value for name, value in self.setting.options(self.seed).items() if name not in ("data", "sites")
        }
        result = prune_problem(
            self.dataset,
            copy.deepcopy(model),
            {"keep": self._kept(sites, percent), "sites": "weights", **options},
            Steering(),
            _refuse_interrupt,
        )
        right, loss = self._tested(model, sites, result.mask.support)
        return {"digest": self._digest, "accuracy": right, "loss": loss, "seconds": {"all": time.monotonic() - began}}

    def _kept(self, sites: SiteMap, percent: int) -> int:
        return round(sites.size * (100 - percent) / 100)

    def _scores(
        self, name: str, model: MLP, sites: SiteMap, x: torch.Tensor, y: torch.Tensor
    ) -> tuple[FloatArray, tuple[str, ...]]:
        if name == SIGNED:
            held = dict(model.named_parameters())
            weights = [held[f"{group.layer}.weight"].detach().numpy().ravel() for group in sites.weights]
            return np.concatenate(weights).astype(np.float64), ()
        settings = ScoreSettings(name, rows=len(y), seed=self.seed)
        found = Scorer(model, sites, x, y, CrossEntropy(), settings).scores()
        return found.values, found.notes

    @torch.no_grad()
    def _tested(self, model: MLP, sites: SiteMap, mask: BoolArray) -> tuple[float, float]:
        """Return accuracy and mean cross-entropy on the test rows with the dropped weights at 0."""
        pruned = copy.deepcopy(model)
        held = dict(pruned.named_parameters())
        for group in sites.weights:
            held[f"{group.layer}.weight"].mul_(torch.from_numpy(mask[group.start : group.stop]).view(group.shape))
        x, y = torch.from_numpy(self.data.x_test), torch.from_numpy(self.data.y_test)
        logits = torch.cat([pruned(x[first : first + ROWS_AT_ONCE]) for first in range(0, len(y), ROWS_AT_ONCE)])
        return float((logits.argmax(1) == y).double().mean()), float(functional.cross_entropy(logits, y).nan_to_num())

    def _train(self) -> MLP:
        widths, data = (self.data.n_inputs, *self.setting.hidden, self.data.n_classes), self.data
        trained = MLP(widths, dropout=NETS[self.net], seed=self.seed)
        x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
        fit(
            trained,
            x,
            y,
            epochs=self.setting.epochs,
            batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=0.0,
            seed=self.seed,
        )
        # Dropout is for training only: what is pruned is the same function without its layers.
        tensors = [value.detach().numpy() for value in trained.parameters()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez(buffer, *tensors, key=np.array(self._key))
        try:
            beside = self.path.with_name(self.path.name + ".new")
            beside.write_bytes(buffer.getvalue())
            beside.replace(self.path)
        except OSError as error:
            raise FolderError(f"{str(self.path)!r} cannot be written: {error.strerror}; make room") from None
        return self._filled(tensors)

    def _read(self) -> MLP | None:
        """Return the net of the file; None where there is none, or it is not this net's."""
        try:
            with np.load(self.path, allow_pickle=False) as held:
                if str(held["key"]) != self._key:
                    return None
                return self._filled([held[f"arr_{number}"] for number in range(len(held.files) - 1)])
        except Exception:  # a broken archive raises whatever its broken part leads to; the net is trained again
            self._digest = ""
            return None

    def _filled(self, tensors: list[Any]) -> MLP:
        model = MLP((self.dataset.n_inputs, *self.setting.hidden, self.dataset.n_classes), seed=self.seed)
        parameters = list(model.parameters())
        if [tuple(value.shape) for value in parameters] != [value.shape for value in tensors]:
            raise ValueError("shapes of another net")
        with torch.no_grad():
            for parameter, value in zip(parameters, tensors, strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(value, np.float32)))
        if not all(bool(torch.isfinite(value).all()) for value in parameters):
            raise ValueError("a weight is not finite")
        self._digest = hashlib.sha256(b"".join(value.detach().numpy().tobytes() for value in parameters)).hexdigest()
        model.eval()
        return model


def _refuse_interrupt(event: Event) -> None:
    if isinstance(event, Stopped) and event.reason in CODES:
        raise KeyboardInterrupt
