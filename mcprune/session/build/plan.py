"""The plan of a run: its data, classifier, search space and settings."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mcprune.config.facts import Facts
from mcprune.config.resolve import Resolved
from mcprune.config.resolved import (
    ChainOptions,
    Evaluation,
    RetrainSettings,
    RuntimeSettings,
    SearchOptions,
    TrainSettings,
)
from mcprune.config.schema import Config
from mcprune.data.prepare import Splits
from mcprune.distributed.evaluation import Ranks
from mcprune.objectives.base import Objective
from mcprune.objectives.losses import RowLoss
from mcprune.objectives.specs import DEFAULTS, is_loss
from mcprune.session.build.shown import ShownSites, shown_sites
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteMap
from mcprune.sites.space import SearchSpace
from mcprune.training.folds import Folds
from mcprune.types import Float32Array, IntArray

T = TypeVar("T", bound=np.generic)


@dataclass
class Plan:
    """A run that can start; all that its parts need.

    Attributes
    ----------
    settings : Resolved
        The resolved configuration.
    facts : Facts
        What it was resolved by.
    folds : Folds
        The training rows of each classifier of the search, and those that it evaluates candidates on.
    stack : tuple of GatedModel
        The classifiers of the search: one, or one for each fold.
    origins : tuple of nn.Module
        The classifiers as they were before the search.
    row_loss : RowLoss
        What backprop minimises.
    spent_forwards : int
        On pilots, before the search.
    ranks : Ranks or None
        The processes that share the candidates; None: this one alone.
    candidates : ndarray of int64 or None
        The columns that the classifiers of the search read, rising, each an item of the search space; None: all.
    measured_latency : int or None
        Picoseconds that the result takes; None before it is measured, and where no latency is bounded.
    """

    settings: Resolved
    facts: Facts
    splits: Splits
    folds: Folds
    stack: tuple[GatedModel, ...]
    origins: tuple[nn.Module, ...]
    space: SearchSpace
    objective: Objective
    row_loss: RowLoss
    device: torch.device
    spent_forwards: int = 0
    notes: list[str] = field(default_factory=list)
    ranks: Ranks | None = None
    candidates: IntArray | None = None
    measured_latency: int | None = None

    @property
    def gated(self) -> GatedModel:
        """The classifier that the search ends with, under gates: of several the first."""
        return self.stack[0]

    @property
    def model(self) -> nn.Module:
        """The classifier that the search ends with; of several the first."""
        return self.stack[0].model

    @property
    def origin(self) -> nn.Module:
        """That classifier as it was before the search."""
        return self.origins[0]

    def new_stack(self) -> tuple[GatedModel, ...]:
        """Return copies of the classifiers as they were before the search."""
        return tuple(GatedModel(copy.deepcopy(model).to(self.device), self.gated.sites) for model in self.origins)

    @property
    def config(self) -> Config:
        """The resolved configuration, which a run records and from which it can be repeated."""
        return self.settings.config

    @property
    def train(self) -> TrainSettings:
        """The training of the classifier during the search."""
        return self.settings.train

    @property
    def retrain(self) -> RetrainSettings:
        """The training of the small model."""
        return self.settings.retrain

    @property
    def runtime(self) -> RuntimeSettings:
        """Machine, clock and checkpoints."""
        return self.settings.runtime

    @property
    def evaluation(self) -> Evaluation:
        """Which rows evaluate candidates."""
        return self.settings.evaluation

    @property
    def search(self) -> SearchOptions:
        """The options of the method."""
        return self.settings.search

    @property
    def chain(self) -> ChainOptions:
        """The options of the chain, or what one would have under another method."""
        return self.settings.chain

    @property
    def method(self) -> str:
        """The way to the mask: markov, gradient or importance."""
        return self.settings.method

    @property
    def is_users_model(self) -> bool:
        """Whether the classifier was passed from Python."""
        return self.facts.is_users_model

    @property
    def is_plain_objective(self) -> bool:
        """Whether the chain minimises the loss that backprop minimises too, by its name."""
        return is_loss(self.settings.objective)

    @property
    def has_own_measure(self) -> bool:
        """Whether the objective is reported beside accuracy or R2: it is not the one by default."""
        return self.settings.objective not in DEFAULTS

    @property
    def sites(self) -> SiteMap:
        """What may be dropped."""
        return self.space.sites

    @property
    def keep(self) -> int:
        """How many sites are kept; N where only a cost bounds them."""
        return self.space.n

    @cached_property
    def shown(self) -> ShownSites:
        """What events, screens and pages show of the sites: of a table with gaps or categories its columns."""
        return shown_sites(self.space, self.splits.coding, self.splits.names)

    @property
    def falls(self) -> bool:
        """Whether the budget is below the whole model."""
        return bool((np.concatenate(self.space.goal) < np.concatenate(self.space.whole)).any())

    def rows(self, features: Float32Array) -> torch.Tensor:
        """Return scaled rows as the model takes them, on the run's device."""
        return torch.from_numpy(features).to(self.device)

    def seen(self, values: NDArray[T]) -> NDArray[T]:
        """Return the columns (..., F) of rows, gates or a mask (..., N) that the classifiers of the search read."""
        return values if self.candidates is None else values[..., self.candidates]
