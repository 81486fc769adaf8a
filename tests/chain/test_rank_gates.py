"""Gates by rank: the kernel is the plain rule, the trace does not depend on K, and the heaps hold the heaviest mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import long_but

from mcprune.chain import moves, state
from mcprune.chain.kernels import EXCHANGE, INFORMED, SITE, TOGGLE, UNIFORM
from mcprune.chain.philox import ACCEPT, MOVE_CHOICE, SITE_CHOICE, VALUE, uniforms
from mcprune.chain.ranks import gates
from mcprune.chain.ranks.table import run_table
from mcprune.errors import ConfigError

SEED = 5
CHAINS = np.array([7, 2**32 - 1, 0])
EVERY = {"uniform": 1, "block": 2, "site": 6, "exchange": 2, "toggle": 1, "informed": 2}
KINDS = [{kind: 1} for kind in moves.KINDS]


def plan_of(sites, shares):
    return moves.move_plan(
        **shares, block_size=min(3, sites), box=gates.BOX,
        add=np.linspace(0.2, 2, sites), remove=np.linspace(1, 0.3, sites),
    )  # fmt: skip


def begun(sites, n, layers=None, chains=CHAINS):
    """Chains and ranks of independent uniform weights."""
    weights = gates.draw_weights(3, chains, sites)
    position = np.where(gates.top(weights, n, layers), 4.0, -4.0)
    here = state.new_state(position, sharpness=np.inf)
    return here, gates.new_ranks(here, weights, layers)


def landscape(mask):
    """A rugged L_cla of masks (..., N), from whole numbers: the same bits in any batch."""
    waves = np.arange(1, mask.shape[-1] + 1) ** 2 % 17
    return ((mask * waves).sum(axis=-1) * 37 % 101) / 64.0


def greatest(weights, n, layers):
    """mask(w; n) by its definition: each layer's largest first, then the largest of all; ties to the lower index."""
    order = sorted(range(weights.size), key=lambda i: (-weights[i], i))
    kept = [] if layers is None else [next(i for i in order if layers[i] == g) for g in range(layers.max() + 1)]
    kept += [i for i in order if i not in kept][: n - len(kept)]
    return np.isin(np.arange(weights.size), kept)


def fold(x):
    """Reflect x into the box."""
    x = (x + gates.BOX) % (4 * gates.BOX)
    return np.where(x > 2 * gates.BOX, 4 * gates.BOX - x, x) - gates.BOX


def plain(weights, n, steps, shares, temperature, delta, chain, layers=None):
    """The serial chain by its definition: (kinds, decisions, accepted) of all steps, and the weights at the end."""
    w, sites = weights.copy(), weights.size
    mask = greatest(w, n, layers)
    plan, loss, history = plan_of(sites, shares), landscape(mask), []
    for step in range(steps):
        key = (SEED, int(chain), step)
        positive = np.flatnonzero(plan.probabilities)
        kind = int(positive[0])
        if positive.size > 1:
            u = uniforms(*key, MOVE_CHOICE, 1)[0]
            kind = int(
                positive[min(np.searchsorted(np.cumsum(plan.probabilities[positive]), u, "right"), positive.size - 1)]
            )
        new, ratio, is_null = w.copy(), 0.0, False
        u, v = uniforms(*key, SITE_CHOICE, 2)
        kept, dropped = np.flatnonzero(mask), np.flatnonzero(~mask)
        if kind in (EXCHANGE, INFORMED):
            if kind == EXCHANGE:
                i, j = kept[int(u * kept.size)], dropped[int(v * dropped.size)]
            else:
                a, b = plan.remove[kept].sum(), plan.add[dropped].sum()
                i = kept[np.searchsorted(np.cumsum(plan.remove[kept]), u * a, "right")]
                j = dropped[np.searchsorted(np.cumsum(plan.add[dropped]), v * b, "right")]
                ratio = np.log(
                    plan.remove[j] * plan.add[i] * a * b
                    / (plan.remove[i] * plan.add[j] * (a - plan.remove[i] + plan.remove[j]) * (b - plan.add[j] + plan.add[i]))
                )  # fmt: skip
            new[[i, j]] = w[[j, i]]
            expected = mask.copy()
            expected[[i, j]] = False, True
            is_null = not (greatest(new, n, layers) == expected).all()
        elif kind in (SITE, TOGGLE):
            site = int(u * sites)
            new[site] = -w[site] if kind == TOGGLE else fold(w[site] + delta * (2 * v - 1))
        elif kind == UNIFORM:
            new = fold(w + delta * (2 * uniforms(*key, VALUE, sites) - 1))
        else:
            chosen = []
            for m, u in enumerate(uniforms(*key, SITE_CHOICE, plan.block_size)):
                last = sites - plan.block_size + m
                site = int(u * (last + 1))
                chosen.append(last if site in chosen else site)
            new[chosen] = fold(w[chosen] + delta * (2 * uniforms(*key, VALUE, plan.block_size) - 1))
        after = mask if is_null else greatest(new, n, layers)
        is_decision = bool((after != mask).any())
        is_taken = False
        if is_decision:
            value = landscape(after)
            is_taken = bool(value < loss)
            if temperature > 0:
                is_taken = value - loss <= temperature * (ratio - np.log(uniforms(*key, ACCEPT, 1)[0]))
            if is_taken:
                w, mask, loss = new, after, value
        elif not is_null:
            w = new
        history.append((kind, is_decision, bool(is_taken)))
    return history, w


