"""Distillation: a whole classifier on all inputs teaches the small model its soft outputs (Hinton, Vinyals & Dean, 2015)."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import nn

from mcprune.training.augment import Warp
from mcprune.types import IntArray

# How many warped copies of the rows the teacher labels, and how many bytes of them are held at most.
COPIES, HELD = 10, 2**29
PART = 4096  # rows that are labelled at once


class Lessons:
    """Rows for the small model and the teacher's outputs on them; of warped images, several copies, of which each step draws.

    A small model is too small for the labels of all rows: trained for long it learns noise in them. The teacher's outputs say
    which classes a row resembles. Warped copies are labelled once, before the training, so a step costs as much as without.

    Parameters
    ----------
    teacher : nn.Module
        Trained: full rows to outputs (rows, C).
    rows : tensor, shape (rows, N)
        Scaled, all inputs.
    columns : ndarray of int
        The inputs that the small model takes.
    temperature : float > 0
        Both models' outputs are divided by it in the loss.
    warp : Warp or None
        Of all pixels; None: the rows as they are.
    """

    def __init__(
        self, teacher: nn.Module, rows: torch.Tensor, columns: IntArray, temperature: float, warp: Warp | None = None
    ) -> None:
        self.rows, self.temperature = len(rows), temperature
        chosen = torch.from_numpy(columns).to(rows.device)
        copies = 1 if warp is None else max(1, min(COPIES, HELD // max(1, 4 * len(rows) * len(columns))))
        seen, said = [], []
        teacher.eval()
        with torch.no_grad():
            for _ in range(copies):
                for first in range(0, len(rows), PART):
                    part = torch.arange(first, min(first + PART, len(rows)), device=rows.device)
                    full = rows[part] if warp is None else warp(part)
                    seen.append(full[:, chosen])
                    said.append(functional.softmax(teacher(full).float() / temperature, dim=1))
        self.seen, self.said = torch.cat(seen), torch.cat(said)
        self.copies = copies

    def __call__(self, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the small model sees of the given rows (len(part), n), and the teacher's probabilities (len(part), C)."""
        if self.copies > 1:
            part = part + self.rows * torch.randint(self.copies, part.shape, device=part.device)
        return self.seen[part], self.said[part]
