"""Compiled steps of perceptrons are those of torch, to rounding."""

import numba
import numpy as np
import pytest
import torch

from mcprune.evaluators.perceptrons import padded
from mcprune.models.mlp import MLP
from mcprune.objectives.losses import BINARY, CROSS_ENTROPY, SQUARED, Absolute, Huber, Poisson, Quantile
from mcprune.training.adam import AdamW
from mcprune.training.compiled import nets as compiled
from mcprune.training.compiled.kernels import draw_scales
from mcprune.training.compiled.nets import PackedNets, can_compile
from mcprune.training.cross_validation import out_of_fold
from mcprune.training.stacked_mlp import StackedMLP

NETS, STEPS, ROWS = 3, 6, 10
SEEDS = [np.uint64(2**63 + 5), np.uint64(7), np.uint64(8)]


def reference(models, x, targets, loss, rates, betas, columns, shares, dropout, seeds):
    """The same steps by torch's autograd."""
    stack = StackedMLP(models)
    optimizer = AdamW(stack.parameters, 0.0, 0.05)
    hidden = models[0].widths[1:-1]
    for step in range(STEPS):
        drawn = [np.empty(ROWS * sum(map(padded, hidden)), np.float32) for _ in seeds]
        for own, seed in zip(drawn, seeds, strict=True):
            draw_scales(own, seed, step, np.float32(dropout))
        scales, start = [], 0
        for width in hidden:
            end = start + ROWS * padded(width)
            scales.append(torch.from_numpy(np.stack([own[start:end].reshape(ROWS, -1)[:, :width] for own in drawn])))
            start = end
        logits = stack.forward(x[:, step], None if columns is None else columns[:, step], scales if dropout else ())
        losses = loss.rows(logits.flatten(0, 1), targets[:, step].flatten(0, 1)).view(NETS, ROWS)
        optimizer.learning_rate, optimizer.beta = rates[step], betas[step]
        optimizer.zero_grad()
        torch.autograd.backward((losses * shares[:, step]).mean(dim=1).sum())
        optimizer.step()
    return stack.parameters


def trained(widths, loss=CROSS_ENTROPY, dropout=0.0, used=None, seeds=SEEDS):
    """Parameters after the steps, compiled and by torch; `seeds` are those of the compiled steps."""
    draw = torch.Generator().manual_seed(0)
    models = [MLP(widths, dropout=dropout, seed=seed) for seed in range(NETS)]
    x = torch.randn((NETS, STEPS, ROWS, used or widths[0]), generator=draw)
    columns = (
        None
        if used is None
        else torch.stack(
            [torch.stack([torch.randperm(widths[0], generator=draw)[:used] for _ in range(STEPS)]) for _ in range(NETS)]
        )
    )
    targets = torch.randint(0, widths[-1], (NETS, STEPS, ROWS), generator=draw)
    if loss is not CROSS_ENTROPY:
        targets = torch.rand((NETS, STEPS, ROWS, widths[-1]), generator=draw).round(decimals=1)
    shares = torch.rand((NETS, STEPS, ROWS), generator=draw)
    rates, betas = np.linspace(0.01, 0.02, STEPS), np.linspace(0.95, 0.85, STEPS)
    nets = PackedNets(NETS, widths, loss, 0.05)
    nets.load(nets.parameters, StackedMLP(models).parameters)
    for part in (slice(0, 4), slice(4, STEPS)):  # the moments stay
        nets.train(
            x[:, part].contiguous().numpy(), targets[:, part].numpy(), rates=rates[part], betas=betas[part], dropout=dropout,
            seeds=seeds, columns=None if columns is None else columns[:, part].numpy(), shares=shares[:, part].contiguous().numpy(),
        )  # fmt: skip
    expected = reference(models, x, targets, loss, rates, betas, columns, shares, dropout, SEEDS)
    own = [torch.empty_like(one) for one in expected]
    nets.store(nets.parameters, own)
    return own, expected


