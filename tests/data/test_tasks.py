"""What a target is taken for, and numbers as a network learns them."""

import numpy as np
import pytest

from mcprune.data.base import assemble
from mcprune.data.formats.reading import Reading
from mcprune.data.load import from_arrays, load
from mcprune.data.prepare import prepare
from mcprune.data.roles.tasks import encode_numbers, fit_target_scaler, resolve_task, strata_of
from mcprune.errors import ConfigError, DataError

MANY = np.arange(60)


@pytest.mark.parametrize(
    ("raw", "task"),
    [
        (["a", "b"] * 30, "classification"),
        ([True, False] * 30, "classification"),
        ([0, 1, 2] * 20, "classification"),
        ([1.0, 2.0] * 30, "classification"),
        ([0.5, 1.5] * 30, "classification"),
        (np.repeat(np.arange(40), 10), "classification"),  # codes of forty persons
        (np.repeat(np.arange(40), 10) * 7, "regression"),
        (MANY, "regression"),  # each number once
        (MANY / 7, "regression"),
        ([0.25, 1.5, 2.75, 2.75], "regression"),
        ([f"{value / 7:.3f}" for value in MANY], "regression"),
        ([f"{value:03d}" for value in MANY], "classification"),  # 007 is a name
        (["1e1", "10", "20"] * 10, "classification"),
        (np.stack([MANY, MANY + 0.5], axis=1), "regression"),
        (np.stack([MANY % 2, MANY % 3 % 2], axis=1), "multilabel"),
        (np.eye(3)[MANY % 3], "classification"),  # one-hot classes are refused with their remedy
    ],
)
def test_auto_takes_a_target_for_what_its_values_say(raw, task):
    chosen, note = resolve_task("auto", raw, "the target 'y'")
    assert chosen == task
    assert bool(note) == (task != "classification")
    assert resolve_task("classification", raw, "y") == ("classification", "")


def test_the_note_names_the_target_and_the_way_out():
    dataset = assemble("t", MANY[:, None] * 1.0, (MANY / 7).tolist(), target_name="price")
    assert dataset.task == "regression"
    assert dataset.target_names == ("price",)
    assert dataset.notes == (
        "task: regression, since the target 'price' has 60 different numbers in 60 rows; --task classification takes them as classes",
    )


@pytest.mark.parametrize(
    ("raw", "task", "message"),
    [
        ([1.0, np.nan, 2.0], "regression", "missing .* in 1 of 3 rows; counted from 1: 2"),
        (["1", "two", "3"], "regression", "holds 'two' in row 2.*task='classification'"),
        ([4.0, 4.0, 4.0], "regression", "is 4 in all 3 rows"),
        (np.array([[0, 1], [2, 0]]), "multilabel", "other numbers than 0 and 1"),
    ],
)
def test_targets_that_are_no_numbers_are_refused(raw, task, message):
    with pytest.raises(DataError, match=message):
        encode_numbers("t", raw, task)


def test_a_target_of_the_other_kind_is_refused():
    with pytest.raises(DataError, match="where task='regression' needs a number"):
        from_arrays(MANY[:, None] * 1.0, ["a", "b"] * 30, task="regression")
    assert from_arrays(MANY[:, None] * 1.0, [0, 1] * 30, task="regression").task == "regression"


def test_strata_are_quantiles_and_equal_numbers_share_one():
    draw = np.random.default_rng(0)
    strata = strata_of(draw.normal(size=(400, 1)))
    assert (np.bincount(strata) == 40).all()
    heavy = np.where(draw.random(400) < 0.6, 0.0, draw.exponential(size=400))[:, None]
    strata = strata_of(heavy)
    assert np.unique(strata[heavy[:, 0] == 0]).size == 1
    assert (np.diff(strata[np.argsort(heavy[:, 0], kind="stable")]) >= 0).all()
    assert strata_of(np.array([2, 0, 1])).tolist() == [2, 0, 1]  # classes stay
    assert np.unique(strata_of(draw.normal(size=(7, 2)))).size <= 1 + 7 // 5


def test_parts_are_split_by_quantiles_and_targets_are_standardised_on_the_training_rows():
    draw = np.random.default_rng(1)
    y = 50.0 + 20.0 * draw.exponential(size=300)
    splits = prepare(from_arrays(draw.normal(size=(300, 4)), y), seed=0, validation=0.2, test=0.2)
    scaler, train = splits.target_scaler, splits.train.targets
    assert train.shape == (180, 1)
    assert train.mean() == pytest.approx(0.0, abs=1e-6)
    assert train.std() == pytest.approx(1.0, abs=1e-6)
    raw = scaler.invert(splits.test.targets)[:, 0]
    np.testing.assert_allclose(raw, y[splits.parts.test], rtol=1e-6)
    assert np.quantile(raw, 0.5) == pytest.approx(np.quantile(y, 0.5), rel=0.1)
    assert splits.n_outputs == 1
    assert splits.labels == ()


def test_counts_are_scaled_by_their_mean_and_what_is_no_count_is_refused():
    y = np.array([[0.0], [2.0], [7.0]])
    scaler = fit_target_scaler(y, None, "regression", "log")
    np.testing.assert_allclose(scaler.apply(y)[:, 0], [0.0, 2 / 3, 7 / 3], rtol=1e-6)
    np.testing.assert_allclose(scaler.predictions(np.log(scaler.apply(y) + 1e-9)), y, atol=1e-6)
    with pytest.raises(ConfigError, match="down to -1"):
        fit_target_scaler(y - 1.0, None, "regression", "log")


def test_weights_of_whole_numbers_scale_as_repeated_rows():
    y, weights = np.array([[1.0], [3.0], [8.0]]), np.array([1.0, 3.0, 2.0])
    once = fit_target_scaler(y, weights, "regression", "identity")
    repeated = fit_target_scaler(y.repeat([1, 3, 2], axis=0), None, "regression", "identity")
    np.testing.assert_allclose([once.shift, once.scale], [repeated.shift, repeated.scale], rtol=1e-12)


def test_a_column_that_is_the_target_in_another_unit_is_doubtful():
    draw = np.random.default_rng(2)
    y = draw.normal(size=80)
    x = np.stack([draw.normal(size=80), 3.0 - 2.0 * y, y + 0.01 * draw.normal(size=80)], axis=1)
    doubts = from_arrays(x, y).doubts
    assert [(doubt.kind, doubt.names) for doubt in doubts] == [("copy", ("x1",))] or doubts[0].kind == "copy"
    assert "in another unit" in doubts[0].text


@pytest.mark.parametrize(("mark", "task"), [(",", "auto"), (",", "regression"), (".", "auto")])
def test_a_target_with_decimal_commas_is_measured(mark, task, tmp_path):
    draw = np.random.default_rng(0)
    values = draw.normal(size=(60, 3)).round(3)
    rows = [";".join(f"{value:.3f}".replace(".", mark) for value in row) for row in values]
    (tmp_path / "rows.csv").write_text("\n".join(["a;b;price", *rows]) + "\n")
    dataset = load(str(tmp_path / "rows.csv"), Reading(target="price", task=task))
    np.testing.assert_allclose(np.ravel(dataset.targets), values[:, 2], rtol=1e-6)


def test_classes_with_decimal_commas_stay_as_they_are_written(tmp_path):
    rows = [f"{i * 0.37:.2f};{('0,5', '1,50')[i % 2]}".replace(".", ",") for i in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["a;dose", *rows]) + "\n")
    assert list(load(str(tmp_path / "rows.csv"), Reading(target="dose")).labels) == ["0,5", "1,50"]
