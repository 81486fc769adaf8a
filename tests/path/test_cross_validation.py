import numpy as np
import pytest

from mcprune.path.search import cross_validation


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 200)
    x = draw.normal(size=(200, 6)).astype(np.float32)
    x[:, 0] += 3.0 * y
    return cross_validation.Rows(x, y, None, np.full(200, 1 / 200), np.zeros(200, bool))


def masks(*kept):
    out = np.zeros((len(kept), 6), bool)
    for place, columns in enumerate(kept):
        out[place, columns] = True
    return list(out)


def test_a_column_that_tells_the_class_is_better_than_noise(rows):
    scores = cross_validation.cross_validate(rows, masks([0], [1], [0, 1, 2], [3, 4, 5]), seed=0, number=0)
    right, loss = scores.is_right @ rows.share, scores.losses @ rows.share
    assert right[0] > 0.85
    assert right[2] > 0.85
    assert abs(right[[1, 3]] - 0.5).max() < 0.15
    assert loss[0] < loss[1]


def test_a_mask_scores_alike_alone_and_beside_smaller_ones(rows):
    """Padding adds columns of zeros, which change nothing."""
    alone = cross_validation.cross_validate(rows, masks([0, 1, 2]), seed=3, number=1)
    beside = cross_validation.cross_validate(rows, masks([0, 2], [0, 1, 2], [5]), seed=3, number=1)
    np.testing.assert_allclose(alone.losses[0], beside.losses[1], rtol=1e-3, atol=1e-4)


def test_rounds_have_folds_of_their_own(rows):
    one, other = (cross_validation.cross_validate(rows, masks([0]), seed=0, number=number) for number in (1, 2))
    assert not np.allclose(one.losses, other.losses)


def test_a_row_is_classified_by_classifiers_that_have_not_seen_it(rows):
    """Labels of chance are not learned; by classifiers that had seen the rows they would be."""
    chance = rows._replace(targets=np.random.default_rng(1).permutation(rows.targets))
    scores = cross_validation.cross_validate(chance, masks(range(6)), seed=0, number=0)
    assert abs(float(scores.is_right[0] @ rows.share) - 0.5) < 0.12


def test_groups_hold_masks_of_nearly_one_size():
    sizes = [1, 2, 3, 40, 50, 200]
    made = [np.arange(200) < size for size in sizes]
    groups = [[sizes[place] for place in group] for group in cross_validation._groups(made, 100)]
    assert groups == [[1, 2, 3], [40, 50], [200]]
