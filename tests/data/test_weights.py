"""Sample weights: read, checked, and taken along with the rows."""

from dataclasses import replace

import numpy as np
import pytest

from mcprune.data.fingerprint import fingerprint
from mcprune.data.load import from_arrays, load
from mcprune.data.prepare import prepare
from mcprune.data.weights import as_weights, with_weights
from mcprune.errors import ConfigError, DataError

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(40, 3)), np.arange(40) % 2
WEIGHTS = DRAW.uniform(0.5, 2.0, 40)


def _write(path, weights, name="w", last=False):
    """A table with its class last, or with its weights last."""
    header = ["a", "b", "kind", name] if last else ["a", name, "b", "kind"]
    rows = []
    for x, y, w in zip(X, Y, weights, strict=True):
        cells = {"a": repr(float(x[0])), "b": repr(float(x[1])), "kind": ["no", "yes"][y], name: str(w)}
        rows.append(",".join(cells[key] for key in header))
    path.write_text("\n".join([",".join(header), *rows]) + "\n")
    return path


@pytest.mark.parametrize("last", [False, True])
def test_a_column_of_a_table_is_taken_out_of_the_features(tmp_path, last):
    dataset = load(_write(tmp_path / "t.csv", WEIGHTS, last=last), sample_weight="w")
    assert dataset.feature_names == ("a", "b")
    assert dataset.target_name == "kind"  # the last column but for the weights
    assert dataset.features.flags.c_contiguous
    np.testing.assert_array_equal(dataset.weights, WEIGHTS)
    np.testing.assert_array_equal(dataset.features, X[:, :2].astype(np.float32))
    if not last:
        assert load(tmp_path / "t.csv").feature_names == ("a", "w", "b")


def test_columns_of_parquet_files_frames_and_arrays_of_archives(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abc")).assign(w=WEIGHTS)
    for weights in ("w", WEIGHTS, WEIGHTS.tolist(), frame["w"]):
        dataset = from_arrays(frame if isinstance(weights, str) else frame[["a", "b", "c"]], Y, sample_weight=weights)
        np.testing.assert_array_equal(dataset.weights, WEIGHTS)
        assert dataset.feature_names == ("a", "b", "c")
    frame.assign(kind=Y).to_parquet(tmp_path / "t.parquet")
    dataset = load(tmp_path / "t.parquet", sample_weight="w")
    np.testing.assert_array_equal(dataset.weights, WEIGHTS)
    assert dataset.feature_names == ("a", "b", "c")
    np.savez(tmp_path / "t.npz", X=X, y=Y, w=WEIGHTS)
    np.testing.assert_array_equal(load(tmp_path / "t.npz", sample_weight="w").weights, WEIGHTS)
    frame.assign(kind=Y, w=["x"] * 40).to_parquet(tmp_path / "u.parquet")
    with pytest.raises(DataError, match="column 'w' of the sample weights holds 'x' in row 1"):
        load(tmp_path / "u.parquet", sample_weight="w")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (3, "", r"1 sample weight is missing or infinite. Rows, counted from 1: 4\. Fill"),
        (3, "inf", "1 sample weight is missing or infinite"),
        (3, "-0.5", r"1 sample weight is below 0, down to -0\.5\. Rows, counted from 1: 4\. A row"),
        (3, "much", r"the column 'w' of the sample weights holds 'much' in row 4 \(line 5\)"),
        (slice(None), "0", "all 40 sample weights are 0, so no row is left"),
    ],
)
def test_what_cannot_weigh_is_refused(tmp_path, place, value, words):
    weights = WEIGHTS.astype(object)
    weights[place] = value
    with pytest.raises(DataError, match=words):
        load(_write(tmp_path / "t.csv", weights), sample_weight="w")


def test_names_that_are_no_column_of_weights_are_refused(tmp_path):
    path = _write(tmp_path / "t.csv", WEIGHTS, name="weight")
    with pytest.raises(DataError, match=r"no column 'wieght' for the sample weights\. Did you mean 'weight'"):
        load(path, sample_weight="wieght")
    with pytest.raises(ConfigError, match="sample_weight='kind' is the target column too"):
        load(path, target="kind", sample_weight="kind")
    with pytest.raises(ConfigError, match="'w' names a column of a table, but 'digits' has none"):
        load("digits", sample_weight="w")
    with pytest.raises(ConfigError, match="names a column of a table"):
        from_arrays(X, Y, sample_weight="w")
    with pytest.raises(DataError, match=r"sample weights of shape \(39,\), but there are 40 rows"):
        from_arrays(X, Y, sample_weight=WEIGHTS[1:])
    with pytest.raises(DataError, match="the sample weights are no numbers"):
        as_weights("t", ["a"] * 40, 40)


def test_rows_of_weight_0_and_their_classes_are_left_out():
    labels = np.array(["a", "b", "c"])[np.arange(40) % 3]
    weights = np.where(labels == "b", 0.0, WEIGHTS)
    dataset = from_arrays(X, labels, sample_weight=weights)
    assert dataset.labels == ("a", "c")
    np.testing.assert_array_equal(np.array(dataset.labels)[dataset.targets], labels[labels != "b"])
    assert any("13 of 40 rows" in note for note in dataset.notes)
    with pytest.raises(DataError, match="have the class 'a'"):
        from_arrays(X, labels, sample_weight=np.where(labels == "a", 1.0, 0.0))


def test_rows_of_a_test_part_stay_its_rows():
    dataset = from_arrays(X, Y)
    own = replace(dataset, test_rows=np.arange(30, 40))
    weights = WEIGHTS.copy()
    weights[[0, 35]] = 0.0
    weighted = with_weights(own, weights)
    np.testing.assert_array_equal(weighted.weights[weighted.test_rows], np.delete(weights[30:], 5))


def test_equal_weights_are_none():
    assert from_arrays(X, Y, sample_weight=np.full(40, 2.5)).weights is None
    assert from_arrays(X, Y, sample_weight=WEIGHTS).weights is not None


@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.2), (0.0, 0.2), (0.0, 0.0)])
def test_weights_go_with_their_rows(validation, test):
    weighted = from_arrays(np.c_[WEIGHTS, X], Y, sample_weight=WEIGHTS, feature_names=["own", "a", "b", "c"])
    plain = from_arrays(np.c_[WEIGHTS, X], Y, feature_names=["own", "a", "b", "c"])
    splits, same = (prepare(one, seed=3, validation=validation, test=test, scale="none") for one in (weighted, plain))
    for part, other in zip(splits[:3], same[:3], strict=True):
        np.testing.assert_array_equal(part.features[:, 0], part.weights.astype(np.float32))
        np.testing.assert_array_equal(part.targets, other.targets)  # stratified as without weights
        assert other.weights is None
        if validation:
            np.testing.assert_array_equal(part.features, other.features)
    rows = splits.all_but_test()
    np.testing.assert_array_equal(rows.features[:, 0], rows.weights.astype(np.float32))
    assert fingerprint(splits) != fingerprint(same)
    halved = prepare(with_weights(plain, WEIGHTS / 2), seed=3, validation=validation, test=test, scale="none")
    assert fingerprint(splits) != fingerprint(halved)
