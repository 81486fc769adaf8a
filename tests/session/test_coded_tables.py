"""Runs on tables with gaps and categories: one site of the search for each column, and answers for rows as they are in the table."""

import numpy as np
import pytest

import mcprune
from mcprune.cli.main import main
from mcprune.config.schema import make_config
from mcprune.errors import ConfigError
from mcprune.session.loop import run
from mcprune.storage.events import Progress

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
    kept = set(result.mask.names)
    for names in (["size", "size is missing"], ["color=blue", "color=green", "color=red"], ["other=u", "other=v"]):
        assert not kept & set(names) or kept >= set(names)
    assert result.model.original_names == ("size", "color")
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
        ({"fdr": 0.1}, "columns are tested one by one"),
    ],
)
def test_what_cannot_be_combined_is_refused(table, options, match):
    with pytest.raises(ConfigError, match=match):
        mcprune.prune(str(table), epochs=4, threads=1, **options)


def test_a_model_of_the_users_is_refused(table):
    from torch import nn

    with pytest.raises(ConfigError, match="takes numbers without gaps"):
        mcprune.prune(str(table), keep=2, model=nn.Linear(8, 2), **QUICK)


def test_a_run_on_such_a_table_is_resumed(table, tmp_path):
    whole = mcprune.prune(str(table), keep=2, **QUICK)
    for event in run(make_config(data=str(table), keep=2, out=str(tmp_path / "run"), checkpoint_every="0.5", **QUICK)):
        if isinstance(event, Progress) and event.block >= event.blocks // 2:
            break
    resumed = mcprune.resume(str(tmp_path / "run"))
    np.testing.assert_array_equal(resumed.mask.weights, whole.mask.weights)
    np.testing.assert_array_equal(resumed.mask.support, whole.mask.support)


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
