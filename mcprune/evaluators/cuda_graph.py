"""The graph evaluator: batches of one fixed shape, captured as CUDA graphs on a GPU.

With small products a GPU mostly waits for the next kernel launch. So K candidates, padded to a fixed number of candidates and of
changed sites, go through one captured sequence of kernels: a batched low-rank update (K, B, H), then products on (K B, H), then K
losses, which are copied to the host at once. On a CPU the same code runs without capture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.evaluators.incremental import IncrementalEvaluator
from mcprune.evaluators.lowrank import POINTWISE, Level, columns
from mcprune.evaluators.perceptrons import cross_entropy
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective
from mcprune.sites.gates import GatedModel
from mcprune.types import FloatArray

Screen = Literal["none", "tf32", "bf16"]
# Moves of more sites than this are not low-rank; they are evaluated as in `incremental`.
MOST_SITES = 64
# The error of a screen: candidates of each batch of rows on which it is measured, and the factor on the largest error.
MEASURED, SAFETY = 8, 4.0
# Error before the first measurement: a quarter of the last place of the number type.
LEAST = {"tf32": 2.0**-13, "bf16": 2.0**-10}
LAYERS: tuple[type[nn.Module], ...] = (*POINTWISE, nn.Linear, nn.BatchNorm1d, nn.Flatten)


class Recorded:
    """Buffers of one level in one shape: inputs, outputs and the graph between them (None on a CPU)."""

    def __init__(
        self, level: Level, count: int, most: int, rows: torch.Tensor, targets: torch.Tensor, *, is_weighted: bool
    ) -> None:
        device = rows.device
        self.level = level
        self.local = torch.zeros(count, most, dtype=torch.int64, device=device)
        self.new = torch.full((count, most), torch.nan, device=device)
        self.targets = torch.zeros_like(targets).repeat(count)
        self.shares = torch.ones(len(targets), dtype=torch.float64, device=device) if is_weighted else None
        self.signals = torch.zeros_like(
            rows, memory_format=torch.contiguous_format
        )  # signals that the gates multiply, (B, width)
        self.pre = torch.zeros(len(targets), level.linear.out_features, device=device)
        self.gates = torch.empty(0)
        self.out = torch.empty(0)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.holds: tuple[int, ...] = ()  # which position is in the buffers


class GraphEvaluator(IncrementalEvaluator):
    """Fixed-shape batches of low-rank updates, captured on a GPU, with one synchronisation per batch.

    Parameters
    ----------
    gated : GatedModel
        A chain of Linear layers, activations, dropout and batch-norm; sites as for `incremental`.
    objective : Objective
        Only mean cross-entropy.
    batch : int
        K, the candidates of one captured batch; `max_memory` may make it smaller. Fewer candidates are padded.
    screen : "none", "tf32" or "bf16"
        The number type of the products after the update, "none" for float32. With another type the losses are approximate:
        `error` is 4 times the largest difference from float32, measured on 8 candidates of each batch of rows. It never falls, and
        the canonical evaluator makes the decisions that are closer. tf32 has no effect on a CPU.
    max_memory : int
        Bytes for one batch.

    Raises
    ------
    ModelError
        The model or the objective is not supported.

    Notes
    -----
    Not tested on a GPU so far: the capture itself is untested; on a CPU the same code runs without it.
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
        cross_entropy(objective)
        super().__init__(gated, objective, max_memory=max_memory)
        if self.stages is None:
            raise ModelError(f"{type(gated.model).__name__} is not a chain of layers")
        for module in self.stages.modules:
            if type(module) not in LAYERS:
                raise ModelError(f"there is a {type(module).__name__} in the chain")
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
        """Raise the error to a multiple of the measured difference from float32."""
        exact = np.full(screened.shape, np.nan)
        self._several(moves, replica, few, exact)
        self._unmeasured -= few.size
        away = np.abs(exact - screened)[few] / np.maximum(1.0, np.abs(exact[few]))
        if np.isfinite(away).any():
            self.error = max(self.error, SAFETY * float(np.nanmax(away)))

    def _run(self, moves: Moves, replica: int, few: np.ndarray, number: int, count: int) -> FloatArray:
        """Return the losses of at most `count` candidates, all of whose sites are in one level."""
        level, most, device = self.levels[number], moves.sites.shape[2], self.features.device
        one = self._prepared(number, count, most)
        self._hold(one, replica)
        local = np.zeros((count, most), np.int64)
        new = np.full((count, most), np.nan, np.float32)
        sites, gates, _ = self.padded(moves, replica, few, level)
        local[: few.size, : sites.shape[1]], new[: few.size, : sites.shape[1]] = sites, gates
        one.local.copy_(torch.from_numpy(local))
        one.new.copy_(torch.from_numpy(new))
        with evaluating(self.gated.model):
            if device.type != "cuda":
                one.out = self._compute(one)
            else:
                if one.graph is None:
                    one.graph = self._record(one)
                one.graph.replay()
        losses: FloatArray = one.out.cpu().numpy()[: few.size]  # the only synchronisation
        return losses

    def _prepared(self, number: int, count: int, most: int) -> Recorded:
        """Return the level's buffers for this shape; those of another batch shape are freed."""
        # A graph reads the parameters at the addresses of the time of its capture.
        where = tuple(parameter.data_ptr() for parameter in self.gated.model.parameters())
        shape = (self.flat.shape, self.features.device, where)
        weights = cross_entropy(self.objective).weights
        key = (shape, number, count, most, weights is None)
        if key not in self._recorded:
            self._recorded = {other: one for other, one in self._recorded.items() if other[0] == shape}
            level = self.levels[number]
            rows = self.flat if level.place < 0 else self.replicas[0].pre[level.place]
            self._recorded[key] = Recorded(level, count, most, rows, self.targets, is_weighted=weights is not None)
        return self._recorded[key]

    def _hold(self, one: Recorded, replica: int) -> None:
        """Copy a replica's position into the buffers, unless it is there."""
        cache = self.replicas[replica]
        holds = (self._begun, replica, id(cache), cache.accepted)
        if one.holds == holds:
            return
        if one.holds[:1] != holds[:1]:
            one.targets.copy_(self.targets.repeat(len(one.local)))
            weights = cross_entropy(self.objective).weights
            if one.shares is not None and weights is not None:
                one.shares.copy_(weights.double() / weights.double().mean())
        if one.level.place >= 0 or one.holds[:1] != holds[:1]:
            one.signals.copy_(self.flat if one.level.place < 0 else cache.pre[one.level.place])
        one.pre.copy_(cache.pre[one.level.at])
        if one.gates.numel():
            one.gates.copy_(cache.gates)
        else:
            one.gates = cache.gates.clone()
        one.holds = holds

    def _compute(self, one: Recorded) -> torch.Tensor:
        """Return the K losses in float64; the operations depend on no values, so they can be captured."""
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
        wide = losses.view(len(delta), -1).double()
        return (wide if one.shares is None else wide * one.shares).mean(dim=1)

    @contextmanager
    def _products(self, device: torch.device) -> Iterator[None]:
        """Use the screen's number type inside the context."""
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
        """Capture `_compute`, after some plain runs in which libraries allocate their memory."""
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
