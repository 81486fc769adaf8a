"""`keep="auto"`: n is chosen by a path."""

import numpy as np
import pytest

import mcprune
from mcprune.errors import ConfigError


@pytest.fixture(scope="module")
def table():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(200, 6))
    return x, (x[:, :3].sum(axis=1) > 0).astype(int)


@pytest.mark.slow
def test_prune_chooses_n(table, tmp_path):
    result = mcprune.prune(*table, keep="auto", seed=0, threads=1, out=str(tmp_path / "run"), progress=False)
    assert set(result.mask.indices) >= {0, 1, 2}
    assert result.mask.indices.size <= 4
    assert result.curve.enough.level == result.mask.indices.size
    assert mcprune.load(tmp_path / "run").predict(table[0][:3]).shape == (3,)


@pytest.mark.long("an estimator chooses as prune does")
def test_an_estimator_chooses_n(table):
    selector = mcprune.MarkovSelector("auto", random_state=0).fit(*table)
    assert set(selector.get_support(indices=True)) >= {0, 1, 2}
    assert selector.curve_.enough.level == selector.get_support().sum() <= 4
    assert selector.transform(table[0]).shape == (200, selector.get_support().sum())


@pytest.mark.long("the estimator of the test before it, with its classifier")
def test_a_classifier_predicts_from_as_many_columns_as_are_enough(table):
    classifier = mcprune.MarkovPrunedClassifier("auto", random_state=0).fit(*table)
    assert classifier.score(*table) > 0.9


def test_another_estimator_is_refused(table):
    from sklearn.naive_bayes import GaussianNB

    with pytest.raises(ConfigError, match="estimator is given"):
        mcprune.MarkovSelector("auto", estimator=GaussianNB()).fit(*table)


def test_another_text_is_refused(table):
    with pytest.raises(ConfigError, match="'auto', or None"):
        mcprune.MarkovSelector("best").fit(*table)


@pytest.mark.parametrize("keep", ["auto", "2:5"])
def test_a_single_run_points_to_the_path(keep):
    with pytest.raises(ConfigError, match=f"mcprune path --keep {keep}"):
        mcprune.make_config(data="wine", keep=keep)
