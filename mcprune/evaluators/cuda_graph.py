"""The graph evaluator: batches of one fixed shape, captured as CUDA graphs on a GPU.

Small products leave a GPU waiting for the next launch. So K candidates, padded to a fixed number of candidates and of changed
sites, go through one recorded sequence of kernels: a batched low-rank update (K, B, H), then products on (K B, H), then K losses,
which are fetched at once. On a CPU the same code runs unrecorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.evaluators.lowrank import POINTWISE, Level, columns
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective
from mcprune.sites.gates import GatedModel
from mcprune.types import FloatArray

Screen = Literal["none", "tf32", "bf16"]
# Moves of more sites than this are no low-rank change; they go as in `incremental`.
MOST_SITES = 64
# A screen's error is measured on so many candidates of each batch of rows; the band is so many times the largest.
MEASURED, SAFETY = 8, 4.0
# Before anything is measured: a quarter of the last place of the type, of which a sum over units keeps that much.
LEAST = {"tf32": 2.0**-13, "bf16": 2.0**-10}
LAYERS: tuple[type[nn.Module], ...] = (*POINTWISE, nn.Linear, nn.BatchNorm1d, nn.Flatten)


class Recorded:
    """One level's fixed shape: what goes in, what comes out, and the graph between them (None on a CPU)."""

    def __init__(self, level: Level, count: int, most: int, rows: torch.Tensor, targets: torch.Tensor) -> None:
        device = rows.device
        self.level = level
        self.local = torch.zeros(count, most, dtype=torch.int64, device=device)
        self.new = torch.full((count, most), torch.nan, device=device)
        self.targets = torch.zeros_like(targets).repeat(count)
        self.signals = torch.zeros_like(
            rows, memory_format=torch.contiguous_format
        )  # what the sites multiply, (B, width)
        self.pre = torch.zeros(len(targets), level.linear.out_features, device=device)
        self.gates = torch.empty(0)
        self.out = torch.empty(0)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.holds: tuple[int, ...] = ()  # which position the arrays hold


