"""Hidden units of recurrent layers as sites: gates, the cut, parameters, and what is refused by name."""

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.errors import ConfigError, ModelError
from mcprune.models.narrow.recurrent import NarrowRecurrent, gated_recurrence
from mcprune.sites.costs.count import model_costs
from mcprune.sites.gates import GatedModel
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink
from mcprune.surgery.trial import cuttable_sites

F, T, H, C = 3, 7, 5, 3
N = F * T


class Net(nn.Module):
    """A recurrent layer of some kind over (B, steps, features), its last outputs and states."""

    def __init__(self, kind=nn.GRU, starts=False, **options):
        super().__init__()
        torch.manual_seed(0)
        self.cell = kind(F, H, **{"batch_first": True, **options})
        self.starts, self.is_lstm = starts, kind is nn.LSTM
        width = H * (1 + self.cell.bidirectional)
        self.head, self.side = nn.Linear(width, C), nn.Linear(H, C)

    def forward(self, x):
        x = x.unflatten(1, (T, F))
        x = x if self.cell.batch_first else x.transpose(0, 1)
        hx = None
        if self.starts:
            hx = torch.full((self.cell.num_layers * (1 + self.cell.bidirectional), x.shape[0], H), 0.3).to(x)
            hx = (hx, hx) if self.is_lstm else hx
        out, state = self.cell(x, hx) if self.starts else self.cell(x)
        state = state[1] if isinstance(state, tuple) else state
        out = out[:, -1] if self.cell.batch_first else out[-1]
        return self.head(out) + self.side(state[-1])


NETS = {
    "gru": Net,
    "lstm": lambda: Net(nn.LSTM, bias=False),
    "rnn": lambda: Net(nn.RNN, nonlinearity="relu"),
    "two layers": lambda: Net(nn.LSTM, num_layers=2, batch_first=False),
    "both ways": lambda: Net(nn.GRU, num_layers=2, bidirectional=True, starts=True),
    "both ways, lstm": lambda: Net(nn.LSTM, bidirectional=True, starts=True),
}
every_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS)


