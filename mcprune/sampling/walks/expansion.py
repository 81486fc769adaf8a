"""The loss of masks to second order in the gates, around a few masks: what a model of it starts from.

The outputs of a classifier are expanded to first order in the gates of each row, and the cross-entropy to second order in the outputs
(Gauss and Newton). So two sites that change the outputs of the same rows in the same way are seen to stand in for each other, without any
evaluation of masks with the one or the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from mcprune.evaluators.base import Canonical
from mcprune.methods.base import Batch
from mcprune.models.modes import evaluating
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.types import BoolArray, FloatArray

# Rows around each mask, other ones for each, and those whose outputs are differentiated at once.
ROWS, AT_ONCE = 512, 128


class Expansion(NamedTuple):
    """Terms of a quadratic function of masks: of items (F,), and of pairs (F, F), 0 on the diagonal."""

    items: FloatArray
    pairs: FloatArray


def expand_loss(canonical: Canonical, batch: Batch, masks: BoolArray) -> Expansion | None:
    """Return the mean of the expansions around masks (K, N); None where the objective or the kind of sites has none."""
    if not isinstance(canonical.objective, CrossEntropy) or canonical.gated.sites.weights:
        return None
    total = len(batch.targets)
    pieces = canonical.pieces(total)
    if not pieces:
        return None
    size = masks.shape[1]
    items, pairs = np.zeros(size), np.zeros((size, size))
    for gated, _, piece in pieces:
        length = piece.stop - piece.start
        count = min(length, max(1, ROWS * length // total))
        share = length / (total * count * len(masks))
        with evaluating(gated.model):
            for number, mask in enumerate(masks):
                first = piece.start + number * count % (length - count + 1)
                rows = slice(first, first + count)
                gradient, curvature = _derivatives(gated, batch.features[rows], batch.targets[rows], mask)
                items += share * (gradient - curvature @ mask + curvature.diagonal() / 2.0)
                pairs += share * curvature
    np.fill_diagonal(pairs, 0.0)
    if not (np.isfinite(items).all() and np.isfinite(pairs).all()):
        return None
    return Expansion(items, pairs)


def _derivatives(
    gated: GatedModel, features: torch.Tensor, targets: torch.Tensor, mask: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Return the gradient (N,) and the curvature (N, N) of the summed loss of some rows in the gates."""
    size = mask.size
    gradient, curvature = np.zeros(size), np.zeros((size, size))
    for start in range(0, len(targets), AT_ONCE):
        x, y = features[start : start + AT_ONCE], targets[start : start + AT_ONCE]
        gates = torch.from_numpy(mask.astype(np.float32)).to(x.device).expand(len(y), size).clone().requires_grad_(True)
        logits = gated(x, gates)
        slopes = torch.stack(
            [torch.autograd.grad(column.sum(), gates, retain_graph=True)[0] for column in logits.unbind(dim=1)], dim=1
        )
        chance = torch.softmax(logits.detach(), dim=1)
        excess = chance - torch.nn.functional.one_hot(y, chance.shape[1])
        gradient += torch.einsum("rc,rcn->n", excess, slopes).double().cpu().numpy()
        mean = torch.einsum("rc,rcn->rn", chance, slopes)
        root = (chance.sqrt()[:, :, None] * (slopes - mean[:, None])).flatten(0, 1)
        curvature += (root.T @ root).double().cpu().numpy()
    return gradient, curvature
