"""Class codes: text stays text, and what is encoded can be decoded."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcprune.data.load import from_arrays, load
from mcprune.data.roles.targets import encode, label_array, parse_labels
from mcprune.errors import DataError


@pytest.mark.slow
@given(
    values=st.one_of(
        st.lists(
            st.text(max_size=4).filter(lambda t: t.strip().lower() not in ("", "nan", "na", "n/a", "null", "?")),
            min_size=1,
        ),
        st.lists(st.integers(-(2**70), 2**70), min_size=1),
        st.lists(st.booleans(), min_size=1),
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    )
)
def test_encoding_can_be_undone(values):
    targets, labels = encode("t", values)
    assert [labels[i] for i in targets] == values
    assert list(labels) == sorted(set(values))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "-2", "0"], [1, -2, 0]),
        (["1.0", "2.0", "-0.5"], [1.0, 2.0, -0.5]),
        (["True", "False"], [True, False]),
        (["1", "2.0", "1e3"], ["1", "2.0", "1e3"]),
        (["3.1", "3.10", "3.2"], ["3.1", "3.10", "3.2"]),
        (["1e1", "10", "20"], ["1e1", "10", "20"]),
        (["1", "1.0", "2"], ["1", "1.0", "2"]),
        (["1", "+1"], ["1", "+1"]),
        (["0", "-0"], ["0", "-0"]),
        (["0.0", "-0.0"], ["0.0", "-0.0"]),
        (["1.5", ".5"], ["1.5", ".5"]),
        (["inf", "1.0"], ["inf", "1.0"]),
        (["True", "true"], ["True", "true"]),
        (["true", "false"], ["true", "false"]),
        (["007", "7"], ["007", "7"]),
        (["01", "02"], ["01", "02"]),
        (["1_0", "2"], ["1_0", "2"]),
        (["1", "x"], ["1", "x"]),
        ([".", "1"], [".", "1"]),
        (["9" * 400, "1"], ["9" * 400, "1"]),
        (["٣", "3"], ["٣", "3"]),
    ],
)
def test_texts_become_numbers_only_if_each_is_its_number_s_own_text(texts, expected):
    values = parse_labels(texts)
    assert values == expected
    assert [type(each) for each in values] == [type(each) for each in expected]


codes = st.one_of(
    st.from_regex(r"[-+]?0{0,2}[0-9]{1,3}(\.[0-9]{0,2})?(e[-+]?[0-9])?", fullmatch=True),
    st.sampled_from(["True", "true", "False", "nan1", "inf", "1_0", "Infinity"]),
)


@given(texts=st.lists(codes, min_size=1, max_size=8))
def test_no_two_texts_become_one_class(texts):
    values = parse_labels(texts)
    assert len(set(values)) == len(set(texts))
    assert [str(value) for value in values] == texts


CODES = [
    ("3.1", "3.10", "3.2"),
    ("1e1", "10", "20"),
    ("1", "1.0", "2"),
    ("01", "1", "2"),
    ("+1", "1", "2"),
    ("True", "true", "TRUE"),
]


@pytest.mark.parametrize("names", CODES)
@pytest.mark.parametrize("kind", ["csv", "tsv", "npz", "list", "array", "series", "categorical", "parquet"])
def test_text_codes_stay_classes_of_their_own_in_every_kind_of_source(tmp_path, names, kind):
    X, y = np.random.default_rng(0).normal(size=(12, 2)), [names[i % 3] for i in range(12)]
    path = tmp_path / f"t.{kind}"
    if kind in ("csv", "tsv"):
        sep = "," if kind == "csv" else "\t"
        path.write_text("\n".join(sep.join(map(str, row)) for row in [("a", "b", "code"), *zip(*X.T, y, strict=True)]))
        dataset = load(path)
    elif kind == "npz":
        np.savez(path, X=X, y=y)
        dataset = load(path)
    elif kind == "parquet":
        pd = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "code": y}).to_parquet(path)
        dataset = load(path)
    elif kind in ("series", "categorical"):
        pd = pytest.importorskip("pandas")
        dataset = from_arrays(X, pd.Series(y, dtype="category" if kind == "categorical" else None))
    else:
        dataset = from_arrays(X, np.array(y) if kind == "array" else y)
    assert dataset.labels == tuple(sorted(names))
    assert [dataset.labels[i] for i in dataset.targets] == y
    assert tuple(json.loads(json.dumps(dataset.labels))) == dataset.labels


def test_classes_that_differ_in_spaces_only_are_named_and_refused(tmp_path):
    path = tmp_path / "t.csv"
    for other in (" 1", "1 ", "\u00a01"):
        path.write_text("a,code\n" + f"0.5,1\n0.25,{other}\n0.5,2\n" * 3, encoding="utf-8")
        with pytest.raises(DataError, match="differ by spaces only") as caught:
            load(path)
        assert repr(other) in str(caught.value)
        assert "'1'" in str(caught.value)
    path.write_text("a, code\n" + "0.5, 1\n0.25, 2\n" * 3)  # spaces as a matter of style
    assert load(path).labels == (1, 2)
    X = np.random.default_rng(0).normal(size=(6, 1))
    assert from_arrays(X, [" 1", "1", "2"] * 2).labels == (" 1", "1", "2")


def test_whole_numbers_beyond_floats_stay_apart():
    big = 2**63
    X = np.random.default_rng(0).normal(size=(6, 1))
    assert from_arrays(X, [big, big + 1, -1] * 2).labels == (-1, big, big + 1)
    assert from_arrays(X, [2**53 + 1, 0.5, float(2**53)] * 2).labels == (0.5, 2.0**53, 2**53 + 1)


def test_bytes_that_are_no_text_are_refused_not_merged():
    X = np.random.default_rng(0).normal(size=(4, 1))
    with pytest.raises(DataError, match="not UTF-8"):
        from_arrays(X, np.array([b"\xff", b"\xfe"] * 2))


@pytest.mark.parametrize(
    "labels", [("3.1", "3.10"), (1, 2), (0.5, 1.5), (False, True), (-1, 2**63), (0.5, 2**53 + 1), ("1", "1.0", "true")]
)
def test_an_array_of_labels_holds_exactly_the_labels(labels):
    values = label_array(labels).tolist()
    assert values == list(labels)
    assert [type(each) for each in values] == [type(each) for each in labels]
