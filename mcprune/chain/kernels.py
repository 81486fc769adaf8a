"""The compiled kernels of the engine; the accept rule that they apply is in `accept`.

Nothing here checks its arguments: `philox`, `state`, `moves`, `budget`, `engine` are the documented callers.
Letters: R replicas, N sites, K candidates ahead, M the most sites that a move of the plan changes.
"""

import math
from typing import Any, TypeAlias

import numba
import numpy as np

from mcprune.chain.accept import is_accepted, threshold
from mcprune.chain.jit import kernel, parallel_kernel
from mcprune.types import AnyArray, FloatArray, IntArray

# What the random numbers of one step are for: those of different purposes never meet, whatever a move
# consumes.
MOVE_CHOICE, SITE_CHOICE, VALUE, ACCEPT, SWAP, MASK, BATCH, START = range(8)
UNIFORM, BLOCK, SITE, EXCHANGE, TOGGLE, INFORMED = range(6)
LOG_FLOOR = -1000.0

Key: TypeAlias = tuple[int, int, int]  # seed, chain, step
# a ChainState without its losses: position (R, N), sums (R, 3), tree (R, N + 1), step (R,)
Chain: TypeAlias = tuple[FloatArray, FloatArray, AnyArray, IntArray]
# Moves: kind, size (R, K), sites, weights (R, K, M), log_ratio (R, K), sums (R, K, 3)
Cells: TypeAlias = tuple[AnyArray, ...]
# (probabilities, block_size, box, add, remove): a MovePlan as a plain tuple, which numba dispatches faster
Plan: TypeAlias = tuple[Any, ...]
# temperature, alpha, n, each (R,), and whether the rejection loss is the modified one
Rule: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, bool]
# consumed, index, kind (R,), loss_change (R, K), proposed, accepted (R, 6), null, nonfinite (R,)
Info: TypeAlias = tuple[AnyArray, ...]
Words: TypeAlias = tuple[np.uint64, np.uint64, np.uint64, np.uint64]

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)


# ---- random numbers ----------------------------------------------------------------------------------------


