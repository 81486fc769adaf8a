"""The random numbers: known answers, the counter's layout, one thread against two."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcprune.chain import kernels, philox
from mcprune.errors import ConfigError

WORDS = st.integers(0, 2**32 - 1)


# kat_vectors of Random123, philox4x32 with 10 rounds
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter, key, answer):
    assert philox.philox4x32(counter, key) == answer


@settings(deadline=None)  # the first call may compile
@given(seed=WORDS, chain=WORDS, step=st.integers(0, 2**63 - 1), purpose=st.integers(0, 6))
def test_the_uniforms_are_the_words_of_their_counter(seed, chain, step, purpose):
    drawn = philox.uniforms(seed, chain, step, purpose, 5)
    expected = []
    for block in range(3):
        counter = (step % 2**32, step >> 32, block, purpose)
        a, b, c, d = philox.philox4x32(counter, (seed, chain))
        expected += [(((high << 32 | low) >> 12) + 0.5) * 2.0**-52 for high, low in ((a, b), (c, d))]
    assert drawn.tolist() == expected[:5]
    assert philox.uniforms(seed, chain, step, purpose, 2).tolist() == expected[:2]


def test_the_interval_is_open_at_both_ends():
    zero, ones = np.uint64(0), np.uint64(2**32 - 1)
    assert kernels.open_unit(zero, zero) == 2.0**-53
    assert kernels.open_unit(ones, ones) == 1 - 2.0**-53


@settings(deadline=None)  # the first call may compile
@given(st.integers(1, 2**40))
def test_the_largest_uniform_still_gives_an_index_in_range(count):
    assert kernels.below(1 - 2.0**-53, count) == count - 1


def test_steps_purposes_chains_and_seeds_are_uncorrelated():
    # |correlation| of 20,000 independent pairs exceeds 5 / sqrt(20000) with probability 6e-7
    base = philox.uniforms(1, 0, 0, philox.VALUE, 20_000)
    purposes = [philox.VALUE] * 3 + [philox.ACCEPT]
    for other in zip((2, 1, 1, 1), (0, 1, 0, 0), (0, 0, 1, 0), purposes, strict=True):
        assert abs(np.corrcoef(base, philox.uniforms(*other, 20_000))[0, 1]) < 5 / np.sqrt(20_000)
    assert abs(base.mean() - 0.5) < 5 / np.sqrt(12 * 20_000)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_no_word_is_refused(seed):
    with pytest.raises(ConfigError, match="seed="):
        philox.uniforms(seed, 0, 0, philox.VALUE, 1)


def test_chain_numbers_are_checked():
    with pytest.raises(ConfigError, match="2 replicas"):
        philox.check_chains(np.arange(3), 2)
    with pytest.raises(ConfigError, match="32-bit"):
        philox.check_chains(np.array([-1]), 1)
