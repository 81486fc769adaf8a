"""From a table to Verilog by four commands, whose bits are compared by alkaid and, where it is installed, by verilator."""

import csv
import json

import numpy as np
import pytest

from mcprune.cli.main import main
from mcprune.exporters.firmware.alkaid import has_verilator
from mcprune.firmware.counting.costs import costs
from mcprune.firmware.network_files import load_network

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def table(tmp_path):
    """A csv of 900 rows: two classes that three of six columns tell apart."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(900, 6)) * [1, 20, 0.1, 5, 3, 1]
    is_signal = values[:, 0] + values[:, 1] / 20 - values[:, 2] * 10 > 0.3
    path = tmp_path / "events.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{column}" for column in range(6)), "kind"])
        for row, one in zip(values, is_signal, strict=True):
            writer.writerow([*(f"{value:.6g}" for value in row), "signal" if one else "background"])
    return path


def test_a_table_becomes_verilog_with_the_same_bits(table, tmp_path, capsys):
    pytest.importorskip("alkaid")
    net, small = tmp_path / "net", tmp_path / "net" / "polished"
    training = ["--hidden", "8", "--epochs", "60", "--learning-rate", "0.01", "--penalty", "1e-6,1e-2", "--keep", "80"]
    assert main(["quantize", "--data", str(table), *training, "--out", str(net)]) == 0
    polish = ["--keep", "24", "--budget-in", "adders", "--proposals", "8000", "--blocks", "8", "--quiet"]
    assert main(["polish", str(net), "--data", str(table), *polish]) == 0
    capsys.readouterr()
    assert main(["export", str(small), "--to", "alkaid", "--rows", str(table)]) == 0
    printed = capsys.readouterr().out
    assert "of 900 rows are equal bit for bit in alkaid's interpreter" in printed
    assert ("of 900 rows are equal bit for bit in verilator" in printed) == has_verilator()
    (source,) = tmp_path.rglob("mcprune_net.v")
    assert "module mcprune_net" in source.read_text()
    network = load_network(small)
    assert costs(network).digits < costs(load_network(net)).digits
    record = json.loads((small / "polish.json").read_text())
    assert record["after"]["accuracies"]["test"] > 0.9
    assert main(["report", str(small)]) == 0
