"""`Result.sample`: without a folder, with data and models from Python, and what must be given again."""

import numpy as np
import pytest
from torch import nn

import mcprune
from mcprune.errors import ConfigError, FolderError
from mcprune.sampling import sample as sampling
from mcprune.sampling import sampler, settle

QUICK = {"epochs": 3, "retrain_epochs": 1, "threads": 1}
ROUGH = {"precision": 0.2}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(sampling, "ENOUGH", 30.0)
    monkeypatch.setattr(sampling, "MIXED", 1.1)
    monkeypatch.setattr(sampling, "REFUSED", 1.2)
    # Classifiers are trained under their masks for a moment: that this does its work is the matter of test_settle.
    monkeypatch.setattr(settle, "LEAST_STEPS", 60)
    monkeypatch.setattr(settle, "SHARE", 0.0)
    monkeypatch.setattr(settle, "LEGS", 8)
    monkeypatch.setattr(sampler, "FIRST_LEGS", 4)


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(160, 6)).astype(np.float32)
    return x, (x[:, 1] + x[:, 4] + 0.5 * draw.normal(size=160) > 0).astype(int)


@pytest.mark.slow
def test_a_result_of_arrays_needs_them_again_and_knows_the_informative_columns(rows):
    result = mcprune.prune(*rows, keep=2, **QUICK)
    with pytest.raises(ConfigError, match=r"came from Python.*data=\(X, y\)"):
        result.sample(**ROUGH)
    with pytest.raises(FolderError, match="not those that the run was started with"):
        result.sample((rows[0] + 1.0, rows[1]), **ROUGH)
    samples = result.sample(rows, **ROUGH)
    assert set(np.argsort(-samples.probability)[:2]) == {1, 4}
    assert not hasattr(result.folder, "name")


@pytest.mark.slow
def test_a_model_of_the_user_is_given_again_and_stays_as_it_is(rows):
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    result = mcprune.prune(*rows, keep=2, model=model, **QUICK)
    with pytest.raises(ConfigError, match=r"classifier of the run came from Python.*model=model"):
        result.sample(rows, **ROUGH)
    with pytest.raises(FolderError, match="do not fit its model"):
        result.sample(rows, nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), **ROUGH)
    before = [value.clone() for value in model.parameters()]
    assert result.sample(rows, model, **ROUGH).keep == 2
    assert all(bool((one == two).all()) for one, two in zip(before, model.parameters(), strict=True))


@pytest.mark.long("ten seconds of four more kinds of runs")
def test_other_methods_and_kinds_of_sites_can_be_sampled_and_budgets_of_costs_cannot(rows, tmp_path):
    gradient = mcprune.prune(*rows, keep=2, method="gradient", out=str(tmp_path / "g"), **QUICK)
    assert gradient.sample(rows, **ROUGH).keep == 2
    units = mcprune.prune("wine", keep=24, sites="units", hidden="32", **QUICK)
    samples = units.sample(**ROUGH)
    assert (samples.keep, samples.sites) == (24, 32)
    costs = mcprune.prune("wine", sites="units", macs=150, hidden="16", **QUICK)
    with pytest.raises(ConfigError, match="budget of costs"):
        costs.sample(**ROUGH)


@pytest.mark.slow
def test_sites_that_must_be_kept_have_p_one():
    result = mcprune.prune("wine", keep=4, must_keep=["ash"], must_drop=["proline"], **QUICK)
    samples = result.sample(**ROUGH)
    assert samples.probability[samples.names.index("ash")] == 1.0
    assert samples.probability[samples.names.index("proline")] == 0.0


def test_to_arviz_without_arviz_says_what_to_install(monkeypatch):
    import sys

    samples = mcprune.Samples(np.ones((2, 9, 3), bool), np.zeros((2, 9)), 0.1, 0.1, ("a", "b", "c"))
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    monkeypatch.setattr("mcprune.sampling.samples.has_inference_data", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install arviz-base"):
        samples.to_arviz()


def test_to_arviz_gives_a_tree_of_the_samples(monkeypatch):
    pytest.importorskip("arviz_base")
    monkeypatch.setattr("mcprune.sampling.samples.has_inference_data", lambda: False)
    samples = mcprune.Samples(np.ones((2, 9, 3), bool), np.zeros((2, 9)), 0.1, 0.2, ("a", "b", "c"))
    posterior = samples.to_arviz()["posterior"]
    assert posterior["kept"].dims == ("chain", "draw", "site")
    assert posterior["loss"].shape == (2, 9)
    assert list(posterior["site"].values) == ["a", "b", "c"]
    assert posterior.attrs["paired_error"] == 0.2


@pytest.mark.parametrize("package", ["arviz", "arviz_plots"])
def test_arviz_plots_the_samples(package, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    plots = pytest.importorskip(package)
    matplotlib.use("Agg")
    draw = np.random.default_rng(0)
    masks = np.argsort(draw.random((4, 60, 5)), axis=2) < 2
    tree = mcprune.Samples(masks, draw.normal(size=(4, 60)), 0.1, 0.2, tuple("abcde")).to_arviz()
    options = {} if package == "arviz" else {"backend": "matplotlib"}
    assert plots.plot_trace(tree, var_names=["loss"], **options) is not None
    assert plots.plot_forest(tree, var_names=["kept"], **options) is not None