def driven(sites, n, steps, shares, temperature, ahead, layers=None, chains=CHAINS, delta=0.5):
    """The same chains by the engine, in batches of `ahead`: the trace of accepted decisions, the counts, weights and masks."""
    plan = plan_of(sites, shares)
    here, ranks = begun(sites, n, layers, chains)
    key = {"plan": plan, "delta": delta, "seed": SEED, "chains": chains}
    here.cla[:] = landscape(here.position > 0)
    here.loss[:] = here.cla
    counts = np.zeros((4, chains.size), np.int64)
    trace = []
    while (here.step < steps).any():
        left = steps - here.step
        before = here.step.copy()
        drawn = gates.propose(here, ranks, ahead, **key, room=np.full(chains.size, ahead), steps=left)
        losses = landscape(moves.dense(here, drawn.moves) > 0)
        limits = gates.thresholds(here, drawn, temperature=temperature, seed=SEED, chains=chains)
        info = gates.advance(here, ranks, drawn, losses, temperature=temperature, **key)
        for r, k in enumerate(info.index):
            is_below = losses[r] <= limits[r] if temperature > 0 else losses[r] < limits[r]
            assert not is_below[: info.consumed[r] - (k >= 0)].any()
            if k >= 0:
                assert is_below[k]
                trace.append(
                    (r, int(before[r] + drawn.offset[r, k]), ranks.weights[r].tobytes(), here.position[r].tobytes())
                )
        counts += [info.steps, info.decided.sum(axis=1), info.accepted.sum(axis=1), info.null]
    assert (here.step == steps).all()
    return sorted(trace), counts, ranks, here


