"""A classifier out of a file."""

import pytest
import torch
from torch import nn

from mcprune.config.schema import make_config
from mcprune.errors import ConfigError, ModelError
from mcprune.models.own_file import model_of_file

CODE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))

made = Net()
number = 3
def broken():
    raise ValueError("no")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return path


def test_a_class_a_function_or_an_instance(file):
    one, other = (model_of_file(f"{file}:Net", 3) for _ in range(2))
    assert isinstance(one, nn.Module)
    assert one[0].weight.equal(other[0].weight)
    assert not one[0].weight.equal(model_of_file(f"{file}:Net", 4)[0].weight)
    assert isinstance(model_of_file(f"{file}:made", 0), nn.Module)


def test_the_global_random_state_stays(file):
    state = torch.get_rng_state()
    model_of_file(f"{file}:Net", 3)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "has no 'missing'"),
        ("number", r"number\(\) raised TypeError"),
        ("broken", r"broken\(\) raised ValueError: no\. It is called without arguments"),
        ("torch.zeros", "has no 'torch.zeros'"),
        ("list", "has no 'list'"),
    ],
)
def test_what_is_no_model(file, name, message):
    with pytest.raises(ModelError, match=message):
        model_of_file(f"{file}:{name}", 0)


def test_files_that_cannot_be_run(tmp_path):
    with pytest.raises(ModelError, match="there is no file"):
        model_of_file(f"{tmp_path}/none.py:Net", 0)
    (tmp_path / "net.py").write_text("1 / 0")
    with pytest.raises(ModelError, match="cannot be run, ZeroDivisionError"):
        model_of_file(f"{tmp_path}/net.py:Net", 0)
    (tmp_path / "other.py").write_text("make = dict")
    with pytest.raises(ModelError, match=r"make\(\) returned a dict"):
        model_of_file(f"{tmp_path}/other.py:make", 0)


def test_names_that_are_none_are_refused_before():
    with pytest.raises(
        ConfigError, match=r"mlp, lenet-300-100.* or FILE\.py:NAME is needed, got 'vgg' \(did you mean 'vgg13'\?\)"
    ):
        make_config(model="vgg")
