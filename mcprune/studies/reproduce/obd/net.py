"""A trained net of `reproduce obd`: its file, its scores by each measure, its accuracy with weights set to 0."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from mcprune.data.base import Dataset
from mcprune.data.prepare import Splits
from mcprune.errors import FolderError
from mcprune.methods.importance.scorer import Scorer, ScoreSettings
from mcprune.methods.importance.selection import select
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy
from mcprune.session.interrupt import CODES
from mcprune.session.steering.callbacks import Callback
from mcprune.sites.site_map import SiteMap, site_map
from mcprune.storage.events import Event, Stopped
from mcprune.studies.parts import Figures
from mcprune.studies.reproduce.obd.curves import SIGNED
from mcprune.studies.reproduce.obd.setting import BATCH, HOWS, MEASURES, NETS, RATE, Setting
from mcprune.training.fit import fit
from mcprune.training.metrics import accuracy
from mcprune.types import AnyArray, BoolArray, FloatArray

ROWS_AT_ONCE = 8192  # test rows of one forward pass


class Net:
    """One trained net: trained once and kept in a file, scored once by each measure, pruned at every percentage.

    Parameters
    ----------
    path : Path
        The file of its weights.
    setting : Setting
    dataset : Dataset
    prepared : callable
        Returns the split and scaled rows of a seed.
    net : str
        `PLAIN` or `DROPOUT`.
    seed : int
    """

    def __init__(
        self, path: Path, setting: Setting, dataset: Dataset, prepared: Callable[[int], Splits], net: str, seed: int
    ) -> None:
        self.path, self.setting, self.dataset, self.net, self.seed = path, setting, dataset, net, seed
        self.name = path.stem
        self._prepared = prepared
        self._digest = ""  # of the net in the file, nothing while it was not read

    @property
    def data(self) -> Splits:
        """The rows: split and scaled as the chain's runs do it."""
        return self._prepared(self.seed)

    @property
    def _key(self) -> str:
        """Everything that the trained net depends on."""
        return json.dumps([self.setting.key() | {"percents": None}, self.net, self.seed], sort_keys=True)

    def is_current(self, value: Figures) -> bool:
        """Whether figures are of the net in the file."""
        if not self._digest:
            self._read()
        return bool(self._digest) and value.get("digest") == self._digest

    def measure(self) -> Figures:
        """Train the net if there is no file of it, and prune it by every measure at every percentage."""
        start = time.monotonic()
        model = self._read() or self._train()
        x, y = torch.from_numpy(self.data.train.features), torch.from_numpy(self.data.train.targets)
        trained = time.monotonic() - start
        sites = site_map(model, "weights", self.data.n_inputs)
        whole = np.ones(sites.size, np.bool_)
        dense, dense_loss = self._test(model, sites, whole)
        curves: list[Figures] = []
        notes: list[str] = []
        for name in MEASURES:
            scores, new_notes = self._scores(name, model, sites, x, y)
            notes += new_notes
            for how in HOWS:
                points = [
                    self._test(model, sites, select(scores, sites.groups, self._keep(sites, percent), how))
                    for percent in self.setting.percents
                ]
                curves.append(
                    {"measure": name, "how": how, "percent": list(self.setting.percents),
                     "accuracy": [point[0] for point in points], "loss": [point[1] for point in points]}
                )  # fmt: skip
        return {
            "digest": self._digest, "weights": sites.size, "dense": dense, "dense_loss": dense_loss, "train": accuracy(model, x, y),
            "curves": curves, "notes": notes, "seconds": {"training": trained, "all": time.monotonic() - start},
        }  # fmt: skip

    def search(self, percent: int) -> Figures:
        """Return the accuracy of the weights that the chain keeps, started from OBD's mask."""
        from mcprune.api import prune_problem

        model = self._read()
        if model is None:
            raise FolderError(f"there is no trained net in {str(self.path)!r}. The same command trains it again")
        start = time.monotonic()
        sites = site_map(model, "weights", self.data.n_inputs)
        options = {
            name: value for name, value in self.setting.options(self.seed).items() if name not in ("data", "sites")
        }
        result = prune_problem(
            self.dataset,
            copy.deepcopy(model),
            {"keep": self._keep(sites, percent), "sites": "weights", **options},
            callbacks=[_RefuseInterrupt()],
        )
        right, loss = self._test(model, sites, result.mask.support)
        return {"digest": self._digest, "accuracy": right, "loss": loss, "seconds": {"all": time.monotonic() - start}}

    def _keep(self, sites: SiteMap, percent: int) -> int:
        return round(sites.size * (100 - percent) / 100)

    def _scores(
        self, name: str, model: MLP, sites: SiteMap, x: torch.Tensor, y: torch.Tensor
    ) -> tuple[FloatArray, tuple[str, ...]]:
        if name == SIGNED:
            parameters = dict(model.named_parameters())
            weights = [parameters[f"{group.layer}.weight"].detach().numpy().ravel() for group in sites.weights]
            return np.concatenate(weights).astype(np.float64), ()
        settings = ScoreSettings(name, rows=len(y), seed=self.seed)
        scored = Scorer(model, sites, x, y, CrossEntropy(), settings).scores()
        return scored.values, scored.notes

    @torch.no_grad()
    def _test(self, model: MLP, sites: SiteMap, mask: BoolArray) -> tuple[float, float]:
        """Return accuracy and mean cross-entropy on the test rows with the dropped weights at 0."""
        pruned = copy.deepcopy(model)
        parameters = dict(pruned.named_parameters())
        for group in sites.weights:
            parameters[f"{group.layer}.weight"].mul_(torch.from_numpy(mask[group.start : group.stop]).view(group.shape))
        x, y = torch.from_numpy(self.data.test.features), torch.from_numpy(self.data.test.targets)
        logits = torch.cat([pruned(x[first : first + ROWS_AT_ONCE]) for first in range(0, len(y), ROWS_AT_ONCE)])
        return float((logits.argmax(1) == y).double().mean()), float(functional.cross_entropy(logits, y).nan_to_num())

    def _train(self) -> MLP:
        widths, data = (self.data.n_inputs, *self.setting.hidden, self.data.n_classes), self.data
        trained = MLP(widths, dropout=NETS[self.net], seed=self.seed)
        x, y = torch.from_numpy(data.train.features), torch.from_numpy(data.train.targets)
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
            raise FolderError(f"{str(self.path)!r} cannot be written: {error.strerror}. Make room") from None
        return self._load(tensors)

    def _read(self) -> MLP | None:
        """Return the net of the file; None where there is none, or it is not this net's."""
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                if str(archive["key"]) != self._key:
                    return None
                return self._load([archive[f"arr_{number}"] for number in range(len(archive.files) - 1)])
        except Exception:  # a broken archive raises whatever its broken part leads to; the net is trained again
            self._digest = ""
            return None

    def _load(self, tensors: list[AnyArray]) -> MLP:
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


class _RefuseInterrupt(Callback):
    """Raises where a signal has stopped a search: its mask is not part of the study."""

    def on_event(self, event: Event) -> None:
        if isinstance(event, Stopped) and event.reason in CODES:
            raise KeyboardInterrupt
