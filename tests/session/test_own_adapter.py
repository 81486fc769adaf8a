"""How a user's model takes rows and gives logits, found by running it."""

import numpy as np
import pytest
import torch
from torch import nn
from wild_models import Recurrent, Words, seeded

import mcprune
from mcprune.errors import ConfigError, ModelError
from mcprune.models.adapters import Adapter
from mcprune.session.build.own_adapter import choose_adapter, reads_ids, refuse_state
from mcprune.types import InputField

SHORT = {"epochs": 1, "retrain_epochs": 1, "threads": 1, "seed": 0}


def chosen(model, rows, image_shape=None, outputs=3, task="classification"):
    return choose_adapter(model, rows, (), image_shape, outputs, task)


def test_a_flat_row_stays_flat_where_the_outputs_are_the_same():
    rows = torch.randn(4, 20)
    assert chosen(nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), rows, (4, 5)) == Adapter()
    assert chosen(nn.Linear(20, 3), rows) == Adapter()


def test_a_series_is_not_taken_for_one_sequence_of_rows():
    """A recurrent layer takes (B, N) for one sequence of B steps, and gives outputs of the right shape."""

    class Over(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.last = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x):
            return self.last(self.cell(x)[0] if x.dim() == 2 else self.cell(x)[0][:, -1])

    rows = torch.randn(4, 4)
    assert Over()(rows).shape == (4, 3)
    assert chosen(Over(), rows, (1, 4)) == Adapter((InputField("", 0, (1, 4), "float"),))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (lambda out: out[..., None, None], Adapter(is_flat=True)),
        (lambda out: (out.sum(), out), Adapter(part=1)),
        (lambda out: {"a": out, "logits": out * 2}, Adapter(part="logits")),
        (lambda out: {"loss": out.sum(), "scores": out}, Adapter(part="scores")),
        (lambda out: out[:, :2], Adapter()),
        (lambda out: out.argmax(1), Adapter()),
    ],
)
def test_the_logits_among_the_outputs(outputs, expected):
    class Gives(nn.Linear):
        def forward(self, x):
            return outputs(super().forward(x))

    assert chosen(Gives(5, 3), torch.randn(4, 5)) == expected


@pytest.mark.parametrize("outputs", [lambda out: out, lambda out: out.squeeze(1)])
def test_one_logit_for_two_classes(outputs):
    class Gives(nn.Linear):
        def forward(self, x):
            return outputs(super().forward(x))

    assert chosen(Gives(5, 1), torch.randn(4, 5), outputs=2) == Adapter(link="one-logit")
    assert chosen(nn.Linear(5, 1), torch.randn(4, 5), outputs=1, task="regression") == Adapter()


def test_a_lazy_model_is_left_as_it_is():
    model = nn.Sequential(nn.Unflatten(1, (4, 5)), nn.LazyConv1d(3, 1), nn.Flatten(), nn.LazyLinear(3))
    assert chosen(model, torch.randn(4, 20), (4, 5)) == Adapter()
    assert isinstance(model[3].weight, nn.parameter.UninitializedParameter)


def test_ids_are_found_where_the_model_casts_by_itself():
    ids = torch.randint(0, 9, (6, 4)).float()
    assert reads_ids(seeded(lambda: Words(casts=True))(), ids)
    assert not reads_ids(nn.Linear(4, 3), ids)

    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.last = nn.Embedding(4, 2), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(x + self.table(torch.arange(4)).sum(1))

    assert not reads_ids(Places(), ids)


def test_ids_are_neither_scaled_nor_given_to_other_methods():
    x = np.random.default_rng(0).integers(0, 9, (60, 6))
    y = np.digitize(x[:, 1], [3, 6])
    model = seeded(Words)
    result = mcprune.prune(x, y, keep=3, model=model(), **SHORT)
    assert result.model.scaler.kind == "none"
    assert any(
        "scale: none, since the model takes whole numbers" in each.text for each in result.events if each.kind == "note"
    )
    with pytest.raises(ConfigError, match="scale='standard', but the model takes whole numbers"):
        mcprune.prune(x, y, keep=3, model=model(), scale="standard", **SHORT)
    with pytest.raises(ModelError, match="method='gradient' needs gradients of the gates"):
        mcprune.prune(x, y, keep=3, model=model(), method="gradient", **SHORT)


def test_a_random_model_is_not_taken_for_one_with_a_state():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.randn(())

    refuse_state(Noisy(4, 3), torch.randn(9, 4))


@pytest.mark.parametrize("kind", ["before", "count"])
def test_a_state_is_refused(kind):
    class Keeps(nn.Linear):
        before, count = 0.0, 0

        def forward(self, x):
            out = super().forward(x) + (self.before if kind == "before" else self.count)
            self.before, self.count = out.detach().mean(0), self.count + 1
            return out

    with pytest.raises(ModelError, match="keeps a state between calls"):
        refuse_state(Keeps(4, 3), torch.randn(9, 4))
    refuse_state(Recurrent(nn.GRU).eval(), torch.randn(9, 5, 2))


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(x.view(-1).view(len(x), 8))


def test_views_of_rows_that_lie_column_by_column():
    """Evaluation rows are laid out input by input: without a copy, `view` raises."""
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    result = mcprune.prune(x, np.digitize(x[:, 0], [-0.5, 0.5]), keep=3, model=Views(), **SHORT)
    assert any("rows are copied for its views" in each.text for each in result.events if each.kind == "note")


def test_whole_numbers_are_tried_where_nothing_else_works():
    class Takes(nn.Linear):
        def forward(self, x):
            return super().forward(x if x.is_floating_point() else -x.float())

    rows = torch.randint(0, 9, (4, 5)).float()
    assert chosen(Takes(5, 3), rows) == Adapter()
    assert chosen(nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(15, 3)), rows).fields[0].kind == "int"
