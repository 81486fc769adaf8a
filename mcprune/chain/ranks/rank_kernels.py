"""The compiled kernels of gates by rank; `gates` is their documented caller.

The layers partition the N sites; layer g holds the sites with group[i] == g, and keeps least[g] of them at least. One array of
N cells holds two binary heaps a layer: in the cells start[g] .. start[g + 1] - 1 the heap of the kept grows from the left, with the
lowest weight in front, and that of the dropped from the right, with the highest weight in front. `keys` holds the weight of the site in
each cell, so that comparisons look at neighbouring memory.

A site beats another one if its weight is larger, or equal with a lower index. Masks of n sites that satisfy the least numbers are the
bases of a matroid, and the mask is its heaviest basis: each layer's largest first, then the largest of all. So a change of one weight
exchanges the site itself for one other site, or changes nothing.
"""

from typing import TypeAlias

import numpy as np

from mcprune.chain.accept import is_accepted, threshold
from mcprune.chain.jit import kernel
from mcprune.chain.kernels import (
    EXCHANGE,
    INFORMED,
    Cells,
    Info,
    Key,
    Plan,
    accept_uniform,
    accumulate,
    draw_change,
    tree_add,
)
from mcprune.types import AnyArray, FloatArray, IntArray

# of one replica: weights (N,), heap (N,) int32, keys (N,), place (N,) int32, kept (G,); of all: group (N,) int32, start (G + 1,),
# least (G,)
Heaps: TypeAlias = tuple[FloatArray, AnyArray, FloatArray, AnyArray, IntArray, AnyArray, IntArray, IntArray]
# the same of all replicas, without the layers
RankRows: TypeAlias = tuple[FloatArray, AnyArray, FloatArray, AnyArray, IntArray]
# flips (F,) int64, marks (N,) int8, new sites and weights (M,): room for one candidate
Scratch: TypeAlias = tuple[IntArray, AnyArray, IntArray, FloatArray]
# log_sites (R, L) int32, log_weights (R, L), codes (R, L) int8: the walks of a batch
Log: TypeAlias = tuple[AnyArray, FloatArray, AnyArray]

NULL = 16  # added to the code of a step whose move was not available
DECISION = 32  # added to the code of a step whose candidate changes the mask


# ---- heaps -------------------------------------------------------------------------------------------------


@kernel
def beats(w: FloatArray, a: int, b: int) -> bool:
    """Whether site a ranks before site b."""
    return bool(w[a] > w[b] or (w[a] == w[b] and a < b))


@kernel
def sift_kept(
    heap: AnyArray, keys: FloatArray, place: AnyArray, first: int, k: int, length: int, site: int, weight: float
) -> None:
    """Put a site into entry k of a heap of kept sites, whose front is the lowest, and bring it to its place.

    Entry j is in cell first + j.
    """
    is_up = False
    while k > 0:
        parent = first + ((k - 1) >> 1)
        if not (keys[parent] > weight or (keys[parent] == weight and heap[parent] < site)):
            break
        put(heap, keys, place, first + k, heap[parent], keys[parent])
        k = (k - 1) >> 1
        is_up = True
    while not is_up:
        j = 2 * k + 1
        if j >= length:
            break
        child = first + j
        if j + 1 < length and (
            keys[child] > keys[child + 1] or (keys[child] == keys[child + 1] and heap[child] < heap[child + 1])
        ):
            child += 1
        if not (weight > keys[child] or (weight == keys[child] and site < heap[child])):
            break
        put(heap, keys, place, first + k, heap[child], keys[child])
        k = child - first
    put(heap, keys, place, first + k, site, weight)


@kernel
def sift_dropped(
    heap: AnyArray, keys: FloatArray, place: AnyArray, last: int, k: int, length: int, site: int, weight: float
) -> None:
    """Likewise of a heap of dropped sites, whose front is the highest; entry j is in cell last - j."""
    is_up = False
    while k > 0:
        parent = last - ((k - 1) >> 1)
        if not (weight > keys[parent] or (weight == keys[parent] and site < heap[parent])):
            break
        put(heap, keys, place, last - k, heap[parent], keys[parent])
        k = (k - 1) >> 1
        is_up = True
    while not is_up:
        j = 2 * k + 1
        if j >= length:
            break
        child = last - j
        if j + 1 < length and (
            keys[child - 1] > keys[child] or (keys[child - 1] == keys[child] and heap[child - 1] < heap[child])
        ):
            child -= 1
        if not (keys[child] > weight or (keys[child] == weight and heap[child] < site)):
            break
        put(heap, keys, place, last - k, heap[child], keys[child])
        k = last - child
    put(heap, keys, place, last - k, site, weight)


