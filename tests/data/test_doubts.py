"""Columns that may be no measurements are noted in one line each, with the remedy."""

import numpy as np
import pytest

from mcprune.data.load import from_arrays, load
from mcprune.data.roles.doubts import doubtful_columns

ROWS = 60
DRAW = np.random.default_rng(0)
Y = np.arange(ROWS) % 3
NOISE = DRAW.normal(size=ROWS)
WEIGHTS = DRAW.gamma(2.0, 0.5, ROWS)


def _kinds(name, column, y=Y, **options):
    features = np.c_[NOISE, column].astype(np.float32)
    return [doubt.kind for doubt in doubtful_columns(["a", name], features, y, **options) if name in doubt.names]


@pytest.mark.parametrize(
    "name",
    ["weight", "Weight", "weights", "w", "W", "wt", "sample_weight", "sampleWeight", "evt_weight", "eventWeight", "mc_weight",
     "weight_nominal", "genWeight", "survey weight", "wgt"],
)  # fmt: skip
def test_names_of_weights(name):
    assert _kinds(name, WEIGHTS) == ["weight"]


@pytest.mark.parametrize(
    ("name", "column"),
    [("shell_weight", WEIGHTS), ("width", WEIGHTS), ("curb weight", WEIGHTS), ("weight", np.rint(60 + 9 * NOISE)),
     ("w", -NOISE), ("wavelength", WEIGHTS), ("a2", WEIGHTS)],
)  # fmt: skip
def test_measurements_are_no_weights(name, column):
    assert _kinds(name, column) == []


def test_the_note_on_weights_names_the_column_and_both_remedies():
    (doubt,) = doubtful_columns(["a", "evt_weight"], np.c_[NOISE, WEIGHTS], Y)
    assert doubt.names == ("evt_weight",)
    assert "--sample-weight evt_weight" in doubt.text
    assert "--must-drop evt_weight" in doubt.text
    assert "\n" not in doubt.text


def test_a_column_that_the_options_name_is_not_doubted():
    assert _kinds("w", WEIGHTS, mentioned=["w"]) == []
    assert _kinds("leak", Y * 100 + NOISE, mentioned=["leak"]) == []


def test_a_column_that_sorts_the_classes_is_noted():
    assert _kinds("leak", Y * 100 + NOISE) == ["sorts"]
    assert _kinds("leak", -(Y * 100) + NOISE) == ["sorts"]
    assert _kinds("leak", Y * 2 + NOISE) == []
    assert _kinds("numbers", 7 * np.arange(ROWS) + DRAW.integers(0, 5, ROWS), np.arange(ROWS) // 20) == ["identifier"]
    shuffled = DRAW.permutation(ROWS)  # row numbers of a table that was sorted by class once
    assert _kinds("n", 3.0 * shuffled, shuffled // 20) == ["sorts"]


def test_few_rows_may_be_sorted_by_chance():
    six = np.array([1.0, 1.5, 2.25, 5.0, 5.5, 6.75])
    assert doubtful_columns(["x"], six[:, None], np.arange(6) // 3) == ()


def test_tables_and_frames_bring_their_doubts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "a,w,kind\n" + "".join(f"{a:.4f},{w:.4f},{'xyz'[y]}\n" for a, w, y in zip(NOISE, WEIGHTS, Y, strict=True))
    )
    assert [doubt.kind for doubt in load(path).doubts] == ["weight"]
    assert load(path, required=("w",)).doubts == ()
    pd = pytest.importorskip("pandas")
    assert [doubt.names for doubt in from_arrays(pd.DataFrame({"a": NOISE, "w": WEIGHTS}), Y).doubts] == [("w",)]
    assert from_arrays(np.c_[NOISE, WEIGHTS], Y).doubts == ()  # without names nothing says so


def test_copies_of_the_target_constants_and_duplicates_are_said():
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    a = rng.normal(size=30)
    X = np.c_[a, y * 2.5 - 1, np.full(30, 7), a, rng.normal(size=30)]
    dataset = from_arrays(X, y, feature_names=["a", "copy", "flat", "again", "b"])
    text = " | ".join(doubt.text for doubt in dataset.doubts)
    assert "column 'copy' determines the class" in text
    assert "column 'flat' has one value in all rows" in text
    assert "'again' and 'a'" in text
    assert "'b'" not in text
    assert from_arrays(X[:, [0, 4]], y).doubts == ()


def test_candidates_are_read_to_the_end():
    y = np.arange(3000) % 2
    late = np.zeros(3000)
    late[-1] = 1
    assert from_arrays(np.c_[late, np.random.default_rng(0).normal(size=3000), y + late], y).doubts == ()
