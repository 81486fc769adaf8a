"""`mcprune polish` of a run, and of a network in fixed point."""

import json

import numpy as np
import pytest
from kinds_table import write_kinds_table

from mcprune.cli.main import main
from mcprune.firmware.counting.costs import UNITS, costs
from mcprune.firmware.network_files import DESCRIPTION, NUMBERS, load_network

FEW = ["--proposals", "3000", "--blocks", "6"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A csv of 600 rows and four columns of unlike scales, one of which says nothing."""
    return write_kinds_table(tmp_path_factory.mktemp("table"), seed=3)


@pytest.fixture(scope="module")
def run_folder(table):
    out = table.parent / "run"
    options = [
        "--keep",
        "3",
        "--hidden",
        "8",
        "--epochs",
        "12",
        "--retrain-epochs",
        "12",
        "--threads",
        "1",
        "--seed",
        "4",
    ]
    assert main(["run", "--data", str(table), *options, "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def polished(run_folder):
    assert main(["polish", str(run_folder), "--keep", "60", *FEW, "--quiet"]) == 0
    return run_folder / "polished"


def test_a_run_is_rounded_and_polished(run_folder, polished, table, capsys):
    network = load_network(polished)
    assert costs(network).digits <= 60
    assert set(network.origin.names) <= {"a", "b", "c", "d"}
    raw = np.genfromtxt(table, delimiter=",", skip_header=1, usecols=range(4))
    kinds = np.genfromtxt(table, delimiter=",", skip_header=1, usecols=4, dtype=str)
    predicted = np.array(network.origin.labels)[network.predict(raw[:, network.origin.columns], scaled=False)]
    assert (predicted == kinds).mean() > 0.9
    report = json.loads((polished / "polish.json").read_text())
    assert report["after"]["digits"] == costs(network).digits
    assert report["before"]["digits"] > 60
    assert "rounded to 8 bits" in report["start"]
    assert sorted(entry.name for entry in polished.iterdir()) == [DESCRIPTION, NUMBERS, "polish.json"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_network_is_polished_further_on_its_data(polished, table, tmp_path, unit, capsys):
    budget = costs(load_network(polished)).of(unit) * 2 // 3
    options = ["--keep", str(budget), "--budget-in", unit, "--seed", "9", *FEW, "--json"]
    assert main(["polish", str(polished), "--data", str(table), *options, "--out", str(tmp_path / "net")]) == 0
    report = json.loads(capsys.readouterr().out)
    network = load_network(tmp_path / "net")
    assert 0 < costs(network).of(unit) <= budget
    # The scaling and the split of the run, whatever the seed of the chain: the start is as good on its test rows as it was.
    before = json.loads((polished / "polish.json").read_text())["after"]
    assert report["before"]["accuracies"] == before["accuracies"]


def test_the_printed_table(polished, table, tmp_path, capsys):
    options = ["--keep", "30", "--objective", "auc", "--proposals", "300", "--blocks", "2", "--drops", "0"]
    assert main(["polish", str(polished), "--data", str(table), *options, "--out", str(tmp_path / "net")]) == 0
    printed = capsys.readouterr().out
    assert "budget 30 digits, used" in printed
    assert "adders at most" in printed
    assert "test accuracy" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep", "10"], "Give --data"),
        ([], "Give --keep N"),
        (["--keep", "ten", "--data", "digits"], "--keep takes a whole number"),
        (["--keep", "10", "--data", "digits", "--budget-in", "bytes"], "no unit of a budget"),
        (["--keep", "10", "--data", "digits", "--bits", "6"], "--bits is for a classifier that is rounded"),
        (["--keep", "10", "--data", "digits"], "Give the data set that it was trained on"),
        (["--keep", "10", "--data", "digits", "--objective", "rejection"], "rejection"),
    ],
)
def test_wrong_options_are_refused(polished, tmp_path, capsys, options, message):
    assert main(["polish", str(polished), *options, "--out", str(tmp_path / "net")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def test_a_network_is_not_replaced_without_force(run_folder, polished, capsys):
    assert main(["polish", str(run_folder), "--keep", "60"]) == 2
    assert "--force" in capsys.readouterr().err


def test_options_of_the_data_are_not_for_a_run(run_folder, tmp_path, capsys):
    assert main(["polish", str(run_folder), "--keep", "60", "--data", "wine", "--out", str(tmp_path / "n")]) == 2
    assert "those of the run" in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["polish", str(tmp_path / "nowhere"), "--keep", "50", "--data", "wine"]) == 2
    assert f"there is no folder {str(tmp_path / 'nowhere')!r}. Give the folder of a run" in capsys.readouterr().err
