import dataclasses
import json

import pytest

from mcprune.errors import FolderError
from mcprune.storage.path_curve import Curve, Level


def level(n, accuracy, loss, behind, error):
    return Level(n, n, n, accuracy, 0.01, loss, behind, error, "down", tuple(range(n)), tuple("abcdefgh"[:n]))


@pytest.fixture
def curve():
    levels = (
        level(1, 0.60, 0.70, 0.50, 0.05),
        level(2, 0.90, 0.31, 0.11, 0.04),
        level(3, 0.92, 0.22, 0.02, 0.03),
        level(4, 0.93, 0.20, 0.00, 0.00),
        level(8, 0.93, 0.21, 0.01, 0.02),
    )
    return Curve("wine", "sites", 13, "columns", levels, "cross-validation", 100, 1.0)


def test_enough_is_the_smallest_within_one_standard_error_of_the_best(curve):
    assert (curve.best.level, curve.enough.level, curve.knee.level) == (4, 3, 2)


def test_the_best_is_enough_where_no_smaller_one_is_near(curve):
    sharp = dataclasses.replace(
        curve, levels=tuple(dataclasses.replace(one, behind_error=one.behind / 2) for one in curve.levels)
    )
    assert sharp.enough is sharp.best


def test_a_flat_curve_has_no_knee_of_its_own(curve):
    flat = dataclasses.replace(curve, levels=tuple(dataclasses.replace(one, accuracy=0.9) for one in curve.levels))
    assert flat.knee is flat.enough


def test_json_and_back(curve):
    content = json.loads(json.dumps(curve.to_dict()))
    assert content["enough"] == 3
    assert Curve.from_dict(content) == curve


@pytest.mark.parametrize("content", [{}, {"levels": 3}, {"levels": [{"level": 1}]}])
def test_what_is_no_path_is_refused(content):
    with pytest.raises(FolderError, match=r"path\.json is no path"):
        Curve.from_dict(content)
