"""The model that a run leaves: from rows to labels or numbers, without the dropped columns; read back without pickle."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mcprune.config.files import read_options
from mcprune.data.coding.coding import Coding
from mcprune.data.new_rows import take_rows
from mcprune.data.packed import pack
from mcprune.data.roles.targets import Label, label_array
from mcprune.data.roles.tasks import CLASSIFICATION, LINKS, REGRESSION, TargetScaler
from mcprune.data.scale import Scaler
from mcprune.errors import ConfigError, FolderError, McpruneError, ModelError, brief
from mcprune.models.adapters import Adapter, adapted, field_from, unwrapped
from mcprune.models.layers import Scatter
from mcprune.sites.site_map import site_map
from mcprune.sites.weights import hold_zeros
from mcprune.storage.layout import CONFIG, MASK, in_place_of_run, read_json
from mcprune.surgery.model_files import DESCRIPTION, ModelContent, is_custom_model, load_model
from mcprune.surgery.trial import cuttable_sites
from mcprune.training.classifiers import shrunken
from mcprune.types import AnyArray, Float32Array


class TargetExtra(TypedDict):
    """Numeric targets of a `PrunedModel`: their names and scaling, see `mcprune.data.roles.tasks.TargetScaler`."""

    names: list[str]
    shift: list[float]
    scale: list[float]
    link: str


class ModelExtra(TypedDict):
    """What a `PrunedModel` needs besides its network, in JSON's types."""

    columns: list[int]
    labels: list[Label]
    names: list[str]
    feature_names: list[str]
    scaler: dict[str, object]
    target_name: str | None
    image_shape: list[int] | None
    file_width: NotRequired[int]
    coding: NotRequired[dict[str, object]]
    holds_zeros: NotRequired[bool]
    task: NotRequired[str]
    targets: NotRequired[TargetExtra]
    fields: NotRequired[list[list[object]]]
    adapter: NotRequired[dict[str, object]]


