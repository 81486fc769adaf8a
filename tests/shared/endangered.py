"""Every reader of mcprune with a valid example of what it reads, and the ways in which that is spoiled."""

import contextlib
import gzip
import hashlib
import importlib.util
import io
import itertools
import json
import random
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import spoil

from mcprune.errors import McpruneError

Spoiler = Callable[[bytes, random.Random], bytes]
LONGEST = 5000  # letters of a message
LAYOUT_NAMES = ("a", "b", "c", "d")


class Layout(NamedTuple):
    """What new rows must look like."""

    feature_names: tuple[str, ...] = LAYOUT_NAMES
    target_name: str | None = "kind"
    image_shape: tuple[int, ...] | None = None
    file_width: int | None = None
    coding: None = None


@dataclass(frozen=True)
class Reader:
    """A reader, what it reads, and which of its files are spoiled in which ways."""

    name: str
    files: Mapping[str, bytes]
    spoilers: Mapping[str, Sequence[Spoiler]]
    read: Callable[[Path], Any]
    mend: Callable[[dict[str, bytes]], None] | None = (
        None  # makes digests fit again, so that what lies behind them is met
    )

    def write(self, folder: Path, draw: random.Random | None = None) -> None:
        """Write the files; with `draw`, one of them (seldom two) spoiled."""
        files = dict(self.files)
        for name in (
            []
            if draw is None
            else draw.sample(sorted(self.spoilers), min(draw.choice((1, 1, 1, 2)), len(self.spoilers)))
        ):
            files[name] = draw.choice(list(self.spoilers[name]))(files[name], draw)
        if self.mend is not None:
            self.mend(files)
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    def is_refused(self, folder: Path) -> bool:
        """Read what is there; an error of the user's is a refusal, any other error leaves."""
        said = None
        try:
            self.read(folder)
        except McpruneError as error:
            said = str(error)
        assert said is None or 0 < len(said.strip()) < LONGEST, f"an error of {len(said or '')} letters"
        return said is not None


def readers(run: Path) -> list[Reader]:
    """Return every reader; `run` is the folder of a finished run on wine."""
    found = [*_data_readers(), *_run_readers(run)]
    if importlib.util.find_spec("optuna"):
        found.append(_sweep_reader(run.parent / "sweep-of-readers"))
    return found


def make_run(folder: Path) -> Path:
    """Make the run that `readers` takes, of a second or so, and a turned knob, as a steered run has one."""
    import mcprune

    options: dict[str, Any] = {
        "data": "wine",
        "keep": 4,
        "hidden": (8, 6),
        "epochs": 12,
        "retrain_epochs": 6,
        "compare": "no",
    }
    for _ in mcprune.run(mcprune.make_config(**options, threads=1, out=str(folder))):
        pass
    lines = (folder / "events.jsonl").read_text().splitlines()
    knob = {"event": "knob_changed", "block": 2, "proposals": 128, "knobs": {"delta": 2.0}, "before": {"delta": 1.0}}
    (folder / "events.jsonl").write_text("\n".join([*lines[:3], json.dumps(knob), *lines[3:]]) + "\n")
    return folder


