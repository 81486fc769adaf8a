"""Which flat rows are pixels: grey levels whose neighbours to the right and below are alike."""

import numpy as np
import pytest

from mcprune.data.load import from_arrays
from mcprune.data.prepare import prepare
from mcprune.data.roles.pixels import LEAST_ROWS, square_shape
from mcprune.estimators.columns import Columns
from mcprune.estimators.fitting import WeightedRows, dataset_of_rows

ROWS, SIDE = LEAST_ROWS, 16


def blobs(rows=ROWS, side=SIDE, seed=0):
    """Grey images of one round stroke each, in a corner of its class, on black."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 2, rows)
    centre = side * (0.3 + 0.4 * y[:, None] + 0.15 * draw.normal(size=(rows, 2)))
    place = np.arange(side)
    down, right = (np.exp(-(((place - centre[:, [axis]]) / 2.0) ** 2)) for axis in (0, 1))
    return np.floor(255 * down[:, :, None] * right[:, None, :]).astype(np.uint8).reshape(rows, -1), y


PIXELS, CLASSES = blobs()
DRAW = np.random.default_rng(1)
WALK = DRAW.normal(size=(ROWS, SIDE * SIDE)).cumsum(axis=1)


@pytest.mark.parametrize(
    "features",
    [
        PIXELS,
        PIXELS.astype(np.float32) / np.float32(255),
        PIXELS // 16,
        PIXELS[:, ::-1],
        PIXELS[::-1].astype(np.float64),
    ],
    ids=["bytes", "floats up to 1", "16 levels", "mirrored", "doubles"],
)
def test_grey_levels_whose_neighbours_are_alike_are_pixels(features):
    assert square_shape(features) == (SIDE, SIDE)


@pytest.mark.parametrize(
    "features",
    [
        PIXELS[:, DRAW.permutation(SIDE * SIDE)],  # no neighbours
        PIXELS[:-1],  # too few rows
        PIXELS[:, :-1],  # no square
        PIXELS + 1,  # no black
        PIXELS + DRAW.random(PIXELS.shape),  # no levels
        (PIXELS - PIXELS.mean(axis=0)) / (PIXELS.std(axis=0) + 1),  # standardised
        np.minimum(DRAW.poisson(0.1, (ROWS, 400)), 9),  # counts of words
        np.floor(255 * (WALK - WALK.min()) / np.ptp(WALK)),  # a series: alike in one direction, and far away too
        np.repeat(DRAW.integers(0, 5, (ROWS, SIDE)), SIDE, axis=1),  # answers in groups
        np.tile(DRAW.integers(0, 5, (ROWS, SIDE)), SIDE),
        np.zeros((ROWS, 64)),
    ],
    ids=["shuffled", "few rows", "no square", "no black", "no levels", "standardised", "counts", "series", "groups", "cycles", "zeros"],
)  # fmt: skip
def test_other_columns_are_no_pixels(features):
    assert square_shape(features) is None


def test_flat_pixels_are_used_as_images_and_the_run_says_so():
    dataset = from_arrays(PIXELS, CLASSES)
    assert dataset.image_shape == (SIDE, SIDE)
    assert dataset.notes == (
        "the 256 columns look like the pixels of 16 x 16 images, row by row, and are used as such",
    )
    assert prepare(dataset, seed=0).scaler.kind == "unit"
    rows = WeightedRows(PIXELS.astype(float), CLASSES, None)
    columns = Columns(dataset.feature_names, None, np.arange(0))
    assert dataset_of_rows(rows, (0, 1), columns).image_shape == (SIDE, SIDE)


def test_columns_of_a_table_keep_their_names():
    names = [f"p{place}" for place in range(PIXELS.shape[1])]
    own = prepare(from_arrays(PIXELS, CLASSES, feature_names=names), seed=0)
    assert own.names == tuple(names)
    assert own.has_own_names
    assert not prepare(from_arrays(PIXELS.reshape(-1, SIDE, SIDE), CLASSES), seed=0).has_own_names
