import math

import pytest

from mcprune.session.finish.baselines import ORDER, Scores


def test_a_line_has_the_mean_and_the_spread_of_what_was_measured():
    scores = Scores()
    entry = scores.add("random masks", 16, [0.5, 0.7, None], 0.0, [None, 0.2, 0.4])
    assert (entry.name, entry.kept, entry.count) == ("random masks", 16, 3)
    assert entry.accuracy == pytest.approx(0.6)
    assert entry.spread == pytest.approx(math.sqrt(0.02))
    assert entry.objective == pytest.approx(0.3)
    alone = scores.add("all sites", 64, [0.9], 0.0, [None])
    assert (alone.accuracy, alone.spread, alone.objective) == (0.9, None, None)
    nothing = scores.add("dense", 64, [None], 0.0, [None])
    assert (nothing.accuracy, nothing.count) == (None, 1)


def test_lines_are_in_the_order_of_the_report():
    scores = Scores()
    for name in reversed(ORDER):
        scores.add(name, 1, [0.5], 0.0, [None])
    assert tuple(entry.name for entry in scores.ordered()) == ORDER
