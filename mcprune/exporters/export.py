"""The small model of a run for other programs: which model, where to, and the real rows that it is compared on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mcprune.config.files import read_options
from mcprune.config.schema import make_config
from mcprune.data.base import Dataset
from mcprune.data.load import FROM_PYTHON
from mcprune.data.load import load as load_data
from mcprune.data.new_rows import read_rows
from mcprune.data.weights import FROM_ARRAY
from mcprune.errors import ConfigError, FolderError, McpruneError, brief
from mcprune.exporters.footprint import whole_model
from mcprune.exporters.graphs import need_onnx
from mcprune.exporters.writers import WRITERS, Export, Rows, Source, Wish
from mcprune.random import Stream, generator
from mcprune.storage.event_log import read_result
from mcprune.storage.layout import CONFIG, ENDINGS, EXPORT
from mcprune.storage.pruned_model import PrunedModel, load_described
from mcprune.surgery.model_files import DESCRIPTION, WEIGHTS
from mcprune.types import AnyArray, Float32Array

FORMATS = tuple(ENDINGS)
ROWS = 1000  # that both are compared on


def export(
    what: str | os.PathLike[str] | PrunedModel | object,
    to: str = "onnx",
    out: str | os.PathLike[str] | None = None,
    *,
    rows: str | os.PathLike[str] | AnyArray | None = None,
    scaled: bool = False,
    bits: int = 8,
    measure: bool = True,
    force: bool = False,
) -> Export:
    """Write the small model of a run for another program, and check it there.

    Parameters
    ----------
    what : path, PrunedModel or Result
        A run's folder, or a model from Python (a `Result` is taken by its `model`).
    to : str
        "safetensors" (with JSON), "torch" (a torch.export program), "onnx", or "c" (a header of integers, for perceptrons).
    out : path, optional
        The file, or the folder for safetensors; by default in the run's folder, `small` with the format's ending.
    rows : path or array (B, N), optional
        Full raw rows to compare on; by default up to 1,000 of the run's data, or drawn ones where these cannot be read again.
    scaled : bool
        Leave the scaling out: the file takes kept inputs that are scaled already.
    bits : 8 or 16
        Of each weight of "c".
    measure : bool
        Time it beside the whole model, untrained, in the same runtime.
    force : bool
        Replace a file that exists.

    Returns
    -------
    Export

    Raises
    ------
    McpruneError
        Another format, a file that exists, a model that the format cannot hold (the operator is named), rows that do not fit, or
        outputs that differ by more than 1e-5: then nothing is left behind.
    """
    if to not in FORMATS:
        raise ConfigError(f"to={to!r} is no format; choose one of {', '.join(FORMATS)}")
    source = _source(what)
    if to == "onnx":
        need_onnx()
    target = _target(source, to, out, force=force)
    compared = _rows(source, rows)
    return WRITERS[to](Wish(to, source, target, compared, scaled, bits, measure))


def _source(what: object) -> Source:
    if isinstance(what, str | os.PathLike):
        folder = Path(what)
        small, description = load_described(folder)
        try:
            whole, missing = whole_model(
                small, description["model"], read_options(folder / CONFIG), read_result(folder)
            )
        except McpruneError as error:
            whole, missing = None, f"what the whole model was is not known: {error}"
        return Source(small, folder, whole, missing)
    model = what if isinstance(what, PrunedModel) else getattr(what, "model", None)
    if not isinstance(model, PrunedModel):
        raise ConfigError(f"a {type(what).__name__} cannot be exported; give a run's folder, a Result or its model")
    if any(tensor.device.type != "cpu" for tensor in model.parameters()):
        raise ConfigError("the model is not on the CPU; give it after model.cpu()")
    return Source(model, None, None, "the model was given without its run")


def _target(source: Source, to: str, out: str | os.PathLike[str] | None, *, force: bool) -> Path:
    if out is None and source.folder is None:
        raise ConfigError("a model from Python has no folder; say where to write, out='small.onnx' or the like")
    if to == "safetensors":
        target = Path(out) if out is not None else source.folder
        assert target is not None
        if target == source.folder:
            return target  # it is there already: it was read
        taken = [target / name for name in (WEIGHTS, DESCRIPTION) if (target / name).exists()]
    else:
        target = Path(out) if out is not None else (source.folder or Path()) / (EXPORT + ENDINGS[to])
        if target.is_dir():
            raise FolderError(
                f"--out {str(target)!r} is a folder; name a file, such as {str(target / (EXPORT + ENDINGS[to]))!r}"
            )
        if not target.parent.is_dir():
            raise FolderError(f"there is no folder {str(target.parent)!r}; make it, or choose another --out")
        taken = [target] if target.exists() else []
    if taken and not force:
        raise FolderError(f"{str(taken[0])!r} exists already; choose another --out, or add --force to replace it")
    return target


def _rows(source: Source, source_rows: str | os.PathLike[str] | AnyArray | None) -> Rows:
    small = source.small
    if source_rows is not None:
        is_file = isinstance(source_rows, str | os.PathLike)
        kept = read_rows(source_rows, small, small.columns.tolist()).values if is_file else small.transform(source_rows)  # type: ignore[arg-type]
        if not len(kept):
            raise ConfigError("there are no rows to compare on. Give at least one.")
        return Rows(_as_floats(kept[:ROWS]), None, f"of {source_rows}" if is_file else "given")
    reason = "the model was given without its data"
    if source.folder is not None:
        try:
            asked = make_config(**read_options(source.folder / CONFIG)).data
            if asked.source == FROM_PYTHON:
                reason = "the run's data came from Python"
            else:
                data = load_data(
                    asked.source,
                    target=asked.target,
                    header=asked.header,
                    id_columns=asked.id_columns,
                    required=small.feature_names,
                    sample_weight=None if asked.sample_weight == FROM_ARRAY else asked.sample_weight,
                )
                fits = data.feature_names == small.feature_names and data.labels == small.labels
                if fits:
                    return _of_data(small, data)
                reason = f"{asked.source!r} is not what it was when the run was made"
        except McpruneError as error:
            reason = f"the run's data cannot be read again ({brief(error)})"
    draw = generator(0, Stream.TRIALS)
    scaler = small.scaler
    wide = (
        draw.normal(size=(ROWS, small.columns.size))
        if scaler.kind != "unit"
        else draw.random((ROWS, small.columns.size))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = wide / np.where(scaler.factor == 0, 1.0, scaler.factor) + scaler.shift
    return Rows(raw.astype(np.float32), None, f"drawn, not real: {reason}; --rows FILE compares on real ones")


def _of_data(small: PrunedModel, data: Dataset) -> Rows:
    """Return rows of the data, of its test part where it has one, spread over all of them."""
    pool = np.arange(len(data.targets)) if data.test_rows is None else data.test_rows
    chosen = pool[np.linspace(0, len(pool) - 1, min(ROWS, len(pool))).astype(np.int64)]
    return Rows(_as_floats(small.transform(data.features[chosen])), data.targets[chosen], f"of {data.name}")


def _as_floats(kept: AnyArray) -> Float32Array:
    return np.ascontiguousarray(kept, np.float32)
