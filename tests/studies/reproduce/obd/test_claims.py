"""Verdicts on the statements of the post on Optimal Brain Damage, from made-up curves whose outcome is known."""

import math
from itertools import pairwise

import pytest

from mcprune.studies.claims import HOLDS, NOT, UNCLEAR, summary
from mcprune.studies.reproduce.obd.claims import claims
from mcprune.studies.reproduce.obd.curves import DROPOUT, GLOBAL, LAYERWISE, PLAIN, Curves, crossing
from mcprune.studies.reproduce.obd.setting import BEYOND, HOWS, LIGHT, MEASURES, POST, Setting

PERCENTS = tuple(sorted({*LIGHT, *POST, *BEYOND}))
SEEDS = (0, 1, 2)


def falling(rate, start=0.97):
    """Accuracies that fall by `rate` a percent from the start, never below chance."""
    return {percent: max(0.1, start - rate * percent) for percent in PERCENTS}


def made(curves, dense=None, seeds=SEEDS):
    """Figures in which a curve is the same for all seeds, or one for each; the loss is minus the logarithm of the accuracy."""
    figures = Curves(
        dense={net: dict.fromkeys(seeds, value) for net, value in (dense or {PLAIN: 0.97, DROPOUT: 0.96}).items()},
        accuracy={},
        loss={},
    )
    for curve, points in curves.items():
        for seed in seeds:
            mine = points[seed] if isinstance(points, list) else points
            figures.add(curve, seed, list(mine), list(mine.values()), [-math.log(value) for value in mine.values()])
    return figures


def story(**changed):
    """Curves of a world in which all statements hold; `changed` replaces some, as plain_obd_global=..."""
    found = {
        (PLAIN, "magnitude", LAYERWISE): falling(0.02),
        (PLAIN, "magnitude", GLOBAL): falling(0.015),
        (PLAIN, "signed", LAYERWISE): falling(0.04),
        (PLAIN, "signed", GLOBAL): falling(0.03),
        (PLAIN, "obd", LAYERWISE): falling(0.01),
        (PLAIN, "obd", GLOBAL): falling(0.003),
        (PLAIN, "obd-row-sum", LAYERWISE): falling(0.012),
        (PLAIN, "obd-row-sum", GLOBAL): falling(0.004),
        (DROPOUT, "obd", GLOBAL): {percent: 0.8 - 0.0005 * percent for percent in PERCENTS},
        (DROPOUT, "obd-row-sum", GLOBAL): {percent: 0.8 - 0.0005 * percent for percent in PERCENTS},
        (PLAIN, "chain", GLOBAL): {percent: falling(0.003)[percent] + (0.05 if percent >= 70 else 0.0) for percent in POST + BEYOND},
    }  # fmt: skip
    for name, points in changed.items():
        net, measure, how = name.split("_")
        found[net, measure.replace("rowsum", "obd-row-sum"), how] = points
    return found


def verdicts(figures):
    return {claim.number: claim.verdict for claim in claims(figures)}


def test_in_a_world_as_the_post_tells_it_every_row_holds():
    found = claims(made(story()))
    assert {claim.number: claim.verdict for claim in found} == dict.fromkeys([claim.number for claim in found], HOLDS)
    assert len(found) >= 5
    for row in [claim.row() for claim in found]:
        assert all(row[key] for key in ("claim", "says", "run", "measured", "threshold"))
    assert summary(found, "the post says").endswith("not as the post says: none; unclear here: none")


@pytest.mark.parametrize(
    ("changed", "flipped"),
    [
        ({"plain_magnitude_layerwise": falling(0.0), "plain_magnitude_global": falling(0.0)}, {"1a", "6a"}),
        # It falls at once and then stays: lost is enough, but it does not fall on.
        (dict.fromkeys(["plain_signed_layerwise", "plain_signed_global"], dict.fromkeys(PERCENTS, 0.5)), {"1b"}),
        ({"plain_obd_global": falling(0.012)}, {"2a", "2b", "3c", "6a"}),
        ({"plain_rowsum_global": falling(0.012)}, {"2c", "6b"}),
        ({"plain_obd_layerwise": falling(0.0026)}, {"2a", "3a", "3c", "6a"}),
        ({"plain_rowsum_layerwise": falling(0.002)}, {"3b"}),
        # Lower by exactly what it is lower unpruned: dropout does no harm of its own.
        ({"dropout_obd_global": falling(0.003, 0.96)}, {"4a", "5a"}),
        ({"dropout_obd_global": falling(0.003, 0.98)}, {"4a"}),
        ({"dropout_rowsum_global": falling(0.02)}, {"5b"}),
        ({"plain_chain_global": falling(0.003)}, {"7"}),
        ({"plain_chain_global": {**falling(0.002), 10: 0.9}}, {"7"}),  # worse by .04 at one light percentage
    ],
)
def test_a_world_that_differs_flips_its_rows(changed, flipped):
    before, after = verdicts(made(story())), verdicts(made(story(**changed)))
    assert flipped <= {number for number in before if before[number] != after[number]}
    assert all(after[number] == NOT for number in flipped)


def test_seeds_that_disagree_are_unclear():
    good, bad = falling(0.003), falling(0.02)
    found = verdicts(made(story(plain_obd_global=[good, good, bad])))
    assert found["2a"] == found["2b"] == found["6a"] == UNCLEAR
    assert found["1a"] == HOLDS


def test_without_figures_every_row_is_unclear():
    empty = Curves({}, {}, {})
    assert set(verdicts(empty).values()) == {UNCLEAR}
    one_net = made({curve: points for curve, points in story().items() if curve[0] == PLAIN}, {PLAIN: 0.97})
    found = verdicts(one_net)
    assert found["4a"] == found["5a"] == UNCLEAR
    assert found["2a"] == HOLDS


def test_a_part_of_the_chain_is_judged_by_what_there_is():
    some = {percent: falling(0.003)[percent] + 0.05 for percent in (50, 90)}
    assert verdicts(made(story(plain_chain_global=some)))["7"] == HOLDS
    light = {percent: falling(0.003)[percent] + 0.05 for percent in (10, 30)}
    assert verdicts(made(story(plain_chain_global=light)))["7"] == NOT  # nothing heavy was run


def test_the_percentage_from_which_one_curve_stays_ahead():
    low, high = {10: 0.5, 20: 0.6, 30: 0.7}, {10: 0.6, 20: 0.5, 30: 0.6}
    assert crossing(low, high) == 20
    assert crossing(high, low) is None
    assert crossing(low, low) is None  # level all the way


def test_the_setting_is_the_posts():
    setting = Setting("mnist")
    widths = (784, *setting.hidden, 10)
    assert sum(a * b for a, b in pairwise(widths)) == 47_200
    assert sum(widths[1:]) == 210
    assert set(range(1, 20)) | set(range(10, 80, 10)) <= set(setting.percents)
    assert len(setting.seeds) >= 3
    assert {"magnitude", "obd", "obd-row-sum"} <= set(MEASURES)
    assert HOWS == (LAYERWISE, GLOBAL)
