"""Gradients, Hessian products and batches that the measures are computed from."""

import numpy as np
import pytest
import torch
from scored_networks import CLASSES, mlp, single_weights
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.methods.importance.evidence import Evidence, balanced_rows, row_losses
from mcprune.methods.importance.registry import score
from mcprune.objectives.classification import CrossEntropy, ErrorRate
from mcprune.sites.gates import GatedModel
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import site_map


def test_the_gradient_is_that_of_finite_differences(net):
    step, g = 1e-5, net.evidence().gradient
    for owned in net.owned[::3]:
        for name, index in owned:
            flat = net.parameters[name].detach()[index].reshape(-1)
            place = int(flat.abs().argmax())
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    view = net.parameters[name][index].view(-1)
                    view[place] += sign * step
                    ends.append(net.value())
                    view[place] -= sign * step
            slope = (ends[0] - ends[1]) / (2 * step)
            assert slope == pytest.approx(float(g[name][index].reshape(-1)[place]), abs=1e-7)


def test_under_a_mask_the_model_is_the_gated_one():
    """Kept sites have the slope of their gates; the weights between them and dropped sites are left out."""
    net = mlp()
    mask = np.ones(15, bool)
    mask[[1, 6, 12]] = False
    evidence = net.evidence(mask=mask)
    gated = GatedModel(net.model, net.sites)
    with torch.no_grad():
        expected = gated(net.x, gated.hard_gates(mask))
        torch.testing.assert_close(evidence.logits(net.x), expected)
        assert (evidence.logits(net.x) - net.model(net.x)).abs().max() > 1e-3

    def loss_at(site, gate):
        gates = gated.hard_gates(mask)
        gates[site] = gate
        return nn.functional.cross_entropy(gated(net.x, gates), net.y).item()

    step, scores = 1e-5, score("loss", evidence).values
    assert not scores[~mask].any()
    assert not score("magnitude", evidence).values[~mask].any()
    for site in np.flatnonzero(mask):
        slope = (loss_at(site, 1 + step) - loss_at(site, 1 - step)) / (2 * step)
        assert scores[site] == pytest.approx(abs(slope), rel=1e-5, abs=1e-8)


def test_an_objective_without_a_gradient_is_refused_by_the_measures_name():
    with pytest.raises(ConfigError, match=r"'fisher' needs a gradient, and the objective 'error' has none"):
        row_losses(ErrorRate(), "fisher")


class Skips(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(9, CLASSES)

    def forward(self, x):
        return self.last(torch.cat([torch.relu(self.first(x)), x], 1))


def test_inputs_that_are_read_twice_are_refused():
    model = Skips()
    owners = Owners(model, site_map(model, "inputs", 5))
    rows = [(torch.randn(6, 5), torch.zeros(6, dtype=torch.int64))]
    with pytest.raises(ModelError, match=r"reads its inputs in other layers than 'first'"):
        Evidence(model, owners, rows, losses=row_losses(CrossEntropy(), "loss"))


def test_batches_are_balanced():
    targets = np.array([0] * 300 + [1] * 40 + [2] * 100)
    batches = balanced_rows(targets, 100, 30, seed=1)
    assert [len(batch) for batch in batches] == [30, 30, 30, 10]
    for batch in batches:
        counts = np.bincount(targets[batch], minlength=3)
        assert counts.max() - counts.min() <= 2
    assert len(np.unique(np.concatenate(batches))) == 100
    # When a class runs out the others go on.
    every = np.concatenate(balanced_rows(targets, 10_000, 64, seed=1))
    assert sorted(every) == list(range(440))
    assert balanced_rows(targets, 100, 30, seed=2)[0].tolist() != batches[0].tolist()


def test_hessian_products_behind_batch_norms_are_those_of_torchs_own():
    """Against a second derivative through torch's batch-norm; a scale that is left out would be found."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Unflatten(1, (2, 6, 6)), nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3),
        nn.BatchNorm2d(3, affine=False), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3),
    ).double().eval()  # fmt: skip
    for norm in (model[2], model[5]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.3, 3.0)
    with torch.no_grad():
        model[2].weight.uniform_(0.3, 3.0)
    x, y = torch.randn(20, 72, dtype=torch.float64), torch.arange(20) % 3
    owners = Owners(model, site_map(model, "channels", 72))
    evidence = Evidence(model, owners, [(x, y)], losses=row_losses(CrossEntropy(), "grasp"))
    parameters = dict(model.named_parameters())
    names = list(evidence.leaves)
    slopes = torch.autograd.grad(
        torch.nn.functional.cross_entropy(model(x), y), [parameters[name] for name in names], create_graph=True
    )
    along = sum((slope * slope.detach()).sum() for slope in slopes)
    expected = dict(zip(names, torch.autograd.grad(along, [parameters[name] for name in names]), strict=True))
    for name, value in evidence.hessian_gradient.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)
    assert all("forward" not in vars(module) for module in model.modules())


class Backwards(torch.autograd.Function):
    """A square that torch knows the gradients of, and no forward mode."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(context, slope):
        (x,) = context.saved_tensors
        return 2 * x * slope


class Squared(nn.Module):
    def forward(self, x):
        return Backwards.apply(x)


@pytest.mark.parametrize(
    ("activation", "has_forward"), [(nn.Tanh, True), (Squared, False), (lambda: nn.LogSoftmax(1), False)]
)
def test_hessian_products_are_the_same_with_and_without_forward_mode(activation, has_forward):
    net = single_weights(activation)
    evidence, plain = net.evidence(), net.evidence()
    plain._has_forward = False
    products, expected = evidence.hessian_gradient, plain.hessian_gradient
    assert evidence._has_forward == has_forward
    for name, value in expected.items():
        assert value.abs().max() > 1e-6
        torch.testing.assert_close(products[name], value, rtol=1e-9, atol=1e-12)


def test_rows_are_drawn_in_proportion_to_their_weights():
    targets = np.arange(2000) % 2
    weights = np.where(np.arange(2000) < 1000, 3.0, 1.0)
    drawn = np.concatenate(balanced_rows(targets, 1500, 100, seed=1, weights=weights))
    assert (targets[drawn] == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert (drawn < 1000).mean() == pytest.approx(0.75, abs=0.04)
    alike = np.concatenate(balanced_rows(targets, 1500, 100, seed=1))
    assert (alike < 1000).mean() == pytest.approx(0.5, abs=0.04)
