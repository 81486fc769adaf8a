"""Run a configuration into a folder, and reduce what it ends in to a digest that differs as soon as one bit does.

The first part is all of the goldens that knows the interface of mcprune, its files and the fields of its events: a rename is followed
there.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from configurations import COMMON, Configuration
from safetensors.torch import load_file

from mcprune.api import prune_problem, resume
from mcprune.config.schema import make_config
from mcprune.config.sections.settings import RankSettings
from mcprune.session import worker
from mcprune.session.checkpoints.open_run import open_run
from mcprune.session.loop import run
from mcprune.session.ranks import join_ranks, place_of
from mcprune.session.resume import resume_run
from mcprune.session.steering.callbacks import Callback
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.replay import Replay

Hear = Callable[[str, Mapping[str, Any]], None]

# Clocks decide these, directly or through the number of candidates that are evaluated ahead; versions are in `machine`.
VOLATILE = {
    "seconds",
    "seconds_left",
    "decisions_per_second",
    "forwards",
    "folder",
    "out",
    "version",
    "versions",
}


# -- the interface of mcprune ----------------------------------------------------------------------------------------------------------


def options_of(configuration: Configuration, folder: Path) -> dict[str, Any]:
    """Return the options of a run into a folder; None in a configuration leaves out what is common."""
    options = {**COMMON, **configuration.options, "out": str(folder)}
    return {name: value for name, value in options.items() if value is not None}


class Listener(Callback):
    """Passes on each event."""

    def __init__(self, hear: Hear) -> None:
        self.hear = hear

    def on_event(self, event: Any) -> None:
        self.hear(event.kind, json.loads(event.to_json()))


def controller_of(configuration: Configuration) -> Controller:
    """Return who changes the knobs of a run; a new one for each run."""
    if not configuration.turns and configuration.end is None:
        return Controller()
    return Replay(configuration.turns, configuration.end)


def start_threads() -> None:
    """Start numba's threads before torch's are counted, for it sets their number too.

    Without this the first run of a process trains with as many threads as there are cores, whatever its option says.
    """
    numba.set_num_threads(COMMON["threads"])


def run_here(configuration: Configuration, folder: Path, hear: Hear) -> None:
    """Run a configuration of one process in this one, and pass on each event."""
    start_threads()
    options, controller, callbacks = options_of(configuration, folder), controller_of(configuration), [Listener(hear)]
    if configuration.network is None:
        for _ in run(make_config(**options), controller, callbacks=callbacks):
            pass
    else:
        prune_problem(options.pop("data"), configuration.network(), options, callbacks, controller)


def resume_here(configuration: Configuration, folder: Path) -> None:
    """Continue a run of one process in this one."""
    start_threads()
    resume(folder, model=None if configuration.network is None else configuration.network())


def run_rank(configuration: Configuration, folder: Path, hear: Hear, *, resumes: bool) -> None:
    """Take part in a run, or in its continuation, as the rank that the environment names."""
    start_threads()
    config = make_config(**options_of(configuration, folder))
    with join_ranks(place_of(os.environ), {}, RankSettings("cpu", 300.0)) as ranks:
        if not ranks.is_first:
            worker.run(ranks, None if resumes else config)
            return
        for event in resume_run(open_run(folder), ranks=ranks) if resumes else run(config, ranks=ranks):
            hear(event.kind, json.loads(event.to_json()))


def read_mask(folder: Path) -> tuple[list[int], list[float]]:
    """Return the indices of the kept sites, and the weights of all sites, from the files of a run."""
    content = json.loads((folder / "mask.json").read_text())
    return content["indices"], content["weights"]


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return the events of a run as its folder holds them."""
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def read_model(folder: Path) -> tuple[bytes, list[torch.Tensor]]:
    """Return the file of the small model, and its tensors."""
    path = folder / "model.safetensors"
    return path.read_bytes(), list(load_file(path).values())


def has_checkpoint(folder: Path) -> bool:
    """Whether a run that was cut off left something to continue from."""
    return (folder / "checkpoint.safetensors").exists()


def is_progress(kind: str) -> bool:
    """Whether an event of this kind describes a block."""
    return kind == "progress"


def progress_places(events: list[dict[str, Any]]) -> list[int]:
    """Return where in a list of events those are that describe a block."""
    return [place for place, event in enumerate(events) if is_progress(event["event"])]


def progress_row(event: Mapping[str, Any]) -> str:
    """Return epoch, classification loss, kept sites, accepted and consumed proposals of a block, to the last bit."""
    numbers = (event["epoch"], event["classification_loss"])
    counts = (event["kept"], event["accepted"], event["proposals"])
    return " ".join(["-" if x is None else float(x).hex() for x in numbers] + [str(count) for count in counts])


def accuracies(events: list[dict[str, Any]]) -> list[float]:
    """Return the accuracies on the test rows: the pruned classifier's and those of what it is compared with."""
    return [row["accuracy"] for row in events[-1]["scores"]]


# -- what does not depend on it --------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Return what decides the last bits of a run."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
            name, _, value = line.partition(":")
            fields[name.strip()] = value.strip()
    except OSError:
        pass
    vectors = [flag for flag in fields.get("flags", "").split() if flag.startswith(("avx", "amx", "fma"))]
    return {
        "processor": fields.get("model name", "unknown"),
        "model": " ".join(fields.get(name, "") for name in ("cpu family", "model", "stepping")),
        "vectors": hashlib.sha256(" ".join(sorted(vectors)).encode()).hexdigest()[:16],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "threads": COMMON["threads"],
    }


def without_volatile(value: Any) -> Any:
    """Return an event without the fields that differ from one run to the next."""
    if isinstance(value, dict):
        return {name: without_volatile(part) for name, part in value.items() if name not in VOLATILE}
    return [without_volatile(part) for part in value] if isinstance(value, list) else value


def sha256(content: bytes) -> str:
    """Return the hash of some bytes."""
    return hashlib.sha256(content).hexdigest()


def tensors_sha256(tensors: list[torch.Tensor]) -> str:
    """Return a hash of the values and shapes of tensors that depends neither on their names nor on their order."""
    return sha256(
        "".join(
            sorted(
                sha256(f"{value.dtype} {tuple(value.shape)} ".encode() + value.contiguous().numpy().tobytes())
                for value in tensors
            )
        ).encode()
    )


def digest(folder: Path) -> dict[str, Any]:
    """Return the digest of a finished run.

    All but `texts` survives a rename of fields, options and parameters; `texts` has the hashes of whole files and of the events with
    all of their fields.
    """
    kept, weights = read_mask(folder)
    events = read_events(folder)
    file, tensors = read_model(folder)
    return {
        "kept": kept if len(kept) <= 64 else len(kept),
        "kept_sha256": sha256(np.array(kept, "<i8").tobytes()),
        "weights_sha256": sha256(np.array(weights, "<f8").tobytes()),
        "model_sha256": tensors_sha256(tensors),
        "accuracies": accuracies(events),
        "progress": [progress_row(events[place]) for place in progress_places(events)],
        "texts": {
            "events_sha256": sha256(json.dumps(without_volatile(events), sort_keys=True).encode()),
            "model_sha256": sha256(file),
        },
    }
