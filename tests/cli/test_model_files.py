"""Commands on a classifier of a file, FILE.py:NAME."""

import json

import pytest

import mcprune
from mcprune.cli.main import main

CODE = """
from tests.shared.transformers_nets import TorchNet

def make():
    return TorchNet(layers=1)
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    return "net.py:make"


def test_inspect_lists_heads(net, capsys):
    assert main(["inspect", "--data", "digits", "--model", net]) == 0
    text = capsys.readouterr().out
    assert "net.py:make on digits" in text
    assert "encoder.layers.0.self_attn" in text


@pytest.mark.slow
@pytest.mark.parametrize("sites", ["heads", "neurons", "blocks"])
def test_a_run(net, tmp_path, capsys, sites):
    options = [
        "--keep",
        "1",
        "--epochs",
        "1",
        "--retrain-epochs",
        "1",
        "--compare",
        "no",
        "--threads",
        "1",
        "--decisions",
        "2",
    ]
    assert main(["run", "--data", "digits", "--model", net, "--sites", sites, *options, "--out", "run", "--quiet"]) == 0
    kept = json.loads((tmp_path / "run" / "mask.json").read_text())["indices"]
    assert len(kept) == 1
    from tests.shared.transformers_nets import TorchNet

    assert mcprune.load("run", model=TorchNet(layers=1)).columns.size == 64


def test_a_file_that_is_missing(net, capsys):
    assert main(["run", "--data", "digits", "--model", "other.py:make", "--sites", "heads"]) == 2
    assert "there is no file 'other.py'" in capsys.readouterr().err
