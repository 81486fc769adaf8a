"""The incremental evaluator: a sparse move is a low-rank change of one pre-activation; torch computes the layers above it.

A change of the gates of m sites changes the output of the next Linear on row b by (m signals of the row) times m rows of its
weights. Rows on which none of these signals changes (an input that is 0 there, a unit that stays below 0) keep their outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from mcprune.chain.moves import Moves
from mcprune.chain.state import ChainState
from mcprune.errors import ModelError
from mcprune.evaluators.base import gates_of
from mcprune.evaluators.lowrank import Level, answering, chain_levels, check_linear, columns, first_linear
from mcprune.evaluators.stages import Stages
from mcprune.models.modes import evaluating
from mcprune.objectives.base import Objective
from mcprune.sites.gates import GatedModel
from mcprune.types import Float32Array, FloatArray

# Accepted moves after which a position is computed again, so that rounding errors do not accumulate over a long block.
REFRESH = 1000


class Cache:
    """The current position of one replica."""

    def __init__(self, gates: torch.Tensor) -> None:
        self.gates = gates  # (N,)
        self.pre: dict[int, torch.Tensor] = {}  # by place: output of a Linear, or of a gated module before its gates
        self.logits = torch.empty(0)
        self.accepted = 0


class IncrementalEvaluator:
    """Low-rank updates in torch for models whose sites feed a Linear layer; for any objective, on CPU or GPU.

    Parameters
    ----------
    gated : GatedModel
        A chain of layers (nn.Sequential, `MLP`) in which the first layer after each group of sites is a Linear; a flattening of the
        inputs, and activations and batch-norms of the units, may come before it. Or any model in which the inputs are the only
        sites and only one Linear reads them (tested at the first `begin`).
    objective : Objective
    max_memory : int
        Bytes for the candidates stacked on a GPU.
    stacked : bool, optional
        Whether to evaluate several candidates at once; by default on a GPU only.

    Attributes
    ----------
    error : float
        1e-5, from products of fewer rows and sums in another order. Every `begin` and every 1,000th accepted move computes the
        position again; the drift over 1,000 moves stays within this bound.

    Raises
    ------
    ModelError
        The model is not supported; the message says why.

    Notes
    -----
    Not tested on a GPU so far; the stacked code is tested on a CPU.
    """

    name = "incremental"
    error = 1e-5

    def __init__(
        self, gated: GatedModel, objective: Objective, *, max_memory: int = 2**30, stacked: bool | None = None
    ) -> None:
        self.gated, self.objective, self.max_memory, self.stacked = gated, objective, max_memory, stacked
        self.stages: Stages | None = None
        self.levels: list[Level] = []
        groups = gated.sites.groups
        if gated.sites.weights:
            raise ModelError("weights are sites, and it supports signals only; use `fused` or `suffix`")
        if any(isinstance(m, BatchNorm) and m.running_mean is None for m in gated.model.modules()):
            raise ModelError("a batch-norm without running statistics mixes the rows of a batch")
        try:
            self.stages = Stages(gated)
            self.levels = chain_levels(self.stages)
        except ModelError:
            if [group.kind for group in groups] != ["inputs"]:
                raise
            self.stages = None  # tested at the first `begin`, which has rows
        self.level = np.concatenate([np.full(group.size, number) for number, group in enumerate(groups)])

    @torch.no_grad()
    def begin(self, features: torch.Tensor, targets: torch.Tensor, position: FloatArray, sharpness: float) -> None:
        """See `Evaluator.begin`."""
        if not self.levels:
            linear = first_linear(self.gated, features[:8])
            self.levels = [Level(0, self.gated.sites.size, -1, (), linear, 0)]
        for level in self.levels:  # the user may have replaced a module
            check_linear(level.linear, level.stop - level.start, "the sites")
        self.features, self.targets, self.sharpness = features, targets, sharpness
        self.flat = features.flatten(1)
        self.replicas = [self._cache(weights) for weights in position]

    def current(self) -> FloatArray:
        """See `Evaluator.current`."""
        return np.array([self.objective.losses(cache.logits[None], self.targets)[0] for cache in self.replicas])

    @torch.no_grad()
    def losses(self, state: ChainState, moves: Moves, limits: FloatArray | None = None) -> FloatArray:
        """See `Evaluator.losses`."""
        out = np.full(moves.size.shape, np.nan)
        for replica in range(len(self.replicas)):
            self._several(moves, replica, np.flatnonzero(moves.size[replica] > 0), out[replica])
        return out

    def _several(self, moves: Moves, replica: int, chosen: np.ndarray, out: FloatArray) -> None:
        """Write the losses of some candidates of a replica into `out`, one by one or in stacks."""
        cache = self.replicas[replica]
        with evaluating(self.gated.model):
            if self.features.is_cuda if self.stacked is None else self.stacked:
                self._stacks(cache, moves, replica, chosen, out)
                return
            for k in chosen.tolist():
                logits = cache.logits
                rows, outputs, _ = self._candidate(cache, *self._sparse(moves, replica, k))
                if len(rows):
                    logits = logits.index_copy(0, rows, outputs)
                out[k] = self.objective.losses(logits[None], self.targets)[0]

    @torch.no_grad()
    def moved(self, position: FloatArray, moves: Moves, index: np.ndarray) -> None:
        """See `Evaluator.moved`: the rows that change are updated, from the first changed pre-activation on."""
        for replica in np.flatnonzero(index >= 0).tolist():
            cache, k = self.replicas[replica], int(index[replica])
            if not moves.size[replica, k]:
                continue
            cache.accepted += 1
            if cache.accepted % REFRESH == 0:
                self.replicas[replica] = self._cache(position[replica])
                continue
            with evaluating(self.gated.model):
                sites, new = self._sparse(moves, replica, k)
                rows, outputs, kept = self._candidate(cache, sites, new, keep=True)
            cache.gates[sites] = new
            if len(rows):
                cache.logits.index_copy_(0, rows, outputs)
                for place, values in kept.items():
                    cache.pre[place].index_copy_(0, rows, values)

    def _sparse(self, moves: Moves, replica: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sites of a candidate and their new gates."""
        size = int(moves.size[replica, k])
        gates = gates_of(moves.weights[replica, k, :size], self.sharpness)
        sites = torch.from_numpy(moves.sites[replica, k, :size]).to(self.features.device)
        return sites, torch.from_numpy(gates).to(self.features)

    def _cache(self, weights: FloatArray) -> Cache:
        cache = Cache(torch.from_numpy(gates_of(weights, self.sharpness)).to(self.features))
        with evaluating(self.gated.model):
            if self.stages is None:
                level = self.levels[0]
                cache.pre[0] = functional.linear(self.flat * cache.gates, level.linear.weight, level.linear.bias)
                cache.logits = self._above(cache.pre[0], cache.gates, level)
            else:
                x = self.stages.gate_inputs(self.features, cache.gates)
                cache.logits = self.stages.run(x, cache.gates, 0, lambda at, x: self._keep(cache.pre, at, x)).clone()
        return cache

    def _keep(self, pre: dict[int, torch.Tensor], at: int, x: torch.Tensor) -> None:
        """Keep the tensors that later moves start from: outputs before the gates, and outputs of the updated Linears."""
        assert self.stages is not None
        if at in self.stages.groups or any(level.at == at for level in self.levels):
            pre[at] = x.clone()  # the next layer may modify it in place

    def _signals(self, cache: Cache, level: Level, local: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Return the changes (B, m), or (K, B, m), of a level's signals at its Linear."""
        old = cache.gates[level.start + local]
        if level.place < 0:
            return self._picked(self.flat, local) * (new - old).unsqueeze(-2)
        before, index = self._picked(cache.pre[level.place], local), local.unsqueeze(-2)
        now = columns(level.between, before * new.unsqueeze(-2), index)
        return now - columns(level.between, before * old.unsqueeze(-2), index)

    @staticmethod
    def _picked(values: torch.Tensor, local: torch.Tensor) -> torch.Tensor:
        """Return columns (B, m) of values for local (m,), or (K, B, m) for (K, m)."""
        if local.dim() == 1:
            return values[:, local]
        return values.T[local].transpose(1, 2)

    def _above(
        self,
        pre: torch.Tensor,
        gates: torch.Tensor,
        level: Level,
        keep: dict[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return the logits for rows of a level's pre-activation (rows, H)."""
        if keep is not None:
            keep[level.at] = pre.clone()
        if self.stages is None:
            with answering(level.linear, pre):
                logits: torch.Tensor = self.gated.model(self.features[:1].expand(len(pre), *self.features.shape[1:]))
            return logits
        x = self.stages.gate(pre, gates, level.at)
        if keep is None:
            return self.stages.run(x, gates, level.at + 1)
        return self.stages.run(x, gates, level.at + 1, lambda at, x: self._keep(keep, at, x))

    def _candidate(
        self, cache: Cache, sites: torch.Tensor, new: torch.Tensor, keep: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, dict[int, torch.Tensor]]:
        """Return (rows that change, their logits, tensors for `moved` to keep)."""
        gates = cache.gates.clone()
        gates[sites] = new
        level = self.levels[int(self.level[sites.cpu().numpy()].min())]
        inside = (sites >= level.start) & (sites < level.stop)
        delta = self._signals(cache, level, sites[inside] - level.start, new[inside])
        kept: dict[int, torch.Tensor] = {}
        moved = (delta != 0).any(dim=1)
        if not bool(inside.all()):  # sites of a layer above change every row
            moved[:] = True
        rows = moved.nonzero()[:, 0]
        if not len(rows):
            return rows, cache.logits[:0], kept
        whole = len(rows) == len(self.targets)
        weight = level.linear.weight[:, sites[inside] - level.start].T
        # Only changed rows are multiplied, so an overflow is the candidate's own and not a 0 * inf of another row.
        pre = (
            torch.addmm(cache.pre[level.at], delta, weight)
            if whole
            else torch.addmm(cache.pre[level.at][rows], delta[rows], weight)
        )
        outputs = self._above(pre, gates, level, kept if keep else None)
        return rows, outputs, kept

    def _stacks(self, cache: Cache, moves: Moves, replica: int, changed: np.ndarray, out: FloatArray) -> None:
        """Write the losses of the changed candidates into `out`, those of one level in stacks."""
        first = np.array([self._lowest(moves, replica, int(k)) for k in changed], np.int64)
        for number in np.unique(first):
            level, part = self.levels[number], changed[first == number]
            chunk = self.chunk(int(moves.size[replica, part].max()))
            for begin in range(0, part.size, chunk):
                few = part[begin : begin + chunk]
                logits = self._stack(cache, moves, replica, few, level)
                out[few] = self.objective.losses(logits, self.targets)

    def _lowest(self, moves: Moves, replica: int, k: int) -> int:
        return int(self.level[moves.sites[replica, k, : moves.size[replica, k]]].min())

    def chunk(self, most: int) -> int:
        """Return how many candidates of at most `most` changed sites fit in `max_memory`."""
        widths = [m.out_features for m in self.gated.model.modules() if isinstance(m, torch.nn.Linear)]
        # Of each candidate: gates for each row, changed signals before and after, activations, rows of the weights.
        floats = len(self.targets) * (self.gated.sites.size + 3 * most + 4 * sum(widths)) + most * max(widths)
        return max(1, self.max_memory // max(4 * floats, 1))

    def padded(
        self, moves: Moves, replica: int, few: np.ndarray, level: Level
    ) -> tuple[np.ndarray, Float32Array, list[np.ndarray]]:
        """Return (local sites (K, m), their new gates (K, m), indices of the sites of each candidate that are in the level).

        The padding is site 0 of the level with gate NaN, which stands for its current gate.
        """
        inside = [
            np.flatnonzero(self.level[moves.sites[replica, k, : moves.size[replica, k]]] == self.level[level.start])
            for k in few
        ]
        most = max(len(one) for one in inside)
        local = np.zeros((len(few), most), np.int64)
        gates = np.full((len(few), most), np.nan, np.float32)
        for row, (k, one) in enumerate(zip(few, inside, strict=True)):
            local[row, : one.size] = moves.sites[replica, k, one] - level.start
            gates[row, : one.size] = gates_of(moves.weights[replica, k, one], self.sharpness)
        return local, gates, inside

    def _stack(self, cache: Cache, moves: Moves, replica: int, few: np.ndarray, level: Level) -> torch.Tensor:
        """Return the logits (K, B, C) of candidates of one level."""
        local_array, new_array, inside = self.padded(moves, replica, few, level)
        local = torch.from_numpy(local_array).to(self.features.device)
        new = torch.from_numpy(new_array).to(self.features)
        new = torch.where(new.isnan(), cache.gates[level.start + local], new)
        gates = cache.gates.repeat(len(few), 1)
        for row, k in enumerate(few):
            sites, values = self._sparse(moves, replica, int(k))
            gates[row, sites] = values
        delta = self._signals(cache, level, local, new)
        rows = (delta != 0).any(dim=2)
        for row, (k, one) in enumerate(zip(few, inside, strict=True)):
            if one.size < moves.size[replica, k]:
                rows[row] = True
        which, batch = rows.nonzero(as_tuple=True)
        logits = cache.logits.repeat(len(few), 1, 1)
        if len(which):
            change = torch.bmm(delta, level.linear.weight.T[local])
            pre = cache.pre[level.at][batch] + change[which, batch]
            logits[which, batch] = self._above(pre, gates[which], level)
        return logits
