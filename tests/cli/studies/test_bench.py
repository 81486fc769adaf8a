"""`mcprune bench` and `mcprune reproduce` as a user meets them, on digits with very little time."""

import json
from html.parser import HTMLParser

import pytest

from mcprune.cli.main import main
from mcprune.cli.studies.bench import METHODS, SHARED
from mcprune.report import page
from mcprune.studies.bench import page as bench_page
from mcprune.studies.bench import runs as bench
from mcprune.studies.bench import table as bench_table
from mcprune.studies.jobs import Job
from mcprune.studies.reproduce.slides import page as slides_page
from mcprune.studies.reproduce.slides import runs as slides

BENCH = [
    "bench",
    "--quick",
    "--methods",
    "markov,fixed",
    "--seeds",
    "0",
    "--time",
    "0.4",
    "--hidden",
    "16",
    "--retrain-epochs",
    "2",
]


class Reader(HTMLParser):
    """A page's tags, the texts of its scripts by id, and the ids of its other elements."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.ids, self.words = [], {}, [], []
        self._script = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id")
            self.scripts[self._script] = ""
        elif "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] += data
        else:
            self.words.append(data)


def check_page(path):
    """No address is named outside of plotly's own code, nothing is loaded, and every figure has its place; the figures."""
    read = Reader(path.read_text(encoding="utf-8"))
    loading = {"src", "href", "srcset", "data", "action", "background", "poster"}
    assert not [(tag, attrs) for tag, attrs in read.tags if loading & set(attrs)]
    assert not [tag for tag, _ in read.tags if tag in ("link", "iframe", "img", "object", "embed", "base")]
    ours = "".join(text for name, text in read.scripts.items() if name != "plotly") + "".join(read.words)
    assert "://" not in ours
    assert "url(" not in ours
    policy = [attrs["content"] for tag, attrs in read.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy
    assert policy[0].startswith("default-src 'none'")
    assert "http" not in policy[0]
    assert len(read.scripts["plotly"]) > 1e6
    figures, _ = json.JSONDecoder().raw_decode(read.scripts["figures"].removeprefix("const FIGURES = "))
    assert sorted(figures) == sorted(read.ids)
    for figure in figures.values():
        assert figure["data"]
        assert {"xaxis", "yaxis"} <= set(figure["layout"]) | {
            trace.get("xaxis", "x")[:1] + "axis" for trace in figure["data"]
        } | {"yaxis"}
    return figures, "".join(read.words)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison of two methods, with its folder and what it printed."""
    import contextlib
    import io

    root = tmp_path_factory.mktemp("bench") / "two"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main([*BENCH, "--out", str(root)]) == 0
    return root, said.getvalue()


def results(root):
    return json.loads((root / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_comparison_from_end_to_end(compared):
    root, said = compared
    found = results(root)
    assert [row["method"] for row in found["table"]] == ["markov", "fixed"]
    assert found["failures"] == {}
    for run in found["runs"]:
        own = json.loads((root / "runs" / run["name"] / "result.json").read_text(encoding="utf-8"))
        rows = {row["name"]: row["accuracy"] for row in own["scores"]}
        assert (run["hardened"], run["retrained"]) == (rows["hard mask, not retrained"], rows["hard mask, retrained"])
        assert len(run["keep"]) == 16
        assert run["curve"] == sorted(run["curve"])
        assert f"{run['retrained']:.4f}" in said
    chain = found["runs"][0]
    assert (chain["method"], chain["away"], chain["kept_before"]) == ("markov", 0.0, 16)
    assert "1 seed, 0.4 s for each search" in said
    (ranking,) = found["ranking"]  # one seed ranks nothing
    assert ranking["order"] == []
    assert "nothing can be ranked yet" in ranking["text"]
    assert "is best with" not in said
    assert said.rstrip().endswith("page.html")


@pytest.mark.slow
def test_the_page_needs_nothing_from_outside(compared):
    root, _ = compared
    figures, words = check_page(root / "page.html")
    kinds = [trace["type"] for figure in figures.values() for trace in figure["data"]]
    # Two maps of gates, two masks, one of the overlaps.
    assert kinds.count("heatmap") == 5
    assert "n = 16" in words
    assert "markov" in words


def test_a_page_that_loads_something_is_noticed(tmp_path):
    """The check of the page can fail: an address in a text, or a picture from elsewhere."""
    one = page.Page("a page", "see https://example.org")
    one.figure({"data": [{"type": "scatter", "x": [1], "y": [1]}], "layout": page.layout()})
    one.write(tmp_path / "page.html")
    with pytest.raises(AssertionError):
        check_page(tmp_path / "page.html")


def test_names_cannot_end_the_script_nor_become_tags(tmp_path):
    name = "</script><img src=x>"
    one = page.Page(name, name)
    one.figure({"data": [{"type": "scatter", "x": [1], "y": [1], "name": name}], "layout": page.layout(name)})
    one.table(["", name], [[name, name]])
    one.write(tmp_path / "page.html")
    figures, words = check_page(tmp_path / "page.html")
    assert figures["figure0"]["data"][0]["name"] == name
    assert name in words


@pytest.mark.slow
def test_the_same_command_goes_on_where_it_stopped(compared, capsys):
    root, _ = compared
    files = {path: path.stat().st_mtime_ns for path in root.glob("runs/*/result.json")}
    kept, gone = sorted(files)
    before = results(root)["runs"]
    gone.unlink()  # as if the run had been killed
    assert main([*BENCH, "--out", str(root)]) == 0
    said = capsys.readouterr().out
    assert said.count("finished before") == 1
    assert kept.stat().st_mtime_ns == files[kept]
    assert gone.stat().st_mtime_ns > files[gone]
    after = results(root)["runs"]
    names = [run["name"] for run in after]
    assert names == [run["name"] for run in before]
    assert after[names.index(kept.parent.name)] == before[names.index(kept.parent.name)]
    # Another seed joins the two runs that are there.
    assert main([*BENCH, "--out", str(root), "--methods", "fixed", "--seeds", "0,1"]) == 0
    assert "[1/2] n16-fixed-seed0" in (said := capsys.readouterr().out)
    assert said.count("finished before") == 1


@pytest.mark.slow
def test_runs_of_other_options_are_refused(compared, capsys):
    root, _ = compared
    assert main([*BENCH, "--out", str(root), "--time", "0.5"]) == 2
    message = capsys.readouterr().err
    assert "search_time" in message
    assert "--force" in message
    assert main(["reproduce", "slides", "--quick", "--out", str(root)]) == 2
    assert "'bench'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_method_that_fails_does_not_stop_the_others(tmp_path, capsys):
    root = tmp_path / "bench"
    broken = [
        "--variant",
        "broken:learning_rate=1e30",
        "--variant",
        "sgd:method=gradient;alpha=ratio:window=100000",
    ]
    assert main([*BENCH, "--methods", "fixed", *broken, "--out", str(root)]) == 1
    captured = capsys.readouterr()
    assert "[1/3] n16-fixed-seed0: 0." in captured.out
    for name in ("n16-broken-seed0", "n16-sgd-seed0"):
        assert f"failed: {name}: " in captured.err
    found = results(root)
    assert set(found["failures"]) == {"n16-broken-seed0", "n16-sgd-seed0"}
    assert "window=100000" in found["failures"]["n16-sgd-seed0"]
    assert [row["method"] for row in found["table"]] == ["fixed"]
    check_page(root / "page.html")


@pytest.mark.slow
def test_a_fault_of_the_program_is_no_end_of_the_others_either(tmp_path, capsys, monkeypatch):
    from mcprune.studies import jobs

    real = jobs.run_on

    def run_on(config, dataset, path, **more):
        if path is not None and config.method == "markov":
            raise ZeroDivisionError("a fault")
        return real(config, dataset, path, **more)

    monkeypatch.setattr(jobs, "run_on", run_on)
    root = tmp_path / "bench"
    assert main([*BENCH, "--out", str(root)]) == 1
    assert "ZeroDivisionError: a fault" in capsys.readouterr().err
    assert [row["method"] for row in results(root)["table"]] == ["fixed"]


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_finished(tmp_path, capsys, monkeypatch):
    from mcprune.storage.events import Stopped
    from mcprune.studies import jobs

    real, made = jobs.run_on, []

    def run_on(config, dataset, path, **more):
        if path is None or not made:
            made.extend([path] if path is not None else [])
            return real(config, dataset, path, **more)
        return (event for event in [Stopped("interrupt", block=1)])

    monkeypatch.setattr(jobs, "run_on", run_on)
    root = tmp_path / "bench"
    assert main([*BENCH, "--out", str(root)]) == 130
    assert "finished runs stay" in capsys.readouterr().err
    assert [run["name"] for run in results(root)["runs"]] == ["n16-markov-seed0"]
    monkeypatch.undo()
    assert main([*BENCH, "--out", str(root)]) == 0
    assert capsys.readouterr().out.count("finished before") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--methods", "markof"], "'markof'"),
        (["--keep", "0"], "--keep"),
        (["--keep", "many"], "'many'"),
        (["--keep", "8,8"], "without repetitions"),
        (["--keep", "65"], "64 sites"),
        (["--seeds", ""], "--seeds"),
        (["--time", "nan"], "--time"),
        (["--accuracies", "95"], "--accuracies"),
        (["--variant", "x"], "--variant"),
        (["--variant", "../x:seed=1"], "folder"),
        (["--variant", "x:gate_optimizer=sgd"], "--gate-optimizer"),
        (["--variant", "x:pool=8", "--variant", "x:mask_noise=.2"], "another method 'x'"),
        (["--methods", "markov", "--variant", "markov:pool=8"], "another method 'markov'"),
        (["--variant", "y:keep=5;seed=9"], "keep, which all methods"),
        (["--variant", "y:out=x"], "out, which all methods"),
        (["--out", ""], "--out is empty"),
        (["--variant", "x:pool_size=1"], "pool_size"),
        (["--tim", "3"], "'--time'"),
        (["--data", "digts"], "digts"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(arguments, part, tmp_path, capsys):
    assert main([*BENCH, "--out", str(tmp_path / "bench"), *arguments]) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "bench" / "runs").exists()


def test_the_folder_must_be_free(tmp_path, capsys):
    (tmp_path / "note.txt").write_text("mine")
    assert main([*BENCH, "--out", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err


def test_the_names_of_the_help_are_those_of_the_program():
    assert METHODS.split(",") == list(bench.METHODS)
    assert bench.SHARED == SHARED


@pytest.fixture
def few_runs(monkeypatch):
    """The reproduction of the slides with short runs, and few of them."""
    real = slides.jobs
    wanted = ("fixed-10", "fixed-1", "fixed-1-modified", "ratio", "lambda-1e5", "decade", "chain")
    short = {"epochs": 4, "retrain_epochs": 1, "hidden": "8"}

    def jobs(setting):
        found = []
        for job in real(setting):
            if job.about["run"] in wanted:
                options = {**job.options, **short}
                if "window=" in str(options.get("alpha")):
                    options["alpha"] = (
                        options["alpha"].replace("window=10", "window=2").replace("epochs=20", "epochs=0.5")
                    )
                found.append(Job(job.name, options, job.about))
        return found

    monkeypatch.setattr(slides, "jobs", jobs)


@pytest.mark.slow
@pytest.mark.usefixtures("few_runs")
def test_the_slides_become_rows_with_verdicts(tmp_path, capsys):
    root = tmp_path / "slides"
    assert main(["reproduce", "slides", "--quick", "--out", str(root)]) == 0
    said = capsys.readouterr().out
    found = results(root)
    assert len(found["rows"]) >= 7
    for row in found["rows"]:
        assert {"claim", "measured", "threshold", "verdict"} <= set(row)
        assert row["verdict"] in ("holds", "does not hold", "unclear")
        assert row["claim"] in said
    by_number = {row["number"]: row for row in found["rows"]}
    assert by_number["3a"]["verdict"] == "holds"
    assert by_number["6"]["measured"].startswith("nothing")  # it was not among the runs
    assert by_number["6"]["verdict"] == "unclear"
    kept = {run["run"]: run["kept_before"] for run in found["runs"]}
    assert f"fixed-10: {kept['fixed-10']} of 16 kept" in by_number["1"]["measured"]
    figures, words = check_page(root / "page.html")
    assert len(figures) >= 7
    assert all(row["claim"] in words for row in found["rows"])
    assert main(["reproduce", "slides", "--quick", "--quiet", "--out", str(root)]) == 0
    assert capsys.readouterr().out.strip() == str(root / "page.html")
    assert results(root)["rows"] == found["rows"]


def test_a_source_that_nobody_knows(capsys):
    assert main(["reproduce", "paper"]) == 2
    assert "'paper'" in capsys.readouterr().err


def test_a_wide_table_becomes_several():
    header, rows = ["name", "one", "two", "three"], [["a" * 8, "1" * 10, "2" * 10, "3" * 10]]
    assert bench_table.fitting(header, rows, 100) == [[0, 1, 2, 3]]
    assert bench_table.fitting(header, rows, 37) == [[0, 1, 2], [0, 3]]
    assert bench_table.fitting(header, rows, 36) == [[0, 1], [0, 2], [0, 3]]
    assert bench_table.fitting(header, rows, 5) == [[0, 1], [0, 2], [0, 3]]


def test_without_runs_a_figure_is_left_out():
    assert slides_page._figure("1", {}) is None
    assert slides_page._figure("3a", {}) is not None
    assert bench_page.grid(5, 2)[0] == ([0.0, 0.475], [pytest.approx(1 - (1 - 0.18) / 3), 1.0])
