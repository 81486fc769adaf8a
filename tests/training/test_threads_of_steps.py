"""On how many threads of torch's a step runs."""

import pytest
import torch
from torch import nn

from mcprune.models.mlp import MLP
from mcprune.training.steps import SMALL_STEP, threads_of_steps

WIDTHS = (20, 30, 4)
WORK = 20 * 30 + 30 * 4  # multiply-accumulates of a row


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads(models, inputs, rows):
    with threads_of_steps(models, inputs, rows):
        return torch.get_num_threads()


@pytest.mark.usefixtures("two_threads")
def test_small_steps_take_one_thread_and_large_ones_all():
    models = [MLP(WIDTHS, seed=0), MLP(WIDTHS, seed=1)]
    most = SMALL_STEP // (2 * WORK)
    assert threads(models, 20, most) == 1
    assert threads(models, 20, most + 1) == 2
    assert threads(models[:1], 20, most + 1) == 1
    with pytest.raises(ZeroDivisionError), threads_of_steps(models, 20, 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2  # those of before, also after an error


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
        nn.LSTM(20, 2),
        nn.Sequential(
            nn.Linear(5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
        ),  # four tokens of five numbers in a row
        nn.Identity(),
    ],
)
def test_work_that_is_not_the_number_of_weights_keeps_its_threads(model):
    assert threads([model], 20, 1) == 2
