"""Latencies of cut models: a table of measured widths, and the additive model by which a budget in time bounds a search.

What a cut model takes depends on its widths alone. So models of some widths are cut and timed once, and what the table says is fitted by
the products of widths that its multiply-accumulates are made of, each width, and a constant: a sum over the layers. The fit tells a
search which masks are within the budget; what the result takes is measured on the result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.exporters.footprint import in_turns
from mcprune.random import Stream, generator
from mcprune.sites.costs.terms import Costs, CostTerms
from mcprune.sites.site_map import SiteMap
from mcprune.surgery.shrink import shrink
from mcprune.types import BoolArray, FloatArray, IntArray

# Models that are cut and timed, those of them with about the latency that is asked for, and the most seconds that this takes in all.
POINTS, NEAR, SECONDS = 24, 8, 20.0
# Rounds of which a latency is the median, and of one that decides.
ROUNDS, DECISIVE = 15, 41
PER_SECOND = 1e12  # picoseconds


class LatencyTable(NamedTuple):
    """Measured latencies of cut models.

    Attributes
    ----------
    counts : ndarray of int64, shape (M, G)
        Kept sites of each group.
    seconds : ndarray of float64, shape (M,)
        Of a batch; the median over rounds.
    rows : int
        Of the batch.
    """

    counts: IntArray
    seconds: FloatArray
    rows: int


def cut_latency(models: Sequence[nn.Module], shapes: Sequence[Sequence[int]], rows: int, rounds: int) -> FloatArray:
    """Return the seconds of a batch in each model on one thread of the CPU, shape (M,): the median over rounds in which they take turns.

    It is the time of the processor: what it does for other processes meanwhile does not count.

    Parameters
    ----------
    models : sequence of nn.Module
    shapes : sequence of sequence of int
        Of a row of each.
    rows : int
        Of the batch.
    rounds : int
        Each calls every model for at least a millisecond.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            batches = [torch.rand(rows, *shape) for shape in shapes]
            calls = [partial(model.eval(), batch) for model, batch in zip(models, batches, strict=True)]
            return np.array(in_turns(calls, rounds, time.thread_time))
    finally:
        torch.set_num_threads(before)


class LatencyModel:
    """Times models that are cut out of one, and predicts what others take.

    Parameters
    ----------
    model : nn.Module
        Copied to the CPU.
    sites : SiteMap
    costs : Costs
        Its multiply-accumulates: which widths are multiplied with each other.
    rows : int
        Of the batch that is timed.
    input_shape : sequence of int
        Shape of one row as the model takes it.
    """

    def __init__(self, model: nn.Module, sites: SiteMap, costs: Costs, rows: int, input_shape: Sequence[int]) -> None:
        self.model, self.sites, self.costs, self.rows = model, sites, costs, rows
        self.input_shape = tuple(input_shape)
        none = costs.sizes.size
        groups = sorted(set(costs.terms.first.tolist()) | set(costs.terms.second.tolist()))
        pairs = {*zip(costs.terms.first.tolist(), costs.terms.second.tolist(), strict=True)}
        pairs |= {(none, group) for group in groups} | {(none, none)}
        # The order of two widths does not matter.
        self.pairs = np.array(sorted({(min(pair), max(pair)) for pair in pairs}), np.int64)

    def mask_of(self, counts: IntArray) -> BoolArray:
        """Return a mask (N,) that keeps the first sites of each group."""
        return np.concatenate(
            [np.arange(group.size) < kept for group, kept in zip(self.sites.groups, counts.tolist(), strict=True)]
        )

    def measure(self, masks: Sequence[BoolArray], rounds: int = ROUNDS) -> LatencyTable:
        """Cut the model to masks (N,), and time the cut models."""
        models, shapes = [], []
        for mask in masks:
            small = shrink(self.model, self.sites, mask, input_shape=self.input_shape).to("cpu")
            models.append(small)
            is_narrow = self.sites.inputs is not None
            width = int(mask[self.sites.inputs.start : self.sites.inputs.stop].sum()) if self.sites.inputs else 0
            shapes.append((width,) if is_narrow else self.input_shape)
        seconds = cut_latency(models, shapes, self.rows, rounds)
        return LatencyTable(self.costs.counts(np.array(masks)), seconds, self.rows)

    def table(self, limit: float | None = None, seed: int = 0) -> LatencyTable:
        """Return measured latencies of widths drawn at random, some of them with about a latency of `limit` seconds."""
        draw, sizes = generator(seed, Stream.TRIALS), self.costs.sizes
        shares = np.exp(draw.uniform(np.log(1.0 / sizes), 0.0, (POINTS, sizes.size)))
        counts = np.clip(np.round(shares * sizes), 1, sizes).astype(np.int64)
        counts[0], counts[1] = sizes, np.ones_like(sizes)
        began = time.monotonic()
        self.measure([self.mask_of(one) for one in counts[:3]], 3)
        each = (time.monotonic() - began) / 3
        rounds = int(np.clip(SECONDS / max(each, 1e-9) / (POINTS + NEAR), 3, ROUNDS))
        tables = [self.measure([self.mask_of(one) for one in counts], rounds)]
        if limit is not None:
            fitted = self.fit(tables[0])
            near = [self._scaled(fitted, shares[point], round(limit * PER_SECOND)) for point in range(2, 2 + NEAR)]
            tables.append(self.measure([self.mask_of(one) for one in near], rounds))
        return LatencyTable(
            np.concatenate([one.counts for one in tables]), np.concatenate([one.seconds for one in tables]), self.rows
        )

    def _scaled(self, costs: Costs, shares: FloatArray, limit: int) -> IntArray:
        """Return the largest widths in about the given proportions that cost at most `limit`."""
        sizes = costs.sizes
        low, high = 0.0, 1.0 / float(shares.min())
        for _ in range(40):
            middle = (low + high) / 2
            counts = np.clip(np.round(middle * shares * sizes), 1, sizes).astype(np.int64)
            low, high = (middle, high) if int(costs.of(counts)) <= limit else (low, middle)
        return np.clip(np.round(low * shares * sizes), 1, sizes).astype(np.int64)

    def fit(self, table: LatencyTable) -> Costs:
        """Return the additive model of a table, in picoseconds: the best one by relative squares with no negative term.

        Raises
        ------
        ModelError
            The table is of other groups of sites.
        """
        from scipy.optimize import nnls  # only here: it takes long to load

        sizes = self.costs.sizes
        if table.counts.shape[1] != sizes.size or (table.counts > sizes).any():
            raise ModelError(
                f"The latency table is of {table.counts.shape[1]} groups of sites, but the model has {sizes.size} of sizes "
                f"{sizes.tolist()}. Measure it again."
            )
        with_one = np.concatenate([table.counts, np.ones((len(table.counts), 1), np.int64)], axis=1)
        products = (with_one[:, self.pairs[:, 0]] * with_one[:, self.pairs[:, 1]]).astype(np.float64)
        scale = products.max(axis=0)
        amounts = nnls(products / scale / table.seconds[:, None], np.ones(len(table.counts)))[0] / scale
        each = np.round(amounts * PER_SECOND).astype(np.int64)
        used = each > 0
        terms = CostTerms(
            np.ascontiguousarray(self.pairs[used, 0]), np.ascontiguousarray(self.pairs[used, 1]), each[used]
        )
        return Costs("latency", terms, sizes)
