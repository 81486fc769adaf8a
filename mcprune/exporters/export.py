"""The small model of a run for other programs: which model, where to, and the real rows that it is compared on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from torch import nn

from mcprune.config.files import read_options
from mcprune.config.schema import make_config
from mcprune.data.base import Dataset
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.load import load as load_data
from mcprune.data.new_rows import read_rows
from mcprune.data.roles.checks import some
from mcprune.data.weights import FROM_ARRAY
from mcprune.errors import ConfigError, FolderError, McpruneError, brief
from mcprune.exporters.firmware import export as firmware
from mcprune.exporters.firmware.rows import InputRows, drawn_rows, rows_of_file, rows_of_values
from mcprune.exporters.footprint import whole_model
from mcprune.exporters.graphs import need_onnx
from mcprune.exporters.writers import WRITERS, Export, Rows, Source, Wish
from mcprune.firmware.network import FixedNetwork, Origin
from mcprune.firmware.network_files import is_network, load_network
from mcprune.firmware.rounding import round_mlp
from mcprune.random import Stream, generator
from mcprune.storage.event_log import read_result
from mcprune.storage.layout import CONFIG, ENDINGS, EXPORT, check_writable, free_file
from mcprune.storage.pruned_model import PrunedModel, load_described
from mcprune.surgery.model_files import DESCRIPTION, WEIGHTS
from mcprune.types import AnyArray, Float32Array

FORMATS = (*ENDINGS, *(name for name in firmware.FORMATS if name not in ENDINGS))
ROWS = 1000  # that both are compared on
BITS = 8  # of a weight of integers, by default


def export(
    what: str | os.PathLike[str] | PrunedModel | object,
    to: str = "onnx",
    out: str | os.PathLike[str] | None = None,
    *,
    rows: str | os.PathLike[str] | AnyArray | None = None,
    scaled: bool = False,
    bits: int = BITS,
    measure: bool = True,
    force: bool = False,
    model: nn.Module | None = None,
) -> Export:
    """Write the small model of a run, or a fixed-point network, for another program, and check it there.

    Parameters
    ----------
    what : path, PrunedModel, Result or FixedNetwork
        A run's folder or one of a fixed-point network, or a model from Python (a `Result` is taken by its `model`).
    to : str
        "safetensors" (with JSON), "torch" (a torch.export program), "onnx", or "c" (a header of integers, for perceptrons);
        "alkaid" (a Verilog project), "hls4ml" (an HLS project) and "qonnx" (a file) for perceptrons and fixed-point networks. A
        fixed-point network is written to the last four alone, and compared bit for bit.
    out : path, optional
        The file, or the folder for safetensors; by default in the run's folder, `small` with the format's ending.
    rows : path or array (B, N), optional
        Full raw rows to compare on; by default up to 1,000 of the run's data, or drawn ones where these cannot be read again.
    scaled : bool
        Leave the scaling out: the file takes kept inputs that are scaled already.
    bits : 8 or 16
        Of each weight, where a perceptron in floats is written in integers.
    measure : bool
        Time it beside the whole model, untrained, in the same runtime.
    force : bool
        Replace a file that exists.
    model : nn.Module, optional
        For a folder whose classifier is of a class of your own: an instance as it was before pruning, as `load` takes it.

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
        raise ConfigError(f"to={to!r} is no format. Choose one of {', '.join(FORMATS)}.")
    network = _network(what)
    if network is not None:
        _refuse_unused({"bits": bits != BITS, "scaled": scaled, "model": model is not None})
        return _export_network(network, what, to, out, rows, force=force)
    source = _source(what, model)
    _refuse_coded(source.small, to)
    if to not in WRITERS:
        return _export_rounded(source, to, out, rows, bits=bits, force=force)
    if to == "onnx":
        need_onnx()
    target = _target(source, to, out, force=force)
    compared = _rows(source, rows)
    return WRITERS[to](Wish(to, source, target, compared, scaled, bits, measure))


def _refuse_unused(is_set: dict[str, bool]) -> None:
    """Refuse options that change nothing of a fixed-point network's file."""
    for name in (name for name, value in is_set.items() if value):
        raise ConfigError(
            f"{name} is not for a fixed-point network, whose integers are written as they are. Leave it out."
        )


def _network(what: object) -> FixedNetwork | None:
    """Return the fixed-point network that is to be written, if it is one."""
    if isinstance(what, FixedNetwork):
        return what
    return load_network(what) if isinstance(what, str | os.PathLike) and is_network(what) else None


