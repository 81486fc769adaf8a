"""`mcprune quantize`, and what the other commands make of its folder."""

import numpy as np
import pytest
from kinds_table import write_kinds_table

from mcprune.cli.main import main
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.network_files import load_network

QUICK = ["--hidden", "8", "--epochs", "12", "--learning-rate", "0.03", "--penalty", "1e-5,1e-2"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A csv of 600 rows whose class is the sign of a product."""
    return write_kinds_table(tmp_path_factory.mktemp("table"), seed=0)


@pytest.fixture(scope="module")
def folder(table):
    out = table.parent / "net"
    assert main(["quantize", "--data", str(table), *QUICK, "--out", str(out)]) == 0
    return out


def test_the_network_is_saved_with_its_scaling(folder, table):
    network = load_network(folder)
    assert set(network.origin.names) <= set("abcd")
    assert network.origin.labels == ("no", "yes")
    assert network.origin.scaler is not None
    raw = np.genfromtxt(table, delimiter=",", skip_header=1, usecols=range(4))
    kinds = np.genfromtxt(table, delimiter=",", skip_header=1, usecols=4, dtype=str)
    raw = raw[:, network.origin.columns]
    assert (np.array(network.origin.labels)[network.predict(raw, scaled=False)] == kinds).mean() > 0.85


@pytest.mark.parametrize("unit", ["digits", "digit-bits", "ebops", "adders", "luts"])
def test_a_budget_is_kept(table, tmp_path, unit, capsys):
    whole = costs(load_network(table.parent / "net")) if (table.parent / "net").exists() else None
    out = tmp_path / "net"
    assert (
        main(["quantize", "--data", str(table), *QUICK, "--keep", "150", "--budget-in", unit, "--out", str(out)]) == 0
    )
    assert 0 < costs(load_network(out)).of(unit) <= 150
    printed = capsys.readouterr().out
    assert "saved" in printed
    assert whole is None or whole.weights > 0


def test_a_budget_that_no_network_keeps_is_refused(table, tmp_path, capsys):
    assert main(["quantize", "--data", str(table), *QUICK, "--keep", "1", "--out", str(tmp_path / "n")]) == 2
    assert "the smallest network of the training has" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--budget-in", "bytes"], "no unit"),
        (["--penalty", "a"], "not two numbers"),
        (["--penalty", "1,0.5"], "does not grow"),
        (["--penalty", "1e-6,inf"], "does not grow"),
        (["--learning-rate", "nan"], "no finite number above 0"),
        (["--learning-rate", "inf"], "no finite number above 0"),
        (["--batch-size", "0"], "batch_size=0 is too small"),
        (["--keep", "0"], "--keep 0 is too small"),
        (["--threads", "0"], "--threads 0 is too small"),
        (["--overflow", "clamp"], "wrap or saturate"),
        (["--target", "a"], "are numbers, but networks in fixed point are made for classes"),
    ],
)
def test_options_that_cannot_be_are_refused(table, tmp_path, capsys, change, message):
    assert main(["quantize", "--data", str(table), *QUICK, *change, "--out", str(tmp_path / "n")]) == 2
    assert message in capsys.readouterr().err


def test_a_network_is_not_replaced_without_force(folder, table, capsys):
    assert main(["quantize", "--data", str(table), *QUICK, "--out", str(folder)]) == 2
    assert "--force" in capsys.readouterr().err


def test_inspect_and_export_take_its_folder(folder, table, capsys):
    assert main(["inspect", str(folder)]) == 0
    assert "adders at most" in capsys.readouterr().out
    assert main(["export", str(folder), "--to", "c", "--rows", str(table)]) == 0
    printed = capsys.readouterr().out
    assert "600 rows" in printed
    assert "equal bit for bit" in printed or "no cc" in printed
    assert (folder / "network.h").read_text().startswith("/* A fixed-point network")
    assert main(["export", str(folder), "--to", "c"]) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--bits", "16"], ["--scaled"]])
def test_options_that_change_nothing_of_a_fixed_point_network_are_refused(folder, tmp_path, capsys, options):
    out = tmp_path / "net.h"
    assert main(["export", str(folder), "--to", "c", *options, "--out", str(out)]) == 2
    assert f"{options[0].lstrip('-')} is not for a fixed-point network" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("rate", ["1e3", "1e9", "1e15", "1e30"])
@pytest.mark.parametrize("command", [["quantize"], ["run", "--sites", "digits", "--keep", "20"]])
def test_a_training_that_diverges_is_one_error(table, tmp_path, capsys, command, rate):
    out = tmp_path / "n"
    sized = ["--hidden", "8", "--epochs", "12", "--learning-rate", rate]
    assert main([*command, "--data", str(table), *sized, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mcprune: error: The training diverged")
    assert error.endswith("Choose a lower learning rate.\n")
    assert len(error.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "command", [["predict", "{net}", "{table}"], ["show", "{net}"], ["sample", "{net}"], ["resume", "{net}"]]
)
def test_commands_for_runs_say_what_its_folder_is(folder, table, capsys, command):
    assert main([text.format(net=folder, table=table) for text in command]) == 2
    error = capsys.readouterr().err
    assert "holds a network in fixed point" in error
    assert "mcprune inspect, report, polish and export take it" in error


@pytest.mark.parametrize("of", ["result.json", "mask.json", "request.json", "path.json", "unfinished"])
@pytest.mark.parametrize("command", ["quantize", "run", "polish"])
def test_a_run_is_not_hidden_by_a_network(command, of, table, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / of).write_text("{}")
    words = {
        "quantize": [command, "--data", str(table), *QUICK],
        "run": [command, "--data", str(table), *QUICK[:4], "--sites", "digits", "--keep", "50"],
        "polish": [command, str(tmp_path / "net"), "--data", str(table), "--keep", "50"],
    }
    assert main([*words[command], "--out", str(out), "--force"]) == 2
    assert "holds a run or a path, and a network beside it would hide it" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [of]


@pytest.mark.parametrize("form", ["onnx", "torch", "safetensors"])
def test_forms_that_hold_no_integers_are_refused(form, folder, capsys):
    assert main(["export", str(folder), "--to", form]) == 2
    assert f"to={form!r} has no form for a fixed-point network. Choose one of c, " in capsys.readouterr().err
