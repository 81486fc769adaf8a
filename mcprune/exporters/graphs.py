"""A small model as a graph for other runtimes, a torch.export program or ONNX, of any number of rows at once."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from mcprune.data.scale import Scaler
from mcprune.errors import ConfigError, ModelError, brief
from mcprune.types import AnyArray, Float32Array

ENTRANCE, EXIT = "kept", "logits"  # names of the graph's input and output
EXAMPLE = 2  # rows that the graph is recorded with; one alone would be taken for a fixed size
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Runner = Callable[[AnyArray], Float32Array]


class Deployed(nn.Module):
    """A model with its scaling in front: kept inputs as in the data (B, n) -> outputs (B, C).

    Scaled in float64 and rounded once to float32, as mcprune itself does.
    """

    shift: torch.Tensor
    factor: torch.Tensor

    def __init__(self, model: nn.Module, scaler: Scaler) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("shift", torch.from_numpy(scaler.shift.copy()))
        self.register_buffer("factor", torch.from_numpy(scaler.factor.copy()))

    def forward(self, kept: torch.Tensor) -> torch.Tensor:
        """Scale and classify."""
        out: torch.Tensor = self.model(((kept.double() - self.shift) * self.factor).float())
        return out


def program_of(model: nn.Module, width: int) -> torch.export.ExportedProgram:
    """Record a model of float32 rows (B, width) with torch.export, for any B.

    Raises
    ------
    ModelError
        What it does cannot be recorded, with the operator.
    """
    example = torch.zeros(EXAMPLE, width)
    try:
        with _quiet():
            rows = torch.export.Dim("rows", min=1)
            return torch.export.export(model.eval(), (example,), dynamic_shapes=({0: rows},))
    except Exception as error:  # torch raises nearly anything here, from the model's own code as well
        raise ModelError(
            f"{type(_inner(model)).__name__} cannot be exported by torch.export{_operator(error)}: {brief(error)}. Write the "
            "forward pass without decisions on numbers, or keep the model as safetensors"
        ) from error


def write_torch(program: torch.export.ExportedProgram, path: Path, extra: Mapping[str, object]) -> Runner:
    """Write a .pt2 file, read it back and return what runs it."""
    with path.open("wb") as file:  # of a path torch warns unless it ends in .pt2
        torch.export.save(program, file, extra_files={"mcprune.json": json.dumps(dict(extra))})
    with _quiet(), path.open("rb") as source:
        module = torch.export.load(source).module()

    def run(rows: AnyArray) -> Float32Array:
        with torch.inference_mode():
            out: Float32Array = module(torch.from_numpy(rows)).numpy()
        return out

    return run


def write_onnx(program: torch.export.ExportedProgram, path: Path, extra: Mapping[str, object]) -> Runner:
    """Write an ONNX file with its input `kept` and its output `logits`, and return what runs it in onnxruntime.

    Parameters
    ----------
    program : ExportedProgram
    path : Path
    extra : mapping
        JSON-able; each value becomes a metadata property of the file, `mcprune.NAME`.

    Raises
    ------
    ConfigError
        onnx, onnxscript or onnxruntime is missing.
    ModelError
        ONNX has no operator for a part of the model (which), or onnxruntime does not take the file.
    """
    need_onnx()
    onnx = import_module("onnx")
    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[ENTRANCE],
                output_names=[EXIT],
                dynamic_shapes=({0: torch.export.Dim("rows", min=1)},),
                verbose=False,
            )
            assert exported is not None
            proto = exported.model_proto
    except Exception as error:
        raise ModelError(
            f"the model cannot be exported to ONNX{_operator(error)}: {_last(error)}. Use --to torch, or a model of plain layers"
        ) from error
    proto.doc_string = "A small model made by mcprune."
    onnx.helper.set_model_props(
        proto,
        {f"mcprune.{name}": value if isinstance(value, str) else json.dumps(value) for name, value in extra.items()},
    )
    onnx.save(proto, str(path))
    return onnx_runner(path)


def onnx_runner(path: Path, threads: int = 1) -> Runner:
    """Return what runs an ONNX file in onnxruntime on the CPU."""
    need_onnx()
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class but Exception
        raise ModelError(f"onnxruntime does not take the exported model: {brief(error)}. Use --to torch") from error

    def run(rows: AnyArray) -> Float32Array:
        out: Float32Array = session.run([EXIT], {ENTRANCE: rows})[0]
        return out

    return run


def need_onnx() -> None:
    """Raise a ConfigError unless the packages of the extra `onnx` are there."""
    for name in ONNX_PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"ONNX needs the package {name}, not importable here ({brief(error)}). Install it: pip install {' '.join(ONNX_PACKAGES)}"
            ) from None


def _inner(model: nn.Module) -> nn.Module:
    return model.model if isinstance(model, Deployed) else model


def _operator(error: BaseException) -> str:
    """Return ' because of the operator X', if one of the errors in the chain names it."""
    place: BaseException | None = error
    while place is not None:
        match = re.search(
            r"op='([\w.:]+)'|target=torch\.ops\.([\w.]+?)(?:\.default)?\]|operator '([\w.:]+)'", str(place)
        )
        if match:
            return f" because of the operator {next(filter(None, match.groups()))}"
        place = place.__cause__ or place.__context__
    return ""


def _last(error: BaseException) -> str:
    """Return the innermost cause's first line: the outer ones say how to report faults of torch."""
    while error.__cause__ is not None:
        error = error.__cause__
    return brief(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's notes to its own developers from the user: deprecations inside of it, absent torchvision."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