def _export_network(
    network: FixedNetwork,
    what: object,
    to: str,
    out: str | os.PathLike[str] | None,
    rows: str | os.PathLike[str] | AnyArray | None,
    *,
    force: bool,
) -> Export:
    if to not in firmware.FORMATS:
        raise ConfigError(
            f"to={to!r} has no form for a fixed-point network. Choose one of {', '.join(firmware.FORMATS)}. Its own files are network.json "
            "and network.safetensors."
        )
    folder = Path(what) if isinstance(what, str | os.PathLike) else None
    return firmware.export_network(
        network, to, _firmware_target(folder, "network", to, out), _network_rows(network, rows), force=force
    )


def _network_rows(network: FixedNetwork, rows: str | os.PathLike[str] | AnyArray | None) -> InputRows:
    if rows is None:
        return drawn_rows(network)
    if isinstance(rows, str | os.PathLike):
        return rows_of_file(network, rows)
    values = np.asarray(rows)
    return rows_of_values(network, values[:, network.origin.columns] if values.ndim == 2 else values, "given")


def _export_rounded(
    source: Source,
    to: str,
    out: str | os.PathLike[str] | None,
    rows: str | os.PathLike[str] | AnyArray | None,
    *,
    bits: int,
    force: bool,
) -> Export:
    """Round the perceptron by the rule of `round_mlp`, and write that."""
    small, compared = source.small, _rows(source, rows)
    origin = Origin(small.columns, small.n_inputs, small.names, small.labels, small.scaler)
    network = round_mlp(small.model, small.scaler.apply(compared.raw.astype(np.float64)), origin, bits=bits)
    own = rows_of_values(network, compared.raw, compared.origin)
    notes = [
        f"rounded after its training: weights of {bits} bits, inputs and signals of 8; mcprune quantize trains with rounding"
    ]
    if compared.classes is not None:
        accuracy = float((network.forward(own.inputs).argmax(axis=1) == compared.classes).mean())
        notes.append(f"accuracy on these rows {accuracy:.4f} in integers")
    target = _firmware_target(source.folder, EXPORT, to, out)
    return firmware.export_network(network, to, target, own, force=force, notes=tuple(notes))


def _firmware_target(folder: Path | None, name: str, to: str, out: str | os.PathLike[str] | None) -> Path:
    if out is not None:
        return Path(out)
    if folder is None:
        raise ConfigError("a network from Python has no folder; say where to write, out='network.h' or the like")
    return folder / (name + firmware.ENDINGS[to])


def _source(what: object, own: nn.Module | None) -> Source:
    if isinstance(what, str | os.PathLike):
        folder = Path(what)
        small, description = load_described(folder, own)
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


def _refuse_coded(small: PrunedModel, to: str) -> None:
    """Refuse columns with gaps or categories, which other programs would have to fill and encode."""
    if small.coding is None or to == "safetensors":
        return
    owners = small.coding.owners(small.columns.tolist())
    coded = [small.coding.columns[place].name for place in owners if len(small.coding.columns[place].names) > 1]
    if coded:
        raise ConfigError(
            f"to={to!r}: the model keeps {some(map(repr, coded), 4)} with gaps or categories, which the file could neither fill nor "
            "encode. Predict with mcprune, or fill and encode the columns before the run."
        )


def _target(source: Source, to: str, out: str | os.PathLike[str] | None, *, force: bool) -> Path:
    if out is None and source.folder is None:
        raise ConfigError("a model from Python has no folder; say where to write, out='small.onnx' or the like")
    if to == "safetensors":
        target = Path(out) if out is not None else source.folder
        assert target is not None
        if target == source.folder:
            return target  # it is there already: it was read
        check_writable(target)
        taken = [target / name for name in (WEIGHTS, DESCRIPTION) if (target / name).exists()]
    else:
        name = EXPORT + ENDINGS[to]
        return free_file(out if out is not None else (source.folder or Path()) / name, name, force=force)
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
            asked = make_config(**read_options(source.folder / CONFIG)).data_settings()
            reading = asked.reading._replace(required=small.feature_names)
            if reading.sample_weight == FROM_ARRAY:
                reading = reading._replace(sample_weight=None)
            if asked.source == FROM_PYTHON:
                reason = "the run's data came from Python"
            else:
                data = load_data(asked.source, reading)
                is_same = (data.labels, data.target_names) == (small.labels, small.target_names)
                fits = data.feature_names == small.feature_names and is_same
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
    classes = data.targets[chosen] if data.labels else None
    return Rows(_as_floats(small.transform(data.features[chosen])), classes, f"of {data.name}")


def _as_floats(kept: AnyArray) -> Float32Array:
    return np.ascontiguousarray(kept, np.float32)