@kernel
def philox(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64) -> Words:
    """Philox4x32-10 on 32-bit words held in uint64 (a 32 x 32 bit product then needs no high-word trick)."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _WORD) ^ c1 ^ k0, p1 & _LOW, (p0 >> _WORD) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@kernel
def open_unit(high: np.uint64, low: np.uint64) -> float:
    """52 bits k as (k + 1/2) 2**-52: exact in a double, and neither 0 nor 1."""
    return (float(np.int64((high << np.uint64(20)) | (low >> np.uint64(12)))) + 0.5) * 2.0**-52


@kernel
def pair(key: Key, purpose: int, block: int) -> tuple[float, float]:
    """Two doubles of the open unit interval for (seed, chain; step, block, purpose)."""
    seed, chain, step = np.uint64(key[0]), np.uint64(key[1]), np.uint64(key[2])
    a, b, c, d = philox(step & _LOW, step >> _WORD, np.uint64(block), np.uint64(purpose), seed, chain)
    return open_unit(a, b), open_unit(c, d)


@kernel
def fill_uniforms(key: Key, purpose: int, out: FloatArray) -> None:
    """Fill `out` with uniform random numbers of one purpose."""
    for i in range(out.size):
        first, second = pair(key, purpose, i >> 1)
        out[i] = second if i & 1 else first


@kernel
def below(u: float, count: int) -> int:
    """Uniform integer of 0..count-1; u <= 1 - 2**-53, so u * count rounds to less than count."""
    return int(u * count)


# ---- gates, sums and the loss of the pruner ----------------------------------------------------------------


@kernel
def gate(w: float, sharpness: float) -> tuple[float, float, float]:
    """Return s, s (1 - s) and log s of one site, through e = exp(-|x|) so that nothing overflows or cancels."""
    if sharpness == math.inf:
        return (1.0, 0.0, 0.0) if w > 0.0 else (0.0, 0.0, LOG_FLOOR)
    x = sharpness * w
    e = math.exp(-abs(x))
    log_s = min(x, 0.0) - math.log1p(e)
    s = (1.0 if x >= 0.0 else e) / (1.0 + e)
    return s, e / ((1.0 + e) * (1.0 + e)), max(log_s, LOG_FLOOR)


@kernel
def whole_sums(w: FloatArray, sharpness: float, out: FloatArray) -> None:
    """Write the sums of s, of s (1 - s) and of log s over all sites to `out`."""
    a, b, c = 0.0, 0.0, 0.0
    for i in range(w.size):
        s, variance, log_s = gate(w[i], sharpness)
        a += s
        b += variance
        c += log_s
    out[0], out[1], out[2] = a, b, c


@kernel
def pruning(sums: FloatArray, n: float, size: int, modified: bool) -> float:
    """Return L_pru of the sums over the sites."""
    loss: float = abs(sums[0] - n) / size + sums[1] / size
    return loss + math.exp(sums[2]) if modified else loss


@kernel
def pressure(sums: FloatArray, r: int, rule: Rule, size: int) -> float:
    """Return alpha L_pru of replica r."""
    return float(rule[1][r] * pruning(sums, rule[2][r], size, rule[3]))


@kernel
def total_losses(cla: FloatArray, sums: FloatArray, rule: Rule, size: int, out: FloatArray) -> None:
    """Write L_tot of each replica to `out`."""
    for r in range(cla.size):
        out[r] = cla[r] + pressure(sums[r], r, rule, size)


# ---- the Fenwick tree over kept sites ----------------------------------------------------------------------
# tree[i], i >= 1, counts the kept among the sites i - lowbit(i) .. i - 1; the spare tree[0] counts all kept.


@kernel
def build_tree(w: FloatArray, tree: AnyArray) -> None:
    """Build the Fenwick tree of the kept sites; tree[0] is their number."""
    size = w.size
    kept = 0
    for i in range(size):
        flag = 1 if w[i] > 0.0 else 0
        tree[i + 1] = flag
        kept += flag
    for i in range(1, size + 1):
        parent = i + (i & -i)
        if parent <= size:
            tree[parent] += tree[i]
    tree[0] = kept


@kernel
def tree_add(tree: AnyArray, site: int, change: int) -> None:
    """Add the change of one site to the Fenwick tree."""
    tree[0] += change
    i = site + 1
    while i < tree.size:
        tree[i] += change
        i += i & -i


@kernel
def tree_select(tree: AnyArray, rank: int, dropped: bool) -> int:
    """Site of the given rank (from 0, by index) among the kept, or among the dropped."""
    size = tree.size - 1
    stride = 1
    while 2 * stride <= size:
        stride *= 2
    site = 0
    while stride > 0:
        node = site + stride
        if node <= size:
            count = stride - tree[node] if dropped else tree[node]
            if count <= rank:
                rank -= count
                site = node
        stride //= 2
    return site


@kernel
def refresh_row(w: FloatArray, sharpness: float, sums: FloatArray, tree: AnyArray) -> None:
    """Compute the sums and the tree of one replica from its weights."""
    whole_sums(w, sharpness, sums)
    build_tree(w, tree)


@kernel
def refresh_rows(position: FloatArray, sharpness: float, sums: FloatArray, tree: AnyArray) -> None:
    """Compute the sums and the trees of all replicas from their weights."""
    for r in range(position.shape[0]):
        refresh_row(position[r], sharpness, sums[r], tree[r])


# ---- moves -------------------------------------------------------------------------------------------------


@kernel
def reflect(x: float, box: float) -> float:
    """Fold x into [-box, box] by mirrors at the walls: period 4 box, one mirror is left after the shift."""
    if abs(x) <= box:
        return x
    x -= 4.0 * box * np.rint(x / (4.0 * box))
    if x > box:
        return 2.0 * box - x
    if x < -box:
        return -2.0 * box - x
    return x


@kernel
def choose_kind(probabilities: FloatArray, key: Key) -> int:
    """Draw the kind of a move."""
    last = 0
    positive = 0
    for kind in range(probabilities.size):
        if probabilities[kind] > 0.0:
            last = kind
            positive += 1
    if positive == 1:  # any u gives it: not drawn
        return last
    u = pair(key, MOVE_CHOICE, 0)[0]
    total = 0.0
    for kind in range(last):
        total += probabilities[kind]
        if u < total:
            return kind
    return last  # also where the rounded total stays below u


@kernel
def distinct_sites(total: int, count: int, key: Key, sites: IntArray) -> None:
    """Floyd's sampling: `count` distinct sites, every subset equally likely, in O(count)."""
    seen = np.zeros(total, np.uint8)
    u, v = 0.0, 0.0
    for m in range(count):
        if m & 1 == 0:
            u, v = pair(key, SITE_CHOICE, m >> 1)
        last = total - count + m
        site = below(v if m & 1 else u, last + 1)
        if seen[site]:
            site = last
        seen[site] = 1
        sites[m] = site