@kernel
def put(heap: AnyArray, keys: FloatArray, place: AnyArray, cell: int, site: int, weight: float) -> None:
    """Put a site into a cell."""
    heap[cell] = site
    keys[cell] = weight
    place[site] = cell


@kernel
def layer_of(group: AnyArray, start: IntArray, site: int) -> int:
    """Return the layer of a site; with one layer nothing is looked up, since with a million sites each look-up is a cache miss."""
    return int(group[site]) if start.size > 2 else 0


@kernel
def is_kept(heaps: Heaps, site: int) -> bool:
    """Whether a site is kept."""
    _, _, _, place, kept, group, start, _ = heaps
    g = layer_of(group, start, site)
    return bool(place[site] < start[g] + kept[g])


@kernel
def sift(heaps: Heaps, site: int) -> None:
    """Bring a site whose weight has changed to its place in the heap that it is in."""
    w, heap, keys, place, kept, group, start, _ = heaps
    g = layer_of(group, start, site)
    if place[site] < start[g] + kept[g]:
        sift_kept(heap, keys, place, start[g], place[site] - start[g], kept[g], site, w[site])
    else:
        last = start[g + 1] - 1
        sift_dropped(heap, keys, place, last, last - place[site], start[g + 1] - start[g] - kept[g], site, w[site])


@kernel
def replacement(heaps: Heaps, site: int) -> int:
    """Return the dropped site that takes the place of a kept one if that goes: the highest of those that may; -1 if there is none."""
    w, heap, _, _, kept, group, start, least = heaps
    home = layer_of(group, start, site)
    is_bound = kept[home] <= least[home]
    best = -1
    for g in range(kept.size):
        if (g == home or not is_bound) and kept[g] < start[g + 1] - start[g]:
            front = heap[start[g + 1] - 1]
            if best < 0 or beats(w, front, best):
                best = front
    return best


@kernel
def replaceable(heaps: Heaps, site: int) -> int:
    """Return the kept site whose place a dropped one takes if it comes in: the lowest of those that may go; -1 if there is none."""
    w, heap, _, _, kept, group, start, least = heaps
    home = layer_of(group, start, site)
    worst = -1
    for g in range(kept.size):
        if kept[g] > 0 and (g == home or kept[g] > least[g]):
            front = heap[start[g]]
            if worst < 0 or beats(w, worst, front):
                worst = front
    return worst


@kernel
def swap_places(heaps: Heaps, out: int, into: int) -> None:
    """Swap a kept site, which is dropped, with a dropped one."""
    w, heap, keys, place, kept, group, start, _ = heaps
    g, h = layer_of(group, start, out), layer_of(group, start, into)
    if g == h:
        a, b = place[out], place[into]
        put(heap, keys, place, a, into, w[into])
        put(heap, keys, place, b, out, w[out])
    else:
        a = start[g] + kept[g] - 1  # the last kept one takes the place of the one that goes, which takes the freed cell
        moved, hole = heap[a], place[out]
        put(heap, keys, place, hole, moved, w[moved])
        put(heap, keys, place, a, out, w[out])
        kept[g] -= 1
        if moved != out:
            sift(heaps, moved)
        b = start[h] + kept[h]  # likewise of the dropped
        moved, hole = heap[b], place[into]
        put(heap, keys, place, hole, moved, w[moved])
        put(heap, keys, place, b, into, w[into])
        if moved != into:
            last = start[h + 1] - 1
            length = start[h + 1] - start[h] - kept[h] - 1
            sift_dropped(heap, keys, place, last, last - hole, length, moved, w[moved])
        kept[h] += 1
    sift(heaps, out)
    sift(heaps, into)


