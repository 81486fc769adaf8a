"""Several processes that share the candidates: the chain of one process, bit for bit; ranks that differ or leave are told of."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranked import ROOT, free_port, together

from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.distributed.evaluation import LEAST, Ranks, _length
from mcprune.errors import ConfigError, RanksError
from mcprune.session.loop import run
from mcprune.session.ranks import place_of
from mcprune.storage.layout import OLDER

SHORT = {
    "epochs": 8,
    "retrain_epochs": 1,
    "compare": "no",
    "hidden": [16, 8],
    "keep": 16,
    "threads": 1,
    "keep_schedule": "geometric:0.3",
}
KINDS = {
    "fused": {"evaluator": "fused", "temperature": "1e-3"},
    "full": {"evaluator": "full"},
    "replicas": {"temperature": "3e-4", "replicas": "4,swap_every=16", "moves": "informed=2,site=1,exchange=1"},
    "rank": {"gates": "rank", "moves": "site=2,exchange=1", "delta": "0.5", "evaluator": "fused"},
    "cost": {"sites": "inputs,units", "keep": None, "parameters": 300},
}
# What so many ranks try: processes take longer to begin than to run.
TRIED = [
    pytest.param(2, ("rank",), marks=pytest.mark.slow),
    *(
        pytest.param(*one, marks=pytest.mark.long("several processes, each of which starts Python and torch"))
        for one in [(1, ("full",)), (2, ("fused", "full", "replicas", "cost")), (3, ("fused", "replicas"))]
    ),
]
# Clocks tell these, and how much was evaluated ahead follows a clock.
CLOCKS = {"seconds", "seconds_left", "decisions_per_second", "forwards", "folder", "out"}


def without_clocks(value):
    if isinstance(value, dict):
        return {name: without_clocks(part) for name, part in value.items() if name not in CLOCKS}
    return [without_clocks(part) for part in value] if isinstance(value, list) else value


def told(folder):
    lines = [without_clocks(json.loads(line)) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if not str(line.get("text")).startswith("ranks: ")]


def of_kinds(kinds, folder):
    return [{**SHORT, **KINDS[kind], "out": str(folder / kind)} for kind in kinds]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Give the folder of a run in one process, by kind."""
    folder = tmp_path_factory.mktemp("alone")

    def of(kind):
        if not (folder / kind).exists():
            list(run(make_config(**of_kinds([kind], folder)[0])))
        return folder / kind

    return of


@pytest.mark.parametrize(("size", "kinds"), TRIED)
def test_ranks_make_the_chain_of_one_process(size, kinds, alone, tmp_path):
    ends = together(size, {"runs": of_kinds(kinds, tmp_path)})
    assert [end[0] for end in ends] == [0] * size, ends
    assert ends[0][1].split() == []
    assert all(end[1].split() == ["0"] * len(kinds) for end in ends[1:])
    for kind in kinds:
        # Weights of all sites and the mask; accepted and proposed of every block are in the events.
        assert (tmp_path / kind / "mask.json").read_bytes() == (alone(kind) / "mask.json").read_bytes(), kind
        assert told(tmp_path / kind) == told(alone(kind)), kind
        model = "model.safetensors"
        assert (tmp_path / kind / model).read_bytes() == (alone(kind) / model).read_bytes(), kind


@pytest.mark.long("several processes, each of which starts Python and torch")
@pytest.mark.parametrize("kind", ["seed", "classifier"])
def test_a_rank_that_does_something_else_is_found_out(kind, tmp_path):
    """Proposals of another seed, and a classifier that is another: both are met behind the first block at the latest."""
    job = {"runs": [{**SHORT, "out": str(tmp_path / "run")}], "spoiled": 1, "kind": kind, "timeout": 120.0}
    ends = together(2, job)
    assert [end[0] for end in ends] == [2, 2], ends
    assert "the ranks are out of step" in ends[0][2]
    assert "Traceback" not in ends[0][2] + ends[1][2]


@pytest.mark.long("several processes, each of which starts Python and torch")
def test_all_ranks_stop_behind_the_same_block(tmp_path):
    """A signal to rank 1 alone, then the time that is up by the clock of rank 0: a rank that went on would wait for ever."""
    # One classifier: a block is one call of the trainer, which the signal counts.
    signalled = {**SHORT, "eval_on": "held-out", "out": str(tmp_path / "signalled")}
    late = {**SHORT, "eval_on": "held-out", "epochs": 1000, "search_time": 2.0, "out": str(tmp_path / "late")}
    job = {"runs": [signalled, late], "spoiled": 1, "kind": "signal", "timeout": 120.0}
    ends = together(2, job)
    assert [end[0] for end in ends] == [0, 0], ends
    assert ends[0][1].split() == ["terminate"]  # the other one came to the end of its schedules in its time
    assert ends[1][1].split() == ["143", "0"]
    result = json.loads((tmp_path / "signalled" / "result.json").read_text())
    assert result["cut_short_by"] == "terminate"
    stopped = next(line for line in told(tmp_path / "signalled") if line["event"] == "stopped")
    assert stopped["block"] == 5
    assert [line["blocks"] - line["block"] for line in told(tmp_path / "late") if line["event"] == "progress"][-1] == 0
    assert any(line["event"] == "replanned" for line in told(tmp_path / "late"))


