"""The three searches: how a problem is solved, as one object for `fit` and `run`, or block by block for researchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import ValidationError

from mcprune.config.options import flat_values
from mcprune.config.schema import refusal
from mcprune.config.sections.gradient import Gradient as GradientSection
from mcprune.config.sections.importance import Importance as ImportanceSection
from mcprune.config.sections.markov import Markov as MarkovSection
from mcprune.config.unused import check_options
from mcprune.environment import use_threads
from mcprune.methods.base import Batch, BlockInfo
from mcprune.results import Mask
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.search import Search
from mcprune.types import Float32Array, FloatArray

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mcprune.problem import Problem


class SearchStep(NamedTuple):
    """A search between two blocks; `search` is updated in place.

    Attributes
    ----------
    search : Search
        The planned run: its `state` is all that changes, its `plan` all that stays.
    """

    search: Search

    @property
    def position(self) -> FloatArray:
        """The pruner weights, shape (N,)."""
        return self.search.position()

    @property
    def gates(self) -> Float32Array:
        """The gates under which the classifier trains, shape (N,)."""
        return self.search.training_gates()

    @property
    def model(self) -> nn.Module:
        """The classifier that is trained and evaluated."""
        return self.search.plan.model


class Stepping:
    """A search block by block: whoever calls decides what happens between two blocks.

    Examples
    --------
    >>> import mcprune
    >>> problem = mcprune.Problem(None, "wine", keep=4, hidden=(16,))
    >>> search = mcprune.Markov(delta=1.0)
    >>> state = search.init(problem, seed=0)
    >>> for block in range(20):
    ...     search.train(problem, state, steps=10, progress=block / 20)
    ...     batch = search.batch(problem, state, rows=64)
    ...     state, info = search.step(problem, state, batch, progress=(block + 1) / 20)
    >>> len(search.finish(problem, state, batch))
    4
    """

    if not TYPE_CHECKING:  # else the options would be no parameters to a type checker

        def __init__(self, **options: object) -> None:
            try:
                super().__init__(**options)
            except ValidationError as error:
                raise refusal(error, flat_values({"search": options}), "search") from None

    def init(self, problem: Problem, seed: int = 0, **options: object) -> SearchStep:
        """Return the search at its start.

        Parameters
        ----------
        problem : Problem
        seed : int
        **options
            Options of training and of the run, as those of `fit`.

        Raises
        ------
        McpruneError
            What cannot be run.
        """
        config = problem.config(self, {"seed": seed, **options})  # type: ignore[arg-type]
        check_options(config)
        plan = make_plan(config, problem.dataset(config), problem.model, function=problem.function)
        use_threads(plan.runtime.threads)
        search = Search(plan, make_method(plan))
        if plan.train.pretrain:
            search.pretrain(lambda: False)
        search.start()
        return SearchStep(search)

    def batch(self, problem: Problem, state: SearchStep, rows: int) -> Batch:
        """Return the next evaluation batch of so many rows, or of all where there are not more."""
        return state.search.rows.batch(state.search.state.evaluation, rows)

    def train(self, problem: Problem, state: SearchStep, steps: int, progress: float) -> None:
        """Train the classifier by so many steps of backprop under the gates; `progress` (0..1) is the share of the run done."""
        state.search.train(steps, progress)

    def step(
        self,
        problem: Problem,
        state: SearchStep,
        batch: Batch | tuple[torch.Tensor, torch.Tensor],
        progress: float,
    ) -> tuple[SearchStep, BlockInfo]:
        """Advance by one block of decisions.

        Parameters
        ----------
        problem : Problem
        state : SearchStep
            Updated in place.
        batch : Batch or pair of Tensor
            Evaluation rows: scaled features (B, N) float32 and classes (B,) int64.
        progress : float
            The share of the run at the end of the block, in 0..1: schedules and the number of kept sites follow it.

        Returns
        -------
        state : SearchStep
        info : BlockInfo
            What the block did.
        """
        own, search = state.search.state, state.search
        own.method, info = search.method.step(own.method, Batch(*batch), progress)
        own.last, own.blocks_done = info, own.blocks_done + 1
        own.totals.add(info, len(batch[1]))
        return state, info

    def finish(self, problem: Problem, state: SearchStep, batch: Batch | tuple[torch.Tensor, torch.Tensor]) -> Mask:
        """Return the hard mask of exactly n sites, chosen on a batch as `step` takes it."""
        search = state.search
        search.state.method, mask = search.method.finish(search.state.method, Batch(*batch))
        support = search.without_constants(mask)
        names = search.plan.sites.names(search.plan.splits.names)
        indices = np.flatnonzero(support)
        return Mask(support, indices, tuple(str(names[site]) for site in indices), search.position().copy())


class Markov(Stepping, MarkovSection):
    """The chain: decisions on masks, without a gradient. Options of docs/options.md, such as `delta` and `temperature`."""


class Gradient(Stepping, GradientSection):
    """Gates that backprop trains with the classifier. Options of docs/options.md, such as `alpha` and `gates`."""


class Importance(Stepping, ImportanceSection):
    """Rounds of dropping the sites of the lowest importance. Options of docs/options.md, such as `measure` and `rounds`."""
