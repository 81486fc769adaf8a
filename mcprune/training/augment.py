"""Small random shifts, rotations and scalings of images during retraining; only the pixels that the model reads are computed."""

from __future__ import annotations

import math

import torch

from mcprune.errors import ConfigError
from mcprune.types import IntArray

# At strength 1: shifts of up to a pixel; the largest rotation, and the largest change of scale in each direction.
DEGREES, SCALE = 8.0, 0.08
# Rows of a batch that share one transformation, whose positions are computed once.
SHARED = 8


class RandomAffine:
    """Random affine transformations of images, of which some pixels are read.

    Parameters
    ----------
    images : tensor, shape (rows, pixels)
        All pixels, scaled; channel after channel.
    shape : tuple of int
        (height, width) or (channels, height, width).
    columns : ndarray of int
        The pixels that are read.
    strength : float > 0

    Raises
    ------
    ConfigError
        The rows are not images of that shape.
    """

    def __init__(self, images: torch.Tensor, shape: tuple[int, ...] | None, columns: IntArray, strength: float) -> None:
        if shape is None or len(shape) not in (2, 3) or math.prod(shape) != images.shape[1]:
            raise ConfigError(
                f"retrain_warp={strength:g}, but the data are not images of a known shape. Leave --retrain-warp out."
            )
        self.images, self.strength = images, strength
        self.height, self.width = shape[-2:]
        pixels = torch.from_numpy(columns).to(images.device)
        self._plane = pixels // (self.height * self.width) * (self.height * self.width)
        place = pixels % (self.height * self.width)
        self._y = place.div(self.width, rounding_mode="floor").float() - (self.height - 1) / 2
        self._x = (place % self.width).float() - (self.width - 1) / 2

    def __call__(self, part: torch.Tensor) -> torch.Tensor:
        """Return the pixels (B, pixels read) of rows, by their numbers (B,); draws from torch's global state."""
        groups = -(-len(part) // SHARED)
        angle, tall, wide, down, right = self.strength * (2.0 * torch.rand(5, groups, 1, device=part.device) - 1.0)
        angle, tall, wide = angle * math.radians(DEGREES), torch.exp(SCALE * tall), torch.exp(SCALE * wide)
        sine, cosine = torch.sin(angle), torch.cos(angle)
        y = cosine * tall * self._y + sine * wide * self._x + down + (self.height - 1) / 2
        x = cosine * wide * self._x - sine * tall * self._y + right + (self.width - 1) / 2
        # Beyond the border the outermost pixels are repeated.
        y, x = y.clamp(0, self.height - 1), x.clamp(0, self.width - 1)
        top, left = y.floor().clamp(max=max(self.height - 2, 0)), x.floor().clamp(max=max(self.width - 2, 0))
        low, far = (y - top).unsqueeze(-1), (x - left).unsqueeze(-1)
        first = self._plane + (top * self.width + left).long()
        steps = torch.tensor(
            [
                0,
                min(1, self.width - 1),
                self.width * (self.height > 1),
                min(1, self.width - 1) + self.width * (self.height > 1),
            ],
            device=part.device,
        )
        shares = torch.cat([(1 - low) * (1 - far), (1 - low) * far, low * (1 - far), low * far], dim=-1)
        places = (first.unsqueeze(-1) + steps).repeat_interleave(SHARED, dim=0)[: len(part)]
        shares = shares.repeat_interleave(SHARED, dim=0)[: len(part)]
        near = self.images.flatten()[part[:, None, None] * self.images.shape[1] + places]
        return (near * shares).sum(dim=-1)