@kernel
def set_weight(heaps: Heaps, site: int, weight: float) -> int:
    """Give a site another weight; return the site that it has traded places with, -1 if the mask stays."""
    w = heaps[0]
    old = w[site]
    w[site] = weight
    other = -1
    if is_kept(heaps, site):
        if weight < old:
            other = replacement(heaps, site)
            if other >= 0 and beats(w, other, site):
                swap_places(heaps, site, other)
                return other
    elif weight > old:
        other = replaceable(heaps, site)
        if other >= 0 and beats(w, site, other):
            swap_places(heaps, other, site)
            return other
    sift(heaps, site)
    return -1


@kernel
def build_heaps(position: FloatArray, heaps: Heaps) -> None:
    """Heaps of the sites with positive and with other positions."""
    w, heap, keys, place, kept, group, start, _ = heaps
    kept[:] = 0
    for i in range(w.size):
        if position[i] > 0.0:
            kept[group[i]] += 1
    left = start[:-1].copy()
    right = start[:-1] + kept
    for i in range(w.size):
        g = group[i]
        if position[i] > 0.0:
            cell = left[g]
            left[g] += 1
        else:
            cell = right[g]
            right[g] += 1
        put(heap, keys, place, cell, i, w[i])
    for g in range(kept.size):
        for k in range(kept[g]):  # one entry after the other comes in: in random order each rises a step or two
            site = heap[start[g] + k]
            sift_kept(heap, keys, place, start[g], k, k + 1, site, w[site])
        for k in range(start[g + 1] - start[g] - kept[g]):
            site = heap[start[g + 1] - 1 - k]
            sift_dropped(heap, keys, place, start[g + 1] - 1, k, k + 1, site, w[site])


@kernel
def build_rows(
    position: FloatArray, weights: FloatArray, heap: AnyArray, keys: FloatArray, place: AnyArray, kept: IntArray,
    group: AnyArray, start: IntArray, least: IntArray,
) -> None:  # fmt: skip
    """Build the heaps of all replicas."""
    for r in range(position.shape[0]):
        build_heaps(position[r], (weights[r], heap[r], keys[r], place[r], kept[r], group, start, least))


# ---- candidates --------------------------------------------------------------------------------------------


@kernel
def make_move(
    position: FloatArray, tree: AnyArray, heaps: Heaps, plan: Plan, kept: FloatArray, dropped: FloatArray,
    delta: float, key: Key, scratch: Scratch,
) -> tuple[int, int, int, float]:  # fmt: skip
    """Write the weights of the move of a step: (kind, sites written, sites flipped, log ratio).

    scratch holds the flipped sites (a site is flipped where the heaps and the sign of `position` differ), the written sites and their
    OLD weights, which `take_back` needs. An exchange that would flip other sites than its own two has no way back of equal probability:
    it is not available.
    """
    flips, marks, sites, weights = scratch
    w = heaps[0]
    kind, count, ratio = draw_change(w, tree, plan, kept, dropped, delta, key, sites, weights)
    touched = 0
    for m in range(count):
        site = sites[m]
        old = w[site]
        other = set_weight(heaps, site, weights[m])
        weights[m] = old
        if other >= 0:
            flips[touched], flips[touched + 1] = site, other
            touched += 2
    flipped = 0
    if touched == 2 and count == 1:
        if position[flips[0]] <= 0.0:  # the one that goes first
            flips[0], flips[1] = flips[1], flips[0]
        return kind, count, 2, ratio
    for m in range(touched):  # a site that was flipped twice is where it was
        site = flips[m]
        if marks[site] == 0 and is_kept(heaps, site) != (position[site] > 0.0):
            marks[site] = 1
            flips[flipped] = site
            flipped += 1
    for m in range(flipped):
        marks[flips[m]] = 0
    if kind in (EXCHANGE, INFORMED) and count > 0:
        is_pair = flipped == 2 and is_kept(heaps, sites[1]) and not is_kept(heaps, sites[0])
        if not is_pair:
            take_back(heaps, count, sites, weights)
            return kind, 0, 0, 0.0
        flips[0], flips[1] = sites[0], sites[1]
    return kind, count, flipped, ratio


