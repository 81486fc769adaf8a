import json
import os
import subprocess
import sys

import pytest

from mcprune.cli.main import main
from mcprune.errors import DataError
from mcprune.version import VERSION


def mcprune(*arguments, **more):
    command = [sys.executable, *more.pop("python", []), "-m", "mcprune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, **more)


def imported(*arguments):
    done = mcprune(*arguments, python=["-X", "importtime"])
    assert done.returncode == 0
    return {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_the_help_of_the_commands_imports_next_to_nothing():
    assert not imported("--help") & {
        "torch",
        "numba",
        "numpy",
        "sklearn",
        "rich",
        "pydantic",
        "pandas",
        "scipy",
    }
    assert not imported("show", "--help") & {"torch", "numba", "numpy", "sklearn", "rich", "pydantic"}


def test_the_help_of_run_stays_clear_of_what_is_slow():
    modules = imported("run", "--help")
    assert "pydantic" in modules
    assert not modules & {"torch", "sklearn", "rich", "pandas"}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_the_help_names_the_commands(arguments, capsys):
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert all(f"  {command}" in text for command in ("run ", "show FOLDER", "predict FOLDER FILE"))


@pytest.mark.parametrize("command", ["run", "show", "predict"])
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"mcprune {command}" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mcprune {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["rnu"], ["'rnu'", "'run'"]),
        (["bake"], ["'bake'", "run, resume, tune"]),
        (["--verison"], ["'--verison'", "'--version'"]),
        (["--keep", "5"], ["'--keep'", "mcprune run --keep"]),
        (["run", "--kep", "5"], ["'--kep'", "'--keep'"]),
        (["run", "--keep", "x"], ["--keep", "'x'"]),
        (["show"], ["FOLDER"]),
        (["show", "a", "b"], ["'b'"]),
        (["predict", "a"], ["FILE"]),
        (["predict", "a", "b", "--uot", "c"], ["'--uot'", "'--out'"]),
    ],
)
def test_an_error_is_one_message_and_code_2(arguments, parts, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mcprune: error: ")
    assert err.count("\n") == 1
    assert all(part in err for part in parts)


def test_an_error_of_the_run_is_told_and_a_fault_keeps_its_traceback(fake_run, capsys):
    def refuse():
        raise DataError("labels.idx: 3 labels, but 4 images")
        yield

    fake_run(refuse)
    assert main(["run"]) == 2
    assert capsys.readouterr().err == "mcprune: error: labels.idx: 3 labels, but 4 images\n"

    def fail():
        raise RuntimeError("a fault")
        yield

    fake_run(fail)
    with pytest.raises(RuntimeError, match="a fault"):
        main(["run"])


def test_run_hands_over_the_configuration_and_shows_the_events(fake_run, story, capsys):
    asked = fake_run(lambda: iter(story()))
    assert main(["run", "--keep", "8", "--json"]) == 0
    assert asked[0].problem.keep == 8
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == [event.kind for event in story()]


def test_an_interrupt_during_the_run_or_before_it_gives_130(fake_run, story, capsys):
    fake_run(lambda: iter(story(stop="interrupt")))
    assert main(["run", "--quiet"]) == 130
    assert capsys.readouterr().out == "runs/digits\n"

    def interrupt(events):
        yield from events
        raise KeyboardInterrupt

    fake_run(lambda: interrupt([]))
    assert main(["run"]) == 130
    assert capsys.readouterr().err == "mcprune: interrupted\n"
    fake_run(lambda: interrupt(story()[:5]))
    assert main(["run"]) == 130
    assert capsys.readouterr().err == (
        "mcprune: interrupted; the files written so far are in runs/digits; mcprune resume runs/digits continues the run\n"
    )


def test_show_prints_the_report_of_a_folder(result, tmp_path, capsys):
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert main(["show", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "random masks" in text
    assert "inputs: 4 of 64 kept" in text
    assert f"written to {tmp_path}" in text  # where it is, not where it was written once


@pytest.mark.parametrize(
    "spoil",
    [
        lambda result: result.pop("scores"),
        lambda result: result.update(scores=[{}]),
        lambda result: result.update(scores=None),
        lambda result: result["indices"].append(192),
        lambda result: result["names"].pop(),
        lambda result: result.update(image_shape=[2, 2]),
        lambda result: result.update(image_shape="wide"),
        lambda result: result.update(parameters={"before": "many", "after": 3}),
        lambda result: result.update(sites=[{"kind": "inputs"}]),
        lambda result: result.update(indices=[0.5] * 8),
    ],
)
def test_show_refuses_a_result_that_was_spoilt(result, tmp_path, capsys, spoil):
    spoil(result)
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert main(["show", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert str(tmp_path) in err


def test_show_without_a_run(tmp_path, capsys):
    assert main(["show", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main(["show", str(tmp_path)]) == 2
    assert "has no result.json" in capsys.readouterr().err


def run_in_a_process(code, **more):
    """Start a process whose run yields the events that the code makes."""
    script = (
        "import sys, types\n"
        "from mcprune.storage.events import Note\n"
        "loop = types.ModuleType('mcprune.session.loop')\n"
        f"{code}\n"
        "sys.modules['mcprune.session.loop'] = loop\n"
        "from mcprune.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    return [sys.executable, "-c", script, *more.get("arguments", ["run", "--json"])]


NOTES = "def run(config):\n    for index in range(100_000):\n        yield Note(f'caf\\u00e9 {index}')\nloop.run = run"


def test_a_reader_that_leaves_ends_the_run_quietly():
    with subprocess.Popen(
        run_in_a_process(NOTES), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert json.loads(process.stdout.readline())["event"] == "note"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141


def test_a_stream_that_lacks_a_letter_does_not_end_the_run():
    few = NOTES.replace("100_000", "3")
    done = subprocess.run(
        run_in_a_process(few, arguments=["run"]),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == b"note: caf\\xe9 0"


@pytest.mark.parametrize("words", [["show"], ["sample"], ["export", "--to", "c"]])
def test_a_path_that_was_cut_off_is_continued_first(words, tmp_path, capsys):
    (tmp_path / "path.json").write_text("{}")
    (tmp_path / "unfinished").mkdir()
    assert main([words[0], str(tmp_path), *words[1:]]) == 2
    assert (
        f"is a path that was cut off, whose levels become runs at its end. Continue it: mcprune resume {tmp_path}"
        in capsys.readouterr().err
    )