class GraphEvaluator(IncrementalEvaluator):
    """Fixed-shape batches of low-rank updates, recorded on a GPU, one synchronisation a batch.

    Parameters
    ----------
    gated : GatedModel
        A chain of Linear layers, activations, dropout and batch-norm; sites as for `incremental`.
    objective : Objective
        Only mean cross-entropy.
    batch : int
        K, the candidates of one recorded batch; `max_memory` may make it smaller. Fewer are padded.
    screen : "none", "tf32" or "bf16"
        The number type of the products behind the update. With another than float32 the losses are a screen: `error` is then
        4 times the largest difference from float32 that was met on 4 candidates of each batch of rows, never less than
        before, and decisions closer than that are the canonical evaluator's. (tf32 changes nothing on a CPU.)
    max_memory : int
        Bytes for one batch.

    Raises
    ------
    ModelError
        A model or an objective that it cannot serve.

    Notes
    -----
    Not run on a GPU so far: the recording itself is untested; on a CPU the same code runs without it.
    """

    name = "graph"

    def __init__(
        self,
        gated: GatedModel,
        objective: Objective,
        *,
        batch: int = 16,
        screen: Screen = "none",
        max_memory: int = 2**30,
    ) -> None:
        if objective.name != "cross-entropy":
            raise ModelError(f"only cross-entropy is recorded, not {objective.name!r}")
        super().__init__(gated, objective, max_memory=max_memory)
        if self.stages is None:
            raise ModelError(f"{type(gated.model).__name__} is no chain of layers")
        for module in self.stages.modules:
            if type(module) not in LAYERS:
                raise ModelError(f"a {type(module).__name__} stands in the chain")
        self.batch, self.screen = batch, screen
        self.error = LEAST.get(screen, IncrementalEvaluator.error)
        self._begun = 0
        self._unmeasured = 0 if screen == "none" else MEASURED
        self._recorded: dict[tuple[object, ...], Recorded] = {}

    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        super().begin(features, targets, position, sharpness)
        self._begun += 1
        self._unmeasured = 0 if self.screen == "none" else MEASURED

    @torch.no_grad()
    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        most = moves.sites.shape[2]
        if most > MOST_SITES:
            return super().losses(state, moves, limits)
        out = np.full(moves.size.shape, np.nan)
        count = min(self.batch, self.chunk(most))
        for replica in range(len(self.replicas)):
            inside = np.arange(most) < moves.size[replica][:, None]
            levels = self.level[np.where(inside, moves.sites[replica], 0)]
            low = np.where(inside, levels, len(self.levels)).min(axis=1)
            high = np.where(inside, levels, -1).max(axis=1)
            for number in np.unique(low[low == high]):
                part = np.flatnonzero((low == high) & (low == number))
                for first in range(0, part.size, count):
                    few = part[first : first + count]
                    out[replica, few] = self._run(moves, replica, few, int(number), count)
            self._several(moves, replica, np.flatnonzero(low < high), out[replica])
            if self._unmeasured:
                self._measure(moves, replica, np.flatnonzero(low == high)[: self._unmeasured], out[replica])
        return out

    def _measure(self, moves: Moves, replica: int, few: np.ndarray, screened: FloatArray) -> None:
        """Widen the error to a multiple of what the screen is away from float32."""
        exact = np.full(screened.shape, np.nan)
        self._several(moves, replica, few, exact)
        self._unmeasured -= few.size
        away = np.abs(exact - screened)[few] / np.maximum(1.0, np.abs(exact[few]))
        if np.isfinite(away).any():
            self.error = max(self.error, SAFETY * float(np.nanmax(away)))

    def _run(self, moves: Moves, replica: int, few: np.ndarray, number: int, count: int) -> FloatArray:
        """Losses of at most `count` candidates, all of whose sites are of one level."""
        level, most, device = self.levels[number], moves.sites.shape[2], self.features.device
        one = self._prepared(number, count, most)
        self._hold(one, replica)
        local = np.zeros((count, most), np.int64)
        new = np.full((count, most), np.nan, np.float32)
        found, gates, _ = self.padded(moves, replica, few, level)
        local[: few.size, : found.shape[1]], new[: few.size, : found.shape[1]] = found, gates
        one.local.copy_(torch.from_numpy(local))
        one.new.copy_(torch.from_numpy(new))
        with evaluating(self.gated.model):
            if device.type != "cuda":
                one.out = self._compute(one)
            else:
                if one.graph is None:
                    one.graph = self._record(one)
                one.graph.replay()
        losses: FloatArray = one.out.cpu().numpy()[: few.size]  # the one synchronisation
        return losses

    def _prepared(self, number: int, count: int, most: int) -> Recorded:
        """Return the level's buffers for this shape; those of another batch shape are given up."""
        # A graph reads the parameters where they lay when it was recorded.
        where = tuple(parameter.data_ptr() for parameter in self.gated.model.parameters())
        shape = (self.flat.shape, self.features.device, where)
        key = (shape, number, count, most)
        if key not in self._recorded:
            self._recorded = {other: one for other, one in self._recorded.items() if other[0] == shape}
            level = self.levels[number]
            rows = self.flat if level.place < 0 else self.replicas[0].pre[level.place]
            self._recorded[key] = Recorded(level, count, most, rows, self.targets)
        return self._recorded[key]

    def _hold(self, one: Recorded, replica: int) -> None:
        """Copy a replica's position into the buffers, if it is not there."""
        cache = self.replicas[replica]
        holds = (self._begun, replica, id(cache), cache.accepted)
        if one.holds == holds:
            return
        if one.holds[:1] != holds[:1]:
            one.targets.copy_(self.targets.repeat(len(one.local)))
        if one.level.place >= 0 or one.holds[:1] != holds[:1]:
            one.signals.copy_(self.flat if one.level.place < 0 else cache.pre[one.level.place])
        one.pre.copy_(cache.pre[one.level.at])
        if one.gates.numel():
            one.gates.copy_(cache.gates)
        else:
            one.gates = cache.gates.clone()
        one.holds = holds

    def _compute(self, one: Recorded) -> torch.Tensor:
        """Return the K losses in float64; nothing here depends on values, so it can be recorded."""
        assert self.stages is not None
        level = one.level
        old = one.gates[level.start + one.local]
        new = torch.where(one.new.isnan(), old, one.new)
        picked = self._picked(one.signals, one.local)
        if level.place < 0:
            delta = picked * (new - old).unsqueeze(-2)
        else:
            index = one.local.unsqueeze(-2)
            delta = columns(level.between, picked * new.unsqueeze(-2), index)
            delta = delta - columns(level.between, picked * old.unsqueeze(-2), index)
        pre = torch.baddbmm(one.pre.expand(len(delta), -1, -1), delta, level.linear.weight.T[one.local])
        x = self.stages.gate(pre.flatten(0, 1), one.gates, level.at)
        with self._products(x.device):
            logits = self.stages.run(x, one.gates, level.at + 1)
        losses = functional.cross_entropy(logits.float(), one.targets, reduction="none")
        return losses.view(len(delta), -1).double().mean(dim=1)

    @contextmanager
    def _products(self, device: torch.device) -> Iterator[None]:
        """The screen's number type inside."""
        if self.screen == "bf16":
            with torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False):
                yield
            return
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = before or self.screen == "tf32"
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    def _record(self, one: Recorded) -> torch.cuda.CUDAGraph:
        """Capture `_compute`, after some plain runs in which libraries take the memory that they want."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._compute(one)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            one.out = self._compute(one)
        return graph