def _data_readers() -> list[Reader]:
    from mcprune.data.load import load
    from mcprune.data.new_rows import read_rows

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 3, 4), dtype=np.uint8), np.arange(12, dtype=np.uint8) % 3
    raw = bytes([0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 3, 0, 0, 0, 4]) + images.tobytes()
    tags = bytes([0, 0, 8, 1, 0, 0, 0, 12]) + labels.tobytes()
    records = np.column_stack([labels, rng.integers(0, 256, (12, 3072), dtype=np.uint8)]).tobytes()
    hundred = np.column_stack([labels, labels, rng.integers(0, 256, (12, 3072), dtype=np.uint8)]).tobytes()
    X = rng.normal(size=(12, 4)).round(3)
    lines = [
        ",".join([*LAYOUT_NAMES, "kind"]),
        *(",".join([*map(str, row), "xyz"[k]]) for row, k in zip(X, labels, strict=True)),
    ]
    table = ("\n".join(lines) + "\n").encode()
    everything: tuple[Spoiler, ...] = (spoil.spoil_bytes,)
    found = [
        Reader(
            "idx",
            {"train-images-idx3-ubyte": raw, "train-labels-idx1-ubyte": tags},
            {
                "train-images-idx3-ubyte": (spoil.spoil_bytes, spoil.lie_idx),
                "train-labels-idx1-ubyte": (spoil.spoil_bytes, spoil.lie_idx),
            },
            load,
        ),
        Reader(
            "idx.gz",
            {
                "train-images-idx3-ubyte.gz": gzip.compress(raw, mtime=0),
                "train-labels-idx1-ubyte.gz": gzip.compress(tags, mtime=0),
            },
            {"train-images-idx3-ubyte.gz": (spoil.spoil_bytes, _packed(spoil.lie_idx), _packed(spoil.spoil_bytes))},
            load,
        ),
        Reader(
            "idx rows",
            {"rows": raw},
            {"rows": (spoil.spoil_bytes, spoil.lie_idx)},
            lambda at: read_rows(at / "rows", Layout(tuple("abcdefghijkl"), None, (3, 4))),
        ),
        Reader("cifar-100", {"train.bin": hundred, "test.bin": hundred}, {"train.bin": everything}, load),
        Reader(
            "cifar",
            {"data_batch_1.bin": records, "test_batch.bin": records},
            {"data_batch_1.bin": everything, "test_batch.bin": everything},
            load,
        ),
        Reader("csv", {"t.csv": table}, {"t.csv": (spoil.spoil_bytes, spoil.lie_csv)}, lambda at: load(at / "t.csv")),
        Reader(
            "tsv",
            {"t.tsv": table.replace(b",", b"\t")},
            {"t.tsv": everything},
            lambda at: load(at / "t.tsv", target="kind"),
        ),
        Reader(
            "csv rows",
            {"t.csv": table},
            {"t.csv": (spoil.spoil_bytes, spoil.lie_csv)},
            lambda at: read_rows(at / "t.csv", Layout()),
        ),
        Reader(
            "npz",
            {"t.npz": _npz(X, labels)},
            {"t.npz": (spoil.spoil_bytes, _inside_zip(spoil.lie_npy), _inside_zip(spoil.spoil_bytes), _pickled)},
            lambda at: load(at / "t.npz"),
        ),
        Reader(
            "npy rows",
            {"t.npy": _npy(X)},
            {"t.npy": (spoil.spoil_bytes, spoil.lie_npy)},
            lambda at: read_rows(at / "t.npy", Layout()),
        ),
    ]
    with contextlib.suppress(ImportError):
        found.append(
            Reader(
                "parquet",
                {"t.parquet": _parquet(X, labels)},
                {"t.parquet": everything},
                lambda at: load(at / "t.parquet"),
            )
        )
    return found


