"""A run by a false discovery rate, from its options to its result; the competition itself is stood in for."""

import json

import numpy as np
import pytest

import mcprune
from mcprune.cli.main import main
from mcprune.errors import ConfigError, NothingFoundError
from mcprune.session.shadows import outcome
from mcprune.storage.events import ColumnStatistic, ErrorRate

QUICK = {"epochs": 4, "retrain_epochs": 4, "hidden": (8,), "threads": 1}


def standing_in(kept, columns=10):
    """Return a competition that keeps these columns."""
    order = [*kept, *(j for j in range(columns) if j not in kept)]
    statistics = tuple(
        ColumnStatistic(j, f"x{j}", 0.9 if j in kept else 0.2, 0.2, 0.05 if j in kept else 0.6, j in kept)
        for j in order
    )
    return lambda dataset, config: ErrorRate(
        config.problem.fdr, 0.05 if kept else 0.0, 0.9 if kept else None, statistics, 12, 400, 0.1
    )


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(outcome, "compete", standing_in([8, 3]))


@pytest.fixture
def none(monkeypatch):
    monkeypatch.setattr(outcome, "compete", standing_in([]))


def test_the_result_keeps_what_won(table, two):
    result = mcprune.prune(*table, fdr=0.1, **QUICK)
    assert result.mask.indices.tolist() == [3, 8]
    assert len(result.mask) == 2
    assert result.fdr.kept == ("x8", "x3")
    assert result.fdr.rate == 0.05
    assert result.summary.startswith("2 of 10 columns at an estimated false discovery rate of .050 ")
    assert result.model.predict(table[0][:5]).shape == (5,)
    kinds = [event.kind for event in result.events]
    assert kinds[:2] == ["stage", "run_started"]
    assert "hardened" in kinds
    assert "progress" not in kinds
    started = next(event for event in result.events if event.kind == "run_started")
    assert (started.keep, started.config["fdr"], started.config["keep"]) == (2, 0.1, None)


def test_another_run_has_no_rate(table):
    assert mcprune.prune(*table, keep=2, **QUICK).fdr is None


def test_the_folder_is_shown_and_repeats_the_run(table, two, tmp_path, capsys):
    x, y = table
    np.savez(tmp_path / "t.npz", X=x, y=y)
    flags = ["--epochs", "4", "--retrain-epochs", "4", "--hidden", "8", "--threads", "1", "--compare", "no"]
    folder = tmp_path / "run"
    assert main(["run", "--data", str(tmp_path / "t.npz"), "--fdr", ".1", "--out", str(folder), *flags]) == 0
    printed = capsys.readouterr().out
    assert "2 of 10 columns beat their shadows at an estimated false discovery rate of 0.050" in printed
    assert "2 of 10 columns at an estimated false discovery rate of .050 " in printed
    assert main(["show", str(folder)]) == 0
    assert "false discovery rate of .050" in capsys.readouterr().out
    assert json.loads((folder / "mask.json").read_text())["indices"] == [3, 8]
    assert main(["report", str(folder)]) == 0
    again = tmp_path / "again"
    assert main(["run", "--config", str(folder / "config.toml"), "--out", str(again)]) == 0
    assert (again / "mask.json").read_text() == (folder / "mask.json").read_text()
    with pytest.raises(mcprune.McpruneError, match="finished"):
        mcprune.resume(folder)


def test_a_run_without_a_search_is_not_sampled(table, two, tmp_path):
    result = mcprune.prune(*table, fdr=0.1, out=str(tmp_path / "run"), **QUICK)
    says = r"chosen by fdr=0\.1, without a search .*Run with --keep N instead of --fdr"
    with pytest.raises(ConfigError, match=says):
        result.sample(table)
    with pytest.raises(ConfigError, match=says):
        mcprune.sample(tmp_path / "run", table)


def test_an_empty_answer_is_said_and_has_a_code_of_its_own(table, none, tmp_path, capsys):
    with pytest.raises(NothingFoundError, match=r"No column beats its shadow at fdr=0\.1: .*Give more rows") as answer:
        mcprune.prune(*table, fdr=0.1, **QUICK)
    assert answer.value.fdr.kept == ()
    x, y = table
    np.savez(tmp_path / "t.npz", X=x, y=y)
    assert main(["run", "--data", str(tmp_path / "t.npz"), "--fdr", ".1", "--out", str(tmp_path / "run")]) == 3
    assert "mcprune: No column beats its shadow at fdr=0.1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep": 3}, r"--keep with --fdr 0\.1, but how many columns are kept follows from the rate"),
        ({"keep": "auto"}, r"fdr=0\.1 with a path, but each chooses how many columns are kept"),
        ({"sites": "units"}, r"fdr=0\.1 with sites='units', but only columns have permuted copies"),
        ({"groups": {"a": {"sites": ["0", "1"]}}}, "--groups with --fdr 0.1, but columns are tested one by one"),
        ({"macs": 500}, "--macs with --fdr 0.1, but a limit on costs"),
        ({"must_keep": ["0"]}, "--must-keep with --fdr 0.1"),
        ({"must_drop": ["0"]}, "--must-drop with --fdr 0.1"),
        ({"max_time": 5}, "--max-time with --fdr 0.1"),
        ({"method": "gradient"}, "--fdr does nothing under --method gradient"),
    ],
)
def test_what_contradicts_a_rate_is_refused(table, options, text):
    with pytest.raises(ConfigError, match=text):
        mcprune.prune(*table, fdr=0.1, **options)


@pytest.mark.parametrize("fdr", [0, 1, -0.1, 2, float("nan"), "much"])
def test_a_rate_outside_of_0_to_1_is_refused(table, fdr):
    with pytest.raises(ConfigError, match=r"^fdr: "):
        mcprune.prune(*table, fdr=fdr)
