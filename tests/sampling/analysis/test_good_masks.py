from __future__ import annotations

import json
import math

import numpy as np
import pytest
from mask_laws import all_masks, samples_of

from mcprune.errors import ConfigError
from mcprune.sampling.analysis.good_masks import find_good_masks
from mcprune.sampling.rows import count_rows, describe_good_masks, good_mask_rows
from mcprune.types import BoolArray, FloatArray


def rugged(seed: int, sites: int = 14, keep: int = 4) -> tuple[BoolArray, FloatArray]:
    rng = np.random.default_rng(seed)
    masks = all_masks(sites, keep)
    pairs = rng.normal(size=(sites, sites)) * 0.5
    return masks, masks @ rng.normal(size=sites) + np.einsum("mi,ij,mj->m", masks, pairs, masks)


@pytest.mark.parametrize("repeats", [1, 5])
def test_the_number_of_good_masks_is_that_of_enumeration(repeats: int) -> None:
    away = []
    shares = []
    for seed in range(12):
        masks, losses = rugged(seed)
        samples = samples_of(masks, losses, temperature=1.5, draws=1500, repeats=repeats, seed=seed)
        lowest = samples.losses.min()
        for one in find_good_masks(samples, eps=[2.0, 4.0, 6.0]).counts:
            truth = int((losses <= lowest + one.eps).sum())
            assert one.seen <= truth
            if not math.isnan(one.number):
                away.append((one.number - truth) / max(one.error, 0.5))
                shares.append(truth / max(1, one.seen))
    assert len(away) >= 20
    assert max(shares) > (1.4 if repeats > 1 else 1.01)  # there are more than were seen
    assert np.mean(np.abs(away) < 2.0) >= 0.85
    assert np.abs(away).max() < 5.0


def test_draws_alone_without_weights_count_too_few() -> None:
    masks, losses = rugged(3)
    samples = samples_of(masks, losses, temperature=1.5, draws=600)
    truth = int((losses <= samples.losses.min() + 6.0).sum())
    weighted = find_good_masks(samples, eps=[6.0]).counts[0]
    # Control: at an infinite temperature all weights are 1.
    hot = samples_of(masks, losses, temperature=1.5, draws=600)
    object.__setattr__(hot, "temperature", 1e9)
    plain = find_good_masks(hot, eps=[6.0]).counts[0]
    assert abs(weighted.number - truth) < 3.0 * weighted.error
    assert truth - plain.number > 3.0 * plain.error


@pytest.mark.slow
def test_masks_that_come_up_once_give_a_lower_bound() -> None:
    masks = all_masks(20, 6)
    samples = samples_of(masks, np.zeros(len(masks)), draws=50)
    good = find_good_masks(samples, eps=[1.0])
    one = good.counts[0]
    assert math.isnan(one.number)
    assert one.seen == good.distinct > 190
    assert count_rows(good)[0][-1] == f"at least {one.seen}"
    assert "many more" in describe_good_masks(good)[0]
    assert good.to_json()["counts"][0]["number"] is None


def test_the_best_masks_differ_as_told() -> None:
    masks, losses = rugged(1)
    samples = samples_of(masks, losses, temperature=1.0)
    good = find_good_masks(samples, apart=2)
    kept = [set(one.sites) for one in good.best]
    assert len(kept) == 10
    assert good.best[0].loss == samples.losses.min()
    assert [one.loss for one in good.best] == sorted(one.loss for one in good.best)
    assert all(len(kept[i] - kept[j]) >= 2 for i in range(10) for j in range(i))
    # Greedy: no better drawn mask could have come earlier.
    order = np.argsort(samples.flat_losses, kind="stable")
    chosen: list[set[int]] = []
    for row in order:
        sites = set(np.flatnonzero(samples.flat_masks[row]).tolist())
        if len(chosen) < 10 and all(len(sites - other) >= 2 for other in chosen):
            chosen.append(sites)
    assert chosen == kept


def test_without_a_distance_the_best_masks_are_the_best() -> None:
    masks, losses = rugged(1)
    samples = samples_of(masks, losses)
    good = find_good_masks(samples, apart=0, most=5)
    np.testing.assert_allclose([one.loss for one in good.best], np.unique(samples.losses)[:5])


def test_the_consensus_keeps_two_of_a_kind_and_says_what_that_costs() -> None:
    # Sites 0-1 hardly differ, nor do 2-5: one of each is kept. The two of highest P are 0 and 1, a mask that no draw has.
    masks = all_masks(6, 2)

    def loss(rows: BoolArray) -> FloatArray:
        return 30.0 - 15.0 * rows[:, :2].any(axis=1) - 15.0 * rows[:, 2:].any(axis=1)

    samples = samples_of(masks, loss(masks))
    assert find_good_masks(samples).consensus.sites == (0, 1)
    assert math.isnan(find_good_masks(samples).consensus.loss)
    good = find_good_masks(samples, evaluate=loss)
    assert good.consensus.loss == 15.0
    assert good.consensus.overlap == pytest.approx(samples.probability[:2].sum() / 2)
    assert good.central.loss == 0.0
    assert good.central.overlap <= good.consensus.overlap
    assert "their loss is 15.0000" in describe_good_masks(good)[-1]


def test_a_consensus_that_was_drawn_has_the_loss_of_the_draw() -> None:
    masks, losses = rugged(0)
    samples = samples_of(masks, losses, temperature=0.1)
    good = find_good_masks(samples)
    assert good.consensus.sites == good.best[0].sites == good.central.sites
    assert good.consensus.loss == samples.losses.min()


def test_rows_and_json() -> None:
    masks, losses = rugged(2)
    good = find_good_masks(samples_of(masks, losses, paired_error=0.5), most=3)
    rows = good_mask_rows(good)
    assert [row[0] for row in rows] == ["1", "2", "3", "consensus", "central"]
    assert rows[0][2] == "0"
    content = json.loads(json.dumps(good.to_json()))
    assert [one["eps"] for one in content["counts"]] == [0.5, 1.0, 2.0]
    assert len(content["best"]) == 3
    assert len(describe_good_masks(good)) == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"apart": 5}, "Choose 0 to 4 sites"),
        ({"apart": -1}, "Choose 0 to 4 sites"),
        ({"most": 0}, "Choose at least 1"),
        ({"eps": [math.nan]}, "Choose finite ones"),
        ({"eps": [-1.0]}, "Choose finite ones"),
    ],
)
def test_numbers_out_of_range(options: dict[str, object], text: str) -> None:
    masks, losses = rugged(0)
    with pytest.raises(ConfigError, match=text):
        find_good_masks(samples_of(masks, losses, draws=20), **options)
