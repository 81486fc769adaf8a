"""Sites: which there are, where they lie in the flat vector, and what is refused."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.models.mlp import MLP
from mcprune.sites.site_map import SiteGroup, site_map

MODEL = MLP((6, 5, 4, 3))


def test_inputs_and_all_hidden_units():
    sites = site_map(MODEL, "inputs,units", 6)
    assert sites.groups == (
        SiteGroup("inputs", "", 0, 6),
        SiteGroup("units", "layers.0", 6, 5, ("layers.0",), ("layers.0",)),
        SiteGroup("units", "layers.2", 11, 4, ("layers.2",), ("layers.2",)),
    )
    assert sites.size == 15
    assert sites.inputs == sites.groups[0]
    assert sites.units == sites.groups[1:]


def test_numbering_does_not_depend_on_the_order_of_words():
    assert site_map(MODEL, "units , inputs", 6) == site_map(MODEL, "inputs,units", 6)
    assert site_map(MODEL, "units:layers.2,layers.0,inputs", 6) == site_map(MODEL, "inputs,units", 6)


def test_named_layers_only():
    sites = site_map(MODEL, "units:layers.2", 6)
    assert sites.groups == (SiteGroup("units", "layers.2", 0, 4, ("layers.2",), ("layers.2",)),)
    assert sites.inputs is None


def test_names():
    names = site_map(MODEL, "inputs,units:layers.2", 6).names([f"pixel{i}" for i in range(6)])
    assert names[:2] == ("pixel0", "pixel1")
    assert names[-1] == "layers.2[3]"
    assert len(set(names)) == len(names) == 10
    assert site_map(MODEL, "inputs", 6).names()[5] == "input[5]"
    with pytest.raises(ConfigError, match="5 feature names for 6"):
        site_map(MODEL, "inputs", 6).names("abcde")


def test_split_gives_views_of_arrays_and_tensors():
    sites = site_map(MODEL, "inputs,units", 6)
    vector = np.arange(30).reshape(2, 15)
    parts = sites.split(vector)
    assert [part.shape for part in parts] == [(2, 6), (2, 5), (2, 4)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), vector)
    assert np.shares_memory(parts[1], vector)
    assert torch.equal(torch.cat(sites.split(torch.from_numpy(vector)), dim=-1), torch.from_numpy(vector))
    with pytest.raises(ConfigError, match="15"):
        sites.split(np.zeros(14))


@pytest.mark.parametrize(
    ("kinds", "cause"),
    [
        ("", "no kind"),
        ("input", "'inputs'"),
        ("inputs,inputs", "twice"),
        ("filters", "no kind of site"),
        ("digits", "mcprune run --sites digits, or mcprune polish"),
        ("inputs:layers.0", "cannot be read"),
        ("units:", "cannot be read"),
        ("inputs,layers.0", "no kind"),
        ("units:layers.0,layers.0", "twice"),
        ("units:layers.0,", "no kind"),
    ],
)
def test_kinds_that_cannot_be_read(kinds, cause):
    with pytest.raises(ConfigError, match=cause):
        site_map(MODEL, kinds, 6)


@pytest.mark.parametrize(
    ("kinds", "cause"),
    [("units:layers.1", "ReLU"), ("units:layers.9", "does not exist"), ("units:layers.4", "last Linear")],
)
def test_layers_without_units(kinds, cause):
    with pytest.raises(ModelError, match=cause):
        site_map(MODEL, kinds, 6)


def test_models_without_hidden_units():
    with pytest.raises(ModelError, match="none is hidden"):
        site_map(MLP((4, 3)), "units", 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions of torch call lazy layers experimental
        lazy = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ModelError, match="'0' has no shape yet"):
        site_map(lazy, "units", 4)
    with pytest.raises(ConfigError, match="n_inputs"):
        site_map(MODEL, "inputs", 0)
