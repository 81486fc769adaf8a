"""Classifiers: batches of all sets at once, under random masks."""

import numpy as np
import torch

from mcprune.fdr.classifiers import train_classifiers
from mcprune.models.mlp import MLP


def trained(targets, *, weights=None):
    """Train two sets of two folds on a table whose first column tells; return the models and their tables."""
    rng = np.random.default_rng(0)
    tables = [rng.standard_normal((len(targets), 6)).astype(np.float32) for _ in range(2)]
    for table in tables:
        table[:, 0] = targets
    models = [MLP((6, 8, 2), dropout=0.2, seed=seed) for seed in range(4)]
    training = [np.arange(0, 40), np.arange(20, 60), np.arange(0, 40), np.arange(20, 60)]
    train_classifiers(models, tables, targets, training, weights, draw=np.random.default_rng(1))
    return models, tables


def test_they_learn_and_are_ready_to_evaluate():
    targets = np.arange(60) % 2
    models, tables = trained(targets)
    for number, model in enumerate(models):
        assert not model.training
        with torch.no_grad():
            logits = model(torch.from_numpy(tables[number // 2]))
        assert (logits.argmax(1).numpy() == targets).mean() > 0.9


def test_the_random_state_of_torch_is_left_alone():
    before = torch.get_rng_state()
    first = trained(np.arange(60) % 2)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = trained(np.arange(60) % 2)[0]
    assert all(torch.equal(a, b) for a, b in zip(first[3].parameters(), second[3].parameters(), strict=True))


def test_rows_without_weight_teach_nothing():
    """Half of the rows say the opposite; without weight they are not heard."""
    targets = np.arange(60) % 2
    contrary = np.where(np.arange(60) % 4 < 2, targets, 1 - targets)
    rng = np.random.default_rng(0)
    table = rng.standard_normal((60, 6)).astype(np.float32)
    table[:, 0] = targets
    models = [MLP((6, 8, 2), seed=0), MLP((6, 8, 2), seed=1)]
    weights = np.where(np.arange(60) % 4 < 2, 1.0, 1e-9)
    train_classifiers(models, [table], contrary, [np.arange(60)] * 2, weights, draw=np.random.default_rng(1))
    with torch.no_grad():
        right = models[0](torch.from_numpy(table)).argmax(1).numpy() == targets
    assert right.mean() > 0.9
