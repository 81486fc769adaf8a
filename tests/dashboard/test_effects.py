"""The effect of a change: noise is no effect, a trend goes on, and a real shift is seen."""

import math

import numpy as np
import pytest

from mcprune.dashboard.effects import GROUP, Window, effect_of, estimate
from mcprune.dashboard.window import COMPARED, effects_of
from mcprune.methods.base import BlockInfo, MoveCounts


def means(values):
    return Window(np.asarray(values, float).tolist(), [1.0] * len(values))


def noise(draw, phi, blocks=3 * COMPARED):
    """Blocks that resemble their neighbours: an autoregression of standard deviation 1."""
    values = np.zeros(blocks + 100)
    steps = draw.normal(size=values.size)
    for place in range(1, values.size):
        values[place] = phi * values[place - 1] + steps[place]
    return values[100:] * math.sqrt(1 - phi**2)


def split(values):
    return [means(values[place : place + COMPARED]) for place in range(0, 3 * COMPARED, COMPARED)]


@pytest.mark.parametrize("phi", [0.0, 0.7])
def test_noise_is_rarely_an_effect_and_a_shift_mostly_is(phi):
    draw = np.random.default_rng(0)
    seen = {0.0: 0, 8.0: 0}
    for _ in range(200):
        control, before, after = split(noise(draw, phi))
        for shift in seen:
            moved = means([value + shift for value in after.counts])
            seen[shift] += effect_of(before, moved, control).is_seen
    assert seen[0.0] < 16  # of 200
    assert seen[8.0] > 190  # the control: something can be seen


def test_a_trend_that_goes_on_is_no_effect():
    draw = np.random.default_rng(1)
    control, before, after = split(0.1 * noise(draw, 0.3) - 0.05 * np.arange(3 * COMPARED))
    effect = effect_of(before, after, control)
    assert effect.is_seen is False
    assert effect.trend == pytest.approx(-0.05 * COMPARED, abs=0.1)
    # The control: without the trend the same difference is far beyond its noise.
    level = means(np.full(COMPARED, np.mean(before.counts)))
    assert effect_of(level, after, level).is_seen is True


def test_windows_of_unequal_length_continue_the_trend():
    line = -0.05 * np.arange(64)
    effect = effect_of(means(line[16:32]), means(line[32:]), means(line[:16]))
    assert effect.difference == pytest.approx(0.0, abs=1e-12)
    assert effect.is_seen is False


def test_a_share_of_none_has_an_error_and_a_small_rise_from_it_is_none():
    none = Window([0.0] * 32, [20.0] * 32, is_share=True)
    assert estimate(none).error > 0
    few = Window([0.0] * 31 + [1.0], [20.0] * 32, is_share=True)
    assert effect_of(none, few, none).is_seen is False
    many = Window([2.0] * 32, [20.0] * 32, is_share=True)
    assert effect_of(none, many, none).is_seen is True


def test_too_few_blocks_give_no_verdict():
    short = means([1.0] * (GROUP - 1))
    assert effect_of(short, means([2.0] * 32), means([1.0] * 32)).is_seen is None
    assert effect_of(means([1.0] * 32), means([2.0] * 32)).is_seen is None  # no control
    assert effect_of(means([]), means([2.0] * 32)).before is None
    assert estimate(Window([1.0, math.nan], [1.0, 1.0])).mean == 1.0


def block(proposed, decided, accepted, loss):
    base = dict.fromkeys(BlockInfo._fields[:8], 1.0) | dict.fromkeys(BlockInfo._fields[8:16], 0)
    return BlockInfo(**{**base, "moves": {"site": MoveCounts(proposed, decided, accepted)}, "loss": loss})


@pytest.mark.parametrize(("before", "verdict"), [(64, True), (40, True), (20, None)])
def test_the_blocks_before_a_change_are_window_and_control(before, verdict):
    quiet, lively = block(64, 4, 1, 0.5), block(64, 40, 10, 0.5)
    effects = effects_of([quiet] * before, [lively] * COMPARED)
    assert effects["mask_changing"].is_seen is verdict
    assert effects["mask_changing"].before == 4 / 64
    assert effects["mask_changing"].after == 40 / 64
    assert effects["acceptance"].is_seen is (None if verdict is None else False)  # a quarter before and after
    assert effects["loss"].before == effects["loss"].after == 0.5
