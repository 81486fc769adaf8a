"""Runs whose rows are split by entities or by time: in the parts, in the folds, in the playoff, and after a resume."""

import numpy as np
import pytest

import mcprune
from mcprune.config.schema import make_config
from mcprune.data.load import load
from mcprune.methods.base import Finalist
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import run
from mcprune.session.playoff.compare import play
from mcprune.storage.events import Progress
from mcprune.training.cross_validation import out_of_fold

QUICK = {"epochs": 6, "retrain_epochs": 5, "threads": 1, "compare": "no", "keep": 2, "seed": 0}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("split") / "t.csv"
    draw = np.random.default_rng(0)
    lines = ["who,day,a,b,c,label"]
    for i in range(240):
        a, b, c = draw.normal(size=3)
        lines.append(f"p{i // 6},2026-01-{i // 8 + 1:02d},{a:.3f},{b:.3f},{c:.3f},{'xy'[int(a + b > 0)]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def plan_of(table, **options):
    config = make_config(data=str(table), **QUICK, **options)
    return make_plan(config, load(str(table), config.data_settings().reading))


def test_no_entity_is_in_two_parts_or_two_folds(table):
    plan = plan_of(table, split_by="who", ignore="day", eval_on="folds")
    entities = load(table, split_by="who", ignore=("day",)).entities
    parts = [set(entities[rows].tolist()) for rows in plan.splits.parts]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    own = plan.splits.train.entities
    for training, evaluation in zip(*plan.folds, strict=True):
        assert not set(own[training]) & set(own[evaluation])
    assert any("split by 'who'" in note for note in plan.notes)


def test_a_split_by_time_is_in_order(table):
    plan = plan_of(table, split_time="day", ignore="who", eval_on="folds")
    train, validation, test = plan.splits.parts
    assert train.max() < validation.min()
    assert validation.max() < test.min()
    own = plan.splits.train.entities
    for training, evaluation in zip(*plan.folds, strict=True):
        assert not set(own[training]) & set(own[evaluation])


def test_the_folds_of_the_playoff_keep_entities_together(table, monkeypatch):
    plan = plan_of(table, split_by="who", ignore="day")
    dealt = []

    def balanced(targets, draw, entities=None):
        fold = out_of_fold.balanced_folds(targets, draw, entities)
        dealt.append((fold.copy(), entities))
        return fold

    monkeypatch.setattr("mcprune.session.playoff.rounds.balanced_folds", balanced)
    masks = [np.array(mask, bool) for mask in ((1, 1, 0), (1, 0, 1), (0, 1, 1))]
    data = plan.splits
    play(
        [Finalist("a", masks[0]), Finalist("b", masks[1])],
        [masks[2]],
        data.train,
        seed=0,
        most_steps=20,
        fresh=data.validation,
    )
    assert dealt
    for fold, entities in dealt:
        assert entities is not None
        assert all(len(set(fold[entities == one].tolist())) == 1 for one in np.unique(entities))


@pytest.mark.parametrize("options", [{"split_by": "who", "ignore": "day"}, {"split_time": "day", "ignore": "who"}])
def test_a_run_can_be_repeated_and_resumed(table, tmp_path, options):
    result = mcprune.prune(str(table), **QUICK, **options)
    again = mcprune.prune(str(table), **QUICK, **options)
    np.testing.assert_array_equal(result.mask.support, again.mask.support)
    assert set(result.mask.names) <= {"a", "b", "c"}
    config = make_config(data=str(table), out=str(tmp_path / "run"), checkpoint_every="0.5", **QUICK, **options)
    for event in run(config):
        if isinstance(event, Progress) and event.block >= event.blocks // 2:
            break
    else:
        pytest.fail("the run has fewer blocks")
    resumed = mcprune.resume(str(tmp_path / "run"))
    np.testing.assert_array_equal(resumed.mask.weights, result.mask.weights)
    np.testing.assert_array_equal(resumed.mask.support, result.mask.support)
