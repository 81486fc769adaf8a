"""Signed digits against every way to write small integers."""

from itertools import product

import numpy as np
import pytest

from mcprune.firmware.csd import MOST, bit_length, count_digits, enclosed_bits, signed_digits


def fewest_digits(largest):
    """Fewest nonzero digits of each integer up to `largest`, over all strings of digits -1, 0, 1."""
    places = largest.bit_length() + 1
    fewest = {}
    for digits in product((-1, 0, 1), repeat=places):
        value = sum(digit << place for place, digit in enumerate(digits))
        fewest[value] = min(fewest.get(value, places), sum(digit != 0 for digit in digits))
    return fewest


def test_no_string_of_digits_is_shorter():
    fewest = fewest_digits(127)
    values = np.arange(-127, 128)
    assert count_digits(values).tolist() == [fewest[value] for value in values.tolist()]


def test_digits_give_the_value_and_no_two_are_neighbours():
    values = np.concatenate([np.arange(-1100, 1101), [MOST, -MOST, MOST - 1, 0x5555_5555_5555]])
    digits = signed_digits(values)
    assert (digits @ (1 << np.arange(digits.shape[-1])) == values).all()
    assert ((digits[:, 1:] != 0) & (digits[:, :-1] != 0)).sum() == 0
    assert ((digits != 0).sum(axis=1) == count_digits(values)).all()


def test_digits_of_a_matrix_and_of_nothing():
    assert signed_digits([[3, -5], [0, 1]]).tolist() == [[[-1, 0, 1], [-1, 0, -1]], [[0, 0, 0], [1, 0, 0]]]
    assert signed_digits([0]).tolist() == [[0]]
    assert count_digits(np.zeros((2, 0))).shape == (2, 0)


@pytest.mark.parametrize(("value", "bits"), [(0, 0), (1, 1), (8, 1), (12, 2), (-12, 2), (10, 3), (255, 8), (-320, 3)])
def test_enclosed_bits(value, bits):
    assert enclosed_bits([value]).tolist() == [bits]


def test_bit_length():
    values = [0, 1, 2, 3, 255, 256, (1 << 60) - 1, 1 << 60]
    assert bit_length(values).tolist() == [value.bit_length() for value in values]
