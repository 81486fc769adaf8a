"""Which layers of a model can be cut: the others are left out where none is named, and refused where one is."""

import pytest
import torch
from torch import nn

from mcprune.api import prune
from mcprune.errors import ModelError
from mcprune.surgery.trial import cuttable_sites


class Mixing(nn.Module):
    """The units of `first` are mixed by a Softmax; those of `second` are not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix, self.second, self.last = (
            nn.Linear(13, 12), nn.Softmax(dim=1), nn.Linear(12, 8), nn.Linear(8, 3),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.mix(self.first(x)).relu()).relu())


def test_layers_that_cannot_be_cut_are_left_out_and_named():
    kinds, note = cuttable_sites(Mixing(), "inputs,units", (13,))
    assert kinds == "inputs,units:second"
    assert note.startswith("sites: the units of first are left out, since they cannot be cut (")
    assert "mix" in note
    assert "\n" not in note


@pytest.mark.parametrize("kinds", ["units:first", "units:second", "inputs"])
def test_named_layers_stay_as_they_are(kinds):
    assert cuttable_sites(Mixing(), kinds, (13,)) == (kinds, "")


def test_a_model_that_can_be_cut_everywhere_keeps_its_sites():
    model = nn.Sequential(nn.Linear(13, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    assert cuttable_sites(model, "units,weights", (13,)) == ("units,weights", "")


def test_convolutions_that_cannot_be_cut_are_left_out():
    model = nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 2), nn.Flatten(), nn.Softmax(dim=1),
        nn.Linear(6, 3),
    )  # fmt: skip
    kinds, note = cuttable_sites(model, "channels", (16,))
    assert kinds == "channels:1"
    assert "channels of 3 are left out" in note


def test_prune_cuts_what_can_be_cut():
    options = {"epochs": 2, "retrain_epochs": 1, "compare": "no", "threads": 1}
    result = prune("wine", keep=4, model=Mixing(), sites="units", **options)
    assert len(result.mask.indices) == 4
    assert any("the units of first are left out" in event.text for event in result.events if event.kind == "note")
    assert result.model.model.second.out_features == 4
    with pytest.raises(ModelError, match="first"):
        prune("wine", keep=4, model=Mixing(), sites="units:first", **options)
