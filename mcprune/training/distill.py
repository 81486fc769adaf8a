"""Distillation: the small model learns the probabilities of a classifier on all inputs (Hinton, Vinyals & Dean, 2015)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from mcprune.training.augment import RandomAffine
from mcprune.types import IntArray

# Transformed copies of the rows that the teacher labels, and their size in bytes, at most.
COPIES, MOST_BYTES = 10, 2**29
PART = 4096  # rows that are labelled at once


class DistillationTargets:
    """Rows for the small model and the probabilities that a teacher gives them.

    A small model that is trained on labels for long learns their noise. The probabilities of the teacher say which classes a row
    resembles. Transformed images are drawn from several copies; these are labelled once, before training, so a step costs no more.

    Parameters
    ----------
    teacher : nn.Module
        Trained; full rows to logits (rows, C).
    rows : tensor, shape (rows, N)
        Scaled, all inputs.
    columns : ndarray of int
        The inputs that the small model takes.
    temperature : float > 0
        The logits of both models are divided by it.
    warp : RandomAffine or None
        Reads all pixels; None leaves the rows as they are.
    """

    def __init__(
        self,
        teacher: nn.Module,
        rows: torch.Tensor,
        columns: IntArray,
        temperature: float,
        warp: RandomAffine | None = None,
    ) -> None:
        self.rows, self.temperature = len(rows), temperature
        chosen = torch.from_numpy(columns).to(rows.device)
        copies = 1 if warp is None else max(1, min(COPIES, MOST_BYTES // max(1, 4 * len(rows) * len(columns))))
        seen, probabilities = [], []
        teacher.eval()
        with torch.no_grad():
            for _ in range(copies):
                for first in range(0, len(rows), PART):
                    part = torch.arange(first, min(first + PART, len(rows)), device=rows.device)
                    full = rows[part] if warp is None else warp(part)
                    seen.append(full[:, chosen])
                    probabilities.append(functional.softmax(teacher(full).float() / temperature, dim=1))
        self.seen, self.probabilities = torch.cat(seen), torch.cat(probabilities)
        self.copies = copies

    def __call__(self, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features (B, n) for the small model and the teacher's probabilities (B, C) of rows, by their numbers (B,)."""
        if self.copies > 1:
            part = part + self.rows * torch.randint(self.copies, part.shape, device=part.device)
        return self.seen[part], self.probabilities[part]
