"""`mcprune sweep` as a user meets it, on digits with very short searches."""

import json
import signal
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="the extra sweep is not installed")

from commands import Command
from selection import long_but

from mcprune.cli.main import main

SHORT = [
    "--keep",
    "16",
    "--hidden",
    "64",
    "--epochs",
    "3",
    "--retrain-epochs",
    "3",
    "--threads",
    "1",
    "--eval-on",
    "held-out",
]
OPTIONS = {"keep": 16, "hidden": "64", "epochs": 3, "retrain_epochs": 3, "threads": 1, "eval_on": "held-out"}
VARY = ["--vary", "temperature=log:1e-5:1e-2", "--vary", "mask_noise=0:0.5", "--vary", "gates=hard,sharpened"]


def sweep(root, *more, vary=VARY):
    return main(["sweep", *SHORT, *vary, "--out", str(root), *more])


def results(root):
    return json.loads((root / "results.json").read_text(encoding="utf-8"))


def told(root):
    """What does not depend on the clock."""
    kept = ("place", "state", "values", "score", "scores")
    return [{name: trial[name] for name in kept} for trial in results(root)["trials"]]


class Loads(HTMLParser):
    """Attributes of a page that would fetch something."""

    found = ()

    def handle_starttag(self, tag, attrs):
        self.found = [*self.found, *(name for name, _ in attrs if name in ("src", "href", "srcset", "data", "action"))]


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """A sweep of four trials made in one go."""
    root = tmp_path_factory.mktemp("sweep") / "four"
    assert sweep(root, "--trials", "4", "--quiet") == 0
    return root


@pytest.mark.slow
def test_what_a_sweep_leaves(four):
    found = results(four)
    assert len(found["trials"]) == 4
    scores = {trial["number"]: trial["score"] for trial in found["trials"]}
    assert [scores[number] for number in found["ranking"]] == sorted(scores.values(), reverse=True)
    assert found["best"]["score"] == max(scores.values())
    assert len({trial["values"]["temperature"] for trial in found["trials"]}) == 4
    assert all(1e-5 <= trial["values"]["temperature"] <= 1e-2 for trial in found["trials"])
    assert sum(found["importances"].values()) == pytest.approx(1.0)
    assert sorted(path.name for path in four.iterdir()) == ["journal.log", "page.html", "results.json"]
    page = (four / "page.html").read_text(encoding="utf-8")
    reader = Loads()
    reader.feed(page)
    assert not reader.found
    text = page.split('<script id="figures">')[1].removeprefix("const FIGURES = ")
    figures = list(json.JSONDecoder().raw_decode(text)[0].values())
    assert len(figures) == 3  # history, slices, importances
    assert figures[0]["data"][0]["y"] == [trial["score"] for trial in found["trials"]]
    assert figures[1]["layout"]["xaxis"]["type"] == "log"
    assert figures[1]["layout"]["xaxis3"]["type"] == "category"


@pytest.mark.slow
def test_a_sweep_in_two_parts_is_the_sweep_in_one(four, tmp_path, capsys):
    root = tmp_path / "parts"
    assert sweep(root, "--trials", "2") == 0
    assert "[2/2]" in capsys.readouterr().out
    assert len(told(root)) == 2
    assert sweep(root, "--trials", "4") == 0
    said = capsys.readouterr().out
    assert "[2/4]" not in said  # not made again
    assert "[4/4]" in said
    assert told(root) == told(four)
    assert sweep(root, "--trials", "4", "--quiet") == 0
    assert capsys.readouterr().out.strip() == str(root / "page.html")
    assert told(root) == told(four)


@pytest.mark.slow
def test_the_score_is_that_of_the_run_it_names(four, tmp_path):
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.session.interrupt import Interrupt
    from mcprune.session.loop import run_on, search

    config = make_config(**OPTIONS, **results(four)["best"]["values"])
    data = load("digits")
    with Interrupt() as interrupt:
        _, mask, found = search(config, data, interrupt)
    done = {event.kind: event for event in run_on(config, data, None) if event.kind in ("hardened", "run_done")}
    assert mask.nonzero()[0].tolist() == list(done["run_done"].indices)
    assert found == done["hardened"].validation_accuracy


@pytest.mark.slow
@pytest.mark.parametrize("objective", long_but("the other score", ["retrained", "not-retrained"], "retrained"))
def test_test_rows_have_no_part_in_a_score(objective, four, tmp_path):
    from dataclasses import replace

    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.session.build.planner import make_plan
    from mcprune.studies.sweep.runs import Sweep, Sweeper
    from mcprune.studies.sweep.vary import read_all

    data, values = load("digits"), results(four)["best"]["values"]
    what = Sweep(OPTIONS, read_all(VARY[1::2], OPTIONS), (0, 1), objective)
    parts = make_plan(make_config(**OPTIONS), data).splits.parts

    def scores(name, blank):
        features = data.features.copy()
        features[blank] = 0
        sweeper = Sweeper(what, replace(data, features=features), tmp_path / name)
        return [sweeper._score(values, seed) for seed in (0, 1)]

    usual = scores("usual", [])
    if objective == "retrained":
        assert usual[0] == results(four)["best"]["score"]
    assert scores("test", parts.test) == usual
    # The control: validation and training rows have one.
    assert scores("validation", parts.validation) != usual
    assert scores("train", parts.train[:900]) != usual


