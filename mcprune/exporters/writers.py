"""One writer for each format of an export: write a temporary file, read it back by the real runtime, compare, time, rename."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.data.scale import Scaler
from mcprune.errors import FolderError, ModelError
from mcprune.exporters.c_header import compiled, compiler, header
from mcprune.exporters.footprint import BATCHES, in_turns
from mcprune.exporters.graphs import Deployed, Runner, program_of, write_onnx, write_torch
from mcprune.exporters.integers import integer_net, reference_logits
from mcprune.random import Stream, generator
from mcprune.storage.pruned_model import PrunedModel
from mcprune.surgery.model_files import load_model, save_model
from mcprune.types import AnyArray, Float32Array, IntArray

BOUND = 1e-5  # by which outputs may differ, in units of the largest output where that is above 1
UNKNOWN = float("nan")


class Rows(NamedTuple):
    """Rows of the kept inputs as in the data, their classes where they are known, and where they come from."""

    raw: Float32Array
    classes: IntArray | None
    origin: str


class Export(NamedTuple):
    """What was written and how it was found to agree.

    Attributes
    ----------
    to : str
    path : Path
        The file; the folder for safetensors.
    rows : int
        Compared.
    origin : str
        Where they come from.
    worst : float
        Largest difference of an output; of integers, from the floats: no bound is set to it.
    same : float
        Share of the rows that both put into the same class.
    words : tuple of str
        More lines for a reader.
    seconds : dict of int to tuple of float
        Rows of a batch -> seconds of the whole model (NaN: not known) and of the small one, in this format's runtime.
    """

    to: str
    path: Path
    rows: int
    origin: str
    worst: float
    same: float
    words: tuple[str, ...]
    seconds: dict[int, tuple[float, float]]


class Source(NamedTuple):
    """A small model with what is known of its run: the untrained whole model, or why there is none."""

    small: PrunedModel
    folder: Path | None
    whole: nn.Module | None
    missing: str


def _reference(small: PrunedModel, rows: Rows, scaled: bool) -> tuple[Float32Array, AnyArray]:
    """Return the rows as the exported model takes them, and the outputs that it must give."""
    ready = np.ascontiguousarray(small.scaler.apply(rows.raw.astype(np.float64)))
    return (ready if scaled else rows.raw), reference_logits(small.model, ready)


def compare(run: Runner, rows: Float32Array, expected: AnyArray) -> tuple[float, float]:
    """Return the largest difference of an output and the share of equal classes.

    Raises
    ------
    ModelError
        The outputs differ by more than 1e-5 (times the largest one where that is above 1), or depend on what else is in the batch.
    """
    outputs = np.asarray(run(rows), np.float64)
    alone = np.asarray(run(rows[:1]), np.float64)
    if outputs.shape != expected.shape or not np.isfinite(outputs).all():
        raise ModelError(
            f"the exported model gives outputs of shape {outputs.shape}, not all finite ones of {expected.shape}"
        )
    worst = max(float(np.abs(outputs - expected).max()), float(np.abs(alone - expected[:1]).max()))
    bound = BOUND * max(1.0, float(np.abs(expected).max()))
    if worst > bound:
        raise ModelError(
            f"the exported model differs from the small one by {worst:.3g}, more than {bound:.3g}; nothing was written. "
            "Inputs that are huge compared with their spread lose digits in float32: try --scaled"
        )
    return worst, float((outputs.argmax(axis=1) == expected.argmax(axis=1)).mean())


def _timed(small: Runner, n: int, whole: Runner | None, width: int) -> dict[int, tuple[float, float]]:
    """Return seconds of whole and small by the rows of a batch; they take turns, on one thread."""
    draw = generator(0, Stream.TRIALS)
    out = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for count in BATCHES:
            calls = [partial(small, draw.random((count, n), np.float32))]
            if whole is not None:
                calls.append(partial(whole, draw.random((count, width), np.float32)))
            seconds = in_turns(calls)
            out[count] = (seconds[1] if whole is not None else UNKNOWN, seconds[0])
    finally:
        torch.set_num_threads(threads)
    return out


def _unscaled(width: int) -> Scaler:
    return Scaler("none", np.zeros(width), np.ones(width))


class Wish(NamedTuple):
    """What is to be written."""

    to: str
    source: Source
    target: Path
    rows: Rows
    scaled: bool
    bits: int
    measure: bool


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Yield a file beside the target that replaces it at the end of the block, or is deleted."""
    part = target.with_name(target.name + ".part")
    try:
        try:
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(
            f"{str(target)!r} cannot be written: {error.strerror or error}; choose another --out"
        ) from None


def _eager(model: nn.Module) -> Runner:
    def run(rows: AnyArray) -> Float32Array:
        with torch.inference_mode():
            out: Float32Array = model(torch.from_numpy(rows)).numpy()
        return out

    return run


def safetensors(wish: Wish) -> Export:
    """Export the model files of the run's folder, to another folder or in place; they are read back without pickle."""
    small = wish.source.small
    if wish.target != wish.source.folder:
        save_model(small.model, wish.target, small.extra)
    read, _ = load_model(wish.target)
    rows, expected = _reference(small, wish.rows, scaled=True)
    worst, same = compare(_eager(read), rows, expected)
    whole = wish.source.whole
    seconds = {}
    if wish.measure:
        seconds = _timed(_eager(read), rows.shape[1], None if whole is None else _eager(whole.eval()), small.n_inputs)
    words = ("model.safetensors and model.json; inputs are scaled as model.json says",)
    return _export(wish, worst, same, words, seconds)


