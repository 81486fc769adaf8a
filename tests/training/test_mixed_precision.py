"""--amp: backprop in bfloat16, and nothing else; the parameters, the candidates and the results are float32."""

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.data.load import load

SMALL = {"epochs": 1, "retrain_epochs": 1, "compare": "no", "threads": 1, "decisions": 16, "evaluation_rows": 128}


SEEN = set()


class Spied(nn.Module):
    """A small convolutional network on 8 x 8 images that notes its outputs' types by mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)
        )

    def forward(self, rows):
        out = self.body(rows)
        SEEN.add((self.training, out.dtype))
        return out


@pytest.mark.slow
@pytest.mark.parametrize("amp", [False, True])
def test_only_backprop_is_in_bfloat16(amp):
    SEEN.clear()
    result = mcprune.prune(load("digits"), keep=20, model=Spied(), amp=amp, evaluator="full", **SMALL)
    trained = torch.bfloat16 if amp else torch.float32
    assert {kind for is_training, kind in SEEN if is_training} == {trained}
    assert {kind for is_training, kind in SEEN if not is_training} == {torch.float32}
    assert result.mask.indices.size == 20
    assert {parameter.dtype for parameter in result.model.model.parameters()} == {torch.float32}


@pytest.mark.slow
def test_a_run_in_mixed_precision_repeats_itself_and_is_another_one():
    runs = [mcprune.prune(load("digits"), keep=16, amp=amp, hidden=(16,), **SMALL) for amp in (True, True, False)]
    first, again, plain = (next(run.model.model.parameters()).detach().numpy() for run in runs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(runs[0].mask.indices, runs[2].mask.indices) or not np.array_equal(first, plain)
