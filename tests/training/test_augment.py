"""Random transformations of images: exact where nothing moves, right where the answer is known, of the read pixels alone."""

import numpy as np
import pytest
import torch

from mcprune.errors import ConfigError
from mcprune.random import step_noise
from mcprune.training.augment import RandomAffine


def ramps(rows, channels, height, width):
    """Images a + b y + c x, on which interpolation is exact."""
    draw = np.random.default_rng(0).normal(size=(rows, channels, 3)).astype(np.float32)
    y, x = np.mgrid[:height, :width]
    images = draw[..., 0, None, None] + draw[..., 1, None, None] * y + draw[..., 2, None, None] * x
    return torch.from_numpy(images.reshape(rows, -1).astype(np.float32)), draw


@pytest.mark.parametrize("shape", [(6, 9), (2, 6, 9)])
def test_nothing_moves_at_a_tiny_strength_and_the_pixels_are_those_asked_for(shape):
    images, _ = ramps(20, int(np.prod(shape[:-2])), 6, 9)
    columns = np.array([0, 17, 53, images.shape[1] - 1])
    part = torch.tensor([3, 3, 0, 19, 7, 8, 9, 10, 11])
    with step_noise(0, 0):
        seen = RandomAffine(images, shape, columns, 1e-6)(part)
    torch.testing.assert_close(seen, images[part][:, columns], atol=1e-4, rtol=0)


def test_ramps_are_shifted_turned_and_scaled_within_their_bounds():
    images, draw = ramps(64, 1, 31, 31)
    middle = np.array([15 * 31 + 15])
    part = torch.arange(64)
    with step_noise(1, 0):
        first = RandomAffine(images, (31, 31), middle, 2.0)(part)[:, 0].numpy()
    with step_noise(1, 0):
        again = RandomAffine(images, (31, 31), middle, 2.0)(part)[:, 0].numpy()
    np.testing.assert_array_equal(first, again)
    # The middle is only shifted: by up to 2 pixels each way, on a ramp the same as b dy + c dx.
    change = first - images[:, middle[0]].numpy()
    most = 2.0 * np.abs(draw[:, 0, 1:]).sum(axis=1)
    assert (np.abs(change) <= most + 1e-4).all()
    assert (np.abs(change) > 0.2 * most).mean() > 0.3
    # At the corner turns add to that.
    with step_noise(1, 0):
        corner = RandomAffine(images, (31, 31), np.array([0]), 2.0)(part)[:, 0].numpy() - images[:, 0].numpy()
    assert np.abs(corner).mean() > np.abs(change).mean()


def test_rows_that_are_no_images_are_refused(quick):
    from mcprune.data.load import load
    from mcprune.session.build.planner import make_plan

    with pytest.raises(ConfigError, match="retrain-warp"):
        RandomAffine(torch.zeros(3, 7), None, np.arange(7), 1.0)
    table = load("digits")
    object.__setattr__(table, "image_shape", None)
    with pytest.raises(ConfigError, match="no images"):
        make_plan(quick(retrain_warp=1.0), table)
