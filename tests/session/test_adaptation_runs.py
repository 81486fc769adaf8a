"""The options of replicas, adapted delta and the warm-up, as a run settles and shows them."""

import json

import pytest

from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.data.load import load
from mcprune.errors import ConfigError
from mcprune.report.summary import adapted_lines
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.storage.event_parts import Adapted

SHORT = ["--keep", "9", "--hidden", "8", "--epochs", "2", "--retrain-epochs", "1", "--compare", "no", "--threads", "1"]


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def settled(digits, **options):
    return make_plan(make_config(keep=9, hidden=8, **options), digits)


def test_the_warm_up_lasts_half_the_run_or_until_the_budget_has_fallen(digits):
    assert settled(digits).config.chain.warm_up == 0.5
    assert settled(digits, keep_schedule="geometric:0.7").config.chain.warm_up == 0.7
    assert settled(digits, keep_schedule="geometric:0.2").config.chain.warm_up == 0.5
    assert settled(digits, keep_schedule="constant").config.chain.warm_up == 0.5
    assert settled(digits, keep_schedule="geometric:0.7", warm_up=0.1, adapt_delta=0.4).config.chain.warm_up == 0.1


def test_the_hottest_is_settled_from_the_coldest_and_only_with_replicas(digits):
    plan = settled(digits, replicas=2, temperature="linear:0.001:0.0005")
    assert plan.config.chain.replicas.hottest == pytest.approx(0.01)
    assert make_method(plan).init().chain.position.shape[0] == 2
    assert settled(digits, temperature="0.001").config.chain.replicas.hottest is None
    with pytest.raises(ConfigError, match="must be above 0"):
        make_method(settled(digits, replicas=2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--replicas", "3"], "must be above 0"),
        (["--replicas", "3,hottest=0.05", "--temperature", "0.1"], "hottest=0.05"),
        (["--replicas", "1,hottest=0.05"], "a single chain has no ladder, got hottest=0.05"),
        (["--replicas", "1,swap_every=8"], "a single chain has no ladder, got swap_every=8"),
        (["--adapt-delta", "0.3", "--moves", "exchange=1"], "none of the moves uses delta"),
        (["--adapt-delta", "1.5"], "adapt_delta"),
        (["--warm-up", "1"], "warm_up"),
        (["--replicas", "0"], "replicas"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_exit_code_two(options, said, tmp_path, capsys):
    assert main(["run", *SHORT, *options, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_with_replicas_tells_its_ladder_and_repeats(tmp_path, capsys):
    options = ["--replicas", "3,swap_every=16", "--temperature", "3e-3", "--adapt-delta", "0.4"]
    options += ["--moves", "exchange=1,informed=1,site=1"]
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        assert main(["run", *SHORT, *options, "--out", str(folder)]) == 0
        lines = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
        told = [line["adapted"] for line in lines if line["event"] == "progress"]
        found.append((told, (folder / "mask.json").read_bytes()))
    assert found[0] == found[1]
    last = found[0][0][-1]
    assert len(last["temperatures"]) == len(last["deltas"]) == 3
    assert last["temperatures"][-1] == pytest.approx(0.03)
    assert len(last["swap_rates"]) == 2
    assert last["frozen_at"] > 0
    assert json.loads((tmp_path / "one" / "result.json").read_text(encoding="utf-8"))["adapted"] == last
    capsys.readouterr()
    assert main(["show", str(tmp_path / "one")]) == 0
    shown = capsys.readouterr().out
    for line in adapted_lines(Adapted(**last)):
        assert line in shown
    assert "swaps between neighbours: " in shown


def test_the_lines_of_what_was_adapted():
    assert adapted_lines(None) == []
    adapted = Adapted(temperatures=[0.001, 0.1], swap_rates=[None], round_trips=0, frozen_at=None)
    assert adapted_lines(adapted) == [
        "adapted during the warm-up, not frozen: the warm-up did not end",
        "  temperatures: 0.001, 0.1",
        "  swaps between neighbours: -; round trips: 0",
    ]
    assert adapted_lines(Adapted(deltas=[1.25], frozen_at=1280)) == [
        "adapted during the warm-up, frozen after 1,280 proposals a replica",
        "  delta: 1.25",
    ]
