"""Rounding to trained grids: values as the integers round them, and the gradients."""

import math

import numpy as np
import torch

from mcprune.firmware.fixed_point import FixedFormat, quantize
from mcprune.firmware.qat.grids import leading_bits, round_to_grid, whole_bits, widths


def test_values_are_rounded_as_integers_are():
    rows = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32) * 4
    rows[:4] = [[0.5, -0.5, 0.125, np.nextafter(np.float32(0.5), np.float32(0))]] * 4
    bits = np.array([0, 0, 2, 0])
    form = FixedFormat(bits + 12, bits, [True] * 4, 2, "saturate", "nearest")
    expected = np.ldexp(quantize(rows, form).astype(float), -2)
    rounded = round_to_grid(torch.from_numpy(rows), torch.from_numpy(bits.astype(np.float32)))
    assert (rounded.numpy() == expected).all()


def test_gradients_pass_through_and_tell_the_bits_the_error():
    values = torch.tensor([[0.3, 1.9], [0.7, -0.2]], requires_grad=True)
    bits = torch.tensor([1.0, 0.0], requires_grad=True)
    weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    rounded = round_to_grid(values, bits)
    assert rounded.tolist() == [[0.5, 2.0], [0.5, 0.0]]
    (rounded * weights).sum().backward()
    assert (values.grad == weights).all()
    error = (values - rounded).detach()
    assert torch.allclose(bits.grad, math.log(2) * (weights * error).sum(dim=0))


def test_one_more_bit_halves_the_error_as_its_gradient_says():
    """The derivative of E(x - q)^2 by the bits, against the difference over a whole bit."""
    values = torch.rand(200_000) * 16
    bits = torch.full((200_000,), 2.0, requires_grad=True)
    loss = ((values - round_to_grid(values, bits)) ** 2).mean()
    loss.backward()
    slope = bits.grad.sum().item()
    assert slope == -2 * math.log(2) * loss.item() or abs(slope / (-2 * math.log(2) * loss.item()) - 1) < 1e-3
    finer = ((values - round_to_grid(values, torch.full((200_000,), 3.0))) ** 2).mean().item()
    assert abs(finer / loss.item() - 0.25) < 0.01


def test_widths_are_bits_from_the_highest_one_to_the_grid():
    magnitudes = torch.tensor([0.0, 0.25, 1.0, 1.75, 8.0])
    assert leading_bits(magnitudes)[1:].tolist() == [-1, 1, 1, 4]
    bits = torch.full((5,), 2.0, requires_grad=True)
    wide = widths(bits, magnitudes)
    assert wide.tolist() == [0, 1, 3, 3, 6]
    wide.sum().backward()
    assert bits.grad.tolist() == [0, 1, 1, 1, 1]
    assert whole_bits(torch.tensor([2.4, -1.6])).tolist() == [2, -2]
