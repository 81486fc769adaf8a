"""`--out`: a place that cannot be written is refused before a command begins its work, by every command that writes."""

import numpy as np
import pytest
from kinds_table import write_kinds_table

import mcprune.firmware.polish.polish
import mcprune.firmware.qat.choose
from mcprune.cli.main import main

QUICK = ["--hidden", "4", "--epochs", "2"]
OUTS = {
    "": "--out is empty",
    "  ": "--out is empty",
    "{taken}": "is a file",
    "{taken}/below/it": "is a file, so",
    "{long}": "is not possible",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_kinds_table(tmp_path_factory.mktemp("table"), seed=0)


@pytest.fixture(scope="module")
def folder(table):
    out = table.parent / "net"
    assert main(["quantize", "--data", str(table), *QUICK, "--out", str(out)]) == 0
    return out


@pytest.fixture
def never(monkeypatch):
    """Trainings and chains, which none of these commands may begin."""

    def begun(*_, **__):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(mcprune.firmware.qat.choose, "train_choices", begun)
    monkeypatch.setattr(mcprune.firmware.polish.polish.Polisher, "run", begun)


COMMANDS = {
    "quantize": ["quantize", "--data", "{table}", *QUICK],
    "digits": ["run", "--data", "{table}", "--sites", "digits", "--keep", "20"],
    "polish": ["polish", "{net}", "--data", "{table}", "--keep", "10"],
    "run": ["run", "--data", "{table}", "--keep", "2", *QUICK],
    "tune": ["tune", "--data", "{table}", "--keep", "2", "--no-browser", "--port", "0", *QUICK],
    "path": ["path", "--data", "{table}", "--keep", "1,2", *QUICK],
    "sample": ["sample", "--data", "{table}", "--keep", "2", *QUICK],
    "refine": ["refine", "{mask}", "--data", "{table}", *QUICK],
    "sweep": ["sweep", "--data", "{table}", "--keep", "2", "--vary", "hidden=4|8", "--trials", "2", "--seeds", "0"],
    "bench": ["bench", "--data", "{table}", "--keep", "2", "--time", "1", "--methods", "markov", "--seeds", "0"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_cannot_be_written_is_refused_at_the_start(name, table, folder, tmp_path, capsys, never):
    (tmp_path / "taken").write_text("x")
    (tmp_path / "mask.json").write_text("[0, 1]")
    places = {"taken": tmp_path / "taken", "long": tmp_path / ("x" * 300)}
    filled = [text.format(table=table, net=folder, mask=tmp_path / "mask.json") for text in COMMANDS[name]]
    for out, message in OUTS.items():
        capsys.readouterr()
        assert main([*filled, "--out", out.format(**places)]) == 2, out
        error = capsys.readouterr().err
        assert message in error, (out, error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.json", "taken"]


@pytest.mark.parametrize("command", ["export", "report", "predict"])
def test_a_file_that_cannot_be_written_is_refused(command, folder, tmp_path, capsys):
    np.savetxt(tmp_path / "rows.csv", np.zeros((3, 4)), delimiter=",", header="a,b,c,d", comments="")
    (tmp_path / "taken").write_text("x")
    more = {"export": ["--to", "c"], "report": [], "predict": [str(tmp_path / "rows.csv")]}[command]
    for out, message in {
        "": "--out is empty",
        str(tmp_path): "is a folder",
        str(tmp_path / "no" / "file"): "there is no folder",
        str(tmp_path / "taken"): "exists already",
        str(tmp_path / "taken" / "below"): "there is no folder",
        str(tmp_path / ("x" * 300)): "is not possible",
    }.items():
        capsys.readouterr()
        assert main([command, str(folder), *more, "--out", out]) == 2, out
        error = capsys.readouterr().err
        assert message in error, (out, error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "taken"]


@pytest.mark.parametrize("to", ["c", "qonnx", "alkaid", "hls4ml"])
def test_force_does_not_replace_a_folder_that_no_export_wrote(to, folder, tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    assert main(["export", str(folder), "--to", to, "--force", "--out", str(tmp_path / "thesis")]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "x"
