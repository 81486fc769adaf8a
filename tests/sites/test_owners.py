"""Which parameters belong to which sites."""

import pytest
from scored_networks import convolutions, mlp

from mcprune.errors import ModelError
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import SiteGroup, SiteMap


def test_inputs_of_a_convolution_own_nothing():
    model = convolutions().model
    with pytest.raises(ModelError, match=r"first layer, '0', is a Conv2d"):
        Owners(model, SiteMap((SiteGroup("inputs", "", 0, 72),)))


def test_owners_index_and_counts():
    net = mlp()
    owners = Owners(net.model, net.sites)
    assert owners.index("0.weight", "inputs").expand(4, 5).tolist() == [[0, 1, 2, 3, 4]] * 4
    assert owners.index("0.weight", "units").expand(4, 5).tolist() == [[5] * 5, [6] * 5, [7] * 5, [8] * 5]
    assert owners.index("4.weight").expand(3, 6).eq(-1).all()
    with pytest.raises(ModelError, match=r"several kinds \(inputs, units\)"):
        owners.index("0.weight")
    assert owners.counts().tolist() == [4.0] * 5 + [6.0] * 4 + [5.0] * 6
    with pytest.raises(ModelError, match=r"layer 'nowhere'"):
        Owners(net.model, SiteMap((SiteGroup("units", "nowhere", 0, 4),)))
    with pytest.raises(ModelError, match=r"no parameter for its 7 sites"):
        Owners(net.model, SiteMap((SiteGroup("units", "0", 0, 7),)))
