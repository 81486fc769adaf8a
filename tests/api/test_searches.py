"""A search block by block: with the steps of a run it is that run, and whoever calls may do otherwise."""

import numpy as np
import pytest
import torch

import mcprune

OPTIONS = {"epochs": 6, "retrain_epochs": 1, "threads": 1}


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(size=(300, 8))
    return x, np.where(x[:, 2] + x[:, 5] > 0, "up", "down")


@pytest.mark.parametrize(
    "search",
    [mcprune.Markov(delta=1.0), mcprune.Gradient(), mcprune.Importance(measure="obd", rounds="2,recover=1")],
    ids=lambda search: search.method,
)
def test_the_blocks_of_a_run_give_its_mask(search, rows):
    problem = mcprune.Problem(None, rows, keep=2, hidden=(16,))
    whole = mcprune.fit(problem, search, seed=3, **OPTIONS)
    state = search.init(problem, seed=3, **OPTIONS)
    plan = state.search.plan
    blocks, share = plan.train.blocks, plan.evaluation.falls_until
    for block in range(blocks):
        search.train(problem, state, plan.train.steps, block / blocks)
        count = plan.evaluation.early_rows if block / blocks < share else plan.evaluation.rows
        batch = search.batch(problem, state, count)
        state, info = search.step(problem, state, batch, progress=(block + 1) / blocks)
    mask = search.finish(problem, state, search.batch(problem, state, plan.evaluation.rows))
    assert mask.indices.tolist() == whole.mask.indices.tolist()
    assert mask.weights.tolist() == whole.mask.weights.tolist()
    assert mask.names == whole.mask.names
    assert info.loss == whole.history[-1].loss


def test_own_rows_and_a_classifier_that_somebody_else_trains(rows):
    """The documented loop, on a user's own network and batches."""
    X, y = rows
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    problem = mcprune.Problem(net, (X, y), sites="inputs", keep=2, scale="none")
    search = mcprune.Markov(delta=1.0, temperature=mcprune.geometric(3e-3, 3e-4))
    state = search.init(problem, seed=0, threads=1)
    assert state.model is net
    assert state.gates.shape == state.position.shape == (8,)
    features, classes = torch.from_numpy(X.astype(np.float32)), torch.from_numpy((y == "up").astype(np.int64))
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for block in range(40):
        for _ in range(5):
            adam.zero_grad()
            gates = torch.from_numpy(state.gates)
            torch.nn.functional.cross_entropy(net(features * gates), classes).backward()
            adam.step()
        state, info = search.step(problem, state, (features, classes), progress=(block + 1) / 40)
        assert info.proposals > 0
    mask = search.finish(problem, state, (features, classes))
    assert mask.indices.tolist() == [2, 5]
    assert state.search.blocks_done == 40


def test_seeds_differ_and_repeat(rows):
    problem = mcprune.Problem(None, rows, keep=2, hidden=(16,))
    search = mcprune.Markov()
    ends = []
    for seed in (0, 0, 1):
        state = search.init(problem, seed=seed, **OPTIONS)
        state, _ = search.step(problem, state, search.batch(problem, state, 100), progress=0.5)
        ends.append(state.position.tolist())
    assert ends[0] == ends[1] != ends[2]


def test_options_of_a_search_have_one_place(rows):
    with pytest.raises(mcprune.McpruneError, match=r"delta is an option of the search. Give it to Markov\("):
        mcprune.Markov().init(mcprune.Problem(None, rows, keep=2), seed=0, delta=1.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: mcprune.Markov(delta="wide"), r"delta: .*'wide' is not a number\. Write a number, "),
        (
            lambda: mcprune.Markov(move_sites=0),
            r"move_sites: at least 1 is needed, got 0\. Choose another value of --move-sites \(",
        ),
        (
            lambda: mcprune.Markov(keep_schedule="geometric:2"),
            r"keep_schedule: until: at most 1 is needed, got 'geometric:2'\. Choose",
        ),
        (lambda: mcprune.Markov(replicas="many"), r"replicas: number: a whole number is needed, got 'many'\. Choose"),
        (lambda: mcprune.Markov(dleta=1), r"there is no option 'dleta' \(did you mean 'delta'\?\)"),
        (lambda: mcprune.Markov(epochs=3), r"epochs is no option of the search\. Give it to fit or run instead\."),
        (
            lambda: mcprune.Gradient(rejection="hard"),
            r"rejection: 'plain' or 'modified' is needed, got 'hard'\. Choose",
        ),
        (lambda: mcprune.Importance(measure="ob"), r"measure: .*there is no measure 'ob' \(did you mean 'obd'\?\)"),
        (
            lambda: mcprune.Config(train={"epochs": "many"}),
            r"epochs: a whole number is needed, got 'many'\. Choose another",
        ),
        (
            lambda: mcprune.prune("wine", keep=3, epochs=0.5),
            r"epochs: a whole number is needed, got 0\.5\. Choose another",
        ),
        (
            lambda: mcprune.prune("wine", keep=3, frozen="maybe"),
            r"frozen: true or false is needed, got 'maybe'\. Choose another",
        ),
        (lambda: mcprune.prune("wine", keep=3, target=2), r"target: a text is needed, got 2\. Choose another"),
    ],
)
def test_a_wrong_value_is_one_error_with_cause_and_remedy(make, says):
    with pytest.raises(mcprune.McpruneError, match=says) as caught:
        make()
    text = str(caught.value)
    assert "\n" not in text
    assert "Input should" not in text
    assert "pydantic" not in text
