"""Predictions and exports of a run of a class in a file: the file gives the layers, the folder the numbers."""

import csv

import numpy as np
import pytest

import mcprune
from mcprune.cli.main import main

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x.unflatten(1, (3, 4)))).mean(dim=1))

class Wider(Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(9, 2)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run over neurons, its result, the file of the class and new rows."""
    place = tmp_path_factory.mktemp("own")
    (place / "net.py").write_text(NET)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(120, 12)).astype(np.float32)
    y = np.where(x[:, :4].sum(axis=1) > 0, "up", "down")
    result = mcprune.prune(
        x, y, model=f"{place}/net.py:Net", sites="neurons", keep=5, epochs=1, retrain_epochs=1, decisions=8, compare="no",
        threads=1, out=str(place / "run"),
    )  # fmt: skip
    np.savetxt(place / "new.csv", x[:9], delimiter=",", header=",".join(result.model.feature_names), comments="")
    return place, result, x[:9]


def test_predictions_with_the_class_of_a_file(run, capsys):
    place, result, x = run
    arguments = ["predict", str(place / "run"), str(place / "new.csv"), "--model", f"{place}/net.py:Net"]
    assert main(arguments) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["prediction"] for row in rows] == result.model.predict(x).tolist()
    np.testing.assert_allclose(
        [float(row["probability"]) for row in rows], result.model.predict_proba(x).max(axis=1), atol=1e-5
    )


@pytest.mark.slow
def test_a_file_for_another_program(run, capsys):
    place, _, _ = run
    arguments = ["export", str(place / "run"), "--to", "torch", "--no-times", "--model", f"{place}/net.py:Net"]
    assert main(arguments) == 0
    assert "in the same class" in capsys.readouterr().out
    assert (place / "run" / "small.pt2").exists()


@pytest.mark.parametrize("command", ["predict", "export"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            None,
            "is of a class of your own, 'Net'. Build it with your own code and call mcprune.load(folder, model=...), or give --model",
        ),
        ("net.py", "--model 'net.py' is no FILE.py:NAME. Name the file and the class, such as net.py:Net."),
        ("{}/none.py:Net", "there is no file"),
        ("{}/net.py:Wider", "Wider"),
    ],
)
def test_a_class_that_does_not_fit_is_one_clear_error(run, command, model, message, capsys):
    place, _, _ = run
    arguments = [command, str(place / "run"), *([str(place / "new.csv")] if command == "predict" else [])]
    assert main(arguments + ([] if model is None else ["--model", model.format(place)])) == 2
    error = capsys.readouterr().err
    assert message in error.replace("\n", " ")
    assert "Traceback" not in error