def graph(wish: Wish) -> Export:
    """Write a torch.export program or an ONNX file."""
    small, source = wish.source.small, wish.source
    write = write_onnx if wish.to == "onnx" else write_torch
    n, scaler = small.columns.size, small.scaler
    model = small.model if wish.scaled else Deployed(small.model, scaler)
    extra = {
        "features": list(small.names),
        "columns": small.columns.tolist(),
        "labels": list(small.labels),
        **({"targets": small.extra["targets"]} if "targets" in small.extra else {}),
        "inputs": "scaled" if wish.scaled else "as in the data",
        **({"scaler": scaler.to_dict()} if wish.scaled else {}),
    }
    with _beside(wish.target) as part:
        run = write(program_of(model, n), part, extra)
        rows, expected = _reference(small, wish.rows, wish.scaled)
        worst, same = compare(run, rows, expected)
        seconds = {}
        if wish.measure:
            with tempfile.TemporaryDirectory() as folder:
                whole = None
                if source.whole is not None:
                    width = small.n_inputs
                    other = source.whole if wish.scaled else Deployed(source.whole, _unscaled(width))
                    whole = write(program_of(other, width), Path(folder) / "whole", {})
                seconds = _timed(run, n, whole, small.n_inputs)
    scaling = "scaled beforehand" if wish.scaled else "as in the data (the scaling is inside)"
    names = "input 'kept', output 'logits'; " if wish.to == "onnx" else ""
    words = (
        f"{names}takes float32 (rows, {n}), any number of rows, {scaling}; the features' names and {_answers(small)} are in the file",
    )
    return _export(wish, worst, same, words, seconds)


def _answers(small: PrunedModel) -> str:
    """Return what an output is, in words: of numbers how they are scaled."""
    if not small.target_names:
        return "labels"
    link = {"log": "exp(output)", "logit": "1 / (1 + exp(-output))"}.get(small.extra["targets"]["link"], "output")
    return f"targets ({link} * scale + shift)"


def c_header(wish: Wish) -> Export:
    """Write a C header of integers; where there is a compiler, it is compared with numpy's integers bit for bit."""
    small = wish.source.small
    scaler = None if wish.scaled else small.scaler
    rows, expected = _reference(small, wish.rows, wish.scaled)
    ready, _ = _reference(small, wish.rows, scaled=True)
    net = integer_net(small.model, ready, wish.bits)
    signals = net.quantise(ready)
    integers = net.outputs(signals)
    text = header(net, scaler, small.names, small.labels or small.target_names, rows)
    words = [f"weights of {wish.bits} bits, {net.bit_operations():,.0f} bit operations a row"]
    seconds: dict[int, tuple[float, float]] = {}
    if compiler() is None:
        words.append("not compiled: this machine has no cc; mcprune_self_test() of the header checks it elsewhere")
    else:
        program = compiled(text, rows, small.n_outputs)
        if not ((program.outputs == integers).all() and (program.classes == integers.argmax(axis=1)).all()):
            raise ModelError(
                "the compiled header gives other integers than numpy; nothing was written. Say so to mcprune's authors"
            )
        words.append(f"compiled with {compiler()}: all outputs of {len(rows):,} rows are numpy's integers")
        if wish.measure:
            seconds = {1: (_whole_in_c(wish), program.seconds)}
    classes = wish.rows.classes
    if classes is not None:
        before, after = ((outputs.argmax(axis=1) == classes).mean() for outputs in (expected, integers))
        words.append(f"accuracy on these rows {before:.4f} in floats, {after:.4f} in integers")
    with _beside(wish.target) as part:
        part.write_text(text, encoding="utf-8")
    worst = float(np.abs(net.logits(signals) - expected).max())
    return _export(
        wish, worst, float((integers.argmax(axis=1) == expected.argmax(axis=1)).mean()), tuple(words), seconds
    )


def _whole_in_c(wish: Wish) -> float:
    """Seconds of a row of the untrained whole model as a header."""
    whole, width = wish.source.whole, wish.source.small.n_inputs
    if whole is None:
        return UNKNOWN
    rows = generator(0, Stream.TRIALS).random((len(wish.rows.raw), width), np.float32)
    scaler = None if wish.scaled else _unscaled(width)
    small = wish.source.small
    labels = small.labels or small.target_names
    text = header(integer_net(whole, rows, wish.bits), scaler, (), labels, rows)
    return compiled(text, rows, len(labels)).seconds


def _export(
    wish: Wish, worst: float, same: float, words: tuple[str, ...], seconds: dict[int, tuple[float, float]]
) -> Export:
    missing = wish.source.missing
    more = (f"the whole model is not timed: {missing}",) if seconds and missing else ()
    return Export(wish.to, wish.target, len(wish.rows.raw), wish.rows.origin, worst, same, (*words, *more), seconds)


WRITERS: dict[str, Callable[[Wish], Export]] = {
    "safetensors": safetensors,
    "torch": graph,
    "onnx": graph,
    "c": c_header,
}
