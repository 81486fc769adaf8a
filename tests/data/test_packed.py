"""Batches of several inputs as flat rows."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from mcprune.data.dataloaders import collect, is_loaders
from mcprune.data.packed import field_names, pack, unpack
from mcprune.errors import DataError
from mcprune.types import InputField

IMAGE, IDS, MASK = torch.randn(8, 1, 2, 2), torch.arange(24).reshape(8, 3), torch.ones(8, 3, dtype=torch.bool)
Y = torch.arange(8) % 2


def test_a_dict_with_labels():
    batch = unpack(
        {"image": IMAGE, "ids": IDS, "mask": MASK, "labels": Y, "text": ["a"] * 8, "weight": torch.ones(8)}, 0
    )
    assert batch.fields == (
        InputField("image", 0, (1, 2, 2), "float"),
        InputField("ids", 4, (3,), "int"),
        InputField("mask", 7, (3,), "bool"),
        InputField("weight", 10, (), "float"),
    )
    assert batch.features.shape == (8, 11)
    np.testing.assert_array_equal(batch.features[:, 4:7], IDS)
    np.testing.assert_array_equal(batch.targets, Y)
    names = field_names(batch.fields)
    assert names[:1] + names[4:5] + names[-1:] == ["image[0,0,0]", "ids[0]", "weight"]


def test_entries_that_the_model_does_not_take_are_left_out():
    batch = unpack({"image": IMAGE, "number": torch.arange(8), "labels": Y}, 0, frozenset({"image", "scale"}))
    assert [each.name for each in batch.fields] == ["image"]
    with pytest.raises(DataError, match="no input that the model takes among 'picture'"):
        unpack({"picture": IMAGE, "labels": Y}, 0, frozenset({"image"}))


@pytest.mark.parametrize("inputs", [(IMAGE, IDS), [IMAGE, IDS]])
def test_positional_inputs(inputs):
    batch = unpack((inputs, Y), 0)
    assert [each.name for each in batch.fields] == ["", ""]
    assert field_names(batch.fields)[-1] == "input1[2]"


def test_features_and_classes_stay_as_they_were():
    assert unpack((IMAGE, Y, "more"), 0).fields == ()
    assert unpack((IMAGE, Y), 0).features.shape == (8, 1, 2, 2)
    assert unpack(([[1.0, 2.0], [3.0, 4.0]], [0, 1]), 0).features.shape == (2, 2)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": IMAGE}, "none of them is named 'labels' or 'label'"),
        ({"image": IMAGE[:3], "labels": Y}, "8 classes, but its input 'image' has the shape"),
        ({"ids": IDS + 2**25, "labels": Y}, "whole numbers above 16,777,216"),
        (IMAGE, "is a Tensor. Give batches"),
        ((IMAGE, torch.zeros(8, 2, 2)), "classes of shape"),
    ],
)
def test_other_batches_are_refused(batch, message):
    with pytest.raises(DataError, match=message):
        unpack(batch, 0)


def test_inputs_are_packed_as_the_loader_does():
    batch = unpack({"image": IMAGE, "ids": IDS, "labels": Y}, 0)
    np.testing.assert_array_equal(pack({"ids": IDS, "image": IMAGE}, batch.fields), batch.features)
    positional = unpack(((IMAGE, IDS), Y), 0)
    np.testing.assert_array_equal(pack((IMAGE, IDS), positional.fields), positional.features)
    rows = np.zeros((2, 7))
    assert pack(rows, batch.fields) is rows


def test_a_dataset_of_torch_is_collected():
    rows = TensorDataset(torch.randn(20, 4), torch.arange(20) % 2)
    assert is_loaders(rows)
    assert is_loaders((rows, rows))
    one, other = collect(rows, 2**20), collect(DataLoader(rows, batch_size=3), 2**20)
    np.testing.assert_array_equal(one.features, other.features)


def test_batches_of_other_lengths_are_refused():
    batches = [{"ids": IDS, "labels": Y}, {"ids": IDS[:, :2], "labels": Y}]
    with pytest.raises(DataError, match=r"batch 1 of the loader has other inputs than batch 0.*Pad all rows"):
        collect(DataLoader(batches, batch_size=None), 2**20)
