"""n(t) in waves: it falls, rises and falls again, each time less high, and rests at n."""

import itertools
import math

import numpy as np
import pytest

from mcprune.chain.schedules import Schedule, Waves
from mcprune.errors import ConfigError

FALL = Schedule("geometric", 784.0, 50.0, 0.3)


def test_before_and_after_the_waves_it_is_the_plain_fall():
    waves = Waves(FALL, 1.0, 40)
    for share in (0.0, 0.1, 0.299, 0.9, 0.95, 1.0):
        assert waves.value(share) == FALL.value(share)


def test_each_wave_begins_high_falls_and_rests_at_n():
    count = 6
    waves = Waves(FALL, 1.0, count)
    length = 0.6 / count
    tops = []
    for wave in range(count):
        begun = 0.3 + wave * length
        values = [waves.value(begun + length * part) for part in np.linspace(1e-6, 1 - 1e-6, 50)]
        assert all(a >= b - 1e-9 for a, b in itertools.pairwise(values))  # it falls
        assert values[-14:] == [50.0] * 14  # the last three tenths
        tops.append(values[0])
    assert tops[0] == pytest.approx(100.0, rel=1e-4)
    assert all(a > b for a, b in itertools.pairwise(tops))  # each less high than the one before
    # By hand: the last wave begins at share 5/6, its height is 1 - .7 * 5/6.
    assert tops[-1] == pytest.approx(50.0 * (2.0 - 0.7 * 5 / 6), rel=1e-4)


@pytest.mark.parametrize(
    ("height", "count", "until"), [(0.0, 4, 0.9), (-1.0, 4, 0.9), (1.0, 0, 0.9), (1.0, 4, 0.3), (1.0, 4, 1.5)]
)
def test_waves_that_cannot_be_are_refused(height, count, until):
    with pytest.raises(ConfigError):
        Waves(FALL, height, count, until)


def test_a_control_without_waves_never_rises():
    values = [math.ceil(FALL.value(share)) for share in np.linspace(0, 1, 200)]
    assert all(a >= b for a, b in itertools.pairwise(values))
    risen = [math.ceil(Waves(FALL, 1.0, 5).value(share)) for share in np.linspace(0, 1, 200)]
    assert sum(a < b for a, b in itertools.pairwise(risen)) == 5
