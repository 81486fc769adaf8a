"""A comparison ranks its methods only where every one of them had enough work."""

import pytest

from mcprune.studies.bench.ranking import ranking

SEEDS = (0, 1, 2, 3)


def rows(**changed):
    """Three methods at n = 2; `changed` replaces entries of `middle`."""
    made = [
        {
            "method": name, "n": 2, "retrained": value, "retrained_spread": 0.01, "seeds": 4, "least_epochs": 3.0, "is_settled": True,
        }
        for name, value in (("low", 0.90), ("high", 0.95), ("middle", 0.93))
    ]  # fmt: skip
    made[2] |= changed
    return made


def test_the_first_place_goes_by_the_retrained_accuracy():
    one = ranking(rows(), 2, 10.0, SEEDS)
    assert one.order == ("high", "middle", "low")
    # sqrt(.01^2 / 4 + .01^2 / 4)
    assert one.text == "At n = 2 high is best with 0.9500 after retraining, 0.0200 +- 0.0071 above middle, the second."


def test_within_two_standard_errors_no_method_is_best():
    one = ranking(rows(retrained=0.94), 2, 10.0, SEEDS)
    assert one.text == (
        "At n = 2 high (0.9500 after retraining) and middle (0.9400) cannot be told apart: the difference is 0.0100 +- 0.0071."
    )
    assert one.order == ("high", "middle", "low")


@pytest.mark.parametrize(
    ("changed", "cause", "remedy"),
    [
        ({"least_epochs": 1.0}, "fewer: middle 1.", "--time 45"),  # 1.5 x 3 epochs of 10 s
        ({"least_epochs": 2.9}, "fewer: middle 2.9.", "--time 16"),
        ({"is_settled": False}, "not come down to n in every run of middle", "--time 20"),
        ({"seeds": 1, "retrained_spread": None}, "one: middle", "the same command again"),
    ],
)
def test_without_enough_work_nothing_is_ranked(changed, cause, remedy):
    one = ranking(rows(**changed), 2, 10.0, SEEDS)
    assert one.order == ()
    assert one.text.startswith("At n = 2 nothing can be ranked yet. ")
    assert cause in one.text
    assert remedy in one.text
    assert "best" not in one.text
    assert "+-" not in one.text


def test_one_seed_asks_for_more():
    assert "--seeds 0,1,2" in ranking(rows(seeds=1, retrained_spread=None), 2, 10.0, (0,)).text


def test_a_method_alone_is_not_ranked():
    assert ranking(rows()[:1], 2, 10.0, SEEDS) == ((), "")
    assert ranking(rows(), 3, 10.0, SEEDS) == ((), "")
