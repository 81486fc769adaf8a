"""Every reader against spoiled files: how many inputs were tried, how many refused; any other error ends with 1.

    python benchmarks/fuzz.py --seconds 300 --out benchmarks/results/fuzz.json

Inputs are valid files that were cut, flipped, spliced, given headers that lie or values of another kind (tests/shared/spoil.py), a
function of seed, reader and count. The address space is bounded, so that a claim which is believed ends in MemoryError; an alarm ends
what hangs. With --keep the inputs that broke a reader are written into a folder. `--atheris` lets coverage guide it (guided.py).

    python benchmarks/fuzz.py --atheris 600 --out benchmarks/results/fuzz_guided.json
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

from common import machine, parser, write  # isort: skip

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))
HANG = 20  # seconds for one input
ROOM = 2**30  # bytes of address space beyond what the process has when it begins


class Hangs(BaseException):
    """The alarm: no `except Exception` may catch it."""


def main() -> None:
    options = parser(__doc__ or "", with_plot=False)
    options.add_argument("--seconds", type=float, default=120.0, help="for all readers together (default: 120)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--readers", help="names, commas between (default: all)")
    options.add_argument("--keep", help="folder for the inputs that broke a reader")
    options.add_argument(
        "--atheris", type=float, metavar="SECONDS", help="guided by coverage, for all readers together"
    )
    given = options.parse_args()
    if given.atheris is not None:
        import guided

        given.seconds = given.atheris
        guided.instrument()
    from endangered import Bomb, make_run, readers

    # Without a disk below it, most of the time goes into the readers.
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as scratch:
        root = Path(scratch)
        wanted = given.readers.split(",") if given.readers else None
        if (
            given.atheris is not None
        ):  # the runs in a process of their own: threads of their kernels do not outlive the forks to come
            number = os.fork()
            if not number:
                readers(make_run(root / "run"))
                os._exit(0)
            assert os.waitpid(number, 0)[1] == 0
        run = root / "run" if given.atheris is not None else make_run(root / "run")
        chosen = [reader for reader in readers(run) if wanted is None or reader.name in wanted]
        if given.atheris is not None:
            each = given.seconds / len(chosen)
            rows = [guided.guided(reader, root, each, given.seed, bounded, ROOM) for reader in chosen]
            for path in root.glob("fault-*") if given.keep else ():
                Path(given.keep).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, given.keep)
            finish(given, rows)
        for reader in chosen:  # what is valid is read, and what is loaded only once is loaded
            reader.write(root / "valid" / reader.name)
            assert not reader.is_refused(root / "valid" / reader.name), reader.name
        rows = [spoil_one(reader, root, given.seconds / len(chosen), given.seed, given.keep) for reader in chosen]
    assert not Bomb.exploded, "a pickle was read"
    finish(given, rows)


def finish(given, rows: list[dict]) -> None:
    """Print and write what was met, and end."""
    totals = {key: sum(row[key] for row in rows) for key in ("tried", "refused", "read", "broke")}
    guide = {} if given.atheris is None else {"guide": "atheris"}
    found = {
        "machine": machine(1),
        **guide,
        "seed": given.seed,
        "seconds": given.seconds,
        "totals": totals,
        "rows": rows,
    }
    print(json.dumps(found, indent=1))
    if given.out is not None:
        write(given.out, found)
    sys.exit(1 if any(row["broke"] for row in rows) else 0)


def spoil_one(reader, root: Path, seconds: float, seed: int, keep: str | None) -> dict:
    """Spoil one reader's files again and again."""
    until = time.monotonic() + seconds
    counts = {"tried": 0, "refused": 0, "read": 0, "broke": 0}
    slowest, faults = 0.0, {}
    signal.signal(signal.SIGALRM, _alarm)
    while time.monotonic() < until:
        draw = random.Random(f"{seed} {reader.name} {counts['tried']}")
        folder = root / "spoiled"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        reader.write(folder, draw)
        began = time.monotonic()
        try:
            with bounded(ROOM), warnings.catch_warnings(), contextlib.redirect_stderr(None):
                warnings.simplefilter("error")
                signal.alarm(HANG)
                kind = "refused" if reader.is_refused(folder) else "read"
        except (Exception, Hangs) as error:
            kind = "broke"
            place = _place(error)
            faults.setdefault(f"{type(error).__name__} at {place}: {str(error)[:150]}", counts["tried"])
            if keep and len(faults) < 50:
                shutil.copytree(
                    folder, Path(keep) / f"{reader.name.replace(' ', '-')}-{counts['tried']}", dirs_exist_ok=True
                )
        finally:
            signal.alarm(0)
        slowest = max(slowest, time.monotonic() - began)
        counts[kind] += 1
        counts["tried"] += 1
    return {"reader": reader.name, **counts, "slowest_seconds": round(slowest, 3), "faults": faults}


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    places = []
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if "/mcprune/" in path or not places:
            places.append(f"{Path(path).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places[-1] if places else "?"


def _alarm(number, frame) -> None:
    raise Hangs(f"more than {HANG} s")


@contextlib.contextmanager
def bounded(room: int):
    """Let the process take no more than `room` bytes of address space beyond what it has."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


if __name__ == "__main__":
    main()
