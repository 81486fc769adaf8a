"""DataLoaders give the run that their arrays give, within a bound of memory."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import mcprune
from mcprune.data.dataloaders import collect
from mcprune.errors import DataError

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)
QUICK = {"epochs": 1, "retrain_epochs": 1, "threads": 1, "hidden": "8"}


def loader(start, stop, batch=100):
    return DataLoader(TensorDataset(torch.from_numpy(X[start:stop]), torch.from_numpy(Y[start:stop])), batch_size=batch)


def test_a_loader_gives_the_mask_that_its_arrays_give():
    wanted = mcprune.prune((X[:400], Y[:400]), keep=8, **QUICK)
    found = mcprune.prune(loader(0, 400), keep=8, **QUICK)
    assert found.mask.indices.tolist() == wanted.mask.indices.tolist()


def test_of_two_loaders_the_second_is_the_test_part():
    made = collect((loader(0, 300), loader(300, 350)), 2**30)
    np.testing.assert_array_equal(made.test_rows, np.arange(300, 350))
    np.testing.assert_array_equal(made.features, X[:350])
    np.testing.assert_array_equal(np.array(made.labels)[made.targets], Y[:350])


def test_what_cannot_be_collected_is_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield X[0], 0

    with pytest.raises(DataError, match="max_memory"):
        collect(DataLoader(Endless(), batch_size=10), 10_000)
    with pytest.raises(DataError, match=r"batch 0 of the loader is a Tensor. Give batches \(features, classes\)"):
        collect(DataLoader(torch.from_numpy(X[:10])), 10_000)
    with pytest.raises(DataError, match="no batches"):
        collect(loader(0, 0), 10_000)
    with pytest.raises(DataError, match="pair of DataLoaders"):
        collect((loader(0, 10), X), 10_000)
