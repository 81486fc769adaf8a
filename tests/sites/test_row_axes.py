"""Sensors and steps as the first layer reads them, however a model turns its rows round; what has none is refused by name."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.adapters import Adapter, adapted
from mcprune.sites.row_axes import row_axes
from mcprune.types import InputField
from tests.shared.models_over_time import CUT, REFUSED, SCATTERED, C, S, T


def flat(kind):
    torch.manual_seed(0)
    return adapted(kind(), Adapter((InputField("", 0, kind.shape, "float"),))).eval()


def expected(kind):
    """The sensor and the step of each input of a row."""
    sensors, steps = np.divmod(np.arange(S * T), T)
    return (steps, sensors)[::-1] if kind.shape != (T, S) else np.divmod(np.arange(S * T), S)[::-1]


@pytest.mark.parametrize("name", [*CUT, *SCATTERED])
def test_each_input_is_one_sensor_at_one_step(name):
    kind = (CUT | SCATTERED)[name]
    axes = row_axes(flat(kind), S * T, "sensors")
    sensors, steps = expected(kind)
    np.testing.assert_array_equal(axes.sensors, sensors)
    assert axes.is_direct == (name not in ("Scaled", "Centred"))
    assert [len(places) for places in axes.places("sensors")] == [T] * S
    if name != "Centred":
        np.testing.assert_array_equal(axes.steps, steps)
        assert [len(places) for places in row_axes(flat(kind), S * T, "steps").places("steps")] == [S] * T


def test_what_is_mixed_over_time_has_sensors_and_no_steps():
    model = flat(SCATTERED["Centred"])
    assert (row_axes(model, S * T, "sensors").steps == -1).all()
    with pytest.raises(ModelError, match=r'sites="steps": input 0 .* one of the 12 steps of .first.'):
        row_axes(model, S * T, "steps")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Mixed", r"input 0 of a row does not arrive as one of the 5 sensors of 'first'"),
        ("Images", r"'first', is a Conv2d; sensors and steps are known of an nn.Conv1d"),
        ("Plain", r"'first', a Linear, reads a signal of shape \(2, 60\) for 2 rows, which has no axis of sensors"),
    ],
)
def test_a_model_without_sensors_is_refused_by_name(name, reason):
    with pytest.raises(ModelError, match=reason) as caught:
        row_axes(flat(REFUSED[name]), S * T, "sensors")
    assert "Tie the inputs by groups (docs/sensors.md)." in str(caught.value)


class Batches(nn.Module):
    """A recurrent layer that takes the rows of a batch for sensors."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(2, C, 1)

    def forward(self, x):
        return self.layer(x.view(-1, S, T)[:2].transpose(0, 1)[None, 0])


def test_a_model_that_cannot_be_run_is_refused():
    with pytest.raises(ModelError, match=r'sites="sensors": Batches cannot be run on rows of 7 inputs'):
        row_axes(Batches(), 7, "sensors")


def test_one_sensor_is_no_choice():
    model = nn.Sequential(nn.Unflatten(1, (1, T)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.LazyLinear(C))
    model(torch.zeros(2, T))
    with pytest.raises(ModelError, match=r"reads 1 sensors, of which the rows give 1, so there is nothing to choose"):
        row_axes(model, T, "sensors")
    assert len(row_axes(model, T, "steps").places("steps")) == T


def test_ids_have_no_sensors():
    model = adapted(CUT["Flat"](), Adapter(is_of_ids=True))
    with pytest.raises(ModelError, match="takes whole numbers from the rows"):
        row_axes(model, S * T, "sensors")
