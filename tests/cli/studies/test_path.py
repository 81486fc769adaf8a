"""`mcprune path`: what it prints and writes, and what it refuses."""

import json

import pytest

from mcprune.cli.main import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_path_is_printed_written_and_exported(here, capsys):
    options = ["--data", "wine", "--keep", "2,5", "--epochs", "6", "--retrain-epochs", "4", "--threads", "1"]
    assert main(["path", *options, "--out", "p", "--at", "2"]) == 0
    out, err = capsys.readouterr()
    assert "are enough" in out
    assert "enough" in out.split("---", 1)[1]
    assert "searching" in err
    curve = json.loads((here / "p" / "path.json").read_text())
    assert [level["level"] for level in curve["levels"]] == [2, 5]
    assert "<html" in (here / "p" / "path.html").read_text()[:500]
    assert main(["show", "p/levels/n002"]) == 0
    assert "2 of 13 columns" in capsys.readouterr().out
    assert main(["path", "p", "--at", "5"]) == 0
    mask = json.loads((here / "p" / "levels" / "n005" / "mask.json").read_text())
    assert mask["indices"] == curve["levels"][1]["indices"]
    capsys.readouterr()
    assert main(["path", "p", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["enough"] == curve["enough"]
    assert main(["path", *options, "--out", "p"]) == 2
    assert "exists. Choose another --out, or replace it with --force" in capsys.readouterr().err
    assert main(["path", *options, "--out", "p", "--force", "--at", "none", "--quiet"]) == 0
    assert capsys.readouterr().out == "p\n"
    assert not (here / "p" / "levels" / "n005").exists()
    (here / "p" / "notes.txt").touch()
    assert main(["path", *options, "--out", "p", "--force"]) == 2
    assert "'notes.txt', which no path wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--data", "wine", "--keep", "5"], "is one level"),
        (["--data", "wine", "--keep", "9:2"], "Write the smaller number first: 2:9"),
        (["--data", "wine", "--keep", "1:14"], "goes up to 14 sites, but 'wine' has 13"),
        (["--data", "wine", "--keep", "2:9", "--must-keep", "0,1,2"], "At the lowest level of the path: must_keep"),
        (["--data", "wine", "--keep", "2:9", "--at", "50"], "no such level"),
        (["--data", "wine", "--keep", "2:9", "--at", "some"], "--at takes a level"),
        (["nowhere"], "there is no folder 'nowhere'"),
        (["runs", "--keep", "2:9"], "--keep is for a new path"),
    ],
)
def test_bad_input_is_one_message_with_the_remedy(here, capsys, arguments, text):
    assert main(["path", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
