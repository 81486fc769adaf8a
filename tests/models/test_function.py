"""A Python function as a model."""

import copy
import threading

import numpy as np
import pytest
import torch

import mcprune
from mcprune.errors import ConfigError

SHORT = {"epochs": 3, "threads": 1, "seed": 0}


class Reader:
    """Probabilities of three classes from the columns 1 and 4; it cannot be copied."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, rows):
        with self.lock:
            scores = np.stack([rows[:, 1], rows[:, 4], -rows[:, 1] - rows[:, 4]], axis=1)
            shares = np.exp(3 * scores)
            return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture
def data():
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    return x, Reader()(x).argmax(axis=1)


def test_its_inputs_are_chosen_without_a_gradient(data, tmp_path):
    x, y = data
    model = mcprune.FunctionModel(Reader())
    result = mcprune.prune(x, y, keep=2, model=model, frozen=True, out=tmp_path / "run", **SHORT)
    assert result.mask.indices.tolist() == [1, 4]
    np.testing.assert_allclose(result.model.predict_proba(x), Reader()(x), atol=1e-5)
    again = mcprune.load(tmp_path / "run", model=mcprune.FunctionModel(Reader()))
    np.testing.assert_array_equal(again.predict(x), y)


def test_a_copy_shares_the_function(data):
    model = mcprune.FunctionModel(Reader()).eval()
    again = copy.deepcopy(model)
    assert again.function is model.function
    assert not again.training
    torch.testing.assert_close(again(torch.from_numpy(data[0])), model(torch.from_numpy(data[0])))


def test_training_it_is_refused(data):
    with pytest.raises(ConfigError, match="frozen=True"):
        mcprune.prune(*data, keep=2, model=mcprune.FunctionModel(Reader()), **SHORT)