class PrunedModel(nn.Module):
    """The pruned model of a run, from rows of the data to labels or numbers.

    It measures the kept columns only: rows may be whole rows of the data or hold the kept columns alone, and what the
    other columns hold does not matter.

    Attributes
    ----------
    model : nn.Module
        Takes the kept columns, scaled: (B, n) -> (B, C).
    columns : ndarray of int64, shape (n,)
        The kept columns' indices in a whole row.
    names : tuple of str, length n
        Their names.
    labels : tuple, length C
        The classes' own values, by output; empty where targets are numbers.
    task : str
        `classification`, `regression` or `multilabel`.
    target_names : tuple of str, length T
        Of numeric targets, by output.
    scaler : Scaler
        Of the kept columns.
    feature_names : tuple of str, length N
        Names of the columns of a whole row.
    target_name : str or None
    file_width : int or None
        Columns of the table that the run has read, with the target and those that it left out; None where it was no table.
    image_shape : tuple of int or None
    coding : Coding or None
        Of a table with gaps or categories: its columns, each with those of numbers that the model takes.
    extra : dict
        All of the above as JSON-able data.

    Examples
    --------
    >>> import mcprune
    >>> model = mcprune.load("runs/digits")  # doctest: +SKIP
    >>> model.predict(X)  # doctest: +SKIP
    """

    def __init__(self, model: nn.Module, extra: ModelExtra) -> None:
        super().__init__()
        self.model = model
        self.extra = extra.copy()
        self.columns = np.asarray(extra["columns"], np.int64)
        self.labels = tuple(extra["labels"])
        self.names = tuple(extra["names"])
        self.n_inputs = len(extra["feature_names"])
        self.scaler = Scaler.from_dict(extra["scaler"])
        fits = len(self.names) == self.columns.size == self.scaler.shift.size
        if not fits or self.columns.tolist() != extra["columns"] or len(set(extra["columns"])) != self.columns.size:
            raise ValueError("columns, names and scaling do not fit together")
        if self.columns.size and not 0 <= self.columns.min() <= self.columns.max() < self.n_inputs:
            raise ValueError("a column lies outside of the rows")
        self.feature_names = tuple(extra["feature_names"])
        if not all(isinstance(name, str) for name in (*self.names, *self.feature_names)):
            raise ValueError("a name of a column is no text")
        if self.names != tuple(self.feature_names[column] for column in self.columns):
            raise ValueError("the names of the kept columns are not those of the rows")
        self.task, self._targets = extra.get("task", CLASSIFICATION), _target_scaler(extra)
        self.target_names = tuple(extra["targets"]["names"]) if "targets" in extra else ()
        if not all(isinstance(label, str | int | float) for label in self.labels):
            raise ValueError("a label is neither a text nor a number")
        self.target_name = extra["target_name"]
        self.file_width = extra.get("file_width")
        if not (self.file_width is None or isinstance(self.file_width, int)):
            raise ValueError("the number of the table's columns is no number")
        self.coding = Coding.from_dict(extra["coding"]) if "coding" in extra else None
        if self.coding is not None and self.coding.names != self.feature_names:
            raise ValueError("the columns of the table do not fit the names of the features")
        self.fields = tuple(field_from(each) for each in extra.get("fields", []))
        self.image_shape = tuple(extra["image_shape"]) if extra["image_shape"] else None
        if extra.get("holds_zeros"):  # dropped weights: training on leaves them at 0
            hold_zeros(self.model)
        self.eval()

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the network: one a class, or one a target."""
        return len(self.labels) or len(self.target_names)

    def forward(self, x: torch.Tensor | AnyArray) -> torch.Tensor:
        """Return outputs (B, C), before softmax, of the kept columns (B, n) as `transform` returns them, unscaled."""
        rows = torch.as_tensor(x)
        parameter = next(self.model.parameters(), torch.zeros(()))
        shift, factor = (torch.from_numpy(each).to(rows.device) for each in (self.scaler.shift, self.scaler.factor))
        values = rows.double()
        if self.scaler.fill is not None:
            values = torch.where(values.isnan(), torch.from_numpy(self.scaler.fill).to(rows.device), values)
        scaled = ((values - shift) * factor).to(parameter.device, parameter.dtype)
        outputs: torch.Tensor = self.model(scaled)
        return outputs

    def transform(self, X: object) -> AnyArray:
        """Return the kept columns of rows, unscaled.

        Parameters
        ----------
        X : data frame or array-like
            A frame (pandas, polars, pyarrow, ...) with the kept columns among others, in any order; or an array of shape
            (rows, N) or (rows, n), or of images. Of a model of several inputs also a dict or tuple of them, as it takes them.

        Returns
        -------
        ndarray, shape (rows, n)
            In the order of `names`.

        Raises
        ------
        DataError
            A kept column that is missing, holds texts or has a gap (the row and the column are named), or rows of
            another width.
        """
        return take_rows("the rows", pack(X, self.fields), self, self.columns.tolist())

    def predict_proba(self, X: object) -> Float32Array:
        """Probabilities of the classes, in the order of `labels`, or of each of several labels.

        Parameters
        ----------
        X
            As in `transform`.

        Returns
        -------
        ndarray of float32, shape (rows, C)

        Raises
        ------
        DataError
            As `transform`; a value so far outside of the training rows' range that it cannot be scaled.
        ModelError
            The model predicts numbers.
        """
        return self.probabilities(self.transform(X))

    @property
    def original_names(self) -> tuple[str, ...]:
        """Names of the columns of the table that the kept columns stand for: the kept ones, but for gaps and categories."""
        if self.coding is None:
            return self.names
        return tuple(self.coding.original_names[place] for place in self.coding.owners(self.columns.tolist()))

    def probabilities(self, kept: AnyArray) -> Float32Array:
        """Probabilities (rows, C) of rows that are kept columns (rows, n) already, as `transform` and `read_rows` return them."""
        if self.task == REGRESSION:
            raise ModelError("The model predicts numbers, which have no probabilities. Use predict.")
        outputs = self._outputs(kept)
        if self._targets is not None:
            return self._targets.predictions(outputs.cpu().numpy()).astype(np.float32)
        out: Float32Array = torch.softmax(outputs, dim=1).cpu().numpy()
        return out

    def numbers(self, kept: AnyArray) -> AnyArray:
        """Numbers, or the 0 and 1 of labels, of rows that are kept columns (rows, n) already; see `predict`."""
        assert self._targets is not None
        predictions = self._targets.predictions(self._outputs(kept).cpu().numpy())
        if self.task != REGRESSION:
            return (predictions > 0.5).astype(np.int64)
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions

    @torch.no_grad()
    def _outputs(self, kept: AnyArray) -> torch.Tensor:
        """Return the outputs (rows, C) of the network for kept columns (rows, n)."""
        parameter = next(self.model.parameters(), torch.zeros(()))
        scaled = torch.from_numpy(self.scaler.apply(kept)).to(parameter.device)
        outputs: torch.Tensor = self.model(scaled)
        return outputs

    def predict(self, X: object) -> AnyArray:
        """Labels (rows,) of rows as `transform` takes them, or numbers in the unit of the target; errors as there.

        Of several targets, and of several labels, the shape is (rows, T).
        """
        if self._targets is not None:
            return self.numbers(self.transform(X))
        labels: AnyArray = label_array(self.labels)[self.predict_proba(X).argmax(axis=1)]
        return labels


def load(folder: str | Path, model: nn.Module | None = None) -> PrunedModel:
    """Return the pruned model of a run's folder; no code is run that the folder brings.

    Parameters
    ----------
    folder : str or path
        Of a run.
    model : nn.Module, optional
        For a classifier of a class of your own: an instance as it was before pruning, of the same sizes. It gives the layers, which
        are cut as in the run; its numbers do not matter, and it does not change.

    Raises
    ------
    FolderError
        The folder is missing or broken, or the model does not fit.
    ModelError
        The classifier is of a class of your own, and no model is given.
    """
    return load_described(folder, model)[0]


def load_described(folder: str | Path, model: nn.Module | None = None) -> tuple[PrunedModel, ModelContent]:
    """Return what `load` does, and the content of model.json; errors as `load`."""
    if model is not None and not isinstance(model, nn.Module):
        raise ConfigError(f"model is a {type(model).__name__}; give a torch nn.Module, or leave it out")
    path = Path(folder)
    if not (path / DESCRIPTION).exists() and (text := in_place_of_run(path)):
        raise FolderError(text)
    code = None if model is None or not is_custom_model(folder) else _cut_like(folder, model)
    model, description = load_model(folder, code)
    try:
        pruned = PrunedModel(model, cast("ModelExtra", description["extra"]))
        _try(pruned)
    except (ArithmeticError, LookupError, TypeError, ValueError, McpruneError) as error:
        raise FolderError(
            f"{str(folder)!r} holds a model, but its description is broken: {brief(error)}. Run again."
        ) from None
    return pruned, description


def _cut_like(folder: str | Path, model: nn.Module) -> nn.Module:
    """Return a copy of a whole model, cut as the run of a folder has cut its own; its numbers do not matter."""
    extra = read_json(folder, DESCRIPTION)["extra"]
    content = read_json(folder, MASK)
    kinds = read_options(Path(folder) / CONFIG).get("sites", "inputs")
    n_inputs = len(extra["feature_names"])
    adapter = Adapter.from_dict(extra.get("adapter", {}))
    whole = adapted(copy.deepcopy(unwrapped(model)).cpu(), adapter).eval()
    if any(is_lazy(each) for each in whole.parameters()):
        whole(torch.zeros(1, n_inputs))
    kinds, _ = cuttable_sites(whole, str(kinds), (n_inputs,))
    sites = site_map(whole, kinds, n_inputs)
    mask = np.zeros(sites.size, bool)
    if content["n_sites"] != sites.size:
        raise FolderError(
            f"The run in {str(folder)!r} chose among {content['n_sites']:,} sites, but the model has {sites.size:,}. "
            "Give a model of the same class and sizes."
        )
    mask[content["indices"]] = True
    small = shrunken(whole, sites, mask, n_inputs)
    return small.model if isinstance(small, Scatter) else small


def _target_scaler(extra: ModelExtra) -> TargetScaler | None:
    """Return the scaling of numeric targets; None of classes."""
    if "targets" not in extra:
        return None
    targets = extra["targets"]
    names, link = targets["names"], targets["link"]
    scaler = TargetScaler(np.asarray(targets["shift"], np.float64), np.asarray(targets["scale"], np.float64), link)
    fits = scaler.shift.shape == scaler.scale.shape == (len(names),) and link in LINKS
    if not fits or not (np.isfinite(scaler.shift).all() and (scaler.scale > 0).all()) or extra["labels"]:
        raise ValueError("names and scaling of the targets do not fit together")
    return scaler


def _try(pruned: PrunedModel) -> None:
    """Run one row through the model: its layers need not fit each other, nor its outputs the labels."""
    width = pruned.columns.size
    parameter = next(pruned.model.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            out = pruned.model(torch.zeros(1, width, dtype=parameter.dtype))
    except Exception as error:  # torch raises nearly anything where shapes do not fit
        raise ValueError(f"its layers do not take {width} inputs ({brief(error)})") from None
    outputs = pruned.n_outputs
    if not isinstance(out, torch.Tensor) or tuple(out.shape) != (1, outputs):
        raise ValueError(f"it has {outputs} labels or targets, but the model gives {tuple(getattr(out, 'shape', ()))}")
