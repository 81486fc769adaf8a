"""The page from Python: a run beside the caller, steered, with the result of `prune`; results that show themselves."""

import urllib.request

import numpy as np
import pytest

import mcprune
from mcprune.errors import ConfigError

QUICK = {"start": "all", "hidden": (8,), "retrain_epochs": 1, "threads": 1}


@pytest.fixture
def tuning():
    tuning = mcprune.tune("digits", keep=16, is_paused=True, epochs=30, **QUICK)
    yield tuning
    tuning.close()


@pytest.mark.slow
def test_a_run_beside_the_caller_is_steered_and_gives_what_prune_gives(tuning):
    with urllib.request.urlopen(tuning.address, timeout=120) as answer:
        policy = answer.headers["content-security-policy"]
        assert b"<title>mcprune" in answer.read()
    assert policy.endswith("frame-ancestors http://127.0.0.1:* http://localhost:*")
    assert tuning.address.replace("&", "&amp;") in tuning._repr_html_()
    assert tuning.change(moves={"site": 2.0, "exchange": 2.0}, temperature=1e-3) == {
        "moves": {"site": 0.5, "exchange": 0.5},
        "temperature": 1e-3,
    }
    with pytest.raises(ConfigError, match="no such knob"):
        tuning.change(speed=3)
    tuning.resume()
    result = tuning.result()
    assert result.mask.indices.size == 16
    assert [event.knobs for event in result.events if event.kind == "knob_changed"][0]["temperature"] == 1e-3  # noqa: RUF015
    plain = mcprune.prune("digits", keep=16, epochs=30, **QUICK)
    assert not np.array_equal(plain.mask.weights, result.mask.weights)  # the steering has counted


def test_an_error_is_raised_where_the_result_is_asked_for():
    tuning = mcprune.tune("digits", keep=999, **QUICK)
    with pytest.raises(ConfigError, match="keep=999"):
        tuning.result()
    assert tuning.status == "failed"
    tuning.close()


def test_results_show_themselves_and_escape_names():
    x = np.random.default_rng(0).normal(size=(300, 4))
    y = np.where(x[:, 1] > 0, "up", "down")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(x, columns=["a", "<script>b</script>", "c", "d"])
    result = mcprune.prune((frame, y), keep=1, epochs=3, **QUICK)
    text = result._repr_html_()
    assert "1 of 4 sites kept" in text
    assert "<script>" not in text
    assert "hard mask, not retrained" in text
    assert "<svg" not in text  # a table is no picture
    digits = mcprune.prune("digits", keep=16, epochs=2, **QUICK)
    assert digits._repr_html_().count("<rect") == 16
