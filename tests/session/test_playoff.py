"""The playoff of a search's finalists."""

import numpy as np
import pytest
from sklearn.datasets import make_classification

from mcprune import run
from mcprune.config.schema import make_config
from mcprune.data.prepare import Rows
from mcprune.methods.base import Finalist
from mcprune.methods.columns import f_scores
from mcprune.report.summary import playoff_lines
from mcprune.session.build.dataset import load_dataset
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.build.starts import make_starts
from mcprune.session.playoff.compare import play
from mcprune.storage.events import Hardened, Playoff, RunDone
from mcprune.training.cross_validation.out_of_fold import fresh_share_of


def masks(size, *columns):
    out = np.zeros((len(columns), size), bool)
    for row, kept in zip(out, columns, strict=True):
        row[list(kept)] = True
    return list(out)


def table(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    x = rng.normal(size=(rows, 12)).astype(np.float32)
    x[:, :3] += 1.5 * np.eye(3)[y]
    return x, y


@pytest.mark.slow
def test_the_mask_of_the_useful_columns_wins_and_differs_from_random_ones():
    x, y = table()
    good, half, bad, *rest = masks(12, (0, 1, 2), (0, 1, 5), (6, 7, 8), (9, 10, 11), (5, 6, 11))
    finalists = [Finalist("bad", bad), Finalist("half", half), Finalist("good", good)]
    event, mask = play(finalists, rest, Rows(x, y), seed=0)
    assert mask is good
    assert [one.name for one in event.finalists] == ["good", "half", "bad"]
    assert [one.rounds for one in event.finalists] == [2, 2, 1]
    assert event.finalists[0].behind == event.finalists[0].error == 0
    assert event.finalists[2].behind > 2 * event.finalists[2].error > 0
    assert not event.is_random
    assert event.lead > 2 * event.lead_error
    assert play(finalists, rest, Rows(x, y), seed=0)[0].finalists == event.finalists


@pytest.mark.slow
def test_columns_that_act_together_beat_columns_that_suit_these_rows():
    # Clusters on the corners of a hypercube: a classifier that is trained too little cannot tell these two masks apart.
    x, y = make_classification(
        1000, 200, n_informative=5, n_redundant=10, n_clusters_per_class=16, shuffle=False, random_state=1
    )
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    best, lucky = (np.argsort(-f_scores(part, y), kind="stable") for part in (x[:, :15], x[:, 15:]))
    good, bad, *rest = masks(200, range(15), [*best[:7], *(15 + lucky[:8])], range(170, 185), range(185, 200))
    event, mask = play([Finalist("bad", bad), Finalist("good", good)], rest, Rows(x, y.astype(np.int64)), seed=0)
    assert mask is good
    assert event.finalists[1].behind > 2 * event.finalists[1].error


def test_columns_of_the_highest_f_are_finalists_beside_several_starts():
    config = make_config(data="wine", keep=4)
    plan = make_plan(config, load_dataset(config))
    assert plan.chain.rivals == ("f", "ranks", "pairs", "mutual-information")
    assert [source.name for source in make_starts(plan).sources] == [
        "all",
        "forest",
        "l1",
        "f",
        "ranks",
        "pairs",
        "mutual-information",
    ]
    assert len(make_starts(plan).begins) == 3
    alone = make_plan(make_config(data="wine", keep=4, start="forest"), load_dataset(config))
    assert alone.chain.rivals == ()


@pytest.mark.slow
def test_finalists_of_noise_are_called_random():
    x, y = table()
    finalists = [Finalist(str(place), mask) for place, mask in enumerate(masks(12, (3, 4, 5), (6, 7, 8)))]
    event, _ = play(finalists, masks(12, (9, 10, 11), (3, 6, 9)), Rows(x, y), seed=0)
    assert event.is_random
    assert playoff_lines(event)[-1] == "no finalist differs from random columns by two standard errors"


@pytest.mark.slow
def test_rows_of_no_weight_have_no_say():
    x, y = table()
    weights = np.ones(len(y))
    weights[::2] = 0
    good, bad, *rest = masks(12, (0, 1, 2), (6, 7, 8), (9, 10, 11))
    y = np.where(weights > 0, y, 0)
    event, mask = play([Finalist("bad", bad), Finalist("good", good)], rest, Rows(x, y, weights), seed=0)
    assert mask is good
    assert event.finalists[0].loss < 1.0


@pytest.mark.slow
def test_rows_of_no_weight_have_no_say_among_fresh_ones_either():
    x, y = table(rows=600)
    good, bad, *rest = masks(12, (0, 1, 2), (6, 7, 8), (9, 10, 11), (5, 6, 11))
    weights = np.ones(600)
    weights[::2] = 0.0
    x[weights == 0, 6:9] += 3 * np.eye(3)[y[weights == 0]]  # the other mask does better on rows of no weight
    fresh = Rows(x[400:], y[400:], weights[400:])
    finalists = [Finalist("bad", bad), Finalist("good", good)]
    event, mask = play(finalists, rest, Rows(x[:400], y[:400], weights[:400]), seed=0, fresh=fresh)
    assert mask is good
    assert event.rows == 600
    weights = 1.0 - weights
    _, mask = play(
        finalists, rest, Rows(x[:400], y[:400], weights[:400]), seed=0, fresh=Rows(x[400:], y[400:], weights[400:])
    )
    assert mask is bad  # the control


@pytest.mark.parametrize(("rows", "share"), [(0, 0.0), (15, 0.25), (30, 0.5), (300, 0.5)])
def test_few_validation_rows_have_a_smaller_share(rows, share):
    assert fresh_share_of(rows) == share


@pytest.mark.slow
def test_a_few_validation_rows_tell_columns_that_suit_the_other_rows():
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(140, 300)).astype(np.float32), draw.integers(0, 2, 140)
    x[:, :4] += 0.6 * y[:, None]
    train, fresh = slice(0, 120), Rows(x[120:], y[120:], None)
    lucky = 4 + np.argsort(-f_scores(x[train, 4:], y[train]))[:4]
    good, bad, *rest = masks(300, range(4), lucky, range(100, 104), range(200, 204))
    finalists = [Finalist("bad", bad), Finalist("good", good)]
    assert play(finalists, rest, Rows(x[train], y[train]), seed=0)[1] is bad
    event, mask = play(finalists, rest, Rows(x[train], y[train]), seed=0, fresh=fresh)
    assert mask is good
    assert event.rows == 140


