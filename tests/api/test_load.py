"""`mcprune.load` of models of a user's own class: the code gives the layers, the folder the numbers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import mcprune

SHORT = {"epochs": 3, "retrain_epochs": 2, "seed": 0, "threads": 1, "compare": "no"}


class Net(nn.Module):
    """Three layers in a forward pass of its own: its description alone cannot build it."""

    def __init__(self, columns=8, width=12):
        super().__init__()
        self.first = nn.Linear(columns, width)
        self.middle = nn.Linear(width, width)
        self.last = nn.Linear(width, 2)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.last(torch.relu(self.middle(x)))


class Soft(Net):
    """The same, with probabilities as outputs."""

    def __init__(self):
        super().__init__()
        self.out = nn.Softmax(1)

    def forward(self, x):
        return self.out(super().forward(x))


class Convolutions(nn.Module):
    """Channels of a network of a user's own class."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 5, 3, padding=1)
        self.last = nn.Linear(5, 2)

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x.reshape(-1, 1, 2, 4)))))
        return self.last(x.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def rows():
    x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    return x, np.where(x[:, 2] + x[:, 5] > 0, "up", "down")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "sites", "keep"),
    [
        (Net, "inputs", 3),
        (Soft, "inputs", 3),
        (Net, "units:middle", 5),
        (Net, "weights", 60),
        (Convolutions, "channels", 7),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None),
)
def test_a_model_of_a_users_class_is_loaded_by_its_code(build, sites, keep, rows, tmp_path):
    X, y = rows
    torch.manual_seed(0)
    net = build()
    result = mcprune.prune(
        X, y, keep=keep, sites=sites, model=net, callbacks=[mcprune.Checkpoint(tmp_path / "run")], **SHORT
    )
    assert result.folder == tmp_path / "run"
    untrained = build()
    before = copy.deepcopy(untrained.state_dict())
    loaded = mcprune.load(tmp_path / "run", model=untrained)
    np.testing.assert_array_equal(loaded.predict_proba(X), result.model.predict_proba(X))
    assert all(torch.equal(value, before[name]) for name, value in untrained.state_dict().items())


def test_code_that_does_not_fit_is_refused(rows, tmp_path):
    X, y = rows
    mcprune.prune(X, y, keep=3, model=Net(), out=str(tmp_path / "run"), **SHORT)
    with pytest.raises(mcprune.McpruneError, match=r"of a class of your own.*mcprune\.load\(folder, model="):
        mcprune.load(tmp_path / "run")
    with pytest.raises(mcprune.McpruneError, match=r"first\.weight"):
        mcprune.load(tmp_path / "run", model=Net(width=9))
    with pytest.raises(mcprune.McpruneError, match="model is a str; give a torch"):
        mcprune.load(tmp_path / "run", model="mlp")


def test_a_built_in_model_needs_no_code(rows, tmp_path):
    X, y = rows
    result = mcprune.prune(X, y, keep=3, hidden=(8,), out=str(tmp_path / "run"), **SHORT)
    for loaded in (mcprune.load(tmp_path / "run"), mcprune.load(tmp_path / "run", model=Net())):
        np.testing.assert_array_equal(loaded.predict_proba(X), result.model.predict_proba(X))
