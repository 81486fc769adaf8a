"""The serial chain by rank on a table of losses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mcprune.chain.moves import KINDS, MovePlan, per_replica, score_buffers, widest
from mcprune.chain.philox import check_chains, check_seed
from mcprune.chain.ranks import rank_kernels
from mcprune.chain.ranks.gates import Ranks, scratch
from mcprune.chain.state import ChainState
from mcprune.types import AnyArray, IntArray


class TableInfo(NamedTuple):
    """Counts of `run_table`."""

    visits: IntArray  # (R, 2**N) steps spent in each mask (site 0 = bit 0); (R, 0) for a constant table
    proposed: IntArray  # (R, 6) steps of each move
    decided: IntArray  # (R, 6) those that change the mask
    accepted: IntArray  # (R, 6)
    null: IntArray  # (R,)
    nonfinite: IntArray  # (R,)


def run_table(
    state: ChainState,
    ranks: Ranks,
    steps: int,
    *,
    table: AnyArray,
    plan: MovePlan,
    delta: AnyArray | float,
    temperature: AnyArray | float,
    seed: int,
    chains: IntArray,
) -> TableInfo:
    """Run the serial chain on a table of losses, compiled, in place: for exact laws and for the speed of the engine alone.

    Parameters
    ----------
    state, ranks
        L_cla is looked up first, so it need not be known.
    steps : int >= 0
    table : ndarray, shape (2**N,) or (1,)
        L_cla of each mask, site 0 = bit 0; of length 1: a constant.
    plan, delta, temperature, seed, chains
        As for `propose` and `advance`, whose trace with the same losses is the same.
    """
    replicas, sites = state.position.shape
    values = np.ascontiguousarray(table, dtype=np.float64)
    codes = np.zeros(replicas, np.int64)
    if values.size > 1:
        codes = (state.position > 0) @ (1 << np.arange(sites))
    state.cla[:] = values[codes]
    kinds = np.zeros((3, replicas, len(KINDS)), np.int64)
    counts = np.zeros((2, replicas), np.int64)
    visits = np.zeros((replicas, values.size if values.size > 1 else 0), np.int64)
    info = TableInfo(visits, *kinds, *counts)
    rank_kernels.table_rows(
        state.loss, state.cla, state.arrays, ranks[:5], ranks.layers[:], int(steps), values, plan[:],
        score_buffers(plan, replicas, sites), per_replica(delta, replicas, "delta"),
        per_replica(temperature, replicas, "temperature"), check_seed(seed), check_chains(chains, replicas),
        scratch(widest(plan, sites), sites), *info,
    )  # fmt: skip
    return info
