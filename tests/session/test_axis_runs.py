"""Runs over sensors and steps: whole ones are kept, the folder is loaded again, and what contradicts them is refused."""

import numpy as np
import pytest
import torch

import mcprune
from mcprune.errors import ConfigError, ModelError
from mcprune.models.layers import Scatter
from tests.shared.models_over_time import C, Convolutions, Plain, Recurrent, S, T

SHORT = {"epochs": 2, "retrain_epochs": 1, "compare": "no", "threads": 1, "seed": 0}


@pytest.fixture(scope="module")
def rows():
    """Classes that sensor 1 shows at all steps."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, C, 240)
    x = draw.normal(size=(240, S, T)).astype(np.float32)
    x[:, 1] += 2 * y[:, None]
    return x, y


def made(kind):
    torch.manual_seed(0)
    return kind()


def test_sensors_are_kept_whole_and_cut_out_of_the_first_layer(rows, tmp_path):
    result = mcprune.prune(*rows, model=made(Convolutions), sites="sensors", keep=2, out=str(tmp_path / "run"), **SHORT)
    kept = result.mask.support.reshape(-1)
    sensors = np.flatnonzero(result.model.columns.reshape(2, T)[:, 0] % T == 0)
    assert sensors.tolist() == [0, 1]
    whole = np.isin(np.arange(S * T), result.model.columns).reshape(S, T)
    assert (whole.all(axis=1) == whole.any(axis=1)).all()
    assert whole.any(axis=1).sum() == 2
    assert kept.sum() in (2, 2 * T)
    assert result.model.model.first.in_channels == 2
    notes = [event.text for event in result.events if event.kind == "note"]
    assert any("5 sensors of 12 inputs each, as 'first' reads them" in note for note in notes)
    again = mcprune.load(tmp_path / "run", model=made(Convolutions))
    assert again.model.first.in_channels == 2
    np.testing.assert_array_equal(again.predict_proba(rows[0]), result.model.predict_proba(rows[0]))
    assert not list((tmp_path / "run").rglob("*.pkl"))
    assert '"sensor[' in (tmp_path / "run" / "result.json").read_text()


@pytest.mark.slow
def test_steps_of_a_recurrent_network_are_kept_whole(rows, tmp_path):
    x = np.ascontiguousarray(rows[0].transpose(0, 2, 1))
    result = mcprune.prune(x, rows[1], model=made(Recurrent), sites="steps", keep=3, out=str(tmp_path / "run"), **SHORT)
    whole = np.isin(np.arange(S * T), result.model.columns).reshape(T, S)
    assert whole.all(axis=1).sum() == 3
    assert whole.sum() == 3 * S
    assert isinstance(result.model.model, Scatter)
    again = mcprune.load(tmp_path / "run", model=made(Recurrent))
    np.testing.assert_array_equal(again.predict_proba(x), result.model.predict_proba(x))


def test_a_named_sensor_is_kept(rows):
    result = mcprune.prune(*rows, model=made(Convolutions), sites="sensors", keep=2, must_keep=["sensor[4]"], **SHORT)
    assert (4 * T + np.arange(T)).tolist() == result.model.columns.tolist()[-T:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": "sensors,units"}, "sensors are sites alone: all inputs of one are kept or dropped together"),
        ({"sites": "sensors,steps"}, "sensors are sites alone"),
        ({"sites": "steps:first"}, "steps are sites alone"),
        ({"sites": "sensors", "groups": {"a": [0, 1]}}, "whose inputs are groups already"),
        ({"sites": "sensors", "method": "gradient"}, "those of one of the sensors belong together. Use method=markov"),
        ({"sites": "sensors", "keep": 6}, "there are 5 columns or groups that may be kept"),
        ({"sites": "sensors", "fdr": 0.2, "keep": None}, "only columns have permuted copies to compete with"),
    ],
)
def test_what_contradicts_sensors_is_refused(rows, options, message):
    with pytest.raises(ConfigError, match=message):
        mcprune.prune(*rows, model=made(Convolutions), **{"keep": 2, "epochs": 1, **options})


def test_a_built_in_classifier_has_no_sensors(rows):
    with pytest.raises(ConfigError, match="built-in classifiers do not read steps of rows over time"):
        mcprune.prune(*rows, sites="steps", keep=2, epochs=1)


def test_a_model_without_sensors_is_refused_by_its_layer(rows):
    with pytest.raises(ModelError, match="'first', a Linear, reads a signal of shape"):
        mcprune.prune(rows[0].reshape(240, -1), rows[1], model=made(Plain), sites="sensors", keep=2, epochs=1)
