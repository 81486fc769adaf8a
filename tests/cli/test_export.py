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