@pytest.mark.long("several processes, each of which starts Python and torch")
def test_ranks_that_were_begun_differently_do_not_begin(tmp_path):
    job = [sys.executable, "-m", "mcprune", "run", "--quiet", "--out", str(tmp_path / "run")]
    shared = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
    }
    ranks = [
        subprocess.Popen(
            [*job, "--seed", str(rank)], env={**shared, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    texts = [rank.communicate(timeout=300)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2]
    assert all("different seed: 1 and 0. Start all ranks alike" in text for text in texts), texts
    assert texts[1].startswith("mcprune: error: rank 1:")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"WORLD_SIZE": "2"}, "not the other of RANK and WORLD_SIZE"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "below the number of ranks"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "not a count"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, "no MASTER_ADDR"),
    ],
)
def test_an_environment_that_is_no_torchrun_is_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        place_of(values)


def test_a_process_that_is_alone_needs_no_ranks():
    assert place_of({}) is None
    assert place_of({"WORLD_SIZE": "1"}) is None
    place = place_of(
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "j"}
    )
    assert place == (1, 2, 1, 2, 0, "j")


def test_what_is_for_one_process_says_so(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["tune"]) == 2
    assert "is for one process, and torchrun has started 2" in capsys.readouterr().err


def test_messages_of_few_candidates_are_of_one_size():
    assert {_length(count) for count in range(1, LEAST + 1)} == {LEAST}
    assert _length(LEAST + 1) == 2 * LEAST


def test_a_rank_that_is_gone_or_late_is_named():
    ranks = Ranks(1, 2, 10.0)
    assert "rank 1 has lost another rank" in str(ranks._gone(RuntimeError("Connection closed by peer"), 0.1))
    assert "has waited for 10 s" in str(ranks._gone(RuntimeError("Timed out"), 10.0))
    assert isinstance(ranks._gone(RuntimeError(""), 0.0), RanksError)


LONGER = [
    "--epochs",
    "12",
    "--retrain-epochs",
    "1",
    "--compare",
    "no",
    "--hidden",
    "16,8",
    "--keep",
    "16",
    "--threads",
    "1",
]


def children(parent):
    """Return the ranks that a torchrun has begun, by their rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"PPid:\t{parent}\n" in (path / "status").read_text():
                held = dict(one.split("=", 1) for one in (path / "environ").read_text().split("\0") if "=" in one)
                found[held["RANK"]] = int(path.name)
        except (OSError, KeyError):
            continue
    return found


@pytest.mark.long("several processes, each of which starts Python and torch")
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="ranks are found by /proc")
def test_torchrun_goes_on_from_the_last_checkpoint_when_a_rank_was_killed(tmp_path):
    """The killed run ends in the bits of one that is alone and never stopped."""
    common = [*LONGER, "--checkpoint-every", "0.25"]
    assert main(["run", *common, "--out", str(tmp_path / "alone")]) == 0
    folder = tmp_path / "shared"
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--max-restarts=1",
        "--monitor-interval=10",  # of the ranks, so that rank 0 finds out by itself before it is ended
    ]
    torchrun += [f"--master-port={free_port()}", "-m", "mcprune", "run", *common, "--out", str(folder)]
    with (tmp_path / "told").open("w") as told_here:
        job = subprocess.Popen(
            torchrun, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=told_here, stderr=told_here
        )
        try:
            end = time.monotonic() + 600
            while not (folder / OLDER).exists():
                assert job.poll() is None, (tmp_path / "told").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
            os.kill(children(job.pid)["1"], signal.SIGKILL)
            assert job.wait(timeout=600) == 0, (tmp_path / "told").read_text()
        finally:
            job.kill()
    text = (tmp_path / "told").read_text()
    assert "mcprune: error: rank 0 has lost another rank" in text, text
    assert "going on after block" in text, text
    assert (folder / "mask.json").read_bytes() == (tmp_path / "alone" / "mask.json").read_bytes()
    assert told(folder) == told(tmp_path / "alone")
