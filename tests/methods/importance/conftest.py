"""One small network of each kind of site."""

import pytest
from scored_networks import NETWORKS


@pytest.fixture(params=NETWORKS)
def net(request):
    return NETWORKS[request.param]()
