"""Several classifiers in training, each on its own rows."""

import copy

import numpy as np
import pytest
import torch

from mcprune.models.mlp import MLP
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.state import deserialize, serialize
from mcprune.training.folds import split_rows
from mcprune.training.stack import ClassifierStack
from mcprune.training.trainer import Trainer

GATES, WEIGHTS = np.array([1, 1, 0, 0, 0, 0], np.float32), np.array([4.0, 4.0, -4.0, -4.0, -4.0, -4.0])


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 6)).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy((x[:, 0] > 0).astype(np.int64)), torch.from_numpy(draw.random(60))


def trainer(x, y, place, **options):
    model = MLP((6, 8, 2), seed=place)
    return Trainer(
        GatedModel(model, site_map(model, "inputs", 6)),
        *(x, y),
        **dict(batch_size=16, learning_rate=1e-2, weight_decay=0.01, mask_noise=0.5, seed=place),
        **options,
    )


def parameters(one):
    return torch.cat([parameter.detach().flatten() for parameter in one.gated.model.parameters()])


def test_each_classifier_is_trained_as_it_would_be_alone_on_a_copy_of_its_rows(rows):
    x, y, weights = rows
    folds = split_rows(y.numpy(), "folds", fraction=0.0, folds=3, seed=0)
    stack = ClassifierStack(
        [trainer(x, y, place, rows=part, weights=weights) for place, part in enumerate(folds.training)]
    )
    state = stack.init()
    stack.run(state, 7, GATES, WEIGHTS, 0.3)
    assert state.steps == 7
    assert stack.step_rows == 48
    for place, part in enumerate(folds.training):
        alone = trainer(x[part], y[part], place, weights=weights[part])
        alone.run(alone.init(), 7, GATES, WEIGHTS, 0.3)
        torch.testing.assert_close(parameters(stack.trainers[place]), parameters(alone), rtol=1e-5, atol=1e-6)


def test_the_rows_of_a_fold_do_not_change_the_classifier_that_evaluates_them(rows):
    x, y, _ = rows
    folds = split_rows(y.numpy(), "folds", fraction=0.0, folds=3, seed=0)
    other = x.clone()
    other[folds.evaluation[1]] = 1e6
    trained = []
    for features in (x, other):
        stack = ClassifierStack([trainer(features, y, place, rows=part) for place, part in enumerate(folds.training)])
        stack.pretrain(2, 0.01, lambda: False)
        stack.run(stack.init(), 5, GATES, WEIGHTS, 0.0)
        trained.append([parameters(one) for one in stack.trainers])
    assert [torch.equal(*pair) for pair in zip(*trained, strict=True)] == [False, True, False]


def test_training_goes_on_from_a_saved_state_as_if_it_had_not_stopped(rows):
    x, y, _ = rows
    folds = split_rows(y.numpy(), "folds", fraction=0.0, folds=3, seed=0)

    def stack():
        return ClassifierStack([trainer(x, y, place, rows=part) for place, part in enumerate(folds.training)])

    whole, first, second = stack(), stack(), stack()
    whole_state, state = whole.init(), first.init()
    whole.run(whole_state, 9, GATES, WEIGHTS, 0.0)
    first.run(state, 4, GATES, WEIGHTS, 0.0)
    saved = copy.deepcopy(serialize(state))
    restored = deserialize(saved, second.init())
    second.run(restored, 5, GATES, WEIGHTS, 0.0)
    for one, other in zip(whole.trainers, second.trainers, strict=True):
        assert torch.equal(parameters(one), parameters(other))
    with pytest.raises(ValueError, match=r"members has 2 values, not 3"):
        deserialize({"members": saved["members"][:2]}, stack().init())
