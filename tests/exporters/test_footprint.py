"""Parameters, multiply-accumulates and times of models."""

import pytest
from torch import nn

from mcprune.exporters import footprint
from mcprune.exporters.footprint import latencies, macs


def test_the_multiplications_of_a_row_are_those_of_its_products():
    assert macs(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), 64) == 64 * 128 + 128 * 10
    # 6 of 3 channels by 3 x 3, on 8 x 8 places; in two groups half of that
    shaped = [nn.Unflatten(1, (2, 8, 8)), nn.Conv2d(2, 6, 3, padding=1)]
    assert macs(nn.Sequential(*shaped), 128) == 6 * 2 * 9 * 64
    shaped[1] = nn.Conv2d(2, 6, 3, padding=1, groups=2)
    assert macs(nn.Sequential(*shaped), 128) == 6 * 9 * 64


def test_counting_leaves_no_hook_behind():
    model = nn.Linear(3, 2)
    macs(model, 3)
    assert not model._forward_hooks


class Counted(nn.Module):
    """A model on a clock that is made up: a call takes so many seconds, and is noted."""

    def __init__(self, seconds, clock):
        super().__init__()
        self.seconds, self.clock = seconds, clock

    def forward(self, x):
        self.clock.now += self.seconds
        self.clock.calls.append((self.seconds, tuple(x.shape)))
        return x


class Clock:
    def __init__(self):
        self.now, self.calls = 0.0, []

    def perf_counter(self):
        return self.now


def test_each_time_is_of_its_own_model_and_they_take_turns(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(footprint, "time", clock)
    models = [(Counted(0.25, clock), 64), (Counted(2e-4, clock), 16)]
    assert latencies(models, 7, rounds=3) == pytest.approx([0.25, 2e-4])
    assert {shape for seconds, shape in clock.calls if seconds == 0.25} == {(7, 64)}
    # Two calls each to prepare, then a round: one of the slow model, a millisecond of the fast one.
    order = [seconds for seconds, _ in clock.calls]
    assert order == [0.25, 0.25, 2e-4, 2e-4, *3 * [0.25, *5 * [2e-4]]]


def test_one_slow_round_does_not_move_the_median(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(footprint, "time", clock)
    model = Counted(0.5, clock)
    model.register_forward_hook(lambda *_: setattr(clock, "now", clock.now + 60 * (len(clock.calls) == 4)))
    assert latencies([(model, 3)], 1, rounds=5) == [0.5]
