"""A search whose masks do worse and worse on rows that it does not use is told of, and ends with the mask before."""

import numpy as np
import pytest

from mcprune.config.schema import make_config
from mcprune.session.build.dataset import dataset_of
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.guard import Guard
from mcprune.session.interrupt import Interrupt
from mcprune.session.search import Search
from mcprune.storage.events import Note, Stopped

OPTIONS = {"keep": 3, "eval_on": "folds", "eval_folds": 2, "epochs": 60, "threads": 1, "device": "cpu", "start": "all"}


def plan_of(**options):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(240, 8)).astype(np.float32)
    config = make_config(**{**OPTIONS, **options})
    return make_plan(config, dataset_of((x, (x[:, 2] + x[:, 5] > 0).astype(np.int64)), config))


def masks(*kept):
    return [np.isin(np.arange(8), one) for one in kept]


def guarded(monkeypatch, losses):
    """Return a guard, and its state, whose looks give these losses of the validation rows."""
    guard = Guard(plan_of())
    assert guard.is_on
    rows, queue = len(guard.targets), list(losses)
    noise = np.random.default_rng(1).normal(size=rows)
    noise -= noise.mean()
    monkeypatch.setattr(guard, "_losses", lambda mask: queue.pop(0) + 0.1 * noise * (1 + len(queue)))
    return guard, guard.init()


def test_a_search_falls_away_where_its_loss_falls_and_that_of_other_rows_rises(monkeypatch):
    guard, state = guarded(monkeypatch, [0.5, 0.4, 0.41, 0.9])
    first, second = masks([0, 1, 2], [2, 5, 6])
    guard.look(state, first, 0.5, 10)
    guard.look(state, second, 0.3, 20)
    guard.look(state, first, 0.2, 30)  # within the noise of the rows
    assert not state.fallen
    assert guard.note(state) == ""
    guard.look(state, first, 0.1, 40)
    assert state.fallen == pytest.approx([40, 0.1, 0.9])
    np.testing.assert_array_equal(state.mask, second)
    assert (
        "from block 20 to 40 its loss fell from 0.3000 to 0.1000, but that on 36 validation rows rose from 0.4000 to 0.9000"
        in guard.note(state)
    )


def test_a_mask_that_is_worse_on_both_or_of_another_size_is_no_alarm(monkeypatch):
    guard, state = guarded(monkeypatch, [0.4, 0.9])
    first, second = masks([0, 1, 2], [2, 5, 6, 7])
    guard.look(state, first, 0.3, 10)
    guard.look(state, first, 0.6, 20)
    guard.look(state, second, 0.1, 30)
    assert not state.fallen


def test_the_losses_are_those_of_all_classifiers_on_the_validation_rows():
    plan = plan_of()
    guard = Guard(plan)
    (mask,) = masks([2, 5, 6])
    losses = guard._losses(mask)
    assert losses.shape == (36,)
    assert 0.3 < losses.mean() < 3.0


@pytest.mark.parametrize(
    "options", [{"validation": 0.05}, {"eval_on": "held-out", "eval_folds": None}, {"objective": "auc"}]
)
def test_there_is_no_guard_without_folds_or_rows(options):
    options = {name: value for name, value in options.items() if value is not None}
    base = {name: value for name, value in OPTIONS.items() if name != "eval_folds" or "eval_on" not in options}
    plan = plan_of(**options) if "eval_on" not in options else plan_of(**{**base, **options, "eval_folds": 4})
    guard = Guard(plan)
    assert not guard.is_on
    guard.look(guard.init(), masks([2, 5, 6])[0], 0.1, 1)


def test_a_search_that_has_fallen_away_ends_with_the_mask_before(monkeypatch):
    plan = plan_of()
    search = Search(plan, make_method(plan))
    wanted = masks([2, 5, 6])[0]

    def look(state, mask, search_loss, block):
        if block >= 7 and not state.fallen:
            state.mask[:], state.block, state.losses[:] = wanted, 5, 0.2
            state.fallen = [float(block), search_loss, 0.9]

    monkeypatch.setattr(search.guard, "look", look)
    with Interrupt() as interrupt:
        events = [*search.run(interrupt, 0.0), *search.notes()]
    stopped = next(event for event in events if isinstance(event, Stopped))
    assert stopped.reason == "validation"
    assert search.blocks_done < search.pace.blocks
    assert any(isinstance(event, Note) and "began to fit its own rows" in event.text for event in events)
    mask, _ = search.harden()
    np.testing.assert_array_equal(mask, wanted)
    np.testing.assert_array_equal(search.position() > 0, wanted)


def test_weights_of_validation_rows_decide_what_is_worse(monkeypatch):
    guard, state = guarded(monkeypatch, [])
    rows = len(guard.targets)
    heavy = np.arange(rows) < rows // 4
    first, second = masks([0, 1, 2], [2, 5, 6])
    # Better on one row of four, worse on the others: with weights on the former that is better on the whole.
    losses = [np.full(rows, 0.5), np.where(heavy, 0.2, 0.9)]
    for weights, best in ((None, first), (np.where(heavy, 20.0, 0.1), second)):
        queue, state = list(losses), guard.init()
        guard.share = None if weights is None else weights / weights.sum()
        monkeypatch.setattr(guard, "_losses", lambda mask, queue=queue: queue.pop(0))
        guard.look(state, first, 0.5, 10)
        guard.look(state, second, 0.3, 20)
        np.testing.assert_array_equal(state.mask, best)
        assert bool(state.fallen) == (weights is None)
