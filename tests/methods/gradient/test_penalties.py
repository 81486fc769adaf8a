"""The gradient path's losses and gates: values by hand, and gradients against finite differences in float64."""

import math

import numpy as np
import pytest
import torch

from mcprune.chain import budget
from mcprune.chain.schedules import Schedule
from mcprune.methods.gradient.alphas import Constant, Decades, Stall, Timed, Windowed
from mcprune.methods.gradient.gate_kinds import GATE_KINDS, Counted, Sigmoid, StraightThrough
from mcprune.methods.gradient.method import Gradient, GradientSettings
from mcprune.methods.gradient.penalties import modified_rejection_loss, pruning_losses, rejection_loss, selection_loss
from mcprune.models.mlp import MLP
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

STEP = 1e-5


def weights(count, seed=0, spread=3.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0.3, spread, count)).requires_grad_()


def differences(function, at):
    """Central differences of a scalar function of a float64 vector."""
    at = at.detach()
    out = torch.empty_like(at)
    for i in range(at.numel()):
        up, down = at.clone(), at.clone()
        up[i] += STEP
        down[i] -= STEP
        out[i] = (function(up) - function(down)).item() / (2 * STEP)
    return out


def gradient(function, at):
    (found,) = torch.autograd.grad(function(at), at)
    return found


LOSSES = {
    "L_sel": lambda w: selection_loss(torch.sigmoid(w), 4),
    "L_rej": lambda w: rejection_loss(torch.sigmoid(w)),
    "L_rej'": lambda w: modified_rejection_loss(torch.sigmoid(w), torch.nn.functional.logsigmoid(w)),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("count", [2, 9])
def test_every_loss_has_the_gradient_of_its_finite_differences(name, count):
    for seed in range(5):
        w = weights(count, seed)
        torch.testing.assert_close(gradient(LOSSES[name], w), differences(LOSSES[name], w), rtol=1e-6, atol=1e-10)


def test_a_wrong_gradient_would_be_seen():
    """The control: a product whose gradient forgets its own factor differs by far more than the tolerance."""
    w = weights(3)
    wrong = gradient(lambda w: rejection_loss(torch.sigmoid(w)) + torch.sigmoid(w).prod().detach(), w)
    assert not torch.allclose(wrong, differences(LOSSES["L_rej'"], w), rtol=1e-3)


@pytest.mark.parametrize("modified", [False, True])
@pytest.mark.parametrize("kind", ["sigmoid", "annealed", "hard-concrete"])
def test_the_penalty_of_every_smooth_kind_of_gate_has_its_gradient(kind, modified):
    gates = GATE_KINDS[kind]()
    sharpness = 2.5 if kind == "annealed" else 1.0

    def loss(w):
        return sum(pruning_losses(*gates.counted(w, sharpness), n=3.0, modified=modified))

    w = weights(8, seed=4)
    torch.testing.assert_close(gradient(loss, w), differences(loss, w), rtol=1e-6, atol=1e-10)


def test_straight_through_gates_are_hard_with_the_gradient_of_the_soft_ones():
    w = weights(8, seed=2)
    kind, soft = StraightThrough(), Sigmoid()
    direction = torch.arange(8, dtype=torch.float64)
    drawn = kind.training(w, 5, 1.0, torch.Generator().manual_seed(0)).detach()
    assert drawn.shape == (5, 8)
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-6)
    found = gradient(lambda w: (kind.training(w, 5, 1.0, torch.Generator()) * direction).sum(), w)
    expected = 5 * differences(lambda w: (soft.plain(w, 1.0) * direction).sum(), w)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    counted = kind.counted(w, 1.0).selected
    assert selection_loss(counted, int((w > 0).sum())).item() == pytest.approx(0, abs=1e-15)
    found = gradient(lambda w: selection_loss(kind.counted(w, 1.0).selected, 2), w)
    torch.testing.assert_close(found, differences(lambda w: selection_loss(soft.plain(w, 1.0), -8), w))


def test_straight_through_gates_are_on_as_often_as_they_say():
    """Shares of 100,000 draws: a standard deviation of at most .0016, and 5 of them in 2 of a million cases."""
    w = torch.tensor([-4.6, -1.0, 0.0, 2.0], dtype=torch.float64)
    drawn = StraightThrough().training(w, 100_000, 1.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.double().mean(0), torch.sigmoid(w), rtol=0, atol=0.008)
    assert StraightThrough().plain(w, 1.0).tolist() == [0, 0, 0, 1]


def test_hard_concrete_gates_follow_their_published_law():
    """P(s = 0) = 1 - sigmoid(w - b log(-l/r)), P(s = 1) = sigmoid(w - b log((1 - l)/(r - 1))): 200,000 draws for each gate.

    A share of 200,000 draws has a standard deviation of at most .0012; 5 of them are exceeded in 2 of a million cases.
    """
    kind = GATE_KINDS["hard-concrete"]()
    w = torch.tensor([-3.0, -1.0, 0.0, 0.7, 4.0], dtype=torch.float64)
    drawn = kind.training(w, 200_000, 1.0, torch.Generator().manual_seed(0))
    zero, one = (drawn == 0).double().mean(0), (drawn == 1).double().mean(0)
    torch.testing.assert_close(zero, 1 - torch.sigmoid(w - 2 / 3 * math.log(0.1 / 1.1)), rtol=0, atol=0.006)
    torch.testing.assert_close(one, torch.sigmoid(w - 2 / 3 * math.log(1.1 / 0.1)), rtol=0, atol=0.006)
    torch.testing.assert_close(kind.counted(w, 1.0).selected, 1 - zero, rtol=0, atol=0.006)
    assert pruning_losses(*kind.counted(w, 1.0), n=2.0, modified=True).rej == 0
    assert float(drawn[:, 2].std()) > 0.1  # rows differ


