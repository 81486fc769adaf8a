"""Delta that finds the wanted acceptance on a Gaussian law, and stays within bounds."""

import numpy as np
import pytest
from selection import long_but

from mcprune.chain import engine, moves, state, stepsize
from mcprune.errors import ConfigError

SITES, BOX, BLOCK_OF = 6, 8.0, 64


class Gaussian:
    """Blocks of a chain whose L_cla is sum(w^2) / 2, at T = 1 in a wide box."""

    def __init__(self, shares, replicas=2):
        self.here = state.new_state(np.zeros((replicas, SITES)), sharpness=1.0)
        self.plan = moves.move_plan(**shares, block_size=3, box=BOX)
        self.chains = np.arange(replicas)

    def block(self, delta, ahead=8):
        """Proposed and accepted (R, 6)."""
        rule = {"temperature": 1.0, "alpha": 0.0, "n": 1.0, "seed": 3, "chains": self.chains}
        engine.set_loss(self.here, (self.here.position**2).sum(axis=1) / 2, alpha=0.0, n=1.0)
        tally = np.zeros((2, self.chains.size, 6), np.int64)
        left = np.full(self.chains.size, BLOCK_OF)
        while left.any():
            drawn = moves.propose(
                self.here, ahead, plan=self.plan, delta=delta, sharpness=1.0, seed=3, chains=self.chains
            )
            losses = (moves.dense(self.here, drawn) ** 2).sum(axis=2) / 2
            _, info = engine.advance(self.here, drawn, losses, sharpness=1.0, room=left, **rule)
            tally += [info.proposed, info.accepted]
            left -= info.consumed
        return tally


@pytest.mark.slow
@pytest.mark.parametrize("wanted", long_but("another target", [0.234, 0.6], 0.234))
@pytest.mark.parametrize("shares", [{"site": 1}, {"uniform": 1}, {"block": 1, "exchange": 2}])
def test_the_wanted_acceptance_is_met_and_the_start_was_far_from_it(shares, wanted):
    toy, size = Gaussian(shares), stepsize.new_step_size(0.02, 2, BOX)
    users = list(stepsize.USERS)
    for block in range(200):
        tally = toy.block(size.delta.copy())
        if block == 0:
            met = tally[1][:, users].sum() / tally[0][:, users].sum()
            assert met > wanted + 0.15
        stepsize.adapt(size, tally[0], tally[1], wanted)
    frozen = size.delta.copy()
    later = sum(toy.block(frozen) for _ in range(100))
    # Thousands of proposals a rung; a few correlated ones count as one: a standard deviation of about .015
    rates = later[1][:, users].sum(axis=1) / later[0][:, users].sum(axis=1)
    np.testing.assert_allclose(rates, wanted, atol=0.05)


def test_delta_does_not_depend_on_how_many_are_proposed_ahead():
    found = []
    for ahead in (1, 5, 64):
        toy, size = Gaussian({"site": 1, "block": 1}), stepsize.new_step_size(1.0, 2, BOX)
        for _ in range(30):
            stepsize.adapt(size, *toy.block(size.delta.copy(), ahead), 0.3)
        found.append(size.delta.tobytes())
    assert len(set(found)) == 1


def test_delta_stays_in_bounds_and_waits_where_no_move_uses_it():
    size = stepsize.new_step_size(1.0, 2, BOX)
    proposed = np.zeros((2, 6), np.int64)
    proposed[:, moves.SITE] = 10
    accepted = np.zeros((2, 6), np.int64)
    accepted[1, moves.SITE] = 10
    for _ in range(3000):
        stepsize.adapt(size, proposed, accepted, 0.5)
    np.testing.assert_allclose(size.delta, [stepsize.SMALLEST * BOX, 2 * BOX])
    before = size.delta.copy()
    proposed[:], proposed[:, moves.EXCHANGE] = 0, 10
    stepsize.adapt(size, proposed, accepted, 0.5)
    np.testing.assert_array_equal(size.delta, before)
    assert size.updates.tolist() == [3000, 3000]
    for delta, box in [(0.0, 8.0), (np.inf, 8.0), (1.0, np.inf)]:
        with pytest.raises(ConfigError, match="starts positive"):
            stepsize.new_step_size(delta, 1, box)


def test_twice_the_box_draws_a_new_weight_regardless_of_the_old_one():
    toy = state.new_state(np.tile([[-7.9], [0.3], [6.0]], (1, 1)), sharpness=1.0)
    plan = moves.move_plan(site=1, box=BOX)
    drawn = moves.propose(toy, 4000, plan=plan, delta=2 * BOX, sharpness=1.0, seed=0, chains=np.arange(3))
    for weights in drawn.weights[:, :, 0]:
        counts = np.histogram(weights, bins=8, range=(-BOX, BOX))[0]
        # chi-square with 7 degrees of freedom: above 30 with probability 1e-4
        assert ((counts - 500) ** 2 / 500).sum() < 30
