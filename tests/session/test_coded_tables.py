"""Runs on tables with gaps and categories: one site of the search for each column, and answers for rows as they are in the table."""

import numpy as np
import pytest

import mcprune
from mcprune.cli.main import main
from mcprune.errors import ConfigError

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
