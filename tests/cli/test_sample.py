"""`mcprune sample`: of a folder, after a run, as JSON; errors of its options."""

import json

import pytest

from mcprune.cli.main import main
from mcprune.sampling import sample as sampling
from mcprune.sampling import sampler, settle

RUN = ["--data", "wine", "--keep", "4", "--epochs", "3", "--retrain-epochs", "1", "--threads", "1", "--compare", "no"]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(sampling, "ENOUGH", 30.0)
    monkeypatch.setattr(sampling, "MIXED", 1.1)
    # Classifiers are trained under their masks for a moment: that this does its work is the matter of test_settle.
    monkeypatch.setattr(settle, "LEAST_STEPS", 60)
    monkeypatch.setattr(settle, "SHARE", 0.0)
    monkeypatch.setattr(settle, "LEGS", 8)
    monkeypatch.setattr(sampler, "FIRST_LEGS", 4)


@pytest.mark.slow
def test_it_runs_first_and_then_samples_and_goes_on_with_the_folder(tmp_path, capsys):
    folder = str(tmp_path / "wine")
    assert main(["sample", *RUN, "--out", folder, "--precision", ".1"]) == 0
    printed = capsys.readouterr()
    assert "inputs: 4 of 13 kept" in printed.out
    assert "P(kept)" in printed.out
    assert main(["sample", folder, "--precision", ".1", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    content = json.loads(printed.out)
    assert content["is_precise"]
    assert len(content["sites"]) == 13
    assert main(["sample", folder, "--chains", "5"]) == 2
    assert "samples with chains=4, not 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "there is no run to sample"),
        (["nowhere"], "there is no folder 'nowhere'"),
        (["nowhere", "--keep", "3"], "--keep is for a new run"),
        (["nowhere", "--precision", "fine"], "--precision takes a number, but got 'fine'"),
        (["nowhere", "--chains", "4.5"], "--chains takes a whole number"),
        (["nowhere", "--temperature", "cold"], "--temperature takes a number"),
        (["nowhere", "--chains", "1"], "choose 4 to 64"),
        (["nowhere", "--quiet", "--json"], "Leave one of them out"),
        (["--data", "wine", "--fdr", ".1"], "Run with --keep N instead of --fdr"),
        (["nowhere", "--precison", ".1"], "did you mean '--precision'"),
    ],
)
def test_errors_are_one_line(words, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("mcprune: error: ")
    assert len(error.splitlines()) == 1
