"""Scores of the sites of a classifier, from class-balanced rows of its training data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mcprune.data.roles.tasks import strata_of
from mcprune.errors import ConfigError
from mcprune.methods.importance import registry
from mcprune.methods.importance.evidence import Evidence, balanced_rows, row_losses
from mcprune.methods.importance.first_order import require_batch_norm
from mcprune.objectives.base import Objective
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import SiteMap
from mcprune.types import BoolArray, FloatArray, IntArray

# Rows of one batch: 2,560 rows give 20 batches.
BATCH = 128


@dataclass(frozen=True)
class ScoreSettings:
    """The measure, its number of rows, and the temperature of the logits (None for that of the measure)."""

    measure: str
    rows: int = 2560
    temperature: float | None = None
    seed: int = 0


@dataclass
class ScorerState:
    """How often the sites were scored, which keys the draw of rows, and the cost so far in forward passes of a row."""

    turns: int = 0
    forwards: int = 0


class Scorer:
    """Scores the sites of a model.

    Parameters
    ----------
    model : nn.Module
        Scored with its current parameters, in evaluation mode.
    sites : SiteMap
    features, targets : Tensor (rows, ...) and (rows,) int64
    objective : Objective
    settings : ScoreSettings
    weights : ndarray of float64, shape (rows,), optional
        Rows are drawn in proportion to them.

    Raises
    ------
    ConfigError
        The measure needs a gradient and the objective has none, or there is no such measure.
    ModelError
        A site has no parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: SiteMap,
        features: torch.Tensor,
        targets: torch.Tensor,
        objective: Objective,
        settings: ScoreSettings,
        weights: FloatArray | None = None,
    ) -> None:
        self._weights = weights
        self.model, self.settings = model, settings
        self.features, self.targets = features, targets
        self.owners = Owners(model, sites)
        self.measure = registry.measure(settings.measure)
        if settings.measure == "bn-scale":  # before the training rather than after
            require_batch_norm(self.owners)
        if settings.measure == "loss-tracked":
            _require_gradients(self.owners)
        self._losses = row_losses(objective, settings.measure) if self.measure.needs_gradient else _no_losses
        self._labels: IntArray = strata_of(targets.cpu().numpy())
        self._classes = (
            targets.shape[1] if targets.dim() > 1 else int(self._labels.max()) + 1 if self._labels.size else 1
        )

    def init(self) -> ScorerState:
        """Return the state before the first scores."""
        return ScorerState()

    def scores(
        self, mask: BoolArray | None = None, tracked: FloatArray | None = None, *, state: ScorerState | None = None
    ) -> registry.Scores:
        """Score all sites under a mask.

        Parameters
        ----------
        mask : ndarray of bool, shape (N,), optional
            By default all sites are kept.
        tracked : ndarray, shape (N,), optional
            The mean over training steps, for the measure loss-tracked.
        state : ScorerState, optional
            Updated in place: each call draws other rows. By default this is the first call.

        Raises
        ------
        NumericalError
            No score is finite.
        """
        state = self.init() if state is None else state
        settings = self.settings
        drawn = balanced_rows(self._labels, settings.rows, BATCH, settings.seed, state.turns, self._weights)
        state.turns += 1
        batches = []
        for part in drawn:
            rows = torch.from_numpy(part).to(self.features.device)
            batches.append((self.features[rows], self.targets[rows]))
        evidence = Evidence(
            self.model,
            self.owners,
            batches,
            losses=self._losses,
            mask=mask,
            temperature=self.settings.temperature or self.measure.temperature,
            seed=self.settings.seed + state.turns,
            tracked=tracked,
        )
        state.forwards += round(3 * self.measure.work(self._classes) * evidence.rows)
        return registry.score(self.settings.measure, evidence)


def _require_gradients(owners: Owners) -> None:
    """Check that no site has frozen parameters, for which training computes no gradients."""
    frozen = [name for name, tensor in owners.parameters.items() if not tensor.requires_grad]
    if frozen:
        raise ConfigError(
            f"measure=loss-tracked reads the gradients of training steps, but {frozen[0]!r} is frozen and gets none. "
            "Use measure=loss, which computes its own."
        )


def _no_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    raise AssertionError("a measure without gradients used the loss")
