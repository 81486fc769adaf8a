"""Figures of finished runs: sets and times by hand, and what a real run's folder gives."""

import numpy as np
import pytest

from mcprune.data.load import load
from mcprune.errors import FolderError
from mcprune.session import fill_time as filling
from mcprune.storage.run_metrics import Point, RunFigures, gates_over_time, jaccard, overlap, reached, read_run, spread
from mcprune.studies.bench.runs import Bench, missed_counts, summary

CURVE = [Point(1.0, 100, 0.80), Point(2.0, 300, 0.92), Point(3.0, 350, 0.89), Point(4.0, 900, 0.95)]


def figures(**changes):
    """A made-up run."""
    given = {
        "hardened": 0.9, "retrained": 0.95, "away": 0.0, "kept_before": 2, "near_hard": 1.0, "seconds": 4.0, "forwards": 900, "epochs": 8.0,
        "is_cut": False, "is_settled": True, "keep": [1, 2], "n": 2, "N": 4, "image_shape": None,
        "last_crossed": [0] * 4, "steps": 10, "curve": CURVE,
        "progress": [], "config": {}, "notes": [],
    }  # fmt: skip
    return RunFigures(**{**given, **changes})


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [([1, 2, 3], [2, 3, 4], 0.5), ([1, 2], [1, 2], 1.0), ([1], [2], 0.0), ([], [], 1.0), ([1, 2, 3, 4], [1], 0.25)],
)
def test_jaccard_by_hand(one, other, wanted):
    assert jaccard(one, other) == wanted == jaccard(other, one)


def test_overlap_is_the_mean_over_all_pairs():
    # {1,2} and {2,3}: 1/3; {1,2} and {1,2}: 1; {2,3} and {1,2}: 1/3
    assert overlap([[1, 2], [2, 3], [1, 2]]) == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    assert overlap([[1, 2]]) is None


@pytest.mark.parametrize(("accuracy", "seconds"), [(0.80, 1.0), (0.81, 2.0), (0.90, 2.0), (0.93, 4.0), (0.951, None)])
def test_time_to_accuracy_is_the_first_time(accuracy, seconds):
    point = reached(CURVE, accuracy)
    assert (point.seconds if point else None) == seconds


def test_a_summary_by_hand():
    bench = Bench(methods={"a": {"data": "digits"}}, keeps=(2,), seeds=(0, 1), accuracies=(0.9, 0.95))
    late = [Point(1.0, 50, 0.7), Point(5.0, 500, 0.91)]
    jobs = bench.jobs()
    runs = {
        "n2-a-seed0": figures(retrained=0.95),
        "n2-a-seed1": figures(retrained=0.97, kept_before=3, away=1.5, keep=[2, 3], curve=late),
    }
    (row,) = summary(bench, jobs, runs)
    assert row["least_epochs"] == 8.0
    assert row["is_settled"]
    assert row["retrained"] == pytest.approx(0.96)
    assert row["retrained_spread"] == pytest.approx(0.02 / 2**0.5)
    assert row["kept_before"] == [2, 3]
    assert row["away"] == 0.75
    assert row["overlap"] == pytest.approx(1 / 3)
    at_90, at_95 = row["times"]
    assert (at_90["count"], at_90["seconds"], at_90["forwards"]) == (2, 3.5, 400)
    assert (at_95["count"], at_95["seconds"], at_95["forwards"]) == (1, 4.0, 900)
    assert spread([0.95, 0.97]) == row["retrained_spread"]


def test_methods_that_missed_n_are_named():
    rows = [
        {"method": name, "n": 16, "kept_before": before}
        for name, before in (("a", [16, 16]), ("b", [39, 41]), ("c", [15, 15]))
    ]
    assert missed_counts(rows, 16) == "n = 16: not at n before hardening: b 39-41, c 15"
    assert missed_counts(rows[:1], 16).endswith("none")


