"""Arrays, lists and frames as data; targets of any type."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcprune.data.load import from_arrays, load
from mcprune.data.scale import fit_scaler
from mcprune.errors import ConfigError, DataError

X4 = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["b", "a", "b", "a"], ("a", "b")),
        ([10, 9, 10, 9], (9, 10)),
        ([True, False, False, True], (False, True)),
        ([0.5, -1.5, 0.5, -1.5], (-1.5, 0.5)),
        (np.array([2, 1, 2, 1], dtype=np.uint8), (1, 2)),
        (np.array(["b", "a", "b", "a"], dtype=object), ("a", "b")),
        (np.array([b"b", b"a", b"b", b"a"]), ("a", "b")),
        (np.array([[1], [2], [2], [1]]), (1, 2)),
        ([np.str_("z"), "y", "z", "y"], ("y", "z")),
        ([1, 2.5, 1, 2.5], (1.0, 2.5)),
    ],
)
def test_targets_of_any_type_are_mapped_in_sorted_order(values, labels):
    dataset = from_arrays(X4, values)
    assert dataset.labels == labels
    assert [type(each) for each in dataset.labels] == [type(each) for each in labels]
    assert json.loads(json.dumps(dataset.labels)) == list(labels)
    back = [dataset.labels[i] for i in dataset.targets]
    plain = [each.decode() if isinstance(each, bytes) else each for each in np.ravel(np.asarray(values)).tolist()]
    assert back == plain
    assert dataset.targets.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([1, "a", 1, "a"], "type int, str"),
        ([True, 2.5, "x", True], "type bool, float, str"),
        (["a", None, "a", "b"], "missing .* in 1 of 4 rows; counted from 1: 2"),
        ([1.0, float("nan"), float("inf"), 1.0], "in 2 of 4 rows; counted from 1: 2, 3"),
        ([[1, 0], [0, 1], [1, 0], [0, 1]], "one-hot"),
        ([1, 1, 1, 1], "all 4 rows have the class 1"),
        ([1, 1, 1, 2], "1 have one row only: 2"),
        ([1, 2, 3, 4], "looks like a measured quantity"),
        ([1, 2, 1], "4 rows of features, but 3 targets"),
        (7, "single value"),
        (np.array([1j, 2j, 1j, 2j]), "complex128"),
        (np.array(["2020-01-01"] * 4, dtype="M8[D]"), "datetime64"),
    ],
)
def test_targets_that_cannot_be_classes_are_refused(values, match):
    with pytest.raises(DataError, match=match):
        from_arrays(X4, values, name="t")


Y4 = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("features", "match"),
    [
        ([[1, 2], [3], [4, 5], [6, 7]], "rows of equal length"),
        ([[1, 2], [3, "tall"], [4, 5], [6, 7]], r"'column 1' holds 'tall' in row 2"),
        (np.array([[1, {}], [3, 4], [5, 6], [7, 8]], dtype=object), "'column 1' holds '{}' in row 1"),
        (np.array([[np.inf, 1], [1, 1], [1, 1], [1, -np.inf]]), "2 feature values are .* in 2 of 4 rows and 2 of 2"),
        (
            np.array([[np.inf, 1], [1, 1], [1, 1], [1, np.nan]]),
            "1 feature value is infinite .* in 1 of 4 rows and 1 of 3",
        ),
        (np.array([[1e39, 1], [1, 1], [1, 1], [1, 1]]), "beyond 3.4e38"),
        (np.ones(4), r"shape \(4,\)"),
        (np.ones((4, 0)), "no feature columns"),
        (np.ones((4, 2), dtype=complex), "complex128"),
        (np.ones((4, 2), dtype="M8[D]"), "datetime64"),
    ],
)
def test_features_that_are_no_numbers_are_refused(features, match):
    with pytest.raises(DataError, match=match):
        from_arrays(features, Y4)


def test_no_rows_and_wrong_names():
    with pytest.raises(DataError, match="no rows"):
        from_arrays(np.ones((0, 2)), [])
    with pytest.raises(DataError, match="2 columns, but 3 feature names"):
        from_arrays(X4, Y4, feature_names=["a", "b", "c"])
    with pytest.raises(DataError, match="called 'a'"):
        from_arrays(X4, Y4, feature_names=["a", "a"])


def test_a_sparse_matrix_is_told_how_to_be_dense():
    from scipy.sparse import csr_matrix

    with pytest.raises(DataError, match="toarray"):
        from_arrays(csr_matrix(X4), Y4)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_bytes_and_single_precision_stay_what_they_are(kind):
    features = X4.astype(kind)
    assert from_arrays(features, Y4).features is features


@pytest.mark.parametrize("kind", [bool, np.int64, np.float64, np.float16])
def test_other_numbers_become_single_precision(kind):
    dataset = from_arrays(X4.astype(kind), Y4)
    assert dataset.features.dtype == np.float32
    np.testing.assert_array_equal(dataset.features, X4.astype(kind))


@given(offset=st.floats(-1e12, 1e12), spread=st.floats(1e-6, 1e6))
def test_no_column_is_blurred_by_the_choice_of_precision(offset, spread):
    column = offset + spread * np.linspace(0, 1, 9)
    assume(np.ptp(column) > 0)
    kept = from_arrays(np.c_[column, np.arange(9)], [0, 1, 2] * 3).features[:, 0].astype(np.float64)
    real_spread = column.max() - column.min()
    assert np.abs(kept - column).max() <= 1e-3 * real_spread


@pytest.mark.parametrize("size", [1e-6, 1e-42, 1e-100])
@pytest.mark.parametrize("weights", [None, np.arange(1.0, 10.0)], ids=["plain", "weighted"])
def test_columns_of_tiny_numbers_are_scaled_as_others_are(size, weights):
    columns = np.c_[np.linspace(0, 1, 9) ** 2, np.arange(9)]
    plain, tiny = (from_arrays(each, [0, 1, 2] * 3, sample_weight=weights) for each in (columns, columns * [size, 1.0]))
    rows = np.arange(9)
    scaled = [fit_scaler(data, rows, "standard").apply(data.features) for data in (plain, tiny)]
    np.testing.assert_allclose(scaled[1], scaled[0], rtol=1e-5, atol=1e-6)
    assert np.ptp(scaled[1][:, 0]) > 1


def test_images_are_flattened_in_c_order():
    images = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    dataset = from_arrays(images, Y4)
    assert dataset.image_shape == (2, 3)
    assert dataset.feature_names == (
        "pixel_0_0",
        "pixel_0_1",
        "pixel_0_2",
        "pixel_1_0",
        "pixel_1_1",
        "pixel_1_2",
    )
    np.testing.assert_array_equal(dataset.features, images.reshape(4, 6))


def test_a_torch_tensor_is_taken_as_an_array():
    torch = pytest.importorskip("torch")
    dataset = from_arrays(torch.ones(4, 2), torch.tensor(Y4))
    assert dataset.features.dtype == np.float32
    assert dataset.labels == (0, 1)


@pytest.mark.parametrize(
    ("name", "shape", "labels"),
    [
        ("digits", (1797, 64), tuple(range(10))),
        ("breast-cancer", (569, 30), ("benign", "malignant")),
        ("wine", (178, 13), ("class_0", "class_1", "class_2")),
    ],
)
def test_the_bundled_sets(name, shape, labels):
    dataset = load(name)
    assert dataset.features.shape == shape
    assert dataset.labels == labels
    assert dataset.image_shape == ((8, 8) if name == "digits" else None)


def test_breast_cancers_names_stand_for_the_right_rows():
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    dataset = load("breast-cancer")
    assert [dataset.labels[i] for i in dataset.targets] == [str(bunch.target_names[i]) for i in bunch.target]
    assert dataset.feature_names[0] == "mean radius"


@pytest.mark.parametrize("option", [{"header": "yes"}, {"header": "no"}, {"id_columns": "keep"}])
def test_options_of_tables_are_for_tables(option, tmp_path):
    np.savez(tmp_path / "a.npz", X=np.random.default_rng(0).normal(size=(20, 3)), y=np.arange(20) % 2)
    (name,) = option
    for source in ("wine", *(["a.npz"] if name == "header" else [])):
        with pytest.raises(ConfigError, match=f"{name}=.*is no table"):
            load(source if source == "wine" else tmp_path / source, **option)
    if name == "id_columns":
        assert load(tmp_path / "a.npz", **option).n_inputs == 3
