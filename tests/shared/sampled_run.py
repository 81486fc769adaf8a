"""Samples of masks as a run could have had them."""

import numpy as np

from mcprune.sampling.drawn import Drawn
from mcprune.sampling.samples import Samples


def samples_of(kept, size):
    """Masks that always keep all but the last of some sites, and one of two in its place."""
    draw = np.random.default_rng(0)
    masks = np.zeros((4, 500, size), bool)
    masks[:, :, kept[:-1]] = True
    other = next(site for site in range(size) if site not in kept)
    is_other = draw.random((4, 500)) < 0.4
    masks[:, :, kept[-1]], masks[:, :, other] = ~is_other, is_other
    samples = Samples(masks, draw.normal(size=(4, 500)), 0.1, 0.2, tuple(f"site {i}" for i in range(size)))
    return Drawn(samples, masks[0, 0], 3.0, 0.0, 0.02, 100, 0.3)
