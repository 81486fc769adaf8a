"""`mcprune run --sites digits`: training in fixed point and the chain over digits in one command."""

import json

import pytest
from kinds_table import write_kinds_table

from mcprune.cli.firmware.digits import ROOM, start_of
from mcprune.cli.main import main
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.network_files import load_network

QUICK = ["--sites", "digits", "--hidden", "8", "--epochs", "12", "--learning-rate", "0.03", "--seed", "2"]


@pytest.fixture(autouse=True)
def few_proposals(monkeypatch):
    monkeypatch.setattr("mcprune.cli.firmware.digits.PROPOSALS", 2000)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A csv of 600 rows whose class is the sign of a product."""
    return write_kinds_table(tmp_path_factory.mktemp("table"), seed=1)


@pytest.mark.slow
def test_one_command_trains_and_polishes_to_the_budget(table, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["run", "--data", str(table), *QUICK, "--keep", "120", "--budget-in", "digit-bits", "--out", str(out)]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["unit"] == "digit-bits"
    assert report["settings"]["seed"] == 2
    network = load_network(out)
    assert costs(network).digit_bits == report["after"]["digit_bits"] <= 120
    assert network.origin.split_seed == 2
    start = load_network(out / "start")
    assert costs(start).digit_bits == report["before"]["digit_bits"] > 120
    assert main(command) == 2
    assert "holds a network already" in capsys.readouterr().err
    # Cut off in the chain: it starts from the trained network again and ends in the same one.
    (out / "network.json").unlink()
    assert main([*command, "--quiet"]) == 0
    assert "a run that was cut off" in capsys.readouterr().out
    assert [
        (one.weight == other.weight).all() for one, other in zip(load_network(out).layers, network.layers, strict=True)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "needs --keep N"),
        (["--keep", "inputs=3"], "needs --keep N"),
        (["--keep", "20", "--budget-in", "bytes"], "no unit of a budget"),
        (["--keep", "20", "--delta", "1"], "--delta is not for --sites digits"),
        (["--keep", "20", "--objective", "rejection"], "rejection"),
    ],
)
def test_what_cannot_be_is_refused(table, tmp_path, capsys, options, message):
    assert main(["run", "--data", str(table), *QUICK, *options, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def test_a_unit_is_for_digits_alone(capsys):
    assert main(["run", "--data", "digits", "--budget-in", "adders"]) == 2
    assert "--budget-in adders is for --sites digits" in capsys.readouterr().err


def test_the_start_has_room_but_not_too_much():
    from types import SimpleNamespace

    def choice(digits, loss):
        return SimpleNamespace(costs=SimpleNamespace(of=lambda unit: digits), loss=loss)

    choices = [choice(500, 0.1), choice(190, 0.2), choice(150, 0.3), choice(20, 0.9)]
    assert ROOM == 2
    assert start_of(choices, "digits", 100) is choices[1]
    assert start_of(choices, "digits", 300) is choices[0]
    assert start_of(choices, "digits", 5) is choices[3]
