"""What a result says and shows of itself: the sentence, the card, figures."""

import base64
import io
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import mcprune
from mcprune.errors import McpruneError
from mcprune.report.card import card
from mcprune.results import History

QUICK = {"epochs": 4, "retrain_epochs": 2, "hidden": (12,), "threads": 1}


@pytest.fixture(scope="module")
def digits():
    return mcprune.prune("digits", keep=16, compare="yes", **QUICK)


@pytest.fixture(scope="module")
def wine():
    return mcprune.prune("wine", keep=4, **QUICK)


def test_the_text_of_a_result_is_its_sentence(digits):
    done = digits.events[-1]
    assert str(digits) == digits.summary
    assert digits.summary.startswith(f"{done.summary} (on the run's own 359 test rows).")
    assert done.summary.startswith("16 of 64 pixels keep ")
    assert digits.summary.endswith(done.simpler)


def test_the_card_has_the_sentence_the_picture_and_the_table(digits, wine):
    text = digits._repr_html_()
    assert digits.events[-1].summary.replace("+-", "±") in text
    assert text.count("<rect") == 16
    for score in digits.events[-1].scores:
        assert score.name in text
        assert f"{score.accuracy:.4f}" in text
    assert "<script" not in text
    table = wine._repr_html_()
    assert "<svg" not in table
    assert all(name in table for name in wine.mask.names)


def test_the_names_on_a_card_are_escaped_and_not_too_many(story):
    done = story()[-1]
    names = tuple(f"<b>{number}</b>" for number in range(100))
    text = card(replace(done, names=names, summary="<i>summary</i>"), "<u>note</u>")
    assert not {"<b>0", "<i>", "<u>"} & {text[place : place + 4] for place in range(len(text))}
    assert "&lt;b&gt;59" in text
    assert "and 40 more" in text


def test_figures_show_the_mask_the_accuracies_and_the_search(digits, wine):
    picture = digits.mask.plot()
    pixels = np.frombuffer(base64.b64decode(picture.data[0].z["bdata"]), np.uint8)
    assert pixels.tolist() == (255 * digits.mask.support).tolist()
    both = digits.plot()
    accuracies = [trace.x[0] for trace in both.data if trace.type == "scatter"]
    assert accuracies == [score.accuracy for score in digits.events[-1].scores]
    assert [trace.type for trace in both.data].count("heatmap") == 1
    bars = wine.mask.plot()
    assert bars.data[0].x == pytest.approx(np.sort(wine.mask.weights)[::-1])  # by rank the largest weights are kept
    assert sorted(bars.layout.yaxis.ticktext[:4]) == sorted(wine.mask.names)
    assert "alcohol" in bars.layout.yaxis.ticktext
    losses = digits.history.plot().data[0]
    assert list(losses.y) == [event.classification_loss for event in digits.history]


def test_a_history_is_a_list(digits):
    assert isinstance(digits.history, list)
    assert digits.history[-1].kept == 16
    with pytest.raises(McpruneError, match="no block was recorded"):
        History(digits.events[:1]).plot()


def notebook(monkeypatch, has_nbformat=True):
    """Make this process look like the kernel of a notebook; what is displayed goes into the list that comes back."""
    shown = []
    display = ModuleType("IPython.display")
    display.HTML = lambda text: text
    display.display = lambda text, display_id: shown.append(text) or SimpleNamespace(update=shown.append)
    package = ModuleType("IPython")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr("mcprune.report.plots.find_spec", lambda name: object() if has_nbformat else None)
    return shown


def test_a_notebook_without_nbformat_is_one_clear_error(digits, monkeypatch):
    notebook(monkeypatch, has_nbformat=False)
    with pytest.raises(McpruneError, match="pip install nbformat"):
        digits.plot()
    notebook(monkeypatch)
    digits.plot()


def test_progress_is_shown_below_the_cell_of_a_notebook(monkeypatch):
    shown = notebook(monkeypatch)
    mcprune.prune("wine", keep=4, **QUICK)
    assert "loading the data" in shown[0]
    assert "wine, 4 of 13 sites to keep" in shown[-1]
    assert "done in 0:0" in shown[-1]
    assert "<progress" in shown[-1]
    count = len(shown)
    mcprune.prune("wine", keep=4, progress=False, **QUICK)
    assert len(shown) == count


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "is_shown"),
    [(io.StringIO, None, False), (Terminal, None, True), (Terminal, False, False), (io.StringIO, True, True)],
)
def test_progress_is_shown_in_a_terminal_and_where_it_is_wanted(monkeypatch, stream, progress, is_shown):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream())
    result = mcprune.prune("wine", keep=4, progress=progress, **QUICK)
    text = sys.stderr.getvalue()
    assert bool(text) == is_shown
    if is_shown:
        assert "wine, 4 of 13 sites to keep" in text
        assert result.events[-1].summary in text
        assert "sites kept  test accuracy" not in text  # the table is in the result
