"""The pruned model: whole rows and rows of the kept columns alone give one answer."""

import numpy as np
import pytest
import torch

from mcprune.data.scale import Scaler
from mcprune.errors import DataError, FolderError
from mcprune.models.registry import build
from mcprune.storage.pruned_model import PrunedModel, load
from mcprune.surgery.model_files import save_model

NAMES = ("900", "905", "910", "915", "920")
COLUMNS = [1, 3]


def pruned(labels=("3.1", "3.10", "3.2"), columns=COLUMNS, **more):
    rng = np.random.default_rng(0)
    scaler = Scaler("standard", rng.normal(size=len(columns)) * 100, rng.random(len(columns)) + 0.1)
    extra = {
        "columns": columns,
        "names": [NAMES[j] for j in columns],
        "labels": list(labels),
        "scaler": scaler.to_dict(),
        "feature_names": list(NAMES),
        "target_name": "quality",
        "image_shape": None,
        **more,
    }
    return PrunedModel(build("mlp", len(columns), len(labels), (8,), seed=1), extra)


ROWS = np.random.default_rng(1).normal(size=(40, 5)) * 100


def test_whole_rows_and_kept_columns_alone_give_the_same_bits():
    pd = pytest.importorskip("pandas")
    model = pruned()
    frame = pd.DataFrame(ROWS, columns=list(NAMES))
    wanted = model.predict_proba(ROWS)
    assert wanted.shape == (40, 3)
    np.testing.assert_allclose(wanted.sum(axis=1), 1, rtol=1e-6)
    assert len(set(model.predict(ROWS))) > 1
    for rows in (ROWS[:, COLUMNS], ROWS.tolist(), frame, frame[["915", "905"]], frame.assign(quality="x")[::1]):
        np.testing.assert_array_equal(model.predict_proba(rows), wanted)
        np.testing.assert_array_equal(model.transform(rows), ROWS[:, COLUMNS])
        np.testing.assert_array_equal(model.predict(rows), np.array(model.labels)[wanted.argmax(axis=1)])


def test_the_model_itself_takes_what_transform_returns():
    model = pruned()
    outputs = model(model.transform(ROWS))
    np.testing.assert_array_equal(torch.softmax(outputs, dim=1).detach().numpy(), model.predict_proba(ROWS))
    outputs.sum().backward()
    assert next(model.parameters()).grad is not None
    as_tensor = model(torch.from_numpy(model.transform(ROWS)))
    assert torch.equal(as_tensor, outputs)


@pytest.mark.parametrize("gap", [np.nan, np.inf, -np.inf])
def test_gaps_in_dropped_columns_do_not_matter_and_in_kept_ones_are_named(gap):
    model = pruned()
    rows = ROWS.copy()
    rows[:, [0, 2, 4]] = gap
    np.testing.assert_array_equal(model.predict_proba(rows), model.predict_proba(ROWS))
    rows[7, 3] = gap
    for act in (model.predict, model.predict_proba, model.transform):
        with pytest.raises(DataError, match=r"row 7 \(counted from 0\), column '915' is"):
            act(rows)


@pytest.mark.parametrize("labels", [("3.1", "3.10", "3.2"), (1, 2, 3), (0.5, 1.0, 2.0), (-1, 2**63, 2**63 + 1)])
def test_labels_come_back_from_the_files_as_they_were(tmp_path, labels):
    model = pruned(labels)
    save_model(model.model, tmp_path, model.extra)
    again = load(tmp_path)
    assert again.labels == labels
    assert [type(label) for label in again.labels] == [type(label) for label in labels]
    assert set(again.predict(ROWS).tolist()) <= set(labels)
    np.testing.assert_array_equal(again.predict_proba(ROWS), model.predict_proba(ROWS))


@pytest.mark.parametrize(
    "change",
    [
        {"columns": [1, 5]},
        {"columns": [1, 1]},
        {"columns": [1, 2, 3]},
        {"names": ["905", "920"]},
        {"names": ["905", 915]},
        {"labels": ["a", "b", None]},
        {"labels": ["a", "b"]},
        {"scaler": {"kind": "standard", "shift": [0], "factor": [1]}},
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, change):
    model = pruned()
    save_model(model.model, tmp_path, {**model.extra, **change})
    with pytest.raises(FolderError, match="its description is broken"):
        load(tmp_path)
