"""`mcprune export` on a finished run: what it prints, what it leaves, what it refuses."""

import pytest

import mcprune
from mcprune.cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A short run on digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    mcprune.prune("digits", keep=8, out=str(out), epochs=1, retrain_epochs=1, threads=1, hidden="8")
    return out


@pytest.mark.slow
def test_the_command_compares_on_the_runs_own_data_and_times_both(folder, capsys):
    assert main(["export", str(folder), "--to", "c"]) == 0
    told = capsys.readouterr().out
    assert "compared on 1,000 rows (of digits)" in told
    assert "bit operations a row" in told
    assert "mcprune_predict" in (folder / "small.h").read_text()
    assert main(["export", str(folder), "--to", "safetensors"]) == 0
    told = capsys.readouterr().out
    assert "outputs within" in told
    assert "times faster" in told
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]


def test_mistakes_are_one_line_and_exit_code_2(folder, tmp_path, capsys):
    for arguments, words in (
        ([str(folder), "--to", "pickle"], "is no format"),
        ([str(tmp_path / "none"), "--to", "c"], "cannot be read"),
        ([str(folder), "--to", "c", "--out", str(tmp_path / "no" / "a.h")], "there is no folder"),
        ([str(folder), "--to", "c", "--out", str(tmp_path)], "is a folder"),
    ):
        assert main(["export", *arguments]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_the_size_in_firmware_of_a_run_is_printed_and_stands_in_its_report(folder, capsys):
    assert main(["inspect", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "weights rounded to 8 bits" in printed
    assert "8 x 8" in printed
    assert main(["report", str(folder)]) == 0
    assert "In firmware" in (folder / "report.html").read_text()


def test_a_run_is_rounded_for_the_formats_of_firmware(folder, capsys):
    pytest.importorskip("qonnx")
    assert main(["export", str(folder), "--to", "qonnx"]) == 0
    printed = capsys.readouterr().out
    assert "equal bit for bit in qonnx" in printed
    assert "accuracy on these rows" in printed
    assert (folder / "small.qonnx.onnx").exists()
