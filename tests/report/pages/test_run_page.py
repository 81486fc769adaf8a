"""`mcprune report`: what the page says of finished, unfinished, steered and compared runs, and what it refuses."""

import html.parser
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mcprune.cli.main import main
from mcprune.cli.report import write_report
from mcprune.errors import ConfigError, FolderError
from mcprune.report import details as report_details
from mcprune.report.charts import curves as report_curves
from mcprune.report.charts.sureness import Sureness, sentence, sureness
from mcprune.storage.event_log import read_log

SHORT = {"epochs": 12, "retrain_epochs": 2, "compare": "no", "hidden": (24, 12), "threads": 1}


class Read(html.parser.HTMLParser):
    """The tags of a page, its words, and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.scripts, self.inside = [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id", "") if tag == "script" else "" if tag == "style" else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside is None:
            self.words.append(data)
        else:
            self.scripts[self.inside] = data

    @property
    def text(self):
        return "\n".join(self.words)

    @property
    def figures(self):
        script = self.scripts["figures"]
        return json.JSONDecoder().raw_decode(script[script.index("{") :])[0]


def read(path):
    return Read(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A steered chain on images, stopped early, and a gradient run on a table."""
    from mcprune.config.schema import make_config
    from mcprune.session.loop import run
    from mcprune.session.steering.replay import Replay

    folder = tmp_path_factory.mktemp("reported")
    turns = {3: [{"temperature": 1e-3}], 9: [{"delta": 0.25}]}
    moves = {"exchange": 0.5, "uniform": 0.5}
    chain = make_config(**SHORT, keep=16, keep_schedule="geometric:0.3", moves=moves, out=str(folder / "chain"))
    list(run(chain, Replay(turns, end=17)))
    options = {**SHORT, "epochs": 40, "method": "gradient", "alpha": "fixed", "data": "wine", "keep": 4}
    list(run(make_config(**options, out=str(folder / "gradient"))))
    return folder


@pytest.fixture
def copied(runs, tmp_path):
    """A copy of the chain's folder, to be broken."""
    return shutil.copytree(runs / "chain", tmp_path / "run", ignore=shutil.ignore_patterns("report*"))


def bars_by_name(page):
    """The one figure of kept sites by name."""
    (chart,) = [
        figure
        for figure in page.figures.values()
        if figure["layout"].get("xaxis", {}).get("title", {}).get("text") == "mean gate over the search"
    ]
    return chart


def curve(figure, name):
    """The one line of that name in a figure."""
    (found,) = [trace for trace in figure["data"] if trace["name"] == name]
    return found


@pytest.mark.slow
def test_the_page_of_a_steered_run(runs, capsys):
    assert main(["report", str(runs / "chain")]) == 0
    path = runs / "chain" / "report.html"
    assert capsys.readouterr().out == f"written to {path}\n"
    page, run = read(path), read_log(runs / "chain")
    assert "digits: 16 of 64 pixels" in page.text
    assert f"{run.done.summary.replace('+-', '±')}." in page.text
    assert "the run that it repeats had ended there" in page.text
    assert "constant since block 9" in page.text
    assert "samples from one fixed distribution only after the last change" in page.text
    assert f"mcprune run --replay {runs / 'chain'} --out {runs / 'chain'}-again" in page.text
    for score in run.done.scores:
        assert f"{score.accuracy:.4f}" in page.words
    assert f"{run.done.parameters.before:,}" in page.words
    figures = list(page.figures.values())
    told = [event.loss for event in run.progress]
    (losses,) = [
        figure
        for figure in figures
        if any(trace.get("name") == "L_tot" and "xaxis" in trace for trace in figure["data"])
    ]
    assert curve(losses, "L_tot")["y"] == pytest.approx(told)
    marks = {shape["x0"] for shape in losses["layout"]["shapes"]}
    assert marks == {run.epoch_of(3), run.epoch_of(9)}
    knobs = next(figure for figure in figures if any(trace.get("name") == "delta" for trace in figure["data"]))
    delta = curve(knobs, "delta")
    assert {y for x, y in zip(delta["x"], delta["y"], strict=True) if x <= run.epoch_of(9)} == {1.0}
    assert {y for x, y in zip(delta["x"], delta["y"], strict=True) if x > run.epoch_of(9)} == {0.25}
    assert {shape["type"] for figure in figures for shape in figure["layout"].get("shapes", [])} == {"line"}


