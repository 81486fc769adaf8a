"""Chains one after the other: where each begins, what it starts from, and the masks that stay as finalists."""

import numpy as np
import pytest

from mcprune.methods.markov.start import TRAINING, AllSites, ScoredColumns, Starts
from mcprune.state import deserialize, serialize


class Space:
    """Six sites of which two are kept."""

    n = 2
    goal = None

    def enforce(self, scores, goal=None):
        mask = np.zeros(6, bool)
        mask[np.argsort(-scores, kind="stable")[:2]] = True
        return mask

    def counted(self, mask):
        return int(mask.sum())


def starts():
    columns = [ScoredColumns(name, lambda at=at: np.eye(6)[at] + np.eye(6)[5]) for at, name in enumerate(("f", "l1"))]
    return Starts([AllSites(), *columns], [0.0, 0.4, 0.7])


def mask(*sites):
    return np.isin(np.arange(6), sites)


def test_each_chain_begins_at_its_share_and_trains_first():
    parts = starts()
    state = parts.init(6)
    parts.choose_others(state, Space())
    seen = []
    for block in range(1, 101):
        progress = block / 100
        if parts.enter(state, progress, mask(2, 3)):
            begun = parts.choose(state, None, Space())
            seen.append((block, None if begun is None else np.flatnonzero(begun).tolist()))
        trains = parts.trains(state, progress)
        begin, end = {0: (0.0, 0.4), 1: (0.4, 0.7), 2: (0.7, 1.0)}[state.leg]
        assert trains == (state.leg > 0 and progress < begin + TRAINING * (end - begin) - 1e-9)
    assert seen == [(1, None), (41, [0, 5]), (71, [1, 5])]


def test_finalists_are_ends_and_starts_of_n_sites_none_twice():
    parts = starts()
    state = parts.init(6)
    parts.choose_others(state, Space())
    assert [one.name for one in parts.finalists(state, Space())] == ["f", "l1"]
    parts.enter(state, 0.1, mask())
    parts.choose(state, None, Space())
    parts.enter(state, 0.5, mask(0, 1, 2))  # n(t) had not come to n
    parts.choose(state, None, Space())
    parts.enter(state, 0.8, mask(0, 5))  # this chain ended where it began
    parts.choose(state, None, Space())
    parts.end(state, mask(2, 5))
    finalists = parts.finalists(state, Space())
    assert [one.name for one in finalists] == ["chain from f", "chain from l1", "l1"]
    assert [np.flatnonzero(one.mask).tolist() for one in finalists] == [[0, 5], [2, 5], [1, 5]]


@pytest.mark.parametrize("progress", [0.2, 0.9])
def test_the_state_is_saved_whole(progress):
    parts = starts()
    state = parts.init(6)
    parts.choose_others(state, Space())
    parts.enter(state, progress, mask(2, 3))
    parts.choose(state, None, Space())
    again = deserialize(serialize(state), parts.init(6))
    assert again.leg == state.leg
    assert again.is_done
    assert not parts.enter(again, progress, mask(2, 3))
    assert [one.name for one in parts.finalists(again, Space())] == [
        one.name for one in parts.finalists(state, Space())
    ]