def check_heaps(ranks, here):
    """Weights, heaps, tree and signs agree, and the mask is the heaviest one."""
    group, start, least = ranks.layers
    layers = None if least.size == 1 else np.where(least[group] > 0, group, -1)
    for r, w in enumerate(ranks.weights):
        kept = here.position[r] > 0
        assert (greatest(w, int(kept.sum()), layers) == kept).all()
        assert here.tree[r, 0] == kept.sum()
        assert (ranks.heap[r, ranks.place[r]] == np.arange(w.size)).all()
        assert (ranks.keys[r] == w[ranks.heap[r]]).all()
        assert (ranks.kept[r] == [kept[group == g].sum() for g in range(least.size)]).all()
        for g in range(least.size):
            cells = ranks.heap[r, start[g] : start[g + 1]]
            low, high = cells[: ranks.kept[r, g]], cells[ranks.kept[r, g] :][::-1]
            assert kept[low].all()
            assert not kept[high].any()
            for front, sign in ((low, 1), (high, -1)):
                for k in range(1, front.size):
                    assert sign * w[front[(k - 1) // 2]] <= sign * w[front[k]]


LAYERS = {None: None, "two": np.array([0, 0, 0, 1, 1, 1, 1, -1, -1, -1, -1, -1])}


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("temperature", [0.0, 0.4])
@pytest.mark.parametrize("shares", [*KINDS, EVERY], ids=lambda shares: "+".join(shares))
def test_the_kernel_is_the_plain_chain(shares, temperature, layers):
    sites, n, steps = 12, 4, 250
    _, counts, ranks, here = driven(sites, n, steps, shares, temperature, 5, LAYERS[layers])
    check_heaps(ranks, here)
    assert ((here.position > 0).sum(axis=1) == n).all()
    for r, chain in enumerate(CHAINS):
        start = gates.draw_weights(3, CHAINS, sites)[r]
        history, w = plain(start, n, steps, shares, temperature, 0.5, chain, LAYERS[layers])
        assert counts[1:3, r].tolist() == [sum(one[1] for one in history), sum(one[2] for one in history)]
        np.testing.assert_allclose(ranks.weights[r], w, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize(
    "shares",
    long_but("single moves of the mixture", [*KINDS, EVERY], {"site": 1}, {"exchange": 1}, EVERY),
    ids=lambda shares: "+".join(shares),
)
@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_the_trace_is_the_same_for_every_k_and_every_number_of_replicas(shares, temperature, layers):
    serial, counts, _, _ = driven(12, 4, 400, shares, temperature, 1, LAYERS[layers])
    assert len(serial) >= (3 if temperature == 0 else 30)
    for ahead in (3, 16, 64):
        trace, other, _, _ = driven(12, 4, 400, shares, temperature, ahead, LAYERS[layers])
        assert trace == serial
        assert (other == counts).all()
    alone, _, _, _ = driven(12, 4, 400, shares, temperature, 16, LAYERS[layers], CHAINS[1:2])
    assert [one[1:] for one in alone] == [one[1:] for one in serial if one[0] == 1]


@pytest.mark.parametrize("shares", [{"site": 1}, EVERY], ids=lambda shares: "+".join(shares))
def test_the_table_run_is_the_same_chain(shares):
    sites, n, steps = 8, 3, 500
    codes = np.arange(2**sites)[:, None] >> np.arange(sites) & 1
    here, ranks = begun(sites, n)
    info = run_table(
        here,
        ranks,
        steps,
        table=landscape(codes),
        plan=plan_of(sites, shares),
        delta=0.5,
        temperature=0.4,
        seed=SEED,
        chains=CHAINS,
    )
    _, counts, other, there = driven(sites, n, steps, shares, 0.4, 7)
    assert ranks.weights.tobytes() == other.weights.tobytes()
    assert here.position.tobytes() == there.position.tobytes()
    assert here.loss.tobytes() == there.loss.tobytes()
    assert [part.sum(axis=1).tolist() for part in (info.decided, info.accepted)] == counts[1:3].tolist()
    check_heaps(ranks, here)


def test_a_batch_stops_at_the_decisions_and_at_the_steps_that_are_left():
    here, ranks = begun(12, 4)
    key = {"plan": plan_of(12, {"site": 1}), "delta": 0.01, "seed": SEED, "chains": CHAINS}
    drawn = gates.propose(here, ranks, 8, **key, room=np.array([0, 2, 8]), steps=np.array([1000, 100_000, 5]))
    assert drawn.drawn[:2].tolist() == [0, 2]
    assert drawn.steps[0] == 0
    assert drawn.steps[1] == drawn.offset[1, 1] + 1
    assert drawn.steps[2] == 5
    # a delta that never changes the mask ends all the same, and takes its walks
    here, ranks = begun(12, 4)
    start = ranks.weights.copy()
    here.cla[:] = 1.0
    drawn = gates.propose(here, ranks, 8, **{**key, "delta": 1e-9}, room=np.full(3, 8), steps=np.full(3, 10**9))
    info = gates.advance(here, ranks, drawn, np.zeros((3, 1)), temperature=0.0, **{**key, "delta": 1e-9})
    assert (info.steps == gates.LOG // 3).all()
    assert info.decided.sum() == 0
    assert (ranks.weights != start).any()


def test_losses_that_are_not_finite_are_rejected_and_counted():
    here, ranks = begun(12, 4)
    here.cla[:] = 1.0
    key = {"plan": plan_of(12, {"site": 1}), "delta": 1.0, "seed": SEED, "chains": CHAINS}
    drawn = gates.propose(here, ranks, 4, **key, room=np.full(3, 4), steps=np.full(3, 1000))
    info = gates.advance(here, ranks, drawn, np.full((3, 4), np.nan), temperature=0.5, **key)
    assert info.nonfinite.tolist() == [4, 4, 4]
    assert info.accepted.sum() == 0
    check_heaps(ranks, here)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sites=st.integers(2, 9), data=st.data())
def test_trading_weights_makes_a_mask_the_top(seed, sites, data):
    n = data.draw(st.integers(1, sites))
    rng = np.random.default_rng(seed)
    weights = rng.uniform(-1, 1, (2, sites))
    before = weights.copy()
    mask = rng.permuted(np.tile(np.arange(sites) < n, (2, 1)), axis=1)
    gates.arrange(weights, mask)
    assert (gates.top(weights, n) == mask).all()
    assert (np.sort(weights, axis=1) == np.sort(before, axis=1)).all()
    again = weights.copy()
    gates.arrange(again, mask)
    assert (again == weights).all()


def test_weights_outside_of_the_box_and_other_boxes_are_refused():
    here, ranks = begun(6, 2)
    with pytest.raises(ConfigError, match="not in"):
        gates.new_ranks(here, 2.0 * np.ones((3, 6)))
    with pytest.raises(ConfigError, match="shape"):
        gates.new_ranks(here, np.ones((3, 5)))
    plan = plan_of(6, {"site": 1})._replace(box=8.0)
    with pytest.raises(ConfigError, match="box"):
        gates.propose(here, ranks, 1, plan=plan, delta=1.0, seed=1, chains=CHAINS, room=np.ones(3), steps=np.ones(3))
