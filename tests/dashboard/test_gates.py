"""What the page shows of the sites: the weights in order and the candidates around the cut."""

import numpy as np
import pytest

from mcprune.dashboard.gates import POINTS, SHOWN, order_message
from mcprune.methods.base import Sample


def test_the_kept_sites_stand_first_and_the_cut_lies_between():
    position = np.array([0.5, -0.2, 0.1, -0.9])
    message = order_message(position, position > 0, 0.3, [Sample(2, 1, True), Sample(0, None, False)])
    assert message["ranks"] == [0, 1, 2, 3]
    assert message["weights"] == [0.5, 0.1, -0.2, -0.9]
    assert message["cut"] == pytest.approx(-0.05)
    assert (message["kept"], message["size"], message["reach"]) == (2, 4, 2)
    assert message["candidates"] == [[1, 2, True], [0, None, False]]


def test_a_mask_that_is_not_that_of_the_largest_weights_is_in_order_too():
    """With a least number a layer, a kept site may lie below a dropped one."""
    position = np.array([0.9, 1e-12, -0.4])
    message = order_message(position, np.array([True, False, True]), 0.1)
    assert message["weights"] == [0.9, -0.4, 0.0]


def test_of_many_sites_those_at_the_cut_are_sent():
    position = np.linspace(1, -1, 10_000)
    message = order_message(position, position > 0.5, 0.1)
    assert len(message["ranks"]) <= POINTS
    assert set(range(2490, 2510)) <= set(message["ranks"])
    assert {0, 9999} <= set(message["ranks"])
    assert order_message(np.ones(SHOWN + 1), np.ones(SHOWN + 1, bool), 1.0) is None
    assert order_message(np.ones(3), np.ones(3, bool), 1.0)["cut"] is None  # nothing is dropped