@pytest.mark.slow
def test_the_page_needs_nothing_from_outside(runs, tmp_path):
    page = read(write_report(str(runs / "chain"), [str(runs / "gradient")], out=str(tmp_path / "page.html")))
    assert not [
        tag for tag, attrs in page.tags if tag in ("link", "iframe", "img") or "src" in attrs or "href" in attrs
    ]
    (policy,) = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert len(page.scripts["plotly"]) > 1e6


@pytest.mark.slow
def test_the_acceptance_of_the_moves_adds_up_to_what_was_accepted(runs):
    run = read_log(runs / "chain")
    for name, (_, decided, accepted) in run.progress[-1].moves.items():
        shares = report_curves.values(run, f"move {name}")
        totals = np.array([0, *(event.moves.get(name, [0, 0, 0])[1] for event in run.progress)])
        assert np.nansum(shares * np.diff(totals)) == pytest.approx(accepted)
        assert totals[-1] == decided


@pytest.mark.slow
def test_a_gradient_run_on_a_table_names_its_bars(runs, tmp_path):
    page = read(write_report(str(runs / "gradient"), out=str(tmp_path / "page.html")))
    run = read_log(runs / "gradient")
    chart = bars_by_name(page)
    labels = chart["layout"]["yaxis"]["ticktext"]
    assert sorted(labels[:4]) == sorted(run.done.names)
    assert "alcohol" in labels
    assert len(labels) == 13
    names = {trace.get("name") for figure in page.figures.values() for trace in figure["data"]}
    assert "sum of gates" in names
    words = [word.strip() for word in page.words]
    assert "alpha" in words[words.index("What did not change") :]  # it is fixed
    assert not names & {"delta", "temperature", "decisions a second", "all moves"}
    assert "Acceptance and autocorrelation" not in page.text


@pytest.mark.slow
def test_an_unfinished_run_on_a_table_has_its_names(runs, tmp_path):
    folder = shutil.copytree(runs / "gradient", tmp_path / "run", ignore=shutil.ignore_patterns("report*"))
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if '"event": "run_started"' in line[:30] or '"event": "progress"' in line[:30]]
    (folder / "events.jsonl").write_text("\n".join(told) + "\n", encoding="utf-8")
    for name in ("mask.json", "result.json", "model.json", "model.safetensors"):
        (folder / name).unlink()
    page = read(write_report(str(folder)))
    chart = bars_by_name(page)
    assert "alcohol" in chart["layout"]["yaxis"]["ticktext"]


@pytest.mark.slow
def test_compared_runs_have_a_colour_each(runs, tmp_path):
    folders = [str(runs / "chain"), str(runs / "gradient")]
    out = tmp_path / "page.html"
    assert main(["report", folders[0], "--out", str(out), "--compare", folders[1]]) == 0
    page = read(out)
    losses = next(figure for figure in page.figures.values() if figure["layout"].get("shapes"))
    assert {trace["name"] for trace in losses["data"]} == set(folders)
    assert len({trace["line"]["color"] for trace in losses["data"]}) == 2
    with pytest.raises(ConfigError, match="name each run once"):
        write_report(folders[0], [folders[0] + "/."], out=str(tmp_path / "other.html"))


