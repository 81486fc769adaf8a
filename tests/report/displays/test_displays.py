"""Displays: what is drawn by matplotlib and by plotly is the data of the result or the estimator."""

import importlib.util

import numpy as np
import pytest

import mcprune
from mcprune import MarkovSelector, MaskDisplay, PathDisplay, ScoresDisplay
from mcprune.report.displays import base

SCORES, SUPPORT = np.array([0.1, -0.4, 0.9, 0.3]), np.array([True, False, True, False])
NAMES = ("age", "a name that is much longer than an axis", "size", "rate")


@pytest.fixture(autouse=True)
def closed():
    """Figures on the backend without a window, closed afterwards."""
    if importlib.util.find_spec("matplotlib") is None:
        yield
        return
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("agg")
    yield
    plt.close("all")


def test_bars_are_the_scores_with_kept_columns_first():
    pytest.importorskip("matplotlib")
    display = ScoresDisplay(SCORES, SUPPORT, NAMES, errors=np.full(4, 0.05)).plot()
    assert [bar.get_width() for bar in display.bars_] == [0.9, 0.1, 0.3, -0.4]
    assert [text.get_text() for text in display.ax_.get_yticklabels()][:2] == ["size", "age"]
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_title() == "2 of 4 columns are kept"
    same = ScoresDisplay(SCORES, SUPPORT, NAMES).plot(display.ax_, most=2, height=0.5)
    assert same.ax_ is display.ax_
    assert len(same.bars_) == 2


def test_plotly_has_the_same_bars():
    figure = ScoresDisplay(SCORES, SUPPORT, NAMES, errors=np.full(4, 0.05)).to_plotly(most=3)
    assert list(figure.data[0].x) == [0.9, 0.1, 0.3]
    assert list(figure.data[0].error_x.array) == [0.05] * 3
    assert figure.layout.yaxis.ticktext == ("size", "age", "rate")


def test_a_mask_of_a_table_and_masks_of_a_path():
    pytest.importorskip("matplotlib")
    display = MaskDisplay(SUPPORT, NAMES).plot()
    np.testing.assert_array_equal(display.image_.get_array(), SUPPORT[None])
    assert [text.get_text() for text in display.ax_.get_xticklabels()][::2] == ["age", "size"]
    both = MaskDisplay(np.stack([SUPPORT, ~SUPPORT]), NAMES, rows=["2", "2 more"]).plot()
    assert [text.get_text() for text in both.ax_.get_yticklabels()] == ["2", "2 more"]
    image = MaskDisplay(SUPPORT, NAMES, image_shape=(2, 2)).plot()
    np.testing.assert_array_equal(image.image_.get_array(), SUPPORT.reshape(2, 2))


def test_plotly_has_the_same_mask():
    assert np.array(MaskDisplay(SUPPORT, NAMES).to_plotly().data[0].z).tolist() == [[1, 0, 1, 0]]
    image = MaskDisplay(SUPPORT, NAMES, image_shape=(2, 2)).to_plotly()
    assert np.array(image.data[0].z).tolist() == [[1, 0], [1, 0]]
    with pytest.raises(mcprune.McpruneError, match="Give a name for each column"):
        MaskDisplay(SUPPORT, NAMES[:2])


@pytest.fixture(scope="module")
def fitted():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(120, 6))
    y = (x[:, 0] + x[:, 3] > 0).astype(int)
    return MarkovSelector(2, random_state=0, epochs=4).fit(x, y), x, y


def test_from_a_fitted_estimator(fitted):
    pytest.importorskip("matplotlib")
    selector, _, _ = fitted
    bars = ScoresDisplay.from_estimator(selector, most=4)
    np.testing.assert_array_equal(bars.scores, selector.scores_)
    assert bars.names == tuple(f"x{place}" for place in range(6))
    np.testing.assert_array_equal(MaskDisplay.from_estimator(selector).masks[0], selector.support_)
    with pytest.raises(mcprune.McpruneError, match=r'one number of columns was searched\. Give keep="auto"'):
        PathDisplay.from_estimator(selector)


@pytest.mark.slow
def test_a_result_and_a_path_draw_themselves(fitted):
    pytest.importorskip("matplotlib")
    _, x, y = fitted
    result = mcprune.prune(x, y, keep=2, seed=0, epochs=4, retrain_epochs=2, progress=False)
    assert result.plot_scores().scores.tolist() == result.mask.weights.tolist()
    np.testing.assert_array_equal(result.plot_mask().masks[0], result.mask.support)
    with pytest.raises(mcprune.McpruneError, match="one number of columns was searched"):
        result.plot_path()
    auto = mcprune.prune(x, y, keep="auto", seed=0, epochs=4, retrain_epochs=2, progress=False)
    curve = auto.plot_path()
    assert [level.level for level in curve.curve.levels] == [int(n) for n in curve.line_.lines[0].get_xdata()]
    assert len(curve.to_plotly().data[0].x) == len(auto.curve.levels)
    assert auto.plot_mask().masks.shape == (len(auto.curve.levels), 6)


def test_without_matplotlib_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(mcprune.McpruneError, match="pip install matplotlib, or use to_plotly"):
        ScoresDisplay(SCORES, SUPPORT, NAMES).plot()
