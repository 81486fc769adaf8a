"""A problem, a search and `fit` or `run`: the parts of `prune`, and the same answers."""

import numpy as np
import pytest
import torch

import mcprune
from mcprune.session.steering.controller import Controller


class Stop(Controller):
    """Ends the run after its first block."""

    def stop_reason(self, block: int) -> str:
        return "stop" if block >= 1 else ""


SHORT = {"epochs": 6, "retrain_epochs": 2, "seed": 3, "threads": 1}


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(size=(400, 8))
    return x, np.where(x[:, 2] + x[:, 5] > 0, "up", "down")


@pytest.mark.slow
def test_prune_fit_and_run_give_one_mask(rows):
    x, y = rows
    whole = mcprune.prune(x, y, keep=2, hidden=(16,), delta=0.5, **SHORT)
    problem = mcprune.Problem(None, (x, y), keep=2, hidden=(16,))
    parts = mcprune.fit(problem, mcprune.Markov(delta=0.5), **SHORT)
    events = list(mcprune.run(problem, mcprune.Markov(delta=0.5), **SHORT))
    assert whole.mask.indices.tolist() == parts.mask.indices.tolist()
    assert np.array_equal(whole.mask.weights, parts.mask.weights)
    assert list(events[-1].names) == list(parts.mask.names)
    other = mcprune.fit(problem, mcprune.Markov(delta=0.5), **{**SHORT, "seed": 4})
    assert not np.array_equal(whole.mask.weights, other.mask.weights)  # the control: the weights do depend on the seed


def test_a_search_says_which_method_it_is(rows):
    problem = mcprune.Problem(None, rows, keep=2, hidden=(16,))
    result = mcprune.fit(problem, mcprune.Importance(measure="magnitude"), **SHORT)
    assert result.events[0].config["method"] == "importance"
    assert len(result.mask) == 2


def test_a_temperature_over_the_run():
    search = mcprune.Markov(temperature=mcprune.geometric(3e-3, 3e-4))
    assert search.temperature == "geometric:0.003:0.0003"
    assert mcprune.Markov(delta=mcprune.linear(2, 1, 0.5)).delta == "linear:2:1:0.5"


def test_options_have_one_place(rows):
    with pytest.raises(mcprune.McpruneError, match=r"epochs is no part of a problem\. Give it to fit or run"):
        mcprune.Problem(None, rows, epochs=3)
    with pytest.raises(mcprune.McpruneError, match=r"delta is an option of the search\. Give it to Markov\("):
        mcprune.fit(mcprune.Problem(None, rows, keep=2), mcprune.Markov(), delta=1.0)
    with pytest.raises(mcprune.McpruneError, match="Give the rows first"):
        mcprune.prune(torch.nn.Linear(2, 2), rows[0], keep=2)


def test_a_run_that_was_cut_short_says_so(rows):
    x, y = rows
    assert mcprune.prune(x, y, keep=2, hidden=(16,), **SHORT).is_complete
    left = mcprune.fit(mcprune.Problem(None, rows, keep=2, hidden=(16,)), controller=Stop(), **SHORT)
    assert not left.is_complete
    assert "ended before its planned end" in left._repr_html_()