@pytest.mark.slow
def test_an_unfinished_run_says_so_and_a_torn_line_is_left_out(copied, tmp_path):
    lines = (copied / "events.jsonl").read_text(encoding="utf-8").splitlines()
    progress = [place for place, line in enumerate(lines) if '"event": "progress"' in line[:30]]
    kept = lines[: progress[11] + 1]
    (copied / "events.jsonl").write_text("\n".join(kept) + "\n" + lines[progress[12]][:77], encoding="utf-8")
    for name in ("mask.json", "result.json", "model.json", "model.safetensors"):
        (copied / name).unlink()
    page = read(write_report(str(copied)))
    run = read_log(copied)
    assert "This run is unfinished: 12 of" in page.text
    assert "last line of its events was cut off" in page.text
    assert "there is no small model yet" in page.text
    assert run.is_torn
    assert len(run.progress) == 12
    pictures = [figure for figure in page.figures.values() if figure["data"][0]["type"] == "heatmap"]
    assert [trace["z"]["shape"] for trace in pictures[0]["data"]] == ["8, 8", "8, 8"]  # kept, and the mean gates
    assert "gates above one half at the last time that they were recorded" in page.text
    # Its control: the same without the torn line.
    (copied / "events.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert not read_log(copied).is_torn
    (copied / "events.jsonl").write_text(lines[0] + "\n", encoding="utf-8")
    assert "no block was recorded" in read(write_report(str(copied))).text


@pytest.mark.slow
def test_an_unfinished_run_without_an_image_has_bars(copied):
    """The control of the picture."""
    lines = (copied / "events.jsonl").read_text(encoding="utf-8").splitlines()
    start = {**json.loads(lines[0]), "image_shape": None}
    told = [json.dumps(start), *(line for line in lines[1:] if '"event": "progress"' in line[:30])]
    (copied / "events.jsonl").write_text("\n".join(told) + "\n", encoding="utf-8")
    kinds = {figure["data"][0]["type"] for figure in read(write_report(str(copied))).figures.values()}
    assert "bar" in kinds
    assert "heatmap" not in kinds


def changed(line, **fields):
    return json.dumps({**json.loads(line), **fields})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda lines: [*lines[:2], lines[2][:40], *lines[3:]], "line 3 of .*it is not JSON"),
        (lambda lines: [*lines[:2], "[1, 2]", *lines[3:]], "line 3 of .*it is not an event"),
        (lambda lines: lines[1:], "has 0 events"),
        (lambda lines: [lines[0], *lines], "has 2 events"),
        (lambda lines: [], "has 0 events"),
        (lambda lines: [lines[0][:50]], "line 1 of .*it is not JSON"),
        (lambda lines: [changed(lines[0], n_sites=65), *lines[1:]], "do not fit its 65 sites"),
        (lambda lines: [changed(lines[0], sites="x"), *lines[1:]], "'sites': a list is needed"),
        (lambda lines: [*lines[:-2], changed(lines[-2]), changed(lines[-1], indices=[999] * 16)], "cannot be shown"),
        (
            lambda lines: [*lines[:-1], changed(lines[-1], image_shape=[8, 0.5])],
            "'image_shape.1': a whole number is needed",
        ),
        (lambda lines: [changed(lines[0], image_shape="8x8"), *lines[1:]], "'image_shape': a list is needed"),
        (lambda lines: [changed(lines[0], feature_names=3), *lines[1:]], "'feature_names': a list is needed"),
        (lambda lines: [re.sub('"alpha": [0-9.]+', '"alpha": 1e400', line) for line in lines], "'alpha'"),
    ],
)
def test_a_broken_record_is_one_clear_error(copied, damage, part, capsys):
    lines = (copied / "events.jsonl").read_text(encoding="utf-8").splitlines()
    (copied / "events.jsonl").write_text("\n".join(damage(lines)) + "\n", encoding="utf-8")
    with pytest.raises(FolderError, match=part):
        write_report(str(copied))
    assert main(["report", str(copied)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (copied / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("field", ["loss", "acceptance", "kept", "moves", "gates", "proposals"])
def test_a_field_of_another_kind_is_named(copied, field):
    lines = (copied / "events.jsonl").read_text(encoding="utf-8").splitlines()
    place = next(place for place, line in enumerate(lines) if '"event": "progress"' in line[:30])
    lines[place] = changed(lines[place], **{field: ["x"]})
    (copied / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(FolderError, match=f"line {place + 1} of .*{field}"):
        write_report(str(copied))


@pytest.mark.slow
def test_folders_and_files_that_will_not_do(runs, tmp_path, capsys):
    with pytest.raises(FolderError, match="there is no folder"):
        write_report(str(tmp_path / "nowhere"))
    with pytest.raises(FolderError, match=r"has no events.jsonl, so it is not the folder of a run"):
        write_report(str(tmp_path))
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(FolderError, match="exists already"):
        write_report(str(runs / "chain"), out=str(tmp_path / "mine.html"))
    assert (tmp_path / "mine.html").read_text() == "mine"
    with pytest.raises(FolderError, match="is a folder"):
        write_report(str(runs / "chain"), out=str(tmp_path))
    with pytest.raises(FolderError, match="there is no folder"):
        write_report(str(runs / "chain"), out=str(tmp_path / "a" / "b.html"))
    assert main(["report"]) == 2
    assert "FOLDER" in capsys.readouterr().err


@pytest.mark.slow
def test_the_small_model_that_is_gone_is_said_not_measured(copied):
    (copied / "model.safetensors").unlink()
    assert "the small model cannot be loaded" in read(write_report(str(copied))).text


@pytest.mark.slow
def test_names_cannot_become_tags(copied):
    lines = (copied / "events.jsonl").read_text(encoding="utf-8").splitlines()
    lines[0] = changed(lines[0], name="</script><img src=x>")
    (copied / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    page = read(write_report(str(copied)))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "</script><img src=x>" in page.text


@pytest.mark.slow
def test_a_report_does_not_stand_in_the_way_of_force(copied):
    from mcprune.storage.layout import check_free

    write_report(str(copied))
    check_free(copied, force=True)
    (copied / "letter.txt").touch()
    with pytest.raises(FolderError, match=r"letter\.txt"):
        check_free(copied, force=True)


@pytest.mark.slow
def test_the_command_that_repeats_a_run_follows_what_it_was(runs):
    gradient, chain = read_log(runs / "gradient"), read_log(runs / "chain")
    assert report_details.again("a b/", gradient)[1] == "mcprune run --config 'a b/config.toml' --out 'a b-again'"
    assert "--replay" in report_details.again("a", chain)[1]
    gradient.started.config["data"] = "arrays"
    assert report_details.again("a", gradient)[1] == ""


@pytest.mark.slow
def test_what_is_settled_begins_behind_the_last_change_and_the_fall_of_n(runs):
    run = read_log(runs / "chain")
    first = run.settled_from()
    assert run.progress[first].block > 9
    assert {event.target for event in run.progress[first:]} == {16}
    last = run.knob_changes[-1]
    later = replace(run, events=tuple(replace(event, block=14) if event is last else event for event in run.events))
    assert later.progress[later.settled_from()].block == 15


@pytest.mark.slow
def test_single_weights_are_counted_by_layer_and_not_listed(tmp_path):
    folder = tmp_path / "weights"
    options = [
        "--sites",
        "weights",
        "--keep",
        "200",
        "--hidden",
        "8",
        "--epochs",
        "2",
        "--compare",
        "no",
        "--threads",
        "1",
    ]
    assert main(["run", *options, "--quiet", "--out", str(folder)]) == 0
    page = read(write_report(str(folder), out=str(tmp_path / "page.html")))
    run = read_log(folder)
    (chart,) = [figure for figure in page.figures.values() if figure["data"][0]["type"] == "bar"]
    sizes = [group.size for group in run.started.sites]
    kept, dropped = (np.array(trace["x"]) * sizes for trace in chart["data"])
    assert kept.sum() == pytest.approx(200)
    assert kept[0] == pytest.approx(sum(site < sizes[0] for site in run.done.indices))
    assert kept + dropped == pytest.approx(sizes)
    assert "How many weights of each layer are kept." in page.text


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A run on a table with doubtful columns, several starts and comparisons."""
    from mcprune.config.schema import make_config
    from mcprune.session.loop import run

    folder = tmp_path_factory.mktemp("compared")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    signal = y + 0.7 * rng.normal(size=240)
    columns = {
        "signal": signal,
        "noise": rng.normal(size=240),
        "mc_weight": rng.exponential(size=240),
        "flat": np.ones(240),
    }
    rows = zip(*columns.values(), y, strict=True)
    lines = [",".join([*columns, "class"]), *(",".join(map(str, row)) for row in rows)]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    options = {**SHORT, "data": str(folder / "rows.csv"), "keep": 2, "compare": "yes", "start": "all+forest"}
    list(run(make_config(**options, out=str(folder / "run"))))
    return folder / "run"


def test_the_page_leads_with_the_result_and_names_what_is_doubtful(compared, tmp_path):
    page, run = read(write_report(str(compared), out=str(tmp_path / "page.html"))), read_log(compared)
    words = [word.strip() for word in page.words if word.strip()]
    title = words.index("rows: 2 of 4 columns", 1)
    assert words[title + 1] == run.done.summary.replace("+-", "±") + "."
    doubts = next(word for word in words if word.startswith("Doubtful columns: "))
    assert "mc_weight looks like sample weights" in doubts
    assert "flat has one value in all rows" in doubts
    assert ("mc_weight looks like sample weights and is kept" in doubts) == ("mc_weight" in run.done.names)
    assert "mc_weight (doubtful)" in bars_by_name(page)["layout"]["yaxis"]["ticktext"]


def test_curves_of_each_class_and_the_confusion_matrix_are_those_of_the_predictions(compared, tmp_path):
    page, run = read(write_report(str(compared), out=str(tmp_path / "page.html"))), read_log(compared)
    figures = list(page.figures.values())
    (matrix,) = [figure["data"][0] for figure in figures if figure["data"][0]["type"] == "heatmap"]
    counts = np.array(matrix["customdata"])
    assert counts.sum() == run.started.rows["test"]
    accuracy = next(score.accuracy for score in run.done.scores if score.name == "hard mask, retrained")
    assert np.trace(counts) / counts.sum() == pytest.approx(accuracy)
    names = [trace["name"].split(": ")[0] for figure in figures for trace in figure["data"] if trace.get("name")]
    assert {"kept sites", "all sites", "0", "1", "2"} <= set(names)
    (dots,) = [figure for figure in figures if "error_x" in figure["data"][0]]
    assert [dot["x"][0] for dot in dots["data"]] == [score.accuracy for score in run.done.scores]
    assert all(dot["error_x"]["array"][0] > 0 for dot in dots["data"])


def test_a_folder_without_predictions_says_so(compared, tmp_path):
    folder = shutil.copytree(compared, tmp_path / "run")
    (folder / "predictions.safetensors").unlink()
    assert "has no predictions of the test rows" in read(write_report(str(folder))).text


def test_what_did_not_change_is_a_table_and_no_curve(compared, tmp_path):
    page, run = read(write_report(str(compared), out=str(tmp_path / "page.html"))), read_log(compared)
    assert set(run.series("delta")) == {1.0}
    drawn = {trace.get("name") for figure in page.figures.values() for trace in figure["data"]}
    assert "delta" not in drawn
    assert "loss" in drawn
    words = [word.strip() for word in page.words]
    still = words.index("What did not change")
    assert "delta" in words[still:]


def test_the_options_of_the_run_are_listed(compared, tmp_path):
    words = [word.strip() for word in read(write_report(str(compared), out=str(tmp_path / "page.html"))).words]
    for name in ("retrain_epochs", "hidden", "delta", "keep"):
        assert name in words


def test_how_sure_a_site_is_are_shares_of_the_finalists_and_of_the_time(compared):
    run = read_log(compared)
    sure = sureness(run)
    masks = [one.indices for one in run.playoff.finalists]
    assert sure.finalists == len(masks) > 1
    for site in range(run.started.n_sites):
        assert sure.shared[site] == pytest.approx(np.mean([site in mask for mask in masks]))
    assert 0 <= sure.kept.min() <= sure.kept.max() <= 1
    assert sure.kept.sum() == pytest.approx(2)  # at n, two of the sites are kept at any time
    shares = [1.0, 0.5, 0.0]
    text = sentence(Sureness(4, np.array(shares), 10, np.array([1.0, 1.0, 0.2])), [0, 1], "columns")
    assert text == (
        "1 of the 2 kept columns are in all 4 finalists; 2 of 2 were kept at each of the 10 moments recorded since n(t) reached n"
    )
    assert sentence(Sureness(0, None, 0, None), [0], "columns") == ""
