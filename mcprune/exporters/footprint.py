"""What a model costs: its parameters, its multiplications, and its time on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mcprune.errors import McpruneError
from mcprune.firmware.counting.model_sizes import firmware_sizes
from mcprune.firmware.counting.sizes import LayerSize
from mcprune.models.flops import multiply_accumulates
from mcprune.models.registry import build
from mcprune.storage.events import RunDone, RunStarted
from mcprune.storage.pruned_model import PrunedModel, load_described

BATCHES = (1, 256)
ROUNDS = 31
LEAST = 1e-3  # seconds of a round: below that the clock is coarse


class Footprint(NamedTuple):
    """A model's parameters, multiply-accumulates of a row, and seconds of a batch by its rows."""

    parameters: int
    macs: int
    seconds: dict[int, float]


class Footprints(NamedTuple):
    """Of the whole model and the small one, in that order; None where one cannot be had, with the reason.

    Their last field is the size of the small model in firmware, by layer; empty where it is no perceptron with ReLU.
    """

    whole: Footprint | None
    small: Footprint | None
    missing: str
    threads: int
    torch: str
    firmware: tuple[LayerSize, ...] = ()


def parameters(model: nn.Module) -> int:
    """Return how many numbers a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, width: int) -> int:
    """Return how many multiply-accumulates a row of `width` inputs takes."""
    return multiply_accumulates(model, (width,))


def latencies(models: Sequence[tuple[nn.Module, int]], rows: int, *, rounds: int = ROUNDS) -> list[float]:
    """Return the seconds that a batch takes in each model: the median over rounds in which they take turns.

    Parameters
    ----------
    models : sequence of (nn.Module, int)
        With the width of a row; on the CPU.
    rows : int
        Of the batch.
    rounds : int
        Each calls every model for at least a millisecond.
    """
    with torch.inference_mode():
        batches = [torch.rand(rows, width) for _, width in models]
        return in_turns(
            [partial(model.eval(), batch) for (model, _), batch in zip(models, batches, strict=True)], rounds
        )


def in_turns(
    calls: Sequence[Callable[[], object]], rounds: int = ROUNDS, clock: Callable[[], float] | None = None
) -> list[float]:
    """Return the seconds of each call: the median over rounds in which they take turns, each for at least a millisecond.

    They are of the wall clock, unless another one is given.
    """
    clock = time.perf_counter if clock is None else clock
    repeats = []
    for call in calls:
        call()  # the first one prepares
        began = clock()
        call()
        repeats.append(max(1, round(LEAST / max(clock() - began, 1e-7))))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for place, call in enumerate(calls):
            began = clock()
            for _ in range(repeats[place]):
                call()
            times[place].append((clock() - began) / repeats[place])
    return [sorted(each)[len(each) // 2] for each in times]


def footprints(folder: Path, start: RunStarted, done: RunDone) -> Footprints:
    """Measure the small model of a run's folder and, where the classifier was mcprune's own, the whole one, untrained.

    Parameters
    ----------
    folder : Path
    start, done : RunStarted, RunDone
        The run's events.
    """
    threads = start.threads if start.threads and 1 <= start.threads <= 1024 else 1
    version = str(torch.__version__)
    try:
        small, description = load_described(folder)
    except McpruneError as error:
        return Footprints(None, None, f"the small model cannot be loaded: {error}", threads, version)
    models = [(small.model, small.columns.size)]
    whole, missing = whole_model(small, description["model"], start.config, done)
    if whole is not None:
        models.insert(0, (whole, small.n_inputs))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        times = {rows: latencies(models, rows) for rows in BATCHES}
        results = [
            Footprint(
                parameters(model),
                macs(model, width),
                {rows: times[rows][place] for rows in BATCHES},
            )
            for place, (model, width) in enumerate(models)
        ]
    finally:
        torch.set_num_threads(before)
    sizes = tuple(firmware_sizes(small.model, small.columns.size))
    return Footprints(results[0] if whole is not None else None, results[-1], missing, threads, version, sizes)


def whole_model(
    small: PrunedModel, description: Mapping[str, object], config: Mapping[str, Any], done: RunDone
) -> tuple[nn.Module | None, str]:
    """Return an untrained classifier as the run's whole one was; None with the reason where it is not known.

    Parameters
    ----------
    small : PrunedModel
    description : mapping
        Of the small model, in model.json.
    config : mapping
        The run's options.
    done : RunDone
        The last event, or result.json.
    """
    if description.get("kind") != "custom":
        try:
            whole = build(
                config.get("model", "mlp"), small.n_inputs, small.n_outputs, config["hidden"], config["activation"],
                bias=config.get("bias", True), width=config.get("width") or 1.0, image_shape=small.image_shape,
            )  # fmt: skip
        except (McpruneError, KeyError, TypeError, ValueError) as error:
            return None, f"the whole model cannot be built from the options: {error}"
        counted = parameters(whole)
        if counted == done.parameters.before:
            return whole.eval(), ""
    return (
        None,
        "the classifier came from Python, so the folder cannot tell what the whole one was; its time is not measured",
    )