@pytest.mark.parametrize("widths", [(5, 3), (20, 16, 2), (7, 33, 5, 20), (3, 4, 4, 4, 2)])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_steps_are_those_of_torch(widths, dropout):
    for own, expected in zip(*trained(widths, dropout=dropout), strict=True):
        torch.testing.assert_close(own, expected.detach(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    "loss", [SQUARED, Absolute(), Huber(0.3), Quantile(0.2), Poisson(), BINARY], ids=lambda loss: loss.name
)
def test_losses_of_numbers_are_those_of_torch(loss):
    for own, expected in zip(*trained((6, 12, 3), loss), strict=True):
        torch.testing.assert_close(own, expected.detach(), rtol=1e-4, atol=2e-5)


def test_columns_that_are_left_out_have_no_gradient():
    for own, expected in zip(*trained((9, 12, 3), used=4), strict=True):
        torch.testing.assert_close(own, expected.detach(), rtol=1e-4, atol=2e-5)


def test_other_dropped_units_give_other_nets():
    pairs = zip(*trained((20, 16, 2), dropout=0.4, seeds=[np.uint64(1), *SEEDS[1:]]), strict=True)
    apart = [(own - expected.detach()).abs().amax(dim=tuple(range(1, own.dim()))) for own, expected in pairs]
    assert all(one[0] > 1e-3 and one[1:].max() < 1e-4 for one in apart[:1])


def test_dropout_drops_its_share_and_keeps_the_mean():
    scale = np.empty(160_000, np.float32)
    steps = []
    for step in range(2):
        draw_scales(scale, np.uint64(3), step, np.float32(0.3))
        steps.append(scale.copy())
        # Standard deviation of the share: .0011. False alarm at 5 of them: 6e-7.
        assert abs((scale == 0).mean() - 0.3) < 0.0057
        assert set(np.unique(scale)) == {np.float32(0.0), np.float32(1.0 / (1.0 - np.float32(0.3)))}
    assert abs(((steps[0] == 0) & (steps[1] == 0)).mean() - 0.09) < 0.0036  # steps are independent
    assert abs(((scale[1:] == 0) & (scale[:-1] == 0)).mean() - 0.09) < 0.0036  # and so are units


def test_bits_of_a_net_depend_neither_on_threads_nor_on_other_nets():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(5, 8, 12, 6)).astype(np.float32), draw.integers(0, 3, (5, 8, 12))
    start = [
        torch.from_numpy(draw.normal(size=size).astype(np.float32)) for size in ((5, 9, 6), (5, 9), (5, 3, 9), (5, 3))
    ]

    def run(which):
        nets = PackedNets(len(which), (6, 9, 3), CROSS_ENTROPY, 0.1)
        nets.load(nets.parameters, [one[which] for one in start])
        seeds = [np.uint64(place) for place in which]
        nets.train(x[which], y[which], rates=np.full(8, 0.01), betas=np.full(8, 0.9), dropout=0.2, seeds=seeds)
        return nets.parameters

    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = run([0, 1, 2, 3, 4])
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        assert (run([0, 1, 2, 3, 4]) == alone).all()
        assert (run([3, 1]) == alone[[3, 1]]).all()
    finally:
        numba.set_num_threads(before)


def test_what_the_kernels_do_not_have_is_left_to_torch():
    class OwnLoss(type(SQUARED)):
        pass

    assert can_compile([MLP((5, 8, 3))], CROSS_ENTROPY, 64)
    assert not can_compile([MLP((5, 8, 3), "tanh")], CROSS_ENTROPY, 64)
    assert not can_compile([MLP((5, 8, 3), bias=False)], CROSS_ENTROPY, 64)
    assert not can_compile([MLP((5, 8, 3)).double()], CROSS_ENTROPY, 64)
    assert not can_compile([MLP((5, 8, 3))], OwnLoss(), 64)
    assert not can_compile([torch.nn.Sequential(torch.nn.Linear(5, 3))], CROSS_ENTROPY, 64)
    assert not can_compile([MLP((784, 256, 10))], CROSS_ENTROPY, 64)
    frozen = MLP((5, 8, 3))
    frozen.layers[0].weight.requires_grad_(False)
    assert not can_compile([frozen], CROSS_ENTROPY, 64)


@pytest.mark.parametrize("at_once", [1, 2**22])
@pytest.mark.parametrize("loss", [CROSS_ENTROPY, SQUARED], ids=lambda loss: loss.name)
def test_masks_are_scored_as_by_torch(loss, at_once, monkeypatch):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(90, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) if loss is CROSS_ENTROPY else x[:, :2] + np.float32(1.0)
    fold, columns = np.arange(90) % 3, np.array([[0, 1, 2], [3, 4, -1]])
    batches = out_of_fold.draw_batches(fold, None, 30, draw)
    monkeypatch.setattr(out_of_fold, "DROPOUT", 0.0)
    monkeypatch.setattr(compiled, "AT_ONCE", at_once)

    def score():
        return out_of_fold.score_out_of_fold(x, y, columns, fold, batches, seed=1, pace=lambda steps: 25, row_loss=loss)

    own, steps = score()
    monkeypatch.setattr(out_of_fold, "rule_of", lambda loss: None)
    expected, steps_of_torch = score()
    assert steps == steps_of_torch == 25
    np.testing.assert_allclose(own.losses, expected.losses, rtol=1e-3, atol=1e-4)
    assert own.losses.mean(axis=1)[0] < own.losses.mean(axis=1)[1]
