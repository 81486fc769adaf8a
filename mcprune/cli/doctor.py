"""`mcprune doctor`: what is installed, what the machine offers, and the lines that install what is missing.

Nothing heavy is imported with this module, and it needs no package: it works where torch is missing or broken.
"""

from __future__ import annotations

import configparser
import importlib
import importlib.metadata
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mcprune.cli.parser import Parser
from mcprune.errors import brief
from mcprune.report.text import columns
from mcprune.version import VERSION

DESCRIPTION = (
    "Print versions, threads, devices, the BLAS that numpy and torch bring, numba's cache and which extras are there, "
    "and the lines that install what is missing. Works without torch. The exit code is 1 if something needed is missing."
)
NEEDED = ""  # the extra of what is always needed
OTHERS = ("test", "oracles", "lint", "docs")  # extras for who works on mcprune; the rest is for users


class Requirement(NamedTuple):
    """A package that mcprune or one of its extras needs: `line` is what pip understands."""

    name: str
    least: str
    extra: str

    @property
    def line(self) -> str:
        """Return the requirement as pip writes it."""
        return f"{self.name}>={self.least}" if self.least else self.name


class Installed(NamedTuple):
    """The installed version of a requirement, and what is wrong with it (empty: nothing)."""

    requirement: Requirement
    version: str
    fault: str


def doctor(arguments: Sequence[str]) -> int:
    """Run the command; see `DESCRIPTION`."""
    Parser("mcprune doctor", DESCRIPTION).read(list(arguments))
    installed = [look(requirement) for requirement in requirements()]
    print("\n".join([*system(), "", *packages(installed), "", *engines(), "", *remedies(installed)]))
    return 1 if any(one.fault and one.requirement.extra == NEEDED for one in installed) else 0


def requirements() -> list[Requirement]:
    """Return what mcprune needs, by its installed metadata, or by the setup.cfg beside it where it runs from a checkout."""
    try:
        texts = importlib.metadata.requires("mcprune") or []
    except importlib.metadata.PackageNotFoundError:
        texts = _of_checkout()
    needed = []
    for text in texts:
        line, _, marker = text.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        parts = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?.*", line.strip())
        if parts:
            needed.append(Requirement(parts[1], parts[2] or "", extra[1] if extra else NEEDED))
    return needed


def _of_checkout() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
    if not setup.has_section("options"):
        return []
    texts = setup.get("options", "install_requires", fallback="").split()
    for extra, lines in setup["options.extras_require"].items():
        texts += [f"{line}; extra == '{extra}'" for line in lines.split()]
    return texts


def look(requirement: Requirement) -> Installed:
    """Return what is installed of a requirement."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Installed(requirement, "", "missing")
    if requirement.least and _numbers(version) < _numbers(requirement.least):
        return Installed(requirement, version, f"older than {requirement.least}")
    return Installed(requirement, version, "")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def system() -> list[str]:
    """Describe the program, the interpreter, the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    folder = os.environ.get("MCPRUNE_DATA")
    return [
        f"mcprune {VERSION} in {Path(__file__).parents[1]}",
        f"Python {platform.python_version()} ({sys.executable})",
        f"{platform.system()} {platform.release()} on {platform.machine()}, {cores} cores usable of {os.cpu_count()}",
        f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', '')} (PASSIVE is best) "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} NUMBA_NUM_THREADS={os.environ.get('NUMBA_NUM_THREADS', '')}",
        "MCPRUNE_DATA " + (f"= {folder}" if folder else "is not set: MNIST and its like are fetched once"),
    ]


def packages(installed: Sequence[Installed]) -> list[str]:
    """Return the table of packages: of all that is needed, of the extras a user has something from."""
    rows = [
        [
            one.requirement.name,
            one.version or "-",
            f"extra {one.requirement.extra}" if one.requirement.extra else "needed",
            one.fault or "ok",
        ]
        for one in installed
        if one.requirement.extra not in OTHERS
    ]
    return (
        columns(["package", "version", "for", "state"], rows, left=4) if rows else ["what mcprune needs is not known"]
    )


def engines() -> list[str]:
    """Describe torch, numba and the BLAS by asking them; what cannot be imported says why."""
    return [line for ask in (_torch, _numba, _blas) for line in _asked(ask)]


def _asked(ask: Callable[[], list[str]]) -> list[str]:
    try:
        return ask()
    except Exception as error:  # a broken installation raises nearly anything when it is imported
        return [f"{ask.__name__[1:]}: cannot be asked ({type(error).__name__}: {brief(error)})"]


def _torch() -> list[str]:
    torch = importlib.import_module("torch")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(place) for place in range(count))
    devices = (
        f"cpu and {count} GPU ({names}); --device auto takes cuda" if count else "cpu; no GPU that this torch sees"
    )
    return [f"torch: {torch.get_num_threads()} threads by itself (a run sets --threads)", f"devices: {devices}"]


def _numba() -> list[str]:
    numba = importlib.import_module("numba")
    jit = importlib.import_module("mcprune.chain.jit")
    folder = jit.cache_folder()
    files = [path for pattern in ("*.nbi", "*.nbc") for path in folder.glob(pattern)] if folder else []
    size = sum(path.stat().st_size for path in files) / 2**20
    state = f"{len(files)} files, {size:.1f} MiB" if files else "empty: the first run compiles the engine (some 40 s)"
    where = (
        f", in {folder}" if folder else "; no folder can be written, so every run compiles again: set NUMBA_CACHE_DIR"
    )
    return [f"numba: at most {numba.config.NUMBA_NUM_THREADS} threads", f"numba's cache: {state}{where}"]


def _blas() -> list[str]:
    threadpoolctl = importlib.import_module("threadpoolctl")
    importlib.import_module("numpy")
    seen = []
    for pool in threadpoolctl.threadpool_info():
        version = f" {pool['version']}" if pool.get("version") else ""
        line = f"{pool['user_api']}: {pool['internal_api']}{version}, {pool['num_threads']} threads ({Path(pool['filepath']).name})"
        seen.append(line)
    return list(dict.fromkeys(seen)) or ["blas: none that threadpoolctl knows"]


def remedies(installed: Sequence[Installed]) -> list[str]:
    """Return the lines that install what is needed and what the extras need."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"

    def line(extras: Sequence[str]) -> str:
        lines = [one.requirement.line for one in installed if one.fault and one.requirement.extra in extras]
        return f"{pip} {' '.join(map(shlex.quote, lines))}" if lines else ""

    extras = list(
        dict.fromkeys(one.requirement.extra for one in installed if one.requirement.extra not in (NEEDED, *OTHERS))
    )
    needed, more = line((NEEDED,)), line(extras)
    out = [f"needed and missing:\n  {needed}" if needed else "everything needed is there"]
    out.append(f"extras that are missing:\n  {more}" if more else f"the extras {', '.join(extras)} are there")
    return out
