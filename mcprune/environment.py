"""The machine of a run: threads, device, and what a record must say of them."""

from __future__ import annotations

import os
import platform
from contextlib import suppress

import numba
import numpy as np
import torch

from mcprune.errors import DeviceError
from mcprune.version import VERSION


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(threads: int) -> int:
    """Cap torch's and numba's pools, which would fight for the cores otherwise; return what numba could grant."""
    granted = min(threads, int(numba.config.NUMBA_NUM_THREADS))
    numba.set_num_threads(granted)  # first: starting numba's threads sets the number of torch's too
    torch.set_num_threads(threads)
    return granted


def pick_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is a GPU if there is one.

    Raises
    ------
    DeviceError
        `cuda` where torch sees no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"--device cuda, but this torch ({torch.__version__}) sees no GPU; use --device cpu, or install torch for CUDA"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def processor() -> str:
    """Return the processor's name: libraries of linear algebra choose their kernels by it."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def describe_machine(threads: int, device: str) -> dict[str, str]:
    """Return all that must be the same for a run to go on to the same bits."""
    where = torch.cuda.get_device_name() if device == "cuda" else processor()
    granted = min(threads, int(numba.config.NUMBA_NUM_THREADS))
    return {
        **versions(),
        "processor": where,
        "device": device,
        "threads": str(threads),
        "threads granted to numba": str(granted),
        "number type": str(torch.get_default_dtype()).removeprefix("torch."),
    }


def machine_differences(then: dict[str, str]) -> list[str]:
    """Return in words what is not as it was when `describe_machine` returned `then`."""
    now = describe_machine(int(then["threads"]), str(then["device"]))
    return [f"{key} {value} then, {now.get(key)} now" for key, value in then.items() if now.get(key) != value]


def versions() -> dict[str, str]:
    """Return the versions that the bits of a run depend on."""
    return {
        "mcprune": VERSION,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
    }