def test_every_seed_searches_the_same_parts_of_the_data():
    from mcprune.config.schema import make_config
    from mcprune.data.load import load
    from mcprune.session.build.planner import make_plan

    data = load("digits")
    one = make_plan(make_config(seed=0), data).splits
    shared = make_plan(make_config(seed=1), data, split_seed=0).splits
    other = make_plan(make_config(seed=1), data).splits
    assert (one.test.features == shared.test.features).all()
    assert (one.train.targets == shared.train.targets).all()
    assert not (one.train.targets == other.train.targets).all()


@pytest.mark.slow
def test_two_processes_share_a_sweep(tmp_path):
    root = tmp_path / "shared"
    both = [Command("sweep", *SHORT, *VARY, "--trials", "5", "--out", str(root)) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sweep(root, "--trials", "5", "--quiet") == 0
    found = told(root)
    assert sorted(trial["place"] for trial in found) == [0, 1, 2, 3, 4]
    assert len({trial["values"]["temperature"] for trial in found}) == 5
    assert sum(text.count("/5] ") for text, _ in said) == 5  # each was told by who made it


@pytest.mark.slow
def test_an_interrupted_trial_is_made_again(four, tmp_path, monkeypatch):
    from mcprune.studies.sweep import runs as session

    root, long = tmp_path / "interrupted", ["--epochs", "100000", "--start", "all", "--trials", "2"]
    process = Command("sweep", *SHORT, *VARY, "--out", str(root), *long)
    end, journal = time.monotonic() + 600, root / "journal.log"
    while not journal.exists() or "gates" not in journal.read_text().partition('"place"')[2]:
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 130, error
    assert "the same command continues" in error
    assert "Traceback" not in error
    assert results(root)["trials"] == []
    assert (root / "page.html").exists()
    monkeypatch.setattr(session.Sweeper, "_score", lambda *_: 0.5)
    assert sweep(root, *long, "--quiet") == 0
    found = results(root)["trials"]
    assert [(trial["place"], trial["number"]) for trial in found] == [(0, 1), (1, 2)]
    assert found[0]["values"] == results(four)["trials"][0]["values"]


@pytest.mark.slow
def test_a_killed_process_gives_its_trial_back(four, tmp_path):
    from mcprune.studies.sweep.study import Study
    from mcprune.studies.sweep.vary import read_all

    values = read_all(VARY[1::2], {})
    setting = {"options": {}, "seeds": [0]}
    root = tmp_path / "killed"
    code = (
        "import sys; from pathlib import Path\n"
        "from mcprune.studies.sweep.study import Study; from mcprune.studies.sweep.vary import read_all\n"
        f"Study(Path(sys.argv[1]), {setting!r}, read_all({VARY[1::2]!r}, {{}})).take(1)"
    )
    killed = Command(str(root), code=code)
    _, error = killed.communicate()
    assert killed.returncode == 0, error
    study = Study(root, setting, values)
    taken = study.take(1)
    assert (taken.place, taken.number) == (0, 1)
    assert taken.values == results(four)["trials"][0]["values"]
    # This process lives: its trial is not given to another.
    assert Study(root, setting, values).take(1) is None
    assert Study(root, setting, values).take(2).place == 1


@pytest.mark.slow
def test_a_trial_that_diverges_does_not_end_the_sweep(tmp_path, capsys):
    root = tmp_path / "diverging"
    vary = ["--vary", "learning_rate=1e30,2e-3"]
    assert sweep(root, "--trials", "4", vary=vary) == 0
    states = {trial["values"]["learning_rate"]: trial["state"] for trial in results(root)["trials"]}
    assert states == {"1e30": "failed", "2e-3": "complete"}
    said = capsys.readouterr().out
    assert "failed: trial" in said
    assert len(results(root)["trials"]) == 4
    only = tmp_path / "only"
    assert sweep(only, "--trials", "1", vary=["--vary", "learning_rate=1e29,1e30"]) == 1
    assert results(only)["best"] is None
    assert (only / "page.html").exists()


def test_means_over_seeds_and_the_median(tmp_path, monkeypatch, capsys):
    from mcprune.studies.sweep import runs as session

    asked = []

    def score(self, values, seed):
        asked.append((values["mask_noise"], seed))
        return (1.0 if len(asked) <= 8 else 0.1) - seed / 10

    monkeypatch.setattr(session.Sweeper, "_score", score)
    root = tmp_path / "seeds"
    assert sweep(root, "--trials", "5", "--seeds", "0,1", "--prune", vary=["--vary", "mask_noise=0:1"]) == 0
    found = results(root)["trials"]
    assert [trial["state"] for trial in found] == ["complete"] * 4 + ["pruned"]
    assert [trial["score"] for trial in found[:4]] == pytest.approx([0.95] * 4)
    assert [seed for _, seed in asked] == [0, 1] * 4 + [0]
    assert "1 pruned" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ([], "--vary"),
        (["--vary", "temprature=0:1"], "'temperature'"),
        (["--vary", "temperature"], "NAME=LOW:HIGH"),
        (["--vary", "temperature=-1:1"], "negative"),
        (["--vary", "mask_noise=0:1.5"], "at most 1 is needed"),
        (["--vary", "gates=hard,soft"], "gates"),
        (["--vary", "gates=0:1"], "no numbers"),
        (["--vary", "gates=hard"], "at least two"),
        (["--vary", "mask_noise=0.3:0.1"], "lower to a higher"),
        (["--vary", "mask_noise=0:inf"], "finite"),
        (["--vary", "temperature=log:0:1"], "above 0"),
        (["--vary", "decisions=1.5:8"], "whole"),
        (["--vary", "keep=4:16"], "do not compare"),
        (["--vary", "preset=default,slides"], "by their names"),
        (["--vary", "threads=1:2"], "does not change"),
        (["--vary", "mask_noise=0:0.1", "--mask-noise", "0.2"], "both set and varied"),
        (["--vary", "mask_noise=0:0.1", "--vary", "mask_noise=0:0.2"], "repeated"),
        (["--vary", "gate_optimizer=adam,sgd"], "--method gradient"),
        (["--vary", "mask_noise=0:0.1", "--seed", "1"], "--seeds"),
        (["--vary", "mask_noise=0:0.1", "--seeds", "1,1"], "different"),
        (["--vary", "mask_noise=0:0.1", "--trials", "0"], "--trials"),
        (["--vary", "mask_noise=0:0.1", "--prune"], "--seeds"),
        (["--vary", "mask_noise=0:0.1", "--force"], "--force"),
        (["--vary", "mask_noise=0:0.1", "--delta", "nan"], "delta"),
        (["--vary", "mask_noise=0:0.1", "--keep", "65"], "64"),
    ],
)
def test_refused_before_anything_is_made(more, part, tmp_path, capsys):
    assert main(["sweep", "--out", str(tmp_path / "none"), *more]) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_other_options_in_the_same_folder_are_refused(four, tmp_path, capsys):
    for more, vary, part in (
        (["--dropout", "0.2"], VARY, "dropout"),
        (["--seeds", "1"], VARY, "seeds"),
        (["--score", "not-retrained"], VARY, "objective"),
        (["--objective", "error"], VARY, "objective"),
        ([], ["--vary", "temperature=log:1e-5:1e-3"], "temperature"),
    ):
        assert sweep(four, "--trials", "4", *more, vary=vary) == 2
        said = capsys.readouterr().err
        assert part in said
        assert "another --out" in said
    (tmp_path / "note.txt").write_text("mine")
    assert sweep(tmp_path) == 2
    assert "exists" in capsys.readouterr().err
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "journal.log").write_text("not a journal\n")
    assert sweep(tmp_path / "broken") == 2
    assert "no journal" in capsys.readouterr().err


