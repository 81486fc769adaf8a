"""Spoiled files guided by coverage: atheris (libFuzzer) keeps what reaches new places of the readers, and spoils that on.

Used by benchmarks/fuzz.py --atheris; `pip install atheris` (Linux and macOS, Python up to 3.13).
"""

import contextlib
import importlib
import json
import os
import random
import re
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# numba compiles these, and cannot compile what is instrumented; no file is read there.
LEFT_OUT = ("chain", "evaluate", "methods", "objective", "models")
READ_BY = ("data", "pruning", "session", "faces")
SEEDS = 40  # spoiled inputs of each reader to begin with
LONGEST = 2**16  # bytes of an input
HANG = 20  # seconds


def instrument() -> None:
    """Import what reads files, with its branches and comparisons counted.

    Raises
    ------
    SystemExit
        atheris is not installed.
    """
    try:
        import atheris
    except ImportError:
        raise SystemExit("--atheris needs atheris: pip install atheris") from None
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "mcprune").rglob("*.py")]
    left_out = [name for name in modules if name.split(".")[1] in LEFT_OUT]
    hook = atheris.instrument_imports(include=["mcprune"], exclude=left_out)
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stderr(nothing), hook:
        for name in modules:
            if name.split(".")[1] in READ_BY and not name.endswith("__init__"):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)


def guided(reader, root: Path, seconds: float, seed: int, bounded, room: int) -> dict:
    """Fuzz one reader in a process of its own; return what it has met, as `spoil_one` does, and the places reached."""
    told, said, corpus = root / "told.json", root / "said.txt", root / "corpus"
    corpus.mkdir(exist_ok=True)
    for old in corpus.iterdir():
        old.unlink()
    names = sorted(reader.spoilers)
    for number in range(SEEDS):
        place = number % len(names)
        name, draw = names[place], random.Random(f"{seed} {reader.name} {number}")
        valid = reader.files[name]
        data = valid if number < len(names) else draw.choice(list(reader.spoilers[name]))(valid, draw)
        (corpus / str(number)).write_bytes(bytes([place]) + data[: LONGEST - 1])
    told.unlink(missing_ok=True)
    sys.stdout.flush()
    number = os.fork()
    if not number:
        _child(reader, names, root, seconds, seed, bounded, room, told, said, corpus)
    status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    found = (
        json.loads(told.read_text())
        if told.exists()
        else {"tried": 0, "refused": 0, "read": 0, "broke": 0, "faults": {}}
    )
    text = said.read_text(errors="replace")
    reached = [int(count) for count in re.findall(r"cov: (\d+)", text)]
    if status:  # it hung, took too much memory, or died: libFuzzer says so
        found["broke"] += 1
        found["faults"][(text.strip().splitlines() or ["died"])[-1][:200]] = status
    return {
        "reader": reader.name,
        **found,
        "places_first": reached[0] if reached else 0,
        "places": reached[-1] if reached else 0,
    }


def _child(reader, names, root, seconds, seed, bounded, room, told, said, corpus) -> None:
    """Never return: libFuzzer ends the process."""
    import atheris

    folder = root / "guided"
    counts = {"tried": 0, "refused": 0, "read": 0, "broke": 0}
    faults: dict[str, int] = {}
    state = {"written": 0.0, "slowest": 0.0}

    def files_of(data: bytes) -> dict[str, bytes]:
        files = dict(reader.files)
        if data:
            files[names[data[0] % len(names)]] = data[1:]
        if reader.mend is not None:
            reader.mend(files)
        return files

    def one(data: bytes) -> None:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, held in files_of(data).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(held)
        began = time.monotonic()
        try:
            with bounded(room), warnings.catch_warnings(), contextlib.redirect_stderr(None):
                warnings.simplefilter("error")
                kind = "refused" if reader.is_refused(folder) else "read"
        except Exception as error:
            kind = "broke"
            last = [
                f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
            ]
            fault = f"{type(error).__name__} at {' < '.join(last[::-1][:4])}"
            if fault not in faults:
                faults[fault] = counts["tried"]
                (root / f"fault-{reader.name.replace(' ', '-')}-{len(faults)}").write_bytes(data)
        now = time.monotonic()
        state["slowest"] = max(state["slowest"], now - began)
        counts[kind] += 1
        counts["tried"] += 1
        if now - state["written"] > 0.5 or kind == "broke":
            state["written"] = now
            told.write_text(json.dumps({**counts, "slowest_seconds": round(state["slowest"], 3), "faults": faults}))

    def mutate(data: bytes, longest: int, number: int) -> bytes:
        """Half of the time as libFuzzer does, half as tests/shared/spoil.py does, which knows JSON, archives and headers."""
        draw = random.Random(number)
        if data and draw.random() < 0.5:
            name = names[data[0] % len(names)]
            with contextlib.suppress(Exception):  # a spoiler of archives wants an archive
                return (data[:1] + draw.choice(list(reader.spoilers[name]))(data[1:], draw))[:longest]
        return bytes(atheris.Mutate(data, longest))

    shutil.rmtree(folder, ignore_errors=True)  # of the reader before
    folder.mkdir()
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    options = [
        f"-max_total_time={max(1, round(seconds))}", f"-seed={seed + 1}", f"-max_len={LONGEST}", f"-timeout={HANG}", "-rss_limit_mb=6000",
        f"-artifact_prefix={root}/", str(corpus),
    ]  # fmt: skip
    try:
        reader.write(folder)
        assert not reader.is_refused(folder)  # what is loaded only once is loaded
        atheris.Setup(["fuzz", *options], one, custom_mutator=mutate)
        atheris.Fuzz()
    except BaseException:
        traceback.print_exc()
    os._exit(1)