def _run_readers(run: Path) -> list[Reader]:
    from sklearn.datasets import load_wine

    from mcprune.cli.main import main
    from mcprune.config.files import read_options
    from mcprune.config.schema import make_config
    from mcprune.dashboard.recorded import RecordedRun
    from mcprune.report.pages.run_page import check, write_page
    from mcprune.session.steering.replay import read_replay
    from mcprune.storage.event_log import feature_names, read_log
    from mcprune.storage.pruned_model import load as load_small
    from mcprune.storage.run_metrics import read_run
    from mcprune.studies.jobs import Job, Jobs

    held = {path.name: path.read_bytes() for path in run.iterdir()}
    rows = load_wine().data[:3]
    model = {name: held[name] for name in ("model.json", "model.safetensors")}
    told = {name: held[name] for name in ("config.toml", "events.jsonl")}

    def show(at: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            if main(["show", str(at)]):
                raise McpruneError(said.getvalue())

    def report(at: Path) -> None:
        recorded = read_log(at)
        check(recorded)
        write_page(at / "report.html", {"run": recorded}, {"run": feature_names(recorded)}, {})

    def jobs(at: Path) -> None:
        made = Jobs(at, "bench", [Job("one", {"data": "wine", "keep": 4})])
        made.failures(), made.finished("one"), made.spent("one")

    job = {
        "kind": "bench",
        "jobs": {"one": {"options": {"data": "wine", "keep": 4}, "trial_seconds": 1.0, "trial_forwards": 3}},
    }
    files = {"jobs.json": json.dumps(job).encode(), "runs/one/result.json": held["result.json"]}
    return [
        Reader(
            "config.toml",
            {"config.toml": held["config.toml"]},
            {"config.toml": (spoil.spoil_toml,)},
            lambda at: make_config(**read_options(at / "config.toml")),
        ),
        Reader(
            "model",
            model,
            {"model.json": (spoil.spoil_json,), "model.safetensors": (spoil.spoil_bytes,)},
            lambda at: load_small(at).predict(rows),
        ),
        Reader(
            "model with digests",
            model,
            {"model.json": (spoil.spoil_json,), "model.safetensors": (spoil.spoil_bytes,)},
            lambda at: load_small(at).predict(rows),
            _right_digests,
        ),
        Reader("result.json", {"result.json": held["result.json"]}, {"result.json": (spoil.spoil_json,)}, show),
        Reader(
            "events.jsonl",
            {**told, **model},
            {
                "events.jsonl": (spoil.spoil_json_lines,),
                "config.toml": (spoil.spoil_toml,),
                "model.json": (spoil.spoil_json,),
            },
            report,
        ),
        Reader(
            "replay",
            told,
            {name: (spoil.spoil_json_lines if name == "events.jsonl" else spoil.spoil_toml,) for name in told},
            read_replay,
        ),
        Reader(
            "mask.json",
            {name: held[name] for name in ("events.jsonl", "mask.json", "result.json")},
            {
                "mask.json": (spoil.spoil_json,),
                "result.json": (spoil.spoil_json,),
                "events.jsonl": (spoil.spoil_json_lines,),
            },
            RecordedRun,
        ),
        Reader(
            "figures",
            {name: held[name] for name in ("events.jsonl", "result.json")},
            {"result.json": (spoil.spoil_json,), "events.jsonl": (spoil.spoil_json_lines,)},
            read_run,
        ),
        Reader("jobs.json", files, dict.fromkeys(files, (spoil.spoil_json,)), jobs),
        *_checkpoint_readers(run.parent / "cut-off"),
    ]


def _checkpoint_readers(folder: Path) -> list[Reader]:
    """A checkpoint alone, and the folder of a run that was cut off: opened, and its search going on for some blocks."""
    import mcprune
    from mcprune.data.load import load
    from mcprune.session.checkpoints.open_run import open_run
    from mcprune.session.interrupt import Interrupt
    from mcprune.session.resume import restore_search
    from mcprune.storage.checkpoint import read_checkpoint
    from mcprune.storage.layout import CHECKPOINT, EVENTS, REQUEST

    options: dict[str, Any] = {
        "data": "wine",
        "keep": 4,
        "hidden": (8, 6),
        "epochs": 60,
        "temperature": 1e-3,
        "replicas": 2,
    }
    for event in (
        ()
        if folder.exists()
        else mcprune.run(mcprune.make_config(**options, checkpoint_every="0.5", threads=1, out=str(folder)))
    ):
        if event.kind == "progress" and event.block >= 3:
            break
    held = {name: (folder / name).read_bytes() for name in (REQUEST, CHECKPOINT, EVENTS)}
    asked = read_checkpoint(folder / CHECKPOINT)["options"]
    wine = load("wine")

    def resume(at: Path) -> None:
        opened = open_run(at)
        try:
            # Of what else may be asked for, `config.toml` takes care; here a run may take the room that it asks for.
            if opened.checkpoint is not None and opened.checkpoint["options"] == asked:
                search = restore_search(opened.checkpoint, wine, opened.controller, at)
                for _ in itertools.islice(search.run(Interrupt(), time.monotonic()), 3):
                    pass
        finally:
            opened.folder.close()

    spoilers = (spoil.spoil_bytes, _inside_checkpoint)
    return [
        Reader(
            "checkpoint",
            {CHECKPOINT: held[CHECKPOINT]},
            {CHECKPOINT: spoilers},
            lambda at: read_checkpoint(at / CHECKPOINT),
        ),
        Reader(
            "resume",
            held,
            {
                REQUEST: (spoil.spoil_json,),
                CHECKPOINT: (_inside_checkpoint, _inside_checkpoint, spoil.spoil_bytes),
                EVENTS: (spoil.spoil_json_lines,),
            },
            resume,
        ),
    ]


def _sweep_reader(root: Path) -> Reader:
    """The journal of a sweep of two trials."""
    from mcprune.studies.sweep.study import Study
    from mcprune.studies.sweep.vary import read_all

    setting = {"objective": "not-retrained", "options": {"data": "wine"}, "seeds": [0]}
    varied = read_all(["mask_noise=0:0.3"], {"data": "wine"})
    is_made = (root / "journal.log").exists()
    study = Study(root, setting, varied)
    for score in () if is_made else (0.5, 0.75):
        taken = study.take(3)
        assert taken is not None
        result = {
            "place": taken.place,
            "number": taken.number,
            "state": "complete",
            "values": taken.values,
            "score": score,
        }
        study.record(taken, {**result, "scores": [score], "seconds": 1.0, "message": ""}, "")

    def trials(at: Path) -> None:
        found = Study(at, setting, varied)
        done = [trial for trial in found.trials() if trial["state"] == "complete"]
        sorted(done, key=lambda trial: (-trial["score"], trial["place"]))
        found.importances()

    return Reader(
        "sweep",
        {"journal.log": (root / "journal.log").read_bytes()},
        {"journal.log": (spoil.spoil_json_lines,)},
        trials,
    )


def _right_digests(files: dict[str, bytes]) -> None:
    from mcprune.surgery.model_files import _digest

    with contextlib.suppress(ValueError, RecursionError, TypeError, AttributeError):
        content = json.loads(files["model.json"])
        content["weights_sha256"] = hashlib.sha256(files["model.safetensors"]).hexdigest()
        files["model.json"] = json.dumps({**content, "sha256": _digest(content)}).encode()


def _inside_checkpoint(data: bytes, draw: random.Random) -> bytes:
    """A checkpoint whose description or whose arrays are others; nine times of ten its hash fits them."""
    import torch
    from safetensors.torch import load, save

    from mcprune.storage.checkpoint import _digest

    tensors = load(data)
    about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    if draw.random() < 0.3:
        name = draw.choice(sorted(tensors))
        value = tensors[name]
        tensors[name] = draw.choice(
            (value.reshape(-1)[:0], value.reshape(1, *value.shape), value.to(torch.float16), value.to(torch.int64), value.flip(0)
             if value.dim() else value.expand(3), torch.full_like(value, -1) if value.dtype != torch.bool else ~value,
             torch.full(value.shape, float("nan"), dtype=torch.float64))
        )  # fmt: skip
    else:
        told = json.loads(about["description"])
        part = draw.choice(("search", "search", "search", None))
        text = told if part is None else {**told, part: spoil.spoil_value(told[part], draw)}
        about["description"] = (
            json.dumps(spoil.spoil_value(told, draw) if part is None else text).encode("utf-8", "replace").decode()
        )
    if draw.random() < 0.9:
        about["sha256"] = _digest(about["description"], tensors)
    return save({name: value.contiguous().clone() for name, value in tensors.items()}, about)


def _packed(spoiler: Spoiler) -> Spoiler:
    """A spoiler of what a gzip file holds."""
    return lambda data, draw: gzip.compress(spoiler(gzip.decompress(data), draw), mtime=0)


def _inside_zip(spoiler: Spoiler) -> Spoiler:
    """A spoiler of one member of an archive."""

    def spoiled(data: bytes, draw: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = draw.choice(sorted(members))
        members[name] = spoiler(members[name], draw)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name, held in members.items():
                archive.writestr(zipfile.ZipInfo(name), held)
        return out.getvalue()

    return spoiled


def _npz(X: Any, y: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, X=X, y=y)
    return out.getvalue()


def _npy(X: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, X)
    return out.getvalue()


class Bomb:
    """An object whose pickle, once read, says so."""

    exploded: list[bool] = []  # noqa: RUF012 - it is shared on purpose

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


def _explode() -> None:
    Bomb.exploded.append(True)


def _pickled(data: bytes, draw: random.Random) -> bytes:
    out = io.BytesIO()
    np.savez(out, X=np.array([[Bomb()] * 4] * 3, dtype=object), y=np.array([0, 1, 2]))
    return out.getvalue() if draw.random() < 0.5 else spoil.spoil_bytes(out.getvalue(), draw)


def _parquet(X: Any, y: Any) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({**{name: X[:, j] for j, name in enumerate(LAYOUT_NAMES)}, "kind": ["ünox"[k] for k in y]})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()
