"""The documented calls of the library, as they stand in its guides."""

import numpy as np
import pandas
import pytest
import torch

import mcprune
from mcprune.config import rules

PRUNE = """
result = mcprune.prune(X, y, keep=50)
result.mask.indices; result.model.predict(X); result.metrics["test_accuracy"]
"""
PARTS = """
problem = mcprune.Problem(net, (X, y), sites="inputs", keep=50, objective="auc", must_keep=["age"])
search = mcprune.Markov(delta=1.0, temperature=mcprune.geometric(3e-3, 3e-4))
result = mcprune.fit(problem, search, callbacks=[mcprune.Checkpoint("runs/a"), mcprune.Dashboard()])
for event in mcprune.run(problem, search): ...
state = search.init(problem, seed=0); batch = search.batch(problem, state, rows=64)
state, info = search.step(problem, state, batch, progress=.4)
"""


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Rows of 60 named columns of which two tell, and a network, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    X = pandas.DataFrame(draw.normal(size=(300, 60)), columns=["age", *(f"c{j}" for j in range(1, 60))])
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(60, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    return {"mcprune": mcprune, "X": X, "y": (X["c3"] + X["c7"] > 0).to_numpy().astype(int), "net": net}


@pytest.mark.slow
def test_prune_in_one_call(names):
    exec(PRUNE, names)
    result = names["result"]
    assert result.mask.indices.size == len(result.mask.names) == 50
    assert result.model.predict(names["X"]).shape == (300,)
    assert result.metrics["test_accuracy"] > 0.7


@pytest.mark.slow
def test_a_problem_a_search_and_its_parts(names, tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "LEAST_STEPS", rules.Default((rules.Rule(100),)))  # a part of the work of two whole runs
    exec(PARTS, names)
    result = names["result"]
    assert "age" in result.mask.names
    for kept in (result.mask.names, names["event"].names):
        assert {"age", "c3", "c7"} <= set(kept)
    assert mcprune.load(tmp_path / "runs" / "a").predict(names["X"]).shape == (300,)
    assert names["info"].proposals > 0