@kernel
def accumulate(w: FloatArray, plan: Plan, kept: FloatArray, dropped: FloatArray) -> None:
    """Cumulated removal scores of the kept, adding scores of the dropped; of length 0 without `informed`."""
    add, remove = plan[3], plan[4]
    a, b = 0.0, 0.0
    for i in range(kept.size):
        if w[i] > 0.0:
            a += remove[i]
        else:
            b += add[i]
        kept[i] = a
        dropped[i] = b


@kernel
def log_informed(a_i: float, a_j: float, b_i: float, b_j: float, kept_sum: float, dropped_sum: float) -> float:
    """Return log q(old|new) / q(new|old) of swapping kept i and dropped j; -inf where there is no way back."""
    if a_j <= 0.0 or b_i <= 0.0:
        return -math.inf
    forth = math.log(a_i / kept_sum) + math.log(b_j / dropped_sum)
    back = math.log(a_j / (kept_sum - a_i + a_j)) + math.log(b_i / (dropped_sum - b_j + b_i))
    return back - forth


@kernel
def trade(
    w: FloatArray, tree: AnyArray, plan: Plan, kept: FloatArray, dropped: FloatArray,
    kind: int, key: Key, sites: IntArray, weights: FloatArray,
) -> tuple[int, float]:  # fmt: skip
    """Swap the weights of a kept and a dropped site; return (2, log ratio), or (0, 0) where there is no pair."""
    u, v = pair(key, SITE_CHOICE, 0)
    ratio = 0.0
    if kind == EXCHANGE:
        count = tree[0]
        if count == 0 or count == w.size:  # noqa: PLR1714  # plain for numba
            return 0, 0.0
        i = tree_select(tree, below(u, count), False)
        j = tree_select(tree, below(v, w.size - count), True)
    else:
        a, b = kept[-1], dropped[-1]
        if a <= 0.0 or b <= 0.0:
            return 0, 0.0
        # the first cumulated score above u * a < a belongs to a site with a positive score of its own
        i = np.searchsorted(kept, u * a, side="right")
        j = np.searchsorted(dropped, v * b, side="right")
        ratio = log_informed(plan[4][i], plan[4][j], plan[3][i], plan[3][j], a, b)
    sites[0], sites[1] = i, j
    weights[0], weights[1] = w[j], w[i]
    return 2, ratio


@kernel
def draw_change(
    w: FloatArray, tree: AnyArray, plan: Plan, kept: FloatArray, dropped: FloatArray, delta: float, key: Key,
    sites: IntArray, weights: FloatArray,
) -> tuple[int, int, float]:  # fmt: skip
    """Write the new weights of one move into `sites` and `weights`; return (kind, sites written, log ratio), 0 sites without a pair."""
    kind = choose_kind(plan[0], key)
    box = plan[2]
    if kind in (EXCHANGE, INFORMED):
        count, ratio = trade(w, tree, plan, kept, dropped, kind, key, sites, weights)
        return kind, count, ratio
    if kind in (SITE, TOGGLE):
        u, v = pair(key, SITE_CHOICE, 0)
        site = below(u, w.size)
        sites[0] = site
        weights[0] = -w[site] if kind == TOGGLE else reflect(w[site] + delta * (2.0 * v - 1.0), box)
        return kind, 1, 0.0
    count = w.size if kind == UNIFORM else plan[1]
    if kind == BLOCK:
        distinct_sites(w.size, count, key, sites)
    u, v = 0.0, 0.0
    for m in range(count):
        if kind == UNIFORM:
            sites[m] = m
        if m & 1 == 0:
            u, v = pair(key, VALUE, m >> 1)
        weights[m] = reflect(w[sites[m]] + delta * (2.0 * (v if m & 1 else u) - 1.0), box)
    return kind, count, 0.0


