import math
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from mcprune.session.finish.baselines import (
    COMPARE_SHARE,
    FEW_RANDOM_MASKS,
    ORDER,
    RANDOM_MASKS,
    SHORT_MASK,
    Comparison,
    Scores,
    plan_comparison,
)
from mcprune.training.metrics import Answers


def right(*places, rows=10):
    """Which of some test rows a classifier has right."""
    out = np.zeros(rows, bool)
    out[list(places)] = True
    return Answers(out)


NOTHING = Answers(np.zeros(0, bool))


def test_a_line_has_the_mean_and_the_spread_of_what_was_measured():
    scores = Scores()
    entry = scores.add("random masks", 16, [right(*range(5)), right(*range(7))], 0.0, [None, 0.2])
    assert (entry.name, entry.kept, entry.count) == ("random masks", 16, 2)
    assert entry.accuracy == pytest.approx(0.6)
    assert entry.spread == pytest.approx(math.sqrt(0.02))
    assert entry.error == pytest.approx(math.sqrt(0.02) / math.sqrt(2))
    assert entry.objective == pytest.approx(0.2)
    alone = scores.add("all sites", 64, [right(*range(9))], 0.0, [None])
    assert (alone.accuracy, alone.spread, alone.objective) == (0.9, None, None)
    assert alone.error == pytest.approx(math.sqrt(0.9 * 0.1 / 9))
    nothing = scores.add("dense", 64, [NOTHING], 0.0, [None])
    assert (nothing.accuracy, nothing.count, nothing.error, nothing.behind) == (None, 1, None, None)


def test_a_line_is_compared_with_the_pruned_model_row_by_row():
    scores = Scores()
    assert scores.add("all sites", 64, [right(0)], 0.0, [None]).behind is None  # nothing to compare with yet
    model = scores.add("hard mask, retrained", 16, [right(*range(8))], 0.0, [None])
    assert (model.behind, model.behind_error) == (None, None)
    other = scores.add("first-layer magnitude", 16, [right(*range(1, 9))], 0.0, [None])
    assert other.behind == 0.0  # one row more, one fewer: equally good, and not to the last row
    assert other.behind_error == pytest.approx(math.sqrt(2 / 9) / math.sqrt(10))
    same = scores.add("weight magnitude", 16, [right(*range(8))], 0.0, [None])
    assert (same.behind, same.behind_error) == (0.0, 0.0)
    random = scores.add("random masks", 16, [right(*range(4)), right(*range(6))], 0.0, [None, None])
    assert random.behind == pytest.approx(0.3)
    assert random.behind_error == pytest.approx(0.1)
    # A short comparison is with the kept sites of a training as short.
    scores.add(SHORT_MASK, 16, [right(*range(5))], 0.0, [None])
    assert scores.add("all sites, short training", 64, [right(*range(6))], 0.0, [None]).behind == pytest.approx(-0.1)


def test_lines_are_in_the_order_of_the_report():
    scores = Scores()
    for name in reversed(ORDER):
        scores.add(name, 1, [right(1)], 0.0, [None])
    assert tuple(entry.name for entry in scores.ordered()) == ORDER


def planned(rows, work, compare="auto", epochs=30, columns=4, **retrain):
    """How a run of that many rows, whose search took that much work, is compared."""
    fields = {"finetune": "scratch", "is_retrained": True, "epochs": epochs, **retrain}
    plan = SimpleNamespace(
        model=nn.Linear(columns, 2),
        settings=SimpleNamespace(model=SimpleNamespace(hidden=(128, 64))),
        is_users_model=False,
        candidates=None,
        splits=SimpleNamespace(n_inputs=columns),
        sites=SimpleNamespace(inputs=slice(0, 4), channels=False),
        retrain=SimpleNamespace(**fields),
        runtime=SimpleNamespace(compare=compare),
    )
    refit = SimpleNamespace(y_test=np.zeros(10), y=np.zeros(rows))
    return plan_comparison(plan, refit, work)


def test_few_rows_are_always_compared_in_full():
    assert planned(4_999, work=1.0) == (Comparison(30, RANDOM_MASKS), "")
    assert planned(60_000, work=1.0, compare="yes") == (Comparison(30, RANDOM_MASKS), "")
    assert planned(60_000, work=1.0, compare="no") == (None, "")


def test_very_many_columns_are_compared_shortly():
    comparison, note = planned(2_000, work=1.0, columns=16_384)
    assert comparison == Comparison(3, FEW_RANDOM_MASKS, is_short=True)
    assert "3 of 30 epochs" in note
    assert planned(2_000, work=1.0, columns=16_384, compare="yes") == (Comparison(30, RANDOM_MASKS), "")
    assert planned(2_000, work=1.0, columns=2_048) == (Comparison(30, RANDOM_MASKS), "")


@pytest.mark.parametrize("epochs", [30, 100])
def test_a_comparison_of_many_rows_stays_within_its_share_of_the_work(epochs):
    rows, work = 60_000, 60 * 60_000
    comparison, note = planned(rows, work, epochs=epochs)
    assert comparison.is_short
    assert comparison.masks == FEW_RANDOM_MASKS
    needed = (comparison.masks + 3) * rows  # an epoch of the kept sites, all sites, magnitude and the random masks
    allowed = COMPARE_SHARE * (work + epochs * rows)
    assert needed * comparison.epochs <= allowed < needed * (comparison.epochs + 1)
    assert "15% of the work" in note
    assert "--compare yes" in note
    # Much work in the search allows all of it; too little allows nothing.
    assert planned(rows, 1e4 * work, epochs=epochs) == (Comparison(epochs, RANDOM_MASKS), "")


def test_no_time_for_one_epoch_is_said():
    comparison, note = planned(60_000, work=1.0, epochs=3)
    assert comparison is None
    assert "left out" in note
