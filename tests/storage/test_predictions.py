"""The predictions on the test rows that lie beside a result."""

import numpy as np
import pytest

from mcprune.storage.layout import PREDICTIONS
from mcprune.storage.predictions import MOST_VALUES, Predictions, predictions_bytes, read_predictions, stored_rows

TARGETS = np.array([0, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)


@pytest.mark.parametrize("whole", [None, PROBABILITIES[::-1].copy()])
def test_predictions_are_read_back_as_they_were(whole, tmp_path):
    content = Predictions(TARGETS, PROBABILITIES, whole, 7)
    (tmp_path / PREDICTIONS).write_bytes(predictions_bytes(content))
    back = read_predictions(tmp_path, 7)
    assert back.targets.tolist() == TARGETS.tolist()
    assert (back.pruned == PROBABILITIES).all()
    assert (back.whole is None) if whole is None else (back.whole == whole).all()
    assert back.n_rows == 7
    assert predictions_bytes(content) == predictions_bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        predictions_bytes(Predictions(TARGETS[:2], PROBABILITIES, None, 3)),
        predictions_bytes(Predictions(TARGETS + 1, PROBABILITIES, None, 3)),
    ],
)
def test_what_are_no_predictions_are_none(content, tmp_path):
    assert read_predictions(tmp_path, 3) is None
    (tmp_path / PREDICTIONS).write_bytes(content)
    assert read_predictions(tmp_path, 3) is None


def test_of_many_rows_a_random_part_is_stored():
    assert stored_rows(100, 10, 0).tolist() == list(range(100))
    rows = stored_rows(MOST_VALUES, 10, 0)
    assert len(rows) == MOST_VALUES // 10
    assert (np.diff(rows) > 0).all()
    assert rows.max() < MOST_VALUES
    assert abs(rows.mean() / MOST_VALUES - 0.5) < 0.01
    assert stored_rows(MOST_VALUES, 10, 0).tolist() == rows.tolist() != stored_rows(MOST_VALUES, 10, 1).tolist()