@kernel
def draw(
    w: FloatArray, sums: FloatArray, tree: AnyArray, plan: Plan, kept: FloatArray, dropped: FloatArray,
    delta: float, sharpness: float, key: Key, sites: IntArray, weights: FloatArray, after: FloatArray,
) -> tuple[int, int, float]:  # fmt: skip
    """One candidate into `sites`, `weights` and `after` (its sums): (kind, sites changed, log ratio)."""
    after[0], after[1], after[2] = sums[0], sums[1], sums[2]
    kind, count, ratio = draw_change(w, tree, plan, kept, dropped, delta, key, sites, weights)
    if kind in (EXCHANGE, INFORMED):  # the gates only change places: the sums stay, bit for bit
        return kind, count, ratio
    if kind == UNIFORM:  # every term is new, so sum anew: no drift
        whole_sums(weights[:count], sharpness, after)
        return kind, count, 0.0
    for m in range(count):
        s, variance, log_s = gate(w[sites[m]], sharpness)
        s_new, variance_new, log_s_new = gate(weights[m], sharpness)
        after[0] += s_new - s
        after[1] += variance_new - variance
        after[2] += log_s_new - log_s
    return kind, count, 0.0


@kernel
def candidate(
    r: int, k: int, chain: Chain, plan: Plan, kept: FloatArray, dropped: FloatArray,
    delta: FloatArray, sharpness: float, seed: int, chains: IntArray, cells: Cells,
) -> None:  # fmt: skip
    """Write candidate k of replica r to `cells`."""
    position, sums, tree, step = chain
    kind, size, sites, weights, ratio, after = cells
    key = (seed, chains[r], step[r] + k)
    what, count, log_ratio = draw(
        position[r], sums[r], tree[r], plan, kept[r], dropped[r], delta[r], sharpness, key,
        sites[r, k], weights[r, k], after[r, k],
    )  # fmt: skip
    kind[r, k], size[r, k], ratio[r, k] = what, count, log_ratio
    sites[r, k, count:] = -1
    weights[r, k, count:] = math.nan


@kernel
def propose_serial(
    chain: Chain, plan: Plan, kept: FloatArray, dropped: FloatArray,
    delta: FloatArray, sharpness: float, seed: int, chains: IntArray, cells: Cells,
) -> None:  # fmt: skip
    """Write all candidates to `cells`, on one thread."""
    for r in range(cells[0].shape[0]):
        accumulate(chain[0][r], plan, kept[r], dropped[r])
        for k in range(cells[0].shape[1]):
            candidate(r, k, chain, plan, kept, dropped, delta, sharpness, seed, chains, cells)