def rows(count=6):
    return torch.randn(count, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every_net
@pytest.mark.parametrize("kept", [(0, 1, 3, 4), (2,)])
def test_the_cut_network_gives_what_the_masked_one_gives(make, kept):
    model = make().double().eval()
    sites = site_map(model, "states", N)
    assert [(group.layer, group.size) for group in sites.groups] == [("cell", H)]
    mask = torch.from_numpy(np.isin(np.arange(H), kept))
    small = shrink(model, sites, mask, input_shape=(N,))
    assert isinstance(small.cell, NarrowRecurrent)
    with torch.no_grad():
        expected = GatedModel(model, sites)(rows(), mask.double())
        torch.testing.assert_close(small(rows()), expected, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(model(rows()), expected, atol=1e-3)  # the control
    numbers = sum(p.numel() for p in small.parameters())
    assert numbers == model_costs(model, sites, "parameters", input_shape=(N,)).of_mask(mask.numpy())
    assert numbers < sum(p.numel() for p in model.parameters())


@every_net
def test_gates_of_1_change_no_bit_and_rows_may_have_gates_of_their_own(make):
    model = make().double().eval()
    sites = site_map(model, "states", N)
    gated, x = GatedModel(model, sites), rows()
    gates = torch.rand(6, H, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gates[0, 1] = 0
    with torch.no_grad():
        assert torch.equal(gated(x, torch.ones(H)), model(x))
        each = torch.cat([gated(x[row : row + 1], gates[row]) for row in range(6)])
        torch.testing.assert_close(gated(x, gates), each, rtol=1e-10, atol=1e-10)
        assert torch.equal(gated(x, torch.ones(H)), model(x))
    assert "forward" not in model.cell.__dict__
    assert not model.cell._forward_hooks


def test_gradients_reach_the_gates_of_each_row():
    model = Net().double()
    sites = site_map(model, "states", N)
    gates = torch.ones(6, H, dtype=torch.float64, requires_grad=True)
    GatedModel(model, sites)(rows(), gates).square().sum().backward()
    assert bool(gates.grad.ne(0).all())


def test_what_a_hidden_unit_owns():
    model = Net(nn.LSTM)
    sites = site_map(model, "states", N)
    np.testing.assert_array_equal(Owners(model, sites).counts(), np.full(H, 4 * (F + H + 2)))


def test_the_page_of_what_can_be_dropped_has_states():
    lines = str(mcprune.inspect(Net(nn.LSTM), (N,))).splitlines()
    line = next(line for line in lines if line.startswith("states"))
    # The last unit's rows, and its column of the states of all 5.
    assert line.split()[:4] == ["states", "cell", "5", str(4 * (F + 2 + 5 + 4))]


class Odd(nn.Module):
    def __init__(self, cell, packs=False):
        super().__init__()
        self.cell, self.head, self.packs = cell, nn.Linear(cell.proj_size or H, C), packs

    def forward(self, x):
        x = x.unflatten(1, (T, F))
        if self.packs:
            lengths = torch.full((len(x),), T)
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.head(nn.utils.rnn.pad_packed_sequence(self.cell(packed)[0], batch_first=True)[0][:, -1])
        return self.head(self.cell(x)[0][:, -1])


def test_what_cannot_be_cut_is_refused_by_name():
    with pytest.raises(ModelError, match=r"Sequential has no nn\.RNN, nn\.LSTM or nn\.GRU, so there are no states"):
        site_map(nn.Sequential(nn.Linear(N, C)), "states", N)
    with pytest.raises(ModelError, match=r"layer 'head' is a Linear, no recurrent layer in Net.* Choose among cell"):
        site_map(Net(), "states:head", N)
    model = Odd(nn.LSTM(F, H, batch_first=True, proj_size=2))
    with pytest.raises(ModelError, match="the states of 'cell' cannot be sites: it projects its states"):
        site_map(model, "states", N)
    _, note = cuttable_sites(Odd(nn.GRU(F, H, batch_first=True), packs=True), "states", (N,))
    assert note == ""  # no other layer would be left: the run refuses it
    packed = Odd(nn.GRU(F, H, batch_first=True), packs=True)
    sites = site_map(packed, "states", N)
    with pytest.raises(ModelError, match=r"The states of 'cell' cannot be cut out of Odd: .*packed sequences"):
        shrink(packed, sites, np.arange(H) < 3, input_shape=(N,))
    with pytest.raises(ConfigError, match="keeps none of the 5 states of 'cell'"):
        shrink(Net(), site_map(Net(), "inputs,states", N), torch.arange(N + H) < N, input_shape=(N,))
    with pytest.raises(ModelError, match="multiply-accumulates of Net without some states are not known"):
        model_costs(Net(), site_map(Net(), "states", N), "macs", input_shape=(N,))
    with pytest.raises(ModelError, match="with units beside states"):
        model_costs(Net(), site_map(Net(), "units,states", N), "parameters", input_shape=(N,))
    with pytest.raises(ModelError, match="a single row"):
        gated_recurrence(nn.GRU(F, H), torch.zeros(T, F), None, torch.ones(1, H))


@pytest.mark.slow
@pytest.mark.parametrize("evaluator", ["suffix", "full"])
def test_a_run_over_states_is_loaded_again(tmp_path, evaluator):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(160, T, F)).astype(np.float32)
    y = np.digitize(x[:, -1, 0] + x[:, -2, 1], [-0.7, 0.7])

    class Shaped(Net):
        def forward(self, x):
            return super().forward(x.flatten(1))

    result = mcprune.prune(
        x, y, model=Shaped(), sites="states", keep=3, epochs=2, retrain_epochs=1, compare="yes", threads=1, decisions=12,
        evaluator=evaluator, finetune="scratch", out=str(tmp_path / "run"),
    )  # fmt: skip
    small = result.model.model
    assert small.cell.layer.hidden_size == 3
    assert small.cell.kept.tolist() == result.mask.indices.tolist()
    again = mcprune.load(tmp_path / "run", model=Shaped())
    np.testing.assert_array_equal(again.predict_proba(x), result.model.predict_proba(x))
    bound = sum(p.numel() for p in Net().parameters()) - 60
    result = mcprune.prune(
        x,
        y,
        model=Shaped(),
        sites="states",
        parameters=bound,
        frozen=True,
        epochs=1,
        compare="no",
        threads=1,
        decisions=8,
    )
    assert sum(p.numel() for p in result.model.model.parameters()) <= bound