@kernel
def take_back(heaps: Heaps, count: int, sites: AnyArray, weights: FloatArray) -> None:
    """Undo written weights, the last one first. The mask is a function of the weights, so it is what it was."""
    for m in range(count - 1, -1, -1):
        set_weight(heaps, sites[m], weights[m])


@kernel
def propose_rows(
    chain: tuple[FloatArray, FloatArray, AnyArray, IntArray], ranks: RankRows,
    layers: tuple[AnyArray, IntArray, IntArray], plan: Plan, scores: tuple[FloatArray, FloatArray], delta: FloatArray,
    seed: int, chains: IntArray, room: IntArray, steps_left: IntArray, scratch: Scratch, log: Log, cells: Cells,
    offset: IntArray, mark: IntArray, drawn: IntArray, steps: IntArray,
) -> None:  # fmt: skip
    """Draw the next decisions of each replica if all before are rejected; walks between them are made in place and logged."""
    position, sums, tree, step = chain
    kind, size, sites, weights, ratio, after = cells
    log_sites, log_weights, codes = log
    length, widest = log_sites.shape[1], scratch[2].size
    for r in range(position.shape[0]):
        heaps = (ranks[0][r], ranks[1][r], ranks[2][r], ranks[3][r], ranks[4][r], layers[0], layers[1], layers[2])
        accumulate(position[r], plan, scores[0][r], scores[1][r])
        most = min(room[r], kind.shape[1])
        k, drawn_steps, used = 0, 0, 0
        while k < most and drawn_steps < steps_left[r] and drawn_steps < length and used + widest <= length:
            key = (seed, chains[r], step[r] + drawn_steps)
            what, count, flipped, log_ratio = make_move(
                position[r], tree[r], heaps, plan, scores[0][r], scores[1][r], delta[r], key, scratch
            )
            codes[r, drawn_steps] = what
            if flipped > 0:
                codes[r, drawn_steps] = what + DECISION
                kind[r, k], size[r, k], ratio[r, k] = what, flipped, log_ratio
                for m in range(flipped):
                    site = scratch[0][m]
                    sites[r, k, m] = site
                    weights[r, k, m] = -position[r, site]
                after[r, k] = sums[r]
                offset[r, k], mark[r, k] = drawn_steps, used
                take_back(heaps, count, scratch[2], scratch[3])
                k += 1
            elif count == 0:
                codes[r, drawn_steps] = what + NULL
            else:
                for m in range(count):
                    log_sites[r, used] = scratch[2][m]
                    log_weights[r, used] = scratch[3][m]
                    used += 1
            drawn_steps += 1
        drawn[r], steps[r] = k, drawn_steps
        mark[r, k] = used


@kernel
def threshold_rows(
    cla: FloatArray, step: IntArray, cells: Cells, offset: IntArray, drawn: IntArray, temperature: FloatArray,
    seed: int, chains: IntArray, out: FloatArray,
) -> None:  # fmt: skip
    """L_pru does not change, so the threshold is the current L_cla and the term of the temperature."""
    for r in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[r, k] = -np.inf
            if k < drawn[r]:
                u = accept_uniform((seed, chains[r], step[r] + offset[r, k]), temperature[r])
                out[r, k] = threshold(cla[r], 0.0, 0.0, cells[4][r, k], temperature[r], u)


@kernel
def take_candidate(position: FloatArray, tree: AnyArray, flipped: int, flips: AnyArray) -> None:
    """Bring the signs of the positions to the mask of the heaps."""
    for m in range(flipped):
        site = flips[m]
        tree_add(tree, site, -1 if position[site] > 0.0 else 1)
        position[site] = -position[site]