def test_the_configuration_of_a_run_may_be_given(tmp_path, monkeypatch):
    from mcprune.studies.sweep import runs as session

    asked = []
    monkeypatch.setattr(session.Sweeper, "_score", lambda _, values, seed: asked.append((values, seed)) or 0.5)
    (tmp_path / "config.toml").write_text(
        "[problem]\nkeep = 12\n[train]\nmask_noise = 0.9\n[runtime]\nseed = 7\ncompare = 'yes'\n"
    )
    more = ["--config", str(tmp_path / "config.toml"), "--trials", "2", "--vary", "mask_noise=0:0.1", "--quiet"]
    assert main(["sweep", *more, "--out", str(tmp_path / "sweep")]) == 0
    assert results(tmp_path / "sweep")["setting"]["options"] == {"keep": 12}
    assert all(values["mask_noise"] <= 0.1 for values, _ in asked)
    assert [seed for _, seed in asked] == [7, 7]


def test_without_optuna_the_line_that_installs_it_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert sweep(tmp_path / "none") == 2
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_values_with_commas_and_whole_numbers():
    from mcprune.studies.sweep.vary import read

    assert read("moves=exchange=3,toggle=1|exchange").choices == ("exchange=3,toggle=1", "exchange")
    assert read("temperature=geometric:1e-2:1e-4,0").choices == ("geometric:1e-2:1e-4", "0")
    assert (read("decisions=log:8:128").kind, read("hidden=64,32|16").kind) == ("int", "choice")
    assert read("--keep-schedule.pressure=0.5:2").name == "keep_schedule.pressure"
    assert Path("temperature").name == read("temperature=0:1").name