@pytest.mark.slow
def test_validation_rows_without_weight_leave_the_others_their_say():
    x, y = table()
    good, bad, *rest = masks(12, (0, 1, 2), (6, 7, 8), (9, 10, 11), (5, 6, 11))
    fresh = Rows(x[380:], y[380:], np.zeros(20))
    event, mask = play(
        [Finalist("bad", bad), Finalist("good", good)], rest, Rows(x[:380], y[:380], np.ones(380)), seed=0, fresh=fresh
    )
    assert mask is good
    assert np.isfinite(event.lead)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["f", "all+f", "obd,after=1"])
def test_a_run_ends_in_the_best_of_its_finalists(start, tmp_path):
    config = make_config(
        data="wine", keep=4, epochs=12, start=start, retrain_epochs=2, compare="no", out=str(tmp_path / "a")
    )
    events = list(run(config))
    playoff = next(event for event in events if isinstance(event, Playoff))
    names = {one.name for one in playoff.finalists}
    base = start.split(",")[0].split("+")[-1]
    assert base in names or f"chain from {base}" in names
    assert min(playoff.finalists, key=lambda one: one.behind) is playoff.finalists[0]
    done = events[-1]
    assert isinstance(done, RunDone)
    assert len(done.indices) == next(event for event in events if isinstance(event, Hardened)).kept == 4
    again = list(run(make_config(data="wine", keep=4, epochs=12, start=str(tmp_path / "a" / "mask.json"), retrain_epochs=2, compare="no",
                                 out=str(tmp_path / "b"))))  # fmt: skip
    assert len(again[-1].indices) == 4


def test_one_chain_from_all_sites_needs_none(tmp_path):
    config = make_config(data="wine", keep=4, epochs=2, start="all", retrain_epochs=1, compare="no", out=str(tmp_path))
    assert not [event for event in run(config) if isinstance(event, Playoff)]


@pytest.mark.parametrize("gates", ["hard", "rank"])
def test_a_mask_that_is_adopted_stays_the_mask_of_the_weights(gates):
    config = make_config(data="wine", keep=4, gates=gates, start="f")
    method = make_method(make_plan(config, load_dataset(config)))
    state = method.init()
    mask = np.isin(np.arange(13), [1, 5, 6, 12])
    method.adopt(state, mask)
    assert ((method.position(state) > 0) == mask).all()
    if gates == "rank":
        method.gates.keep_top(state.chain, state.weights, 4)
        assert ((state.chain.position[0] > 0) == mask).all()


@pytest.mark.slow
def test_a_short_time_means_fewer_steps():
    x, y = table()
    good, bad, *rest = masks(12, (0, 1, 2), (6, 7, 8), (9, 10, 11))
    finalists = [Finalist("bad", bad), Finalist("good", good)]
    event, mask = play(finalists, rest, Rows(x, y), seed=0, seconds=1e-6)
    full, _ = play(finalists, rest, Rows(x, y), seed=0)
    assert mask is good
    assert event.finalists != full.finalists


@pytest.mark.slow
def test_noise_that_a_search_has_fitted_is_called_random():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(230, 300)).astype(np.float32), draw.integers(0, 2, 230)
    train, fresh = slice(0, 170), Rows(x[170:], y[170:], None, None)
    fitted = np.argsort(-f_scores(x[train], y[train]))
    finalists = [Finalist(name, mask) for name, mask in zip("ab", masks(300, fitted[:10], fitted[10:20]), strict=True)]
    rest = masks(300, fitted[100:110], fitted[200:210])
    event, _ = play(finalists, rest, Rows(x[train], y[train]), seed=0)
    assert event.lead > 2 * event.lead_error  # the rows that chose them say otherwise
    assert event.is_random
    assert play(finalists, rest, Rows(x[train], y[train]), seed=0, fresh=fresh)[0].is_random
    x[:, fitted[:3]] += 1.5 * y[:, None]
    assert not play(finalists, rest, Rows(x[train], y[train]), seed=0)[0].is_random
    event, _ = play(finalists, rest, Rows(x[train], y[train]), seed=0, fresh=Rows(x[170:], y[170:], None, None))
    assert not event.is_random