def test_the_folder_of_a_real_run(finished):
    folder, told = finished
    run = read_run(folder, spent=(10.0, 1000))
    last = [event for event in told if event.kind == "progress"][-1]
    assert run.seconds == pytest.approx(last.seconds + 10.0)
    assert run.forwards == last.forwards + 1000
    assert run.n == 16 == len(run.keep) == run.kept_before
    assert run.curve
    assert all(point.seconds > 10.0 for point in run.curve)
    epochs, gates = gates_over_time(run)
    assert 1 < len(epochs) <= 60
    assert gates.shape == (len(epochs), 64)
    # The chain's gates are hard: the last ones are the mask, and the first ones are not.
    assert np.flatnonzero(gates[-1]).tolist() == run.keep
    assert set(np.unique(gates)) == {0, 255}
    assert (gates[0] > 0).sum() > 16


MOST = 8 * 167


@pytest.mark.parametrize(
    ("ready", "each", "trials", "wanted"),
    [
        (0.5, 0.05, [1, 10], 180),  # .05 of 10 s are 10 epochs; (.95 x 10 - .5) / .05 = 180
        (0.0, 1e-5, [1, MOST], MOST),  # never more than 8 times the usual, 2,000 steps of 12 an epoch
        (0.0, 20.0, [1], 1),  # an epoch that does not fit is made all the same
    ],
)
def test_the_epochs_of_a_chain_that_fit(ready, each, trials, wanted, monkeypatch, quick):
    asked = []

    def short(plan, epochs, expected, limit):
        asked.append(epochs)
        return epochs, each * epochs, ready, 100 * epochs

    monkeypatch.setattr(filling, "_search_short", short)
    monkeypatch.setattr(filling.time, "monotonic", lambda: 0.0)
    fitted = filling.fitting_epochs(quick(epochs=None, search_time=10.0, eval_on="held-out"), load("digits"))
    assert asked == trials
    assert fitted.forwards == 100 * sum(trials)
    assert fitted.most == MOST
    assert wanted - 1 <= fitted.epochs <= wanted  # rounding


def test_what_every_search_costs_is_not_taken_for_an_epoch():
    # 4 s for the fall of n(t), whatever the epochs, and .5 s for each.
    assert filling._fixed_and_each([(1, 4.5), (8, 8.0)]) == pytest.approx((4.0, 0.5))
    # A trial that was slow by chance: never less than a quarter of its mean is believed.
    assert filling._fixed_and_each([(1, 9.0), (2, 9.0)]) == pytest.approx((6.75, 1.125))


def test_a_short_search_has_as_many_fewer_waves_as_it_has_fewer_epochs(monkeypatch, quick):
    from mcprune.session.build.planner import make_plan

    plan = make_plan(quick(epochs=40, keep_schedule="geometric:0.3,regrow=20", eval_on="held-out"), load("digits"))
    seen = []
    real = filling.make_search

    def make_search(config, plan, began):
        seen.append((plan.chain.keep_schedule.regrow, plan.train.epochs, plan.train.blocks))
        return real(config, plan, began)

    monkeypatch.setattr(filling, "make_search", make_search)
    before = [value.clone() for value in plan.model.parameters()]
    done, *_ = filling._search_short(plan, 2, 10, 1e9)
    assert done == 2
    assert seen == [(4, 2, plan.train.blocks // 20)]
    assert all((old == new).all() for old, new in zip(before, plan.model.parameters(), strict=True))


def test_a_trial_of_a_slow_chain_does_not_take_more_than_its_part_of_the_time(monkeypatch, quick):
    """By a clock that blocks alone move: an epoch would take 6 s of 10, a block .5 s, and the first block counts in no time."""
    from mcprune.session.build.planner import make_plan
    from mcprune.session.search import Search

    now, real = [0.0], Search._advance
    config = quick(epochs=None, search_time=10.0, train_steps=1)
    plan = make_plan(config, load("digits"))

    def advance(search, block):
        now[0] += 6.0 * plan.train.epochs / plan.train.blocks
        return real(search, block)

    monkeypatch.setattr(Search, "_advance", advance)
    monkeypatch.setattr(filling.time, "monotonic", lambda: now[0])
    fitted = filling.fitting_epochs(config, load("digits"))
    assert fitted.epochs == 1
    assert 0.5 < now[0] <= 2.0


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FolderError, match="no folder"):
        read_run(tmp_path / "nothing")
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(FolderError, match="is not the result of a run"):
        read_run(tmp_path)