@kernel
def advance_rows(
    loss: FloatArray, cla: FloatArray, chain: tuple[FloatArray, FloatArray, AnyArray, IntArray],
    ranks: RankRows, layers: tuple[AnyArray, IntArray, IntArray], plan: Plan,
    scores: tuple[FloatArray, FloatArray], delta: FloatArray, temperature: FloatArray, seed: int, chains: IntArray,
    scratch: Scratch, log: Log, cells: Cells, offset: IntArray, mark: IntArray, drawn: IntArray, steps: IntArray,
    losses: FloatArray, info: Info, decided: IntArray, consumed_steps: IntArray,
) -> None:  # fmt: skip
    """Take the first accepted decision of each replica, and undo the walks behind it."""
    position, _, tree, step = chain
    kind, size, sites, _, ratio, _ = cells
    consumed, index, taken, change, proposed, accepted, null, nonfinite = info
    for r in range(losses.shape[0]):
        heaps = (ranks[0][r], ranks[1][r], ranks[2][r], ranks[3][r], ranks[4][r], layers[0], layers[1], layers[2])
        drawn_steps = steps[r]
        for k in range(drawn[r]):
            consumed[r] += 1
            change[r, k] = losses[r, k] - cla[r]
            if not np.isfinite(losses[r, k]):
                nonfinite[r] += 1
            key = (seed, chains[r], step[r] + offset[r, k])
            u = accept_uniform(key, temperature[r])
            bound = threshold(cla[r], 0.0, 0.0, ratio[r, k], temperature[r], u)
            if is_accepted(losses[r, k], bound, temperature[r]):
                for m in range(mark[r, drawn[r]] - 1, mark[r, k] - 1, -1):
                    set_weight(heaps, log[0][r, m], log[1][r, m])
                make_move(position[r], tree[r], heaps, plan, scores[0][r], scores[1][r], delta[r], key, scratch)
                take_candidate(position[r], tree[r], size[r, k], sites[r, k])
                loss[r] = losses[r, k]
                cla[r] = losses[r, k]
                accepted[r, kind[r, k]] += 1
                index[r], taken[r] = k, kind[r, k]
                drawn_steps = offset[r, k] + 1
                break
        for s in range(drawn_steps):
            code = log[2][r, s]
            what = code & 15
            proposed[r, what] += 1
            if code & NULL:
                null[r] += 1
            elif code & DECISION:
                decided[r, what] += 1
        consumed_steps[r] = drawn_steps
        step[r] += drawn_steps


@kernel
def table_rows(
    loss: FloatArray, cla: FloatArray, chain: tuple[FloatArray, FloatArray, AnyArray, IntArray],
    ranks: RankRows, layers: tuple[AnyArray, IntArray, IntArray], steps: int,
    table: FloatArray, plan: Plan, scores: tuple[FloatArray, FloatArray], delta: FloatArray, temperature: FloatArray,
    seed: int, chains: IntArray, scratch: Scratch, visits: IntArray, proposed: IntArray, decided: IntArray,
    accepted: IntArray, null: IntArray, nonfinite: IntArray,
) -> None:  # fmt: skip
    """Run the serial chain on a table of losses, one step at a time."""
    position, _, tree, first = chain
    for r in range(position.shape[0]):
        heaps = (ranks[0][r], ranks[1][r], ranks[2][r], ranks[3][r], ranks[4][r], layers[0], layers[1], layers[2])
        code = 0
        if table.size > 1:
            for i in range(position.shape[1]):
                if position[r, i] > 0.0:
                    code |= 1 << i
        accumulate(position[r], plan, scores[0][r], scores[1][r])
        for step in range(first[r], first[r] + steps):
            key = (seed, chains[r], step)
            kind, count, flipped, ratio = make_move(
                position[r], tree[r], heaps, plan, scores[0][r], scores[1][r], delta[r], key, scratch
            )
            proposed[r, kind] += 1
            if count == 0:
                null[r] += 1
            elif flipped > 0:
                decided[r, kind] += 1
                code_new = code
                if table.size > 1:
                    for m in range(flipped):
                        code_new ^= 1 << scratch[0][m]
                value = table[code_new]
                if not np.isfinite(value):
                    nonfinite[r] += 1
                bound = threshold(cla[r], 0.0, 0.0, ratio, temperature[r], accept_uniform(key, temperature[r]))
                if is_accepted(value, bound, temperature[r]):
                    take_candidate(position[r], tree[r], flipped, scratch[0])
                    accumulate(position[r], plan, scores[0][r], scores[1][r])
                    cla[r], code = value, code_new
                    accepted[r, kind] += 1
                else:
                    take_back(heaps, count, scratch[2], scratch[3])
            if visits.shape[1] > 0:
                visits[r, code] += 1
        loss[r] = cla[r]
        first[r] += steps
