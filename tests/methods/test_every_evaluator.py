"""One chain, whoever judges and however many candidates ahead: the trace is that of the canonical evaluator at K = 1."""

import copy

import numpy as np
import pytest
import torch
from selection import long_but
from torch import nn

from mcprune.chain.schedules import Schedule

BLOCKS = 4
EVALUATORS = ["suffix", "parts", "parts in bfloat16", "incremental", "stacked", "fused", "graph", "bf16"]
MIXED = {"exchange": 1.0, "site": 1.0, "block": 1.0, "toggle": 0.3, "uniform": 0.1}
SETTINGS = {
    "greedy": {"plan": MIXED, "alpha": Schedule("constant", 4.0, 4.0), "sharpness": Schedule("constant", 1.0, 1.0)},
    "warm, soft gates, all moves": {
        "temperature": Schedule("constant", 0.02, 0.02),
        "sharpness": Schedule("constant", 1.0, 1.0),
        "plan": MIXED,
    },
    "falling count": {"pooled": True, "target": Schedule("geometric", 32.0, 6.0, 0.5)},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", long_but("the same trace under other settings", [*SETTINGS], "warm, soft gates, all moves")
)
def test_the_trace_does_not_depend_on_the_evaluator_nor_on_k(name, bench):
    wanted, told = bench.trace(bench.chain("full", lookahead=1, **SETTINGS[name]), BLOCKS)
    assert sum(block.accepted for block in told) > 8  # there is something to be different in
    for evaluator in EVALUATORS:
        for ahead in (1, 64):
            # The pool is no step of the chain: it takes the cheapest by the evaluator's own losses, bf16's too.
            if evaluator in ("bf16", "parts in bfloat16") and name == "falling count":
                continue
            trace, _ = bench.trace(bench.chain(evaluator, lookahead=ahead, **SETTINGS[name]), BLOCKS)
            np.testing.assert_array_equal(trace, wanted, err_msg=f"{evaluator}, K = {ahead}")


@pytest.mark.slow
def test_an_evaluator_that_errs_by_more_than_it_states_changes_the_trace(bench):
    """The control: what settles decisions is the stated error."""
    wanted, _ = bench.trace(bench.chain("full", **SETTINGS["greedy"]))
    chain = bench.chain("incremental", **SETTINGS["greedy"])
    losses = chain.evaluation.evaluator.losses
    draw = np.random.default_rng(0)

    def noisy(*args):
        values = losses(*args)
        return values + draw.normal(0.0, 0.02, values.shape)

    chain.evaluation.evaluator.losses = noisy
    assert not np.array_equal(bench.trace(chain)[0], wanted)


@pytest.mark.parametrize("evaluator", [*EVALUATORS, "full", "fused weights"])
def test_a_block_is_judged_by_the_classifier_as_it_is_now(evaluator, bench):
    """Each block between two steps of a fused optimizer, which changes parameters without a trace."""
    name, kinds = ("fused", "weights") if evaluator == "fused weights" else (evaluator, "inputs,units")
    chain = copy.deepcopy(bench.chain(name, kinds=kinds, decisions=4, lookahead=4))
    gated = chain.evaluation.canonical.gated
    optimizer = torch.optim.AdamW(gated.model.parameters(), lr=0.05, fused=True)
    losses = []
    for block in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(gated.model(bench.batch.features), bench.batch.targets).backward()
        optimizer.step()
        before = chain.position().copy()
        judged = record(chain.evaluation.evaluator)
        chain.step(bench.batch, (block + 1) / 4)
        losses.append(float(chain.evaluation.canonical.at(before[None])[0]))
        assert abs(judged[0] - losses[-1]) < 1e-2 * (evaluator in ("bf16", "parts in bfloat16")) + 1e-5, block
    assert min(np.abs(np.diff(losses))) > 1e-3  # the classifier did change


def record(evaluator):
    """What an evaluator gives as the loss of the position from now on."""
    current, given = type(evaluator).current, []

    def watched():
        given.append(float(current(evaluator)[0]))
        return np.array(given[-1:])

    evaluator.current = watched
    return given
