"""Runs on tables with gaps and categories: one site of the search for each column, and answers for rows as they are in the table."""

import numpy as np
import pytest

import mcprune
from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.errors import ConfigError
from mcprune.sampling import sample as sampling
from mcprune.session.loop import run
from mcprune.session.shadows import compete as shadows
from mcprune.storage.events import Playoff, Progress

QUICK = {"epochs": 8, "retrain_epochs": 10, "threads": 1, "compare": "no", "seed": 0}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The class follows from a category and a number with gaps; two other columns are noise."""
    path = tmp_path_factory.mktemp("coded") / "t.csv"
    draw = np.random.default_rng(0)
    lines = ["noise,other,size,color,label"]
    for _ in range(300):
        color, size = draw.choice(["red", "green", "blue"]), draw.normal()
        is_missing = draw.random() < 0.2
        label = "xy"[int((color == "red") ^ (not is_missing and size > 0))]
        lines.append(
            f"{draw.normal():.3f},{draw.choice(['u', 'v'])},{'' if is_missing else f'{size:.3f}'},{color},{label}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_are_kept_whole_and_rows_of_the_table_are_answered(table, tmp_path, capsys):
    pd = pytest.importorskip("pandas")
    result = mcprune.prune(str(table), keep=2, out=str(tmp_path / "run"), **QUICK)
    assert result.mask.names == result.model.original_names == ("size", "color")
    assert result.model.names == ("size", "size is missing", "color=blue", "color=green", "color=red")
    assert result.metrics["test_accuracy"] > 0.8
    frame = pd.read_csv(table)
    answers = result.model.predict(frame)
    assert (answers == frame["label"].to_numpy()).mean() > 0.8
    np.testing.assert_array_equal(mcprune.load(tmp_path / "run").predict(frame[["color", "size"]]), answers)
    frame[["size", "color"]].to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == answers.tolist()
    assert main(["export", str(tmp_path / "run"), "--to", "c"]) == 2
    assert "gaps or categories" in capsys.readouterr().err


def test_columns_are_named_as_in_the_table(table):
    result = mcprune.prune(str(table), keep=2, must_keep=["other"], **QUICK)
    assert "other" in result.model.original_names
    with pytest.raises(ConfigError, match="keep=5"):
        mcprune.prune(str(table), keep=5, **QUICK)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "gradient", "keep": 2}, "method=gradient keeps or drops sites one by one"),
        ({"groups": {"g": ["noise", "size"]}, "keep": 2}, "their sites are groups already"),
    ],
)
def test_what_cannot_be_combined_is_refused(table, options, match):
    with pytest.raises(ConfigError, match=match):
        mcprune.prune(str(table), epochs=4, threads=1, **options)


def test_a_model_of_the_users_is_refused(table):
    from torch import nn

    with pytest.raises(ConfigError, match="takes numbers without gaps"):
        mcprune.prune(str(table), keep=2, model=nn.Linear(8, 2), **QUICK)


@pytest.mark.slow
def test_a_run_on_such_a_table_is_resumed(table, tmp_path):
    whole = mcprune.prune(str(table), keep=2, **QUICK)
    for event in run(make_config(data=str(table), keep=2, out=str(tmp_path / "run"), checkpoint_every="0.5", **QUICK)):
        if isinstance(event, Progress) and event.block >= event.blocks // 2:
            break
    resumed = mcprune.resume(str(tmp_path / "run"))
    np.testing.assert_array_equal(resumed.mask.weights, whole.mask.weights)
    np.testing.assert_array_equal(resumed.mask.support, whole.mask.support)


@pytest.mark.slow
def test_known_columns_are_found():
    """Of twelve columns a number, one with gaps and a category tell the class."""
    pd = pytest.importorskip("pandas")
    draw = np.random.default_rng(1)
    rows = 400
    frame = pd.DataFrame(draw.normal(size=(rows, 6)), columns=[f"n{i}" for i in range(6)])
    for i in range(4):
        frame[f"c{i}"] = draw.choice(list("abcd"), rows)
    gaps, is_missing = draw.normal(size=(rows, 2)), draw.random((rows, 2)) < 0.2
    for i in range(2):
        frame[f"g{i}"] = np.where(is_missing[:, i], np.nan, gaps[:, i])
    of_category = 1.5 * (frame["c0"] == "a") - 1.5 * (frame["c0"] == "b")
    signal = 1.2 * frame["n0"] + of_category + np.where(is_missing[:, 0], 0, 1.2 * gaps[:, 0])
    target = np.where(signal + 0.7 * draw.normal(size=rows) > 0, "yes", "no")
    result = mcprune.prune(frame, target, keep=3, seed=0, threads=1, compare="no", epochs=20)
    assert set(result.model.original_names) == {"n0", "c0", "g0"}


@pytest.mark.slow
def test_events_and_pages_are_about_the_columns_of_the_table(table, tmp_path, capsys):
    folder = tmp_path / "run"
    result = mcprune.prune(str(table), keep=2, out=str(folder), **QUICK | {"compare": "yes"})
    start, done = result.events[0], result.events[-1]
    columns = ("noise", "other", "size", "color")
    assert (start.n_sites, start.keep, start.feature_names) == (4, 2, columns)
    assert (done.n_sites, done.indices, done.names) == (4, (2, 3), ("size", "color"))
    progress = [event for event in result.events if isinstance(event, Progress)]
    assert (progress[-1].kept, progress[-1].target) == (2, 2)
    assert all(1 <= event.kept <= 4 for event in progress)
    assert {score.kept for score in done.scores} == {2, 4}
    assert result.mask.site_names == columns
    assert result.mask.weights.shape == result.mask.support.shape == (4,)
    capsys.readouterr()
    assert main(["show", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "inputs: 2 of 4 kept" in shown
    assert "size, color" in shown
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert "2 of 4 columns" in page
    assert page.count("color=blue") == 1  # in the option groups


@pytest.mark.slow
def test_such_a_table_has_finalists_and_a_playoff():
    pd = pytest.importorskip("pandas")
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(draw.normal(size=(240, 8)), columns=[f"n{i}" for i in range(8)])
    frame["c"] = draw.choice(list("abcde"), 240)
    frame.loc[draw.random(240) < 0.2, "n7"] = np.nan
    target = (frame["n1"] + 1.5 * (frame["c"] == "a") + 0.5 * draw.normal(size=240) > 0.4).astype(int)
    result = mcprune.prune(frame, target, keep=4, seed=0, retrain_epochs=5, threads=1, progress=False)
    playoff = next(event for event in result.events if isinstance(event, Playoff))
    assert {one.name for one in playoff.finalists} > {"chain from all", "forest"}
    assert all(len(one.indices) == 4 and max(one.indices) < 9 for one in playoff.finalists)
    assert {"n1", "c"} < set(result.mask.names)


@pytest.mark.slow
def test_a_mask_of_columns_is_a_start(table, tmp_path):
    result = mcprune.prune(str(table), keep=2, out=str(tmp_path / "run"), **QUICK)
    for start in (result.mask, ["size", "color"], str(tmp_path / "run" / "mask.json")):
        again = mcprune.refine(start, str(table), progress=False, **QUICK)
        assert again.mask.names == ("size", "color")


@pytest.mark.long("ten seconds of sampling")
def test_how_sure_the_columns_are(table, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "ENOUGH", 50.0)
    monkeypatch.setattr(sampling, "MIXED", 1.05)
    folder = tmp_path / "run"
    result = mcprune.prune(str(table), keep=2, out=str(folder), **QUICK)
    samples = result.sample(precision=0.2, max_time=300, temperature=0.5)
    assert samples.names == ("noise", "other", "size", "color")
    assert samples.probability.sum() == pytest.approx(2.0)
    assert samples.probability[2:].min() > samples.probability[:2].max()
    assert main(["report", str(folder)]) == 0
    assert "P(kept)" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_a_path_over_the_columns(table):
    path = mcprune.prune_path(str(table), keep="1:4", **QUICK)
    assert path.levels == (1, 2, 3, 4)
    assert path.enough == 2
    assert path.level(2).names == ("size", "color")
    assert [level.kept for level in path.curve.levels] == [1, 2, 3, 4]
    assert path.curve.n_sites == 4
    result = path.at(2)
    assert result.mask.names == ("size", "color")
    assert result.metrics["test_accuracy"] > 0.8


@pytest.mark.slow
def test_columns_at_a_stated_error_rate_are_kept_whole(table, tmp_path, capsys, monkeypatch):
    """The run, its folder, its report and a rerun know the columns of the table."""
    monkeypatch.setattr(shadows, "BLOCKS", 24)
    monkeypatch.setattr(shadows, "WIDTH", 16)
    folder = tmp_path / "run"
    command = ["run", "--data", str(table), "--fdr", ".2", "--retrain-epochs", "10", "--compare", "no", "--out"]
    assert main([*command, str(folder)]) == 0
    assert "columns at an estimated false discovery rate" in capsys.readouterr().out
    model = mcprune.load(folder)
    assert set(model.original_names) == {"size", "color"}
    assert main(["report", str(folder)]) == 0
    assert "its shadows" in (folder / "report.html").read_text()
    assert main(["run", "--config", str(folder / "config.toml"), "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "mask.json").read_text() == (folder / "mask.json").read_text()
