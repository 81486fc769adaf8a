"""Whatever the number of layers, the layout of the rows and the sites, the kernels are compiled for one signature each."""

import itertools

import kernel_signatures
import numba
import numpy as np
import pytest
import torch

from mcprune.chain import cost_constraint, engine, moves, state
from mcprune.evaluators.fused import FusedEvaluator
from mcprune.evaluators.fused_weights import FusedWeightsEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

N, ROWS = 21, 150
HIDDEN = {1: (), 2: (19,), 3: (19, 33), 4: (19, 33, 7), 5: (9, 9, 9, 9)}
MIXTURE = {"site": 1.0, "block": 1.0, "exchange": 1.0, "toggle": 1.0, "informed": 1.0, "block_size": 3}


def rows(layout):
    """Rows as a session cuts them out of a matrix of columns, as whole columns, or as a user has them."""
    draw = np.random.default_rng(0)
    columns = torch.from_numpy(draw.normal(size=(N, 2 * ROWS)).astype(np.float32))
    columns[torch.from_numpy(draw.random((N, 2 * ROWS)) < 0.4)] = 0.0
    targets = torch.from_numpy(draw.integers(0, 5, 2 * ROWS))[:ROWS]
    part = {
        "slice": lambda: columns[:, :ROWS].T,
        "columns": lambda: columns[:, :ROWS].contiguous().T,
        "rows": lambda: columns[:, :ROWS].T.contiguous(),
        "every second": lambda: columns.T[::2],
        "images": lambda: columns[:, :ROWS].T.reshape(ROWS, 3, 7),
    }
    return part[layout](), targets


def run(hidden, layout, kinds, replicas, sharpness, early_reject=None):
    """A few blocks of every move, as `Markov.update` makes them; the losses of the last."""
    model = MLP((N, *hidden, 5), seed=1)
    gated = GatedModel(model, site_map(model, kinds, N))
    draw = np.random.default_rng(1)
    sites = gated.sites.size
    current = state.new_state(draw.normal(0.0, 3.0, (replicas, sites)), sharpness=sharpness)
    evaluator = (FusedWeightsEvaluator if "weights" in kinds else FusedEvaluator)(
        gated, CrossEntropy(), early_reject=early_reject
    )
    evaluator.begin(*rows(layout), current.position, sharpness)
    chains = np.arange(replicas)
    rule = {"temperature": 0.1, "alpha": 1.0, "n": 5, "seed": 3, "chains": chains}
    add, remove = draw.random((2, sites))
    plan = moves.move_plan(**MIXTURE, add=add, remove=remove)
    rules = cost_constraint.MaskRules(
        start=np.arange(sites + 1),
        counter=np.arange(sites) % 2,
        amount=np.ones(sites, np.int64),
        base=np.zeros(2, np.int64),
        least=np.ones(2, np.int64),
        is_exact=np.zeros(2, bool),
        cost=np.zeros(2, np.int64),
        left=np.array([0, 1]),
        right=np.array([2, 2]),
        each=np.array([1, 2]),
    )
    constraint = cost_constraint.new_constraint(rules, current)
    for _ in range(3):
        engine.set_loss(current, evaluator.current(), alpha=1.0, n=5)
        batch = moves.propose(current, 5, plan=plan, delta=1.0, sharpness=sharpness, seed=3, chains=chains)
        constraint.close(current, batch, np.array([10 * sites]))
        limits = engine.thresholds(current, batch, **rule)
        losses = evaluator.losses(current, batch, limits)
        usual = np.where(np.isnan(losses), np.inf, losses)
        _, info = engine.advance(current, batch, usual, sharpness=sharpness, **rule)
        evaluator.moved(current.position, batch, info.index)
        constraint.moved(info.index)
    assert constraint.costs().shape == (replicas, 1)
    return losses


def library_products_agree(width):
    """Whether torch's products with a first layer have the same bits in all layouts; on some processors they have not."""
    weight = torch.from_numpy(np.random.default_rng(2).normal(size=(width, N)).astype(np.float32))
    first, *others = (rows(layout)[0] @ weight.T for layout in ("slice", "columns", "rows"))
    return all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("layers", HIDDEN)
def test_depths_layouts_sites(layers):
    reference = {}
    products_agree = library_products_agree((*HIDDEN[layers], 5)[0])
    for layout, replicas in itertools.product(["slice", "columns", "rows"], [1, 2]):
        for kinds in ["inputs", "weights", *(["inputs,units"] if layers > 1 else [])]:
            for sharpness in (1.0, np.inf):
                losses = run(HIDDEN[layers], layout, kinds, replicas, sharpness)
                known = reference.setdefault((kinds, replicas, sharpness), losses)
                np.testing.assert_allclose(losses, known, rtol=1e-6)
                # The layout changes no bit where it changes none of the library's products.
                assert np.array_equal(known, losses, equal_nan=True) or not products_agree
        run(HIDDEN[layers], layout, "inputs", replicas, np.inf, early_reject=0.05)
    for layout in ("every second", "images"):
        run(HIDDEN[layers], layout, "inputs", 1, np.inf)
        run(HIDDEN[layers], layout, "weights", 1, np.inf)
    kernel_signatures.check()
    names = kernel_signatures.compiled()
    assert {"mlp_kernels.evaluate", "weight_kernels.evaluate"} <= names.keys() or numba.get_num_threads() > 1


@pytest.mark.slow
def test_threads_and_the_other_entries():
    before, losses = numba.get_num_threads(), {}
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            for kinds in ("inputs", "weights"):
                found = run(HIDDEN[3], "slice", kinds, 2, np.inf)
                # The number of threads changes no bit.
                assert np.array_equal(losses.setdefault(kinds, found), found, equal_nan=True)
    finally:
        numba.set_num_threads(before)
    wide = state.new_state(np.ones((2, 40)), sharpness=1.0)
    plan = moves.move_plan(uniform=1.0)
    batch = moves.propose(wide, 500, plan=plan, delta=1.0, sharpness=1.0, seed=0, chains=np.arange(2))
    assert (batch.size == 40).all()  # a uniform move changes every site
    kernel_signatures.check()
    assert {"kernels.propose_serial", "kernels.propose_parallel"} & kernel_signatures.compiled().keys()


def test_another_signature_is_found_out(monkeypatch):
    monkeypatch.setattr(kernel_signatures, "compiled", lambda: {"kernels.whole_sums": ["float32[::1], float64"]})
    with pytest.raises(AssertionError):
        kernel_signatures.check()
    monkeypatch.setattr(kernel_signatures, "compiled", lambda: {"kernels.gate": ["float64, float64", "int64, float64"]})
    with pytest.raises(AssertionError):
        kernel_signatures.check()