def test_the_losses_are_those_of_the_chain():
    w = weights(30, seed=7)
    for modified in (False, True):
        ours = sum(pruning_losses(*Sigmoid().counted(w, 1.0), n=11.0, modified=modified)).item()
        sums = budget.whole_sums(w.detach().numpy()[None], sharpness=1.0)
        assert ours == pytest.approx(float(budget.pruning_loss(sums, 11.0, 30, modified)[0]), rel=1e-12)


def test_the_product_does_not_underflow_at_784_sites():
    """All gates at 1/2: prod s = 2^-784, which float32 and a running product of such cannot hold; nor can they its gradient."""
    w = torch.zeros(784, dtype=torch.float64, requires_grad=True)
    counted = Sigmoid().counted(w, 1.0)
    product = modified_rejection_loss(counted.gates, counted.log_gates) - rejection_loss(counted.gates)
    assert counted.log_gates.sum().exp().item() == pytest.approx(2.0**-784, rel=1e-10)
    assert product.item() >= 0
    (found,) = torch.autograd.grad(counted.log_gates.sum().exp(), w)
    # d prod / d w_i = prod (1 - s_i)
    torch.testing.assert_close(found / 2.0**-784, torch.full((784,), 0.5, dtype=torch.float64))
    assert float(torch.full((784,), 0.5, dtype=torch.float32).prod()) == 0.0  # the control
    # A gate that rounds to 0 has a gradient too, where a quotient prod / s_i would be 0 / 0.
    w = torch.tensor([-800.0, 2.0], dtype=torch.float64, requires_grad=True)
    counted = Sigmoid().counted(w, 1.0)
    found = gradient(lambda w: modified_rejection_loss(*Sigmoid().counted(w, 1.0)[1:]), w)
    assert torch.isfinite(found).all()
    assert isinstance(counted, Counted)


def schedules():
    windowed = {"window": 3, "products": True, "cap": 1e6}
    return {
        "fixed": Timed(Schedule("constant", 10.0, 10.0)),
        "ramp": Timed(Schedule("geometric", 0.1, 100.0)),
        "ratio": Windowed(Constant(), **windowed),
        "mu-lambda": Windowed(Constant(1e5), **windowed),
        "decade": Windowed(Decades(1.0, 1e7, 2), **windowed),
        "stall": Windowed(Stall(1.0, 1e7, 2.0, 0.01, 1), **windowed),
    }


@pytest.mark.parametrize("rejection", ["plain", "modified"])
@pytest.mark.parametrize("name", schedules())
def test_the_whole_loss_of_every_schedule_has_the_gradient_at_constant_alpha(name, rejection):
    """d L_tot / d w_i of a classifier in float64, by backprop as a run does it, against finite differences."""
    alpha = schedules()[name]
    settings = GradientSettings(
        keep=2, gate_kind="sigmoid", sharpness=Schedule("constant", 1.0, 1.0), modified=rejection == "modified",
        optimizer="sgd", learning_rate=0.5, start_weight=1.0, steps=20, epoch_steps=2, seed=0,
    )  # fmt: skip
    path = Gradient(6, settings, alpha)
    state = path.init()
    hook = path.hook(state)
    model = MLP((6, 5, 3), "tanh", seed=1).double()
    gated = GatedModel(model, site_map(model, "inputs", 6))
    draw = torch.Generator().manual_seed(2)
    x, y = torch.randn(40, 6, generator=draw, dtype=torch.float64), torch.randint(0, 3, (40,), generator=draw)

    def total(w, weight):
        gates = torch.sigmoid(w)
        cla = torch.nn.functional.cross_entropy(gated(x, gates), y)
        return cla + weight * sum(pruning_losses(*Sigmoid().counted(w, 1.0), n=2.0, modified=settings.modified))

    seen = set()
    for _ in range(9):
        weight = alpha.value(state.alpha, state.steps / settings.steps)
        seen.add(round(weight, 9))
        before = path.position(state)
        # Gates in float64 here, so that only the path itself is judged.
        cla = torch.nn.functional.cross_entropy(gated(x, torch.sigmoid(state.weights)), y)
        torch.autograd.backward(cla + hook.penalty())
        found = state.weights.grad.clone()
        at = torch.from_numpy(before)
        expected = differences(lambda w, weight=weight: total(w, weight), at)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)
        hook.after_step(cla.detach())
        np.testing.assert_allclose(path.position(state), before - 0.5 * found.numpy(), rtol=1e-12)
    assert (len(seen) == 1) == (name == "fixed")