@parallel_kernel
def propose_parallel(
    chain: Chain, plan: Plan, kept: FloatArray, dropped: FloatArray,
    delta: FloatArray, sharpness: float, seed: int, chains: IntArray, cells: Cells,
) -> None:  # fmt: skip
    """Write all candidates to `cells`, on numba's threads."""
    ahead = cells[0].shape[1]
    for r in range(cells[0].shape[0]):
        accumulate(chain[0][r], plan, kept[r], dropped[r])
    for c in numba.prange(cells[0].shape[0] * ahead):
        candidate(c // ahead, c % ahead, chain, plan, kept, dropped, delta, sharpness, seed, chains, cells)


# ---- the decision ------------------------------------------------------------------------------------------


@kernel
def accept_uniform(key: Key, temperature: float) -> float:
    """Return the step's own uniform for the accept rule; not drawn where the rule is greedy."""
    return pair(key, ACCEPT, 0)[0] if temperature > 0.0 else 1.0


@kernel
def threshold_rows(
    cla: FloatArray, chain: Chain, cells: Cells, rule: Rule, seed: int, chains: IntArray, out: FloatArray
) -> None:
    """Write the largest L_cla at which each candidate is accepted to `out`."""
    position, sums, _, step = chain
    _, size, _, _, ratio, after = cells
    total = position.shape[1]
    for r in range(out.shape[0]):
        old = pressure(sums[r], r, rule, total)
        for k in range(out.shape[1]):
            out[r, k] = -math.inf
            if size[r, k] > 0:
                new = pressure(after[r, k], r, rule, total)
                key = (seed, chains[r], step[r] + k)
                u = accept_uniform(key, rule[0][r])
                out[r, k] = threshold(cla[r], old, new, ratio[r, k], rule[0][r], u)


@kernel
def apply(
    w: FloatArray, sums: FloatArray, tree: AnyArray, step: int, sharpness: float,
    count: int, sites: IntArray, weights: FloatArray, after: FloatArray,
) -> None:  # fmt: skip
    """Take the candidate of `step`. Against drift one accepted step in 64 N sums all gates anew.

    Which one depends on the step alone, so the trace does not depend on K; the cost is below one gate a step.
    """
    for m in range(count):
        site = sites[m]
        change = (1 if weights[m] > 0.0 else 0) - (1 if w[site] > 0.0 else 0)
        w[site] = weights[m]
        if change != 0:
            tree_add(tree, site, change)
    sums[0], sums[1], sums[2] = after[0], after[1], after[2]
    if (step + 1) % (64 * w.size) == 0:
        whole_sums(w, sharpness, sums)


@kernel
def advance_rows(
    loss: FloatArray, cla: FloatArray, chain: Chain, cells: Cells, losses: FloatArray, rule: Rule,
    sharpness: float, seed: int, chains: IntArray, room: IntArray, info: Info, decided: IntArray,
) -> None:  # fmt: skip
    """Decide on the candidates of each replica up to the first accepted one, apply that one, and update the counters."""
    position, sums, tree, step = chain
    kind, size, sites, weights, ratio, after = cells
    consumed, index, taken, change, proposed, accepted, null, nonfinite = info
    total = position.shape[1]
    for r in range(losses.shape[0]):
        old = pressure(sums[r], r, rule, total)
        temperature = rule[0][r]
        for k in range(min(losses.shape[1], room[r])):
            consumed[r] += 1
            proposed[r, kind[r, k]] += 1
            if size[r, k] == 0:
                null[r] += 1
                change[r, k] = 0.0
                continue
            decided[r, kind[r, k]] += 1
            new = pressure(after[r, k], r, rule, total)
            change[r, k] = (losses[r, k] - cla[r]) + (new - old)
            if not math.isfinite(losses[r, k]):
                nonfinite[r] += 1
            now = step[r] + k
            u = accept_uniform((seed, chains[r], now), temperature)
            bound = threshold(cla[r], old, new, ratio[r, k], temperature, u)
            if is_accepted(losses[r, k], bound, temperature):
                apply(
                    position[r],
                    sums[r],
                    tree[r],
                    now,
                    sharpness,
                    size[r, k],
                    sites[r, k],
                    weights[r, k],
                    after[r, k],
                )
                cla[r] = losses[r, k]
                loss[r] = cla[r] + pressure(sums[r], r, rule, total)
                accepted[r, kind[r, k]] += 1
                index[r], taken[r] = k, kind[r, k]
                break
        step[r] += consumed[r]


@kernel
def table_rows(
    loss: FloatArray, cla: FloatArray, chain: Chain, steps: int, table: FloatArray, plan: Plan, widest: int,
    kept: FloatArray, dropped: FloatArray, delta: FloatArray, rule: Rule, sharpness: float, seed: int, chains:
    IntArray, visits: IntArray, proposed: IntArray, accepted: IntArray, null: IntArray, nonfinite: IntArray,
) -> None:  # fmt: skip
    """Run the serial chain on a table of losses, one candidate at a time."""
    for r in range(chain[0].shape[0]):
        w, sums, tree, start = chain[0][r], chain[1][r], chain[2][r], chain[3][r]
        sites, weights, after = np.empty(widest, np.int64), np.empty(widest), np.empty(3)
        code = 0
        if table.size > 1:
            for i in range(w.size):
                if w[i] > 0.0:
                    code |= 1 << i
        accumulate(w, plan, kept[r], dropped[r])
        old = pressure(sums, r, rule, w.size)
        current = cla[r]
        temperature = rule[0][r]
        for step in range(start, start + steps):
            key = (seed, chains[r], step)
            kind, count, ratio = draw(
                w, sums, tree, plan, kept[r], dropped[r], delta[r], sharpness, key, sites, weights, after
            )
            proposed[r, kind] += 1
            if count == 0:
                null[r] += 1
            else:
                code_new = code
                if table.size > 1:
                    for m in range(count):
                        bit = 1 << sites[m]
                        code_new = code_new | bit if weights[m] > 0.0 else code_new & ~bit
                value = table[code_new]
                if not math.isfinite(value):
                    nonfinite[r] += 1
                new = pressure(after, r, rule, w.size)
                bound = threshold(current, old, new, ratio, temperature, accept_uniform(key, temperature))
                if is_accepted(value, bound, temperature):
                    apply(w, sums, tree, step, sharpness, count, sites, weights, after)
                    accumulate(w, plan, kept[r], dropped[r])
                    old = pressure(sums, r, rule, w.size)
                    current, code = value, code_new
                    accepted[r, kind] += 1
            if visits.shape[1] > 0:
                visits[r, code] += 1
        cla[r] = current
        loss[r] = current + old
        chain[3][r] = start + steps
