"""Every reader against spoiled files: only errors of mcprune's own kind leave, little memory is taken, no code is run."""

import random
import signal
import tracemalloc
import warnings

import pytest
from endangered import Bomb, make_run, readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcprune.errors import McpruneError

NAMES = (
    "idx", "idx.gz", "idx rows", "cifar-100", "cifar", "csv", "tsv", "csv rows", "npz", "npy rows", "parquet", "config.toml", "model",
    "model with digests", "result.json", "events.jsonl", "replay", "mask.json", "figures", "sweep", "jobs.json",
    "checkpoint", "resume",
)  # fmt: skip
SLOW = {
    "events.jsonl": 15,
    "parquet": 40,
    "sweep": 25,
    "resume": 40,
}  # examples; each draws a page, an archive, a study
ROOM = 48 * 2**20  # bytes that reading a file of some kilobytes may take, a page with plotly among it
HANG = 60


@pytest.fixture(scope="session")
def endangered(tmp_path_factory):
    found = {reader.name: reader for reader in readers(make_run(tmp_path_factory.mktemp("endangered") / "run"))}
    assert set(found) | {"parquet", "sweep"} == set(NAMES)
    return found


@pytest.fixture
def reader(request, endangered):
    if request.param not in endangered:
        pytest.skip(f"{request.param} needs an extra that is not installed")
    return endangered[request.param]


@pytest.fixture
def alarm():
    """End what hangs, by an error that no `except Exception` catches."""

    def ring(number, frame):
        pytest.exit("a reader hangs", returncode=1)

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda: signal.alarm(HANG)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("reader", NAMES, indirect=True)
def test_what_is_valid_is_read(reader, tmp_path):
    reader.write(tmp_path)
    assert not reader.is_refused(tmp_path)


# A part of the examples is tried in the quick selection too.
@pytest.mark.parametrize(
    "share", [0.1, pytest.param(1.0, marks=pytest.mark.long("ten times the examples"))], ids=["some", "all"]
)
@pytest.mark.parametrize("reader", NAMES, indirect=True)
def test_what_is_spoiled_is_read_or_refused_and_takes_little_memory(reader, share, tmp_path_factory, alarm):
    refused = []

    @settings(
        max_examples=max(5, round(share * SLOW.get(reader.name, 100))), deadline=None, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(st.integers(0, 2**32 - 1))
    def spoil(seed):
        folder = tmp_path_factory.mktemp("spoiled")
        reader.write(folder, random.Random(seed))
        alarm()
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                refused.append(reader.is_refused(folder))
            assert tracemalloc.get_traced_memory()[1] < ROOM
        finally:
            tracemalloc.stop()

    spoil()
    assert any(refused)
    assert not Bomb.exploded


def test_the_bomb_explodes_where_a_pickle_is_read(tmp_path, monkeypatch):
    """The control of 'no code is run': numpy with pickles allowed does run it."""
    import numpy as np

    monkeypatch.setattr(Bomb, "exploded", [])
    np.savez(tmp_path / "t.npz", X=np.array([Bomb()], dtype=object))
    with np.load(tmp_path / "t.npz", allow_pickle=True) as archive:
        archive["X"]
    assert Bomb.exploded


def test_a_reader_that_lets_anything_through_is_found_out(endangered, tmp_path):
    """The control of the test above: one plain `float` behind a reader of tables."""
    from dataclasses import replace

    naive = replace(
        endangered["csv"],
        read=lambda at: [float(line.split(",")[0]) for line in (at / "t.csv").read_text().splitlines()[1:]],
    )
    broke = 0
    for seed in range(40):
        naive.write(tmp_path, random.Random(seed))
        try:
            naive.is_refused(tmp_path)
        except (ValueError, IndexError):  # `is_refused` lets no error of mcprune's own out
            broke += 1
    assert broke > 5


@pytest.mark.parametrize("dims", [(2**31, 28, 28), (2**31,), (2**32 - 1, 2**32 - 1, 2**32 - 1)])
@pytest.mark.parametrize("is_packed", [False, True])
def test_an_idx_header_that_claims_two_thousand_million_images_is_refused_without_making_room(
    dims, is_packed, tmp_path
):
    import gzip
    import struct

    from mcprune.data.load import load

    data = bytes([0, 0, 8, len(dims)]) + struct.pack(f">{len(dims)}I", *dims) + bytes(1000)
    end = ".gz" if is_packed else ""
    tags = bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([0, 1, 2])
    for name, held in ((f"train-images-idx3-ubyte{end}", data), (f"train-labels-idx1-ubyte{end}", tags)):
        (tmp_path / name).write_bytes(gzip.compress(held) if is_packed else held)
    tracemalloc.start()
    with pytest.raises(McpruneError):
        load(str(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.parametrize("dims", [(2**32 - 1, 2**32 - 1, 0), (0, 2**16, 2**31, 2**16), (28, 2**32 - 1, 2**31, 0)])
def test_an_empty_idx_file_of_impossible_sizes_is_refused(dims, tmp_path):
    """Found by coverage-guided fuzzing: numpy cannot shape an empty array whose other sizes overflow."""
    import struct

    from mcprune.data.formats.idx import read_idx

    (tmp_path / "t").write_bytes(bytes([0, 0, 8, len(dims)]) + struct.pack(f">{len(dims)}I", *dims))
    with pytest.raises(McpruneError, match="which is not a possible size"):
        read_idx(tmp_path / "t")


def test_a_class_of_thousands_of_digits_is_a_text():
    """Found by coverage-guided fuzzing: Python refuses to read integers of more than 4,300 digits."""
    from mcprune.data.roles.targets import parse_labels

    assert parse_labels(["1" * 5000, "2"]) == ["1" * 5000, "2"]
    assert parse_labels(["1" * 20, "2"]) == [int("1" * 20), 2]


def test_a_message_is_not_as_long_as_a_cell(tmp_path):
    """Found by coverage-guided fuzzing: the only class of a table, of 60,000 letters, stood in the message as a whole."""
    from mcprune.data.load import load

    (tmp_path / "t.csv").write_text("a,kind\n" + f"1,{'x' * 60_000}\n" * 3)
    with pytest.raises(McpruneError, match="all 3 rows have the class 'xxx") as met:
        load(str(tmp_path / "t.csv"))
    assert len(str(met.value)) < 500


def test_an_archive_header_that_claims_gigabytes_is_refused_without_making_room(tmp_path):
    from mcprune.data.formats.archives import read_npy

    path = tmp_path / "t.npy"
    for head in (b"\x02\x00\xf0\xff\xff\x7f", b"\x09\x00\x00\x00\x00\x20", b"\x03\x00\x00\x00\x00\xff"):
        path.write_bytes(b"\x93NUMPY" + head + b"{'descr': '<f8'}")
        tracemalloc.start()
        with pytest.raises(McpruneError, match="header claims"):
            read_npy(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20
    shape = b"{'descr': '|S0', 'fortran_order': False, 'shape': (4294967296,), }\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(shape).to_bytes(2, "little") + shape)
    with pytest.raises(McpruneError, match="without a size"):
        read_npy(path)
