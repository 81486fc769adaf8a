"""Every random stream has a name and a number of its own."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import mcprune
from mcprune.random import NUMBERED, Stream, generator, step_noise, torch_generator

ROOT = Path(mcprune.__file__).parent
MAKERS = {"default_rng", "manual_seed", "SeedSequence", "RandomState", "fork_rng"}


def calls(tree):
    """Calls in a module that make or seed a generator, and those that name a stream by anything but the table."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if (
            name in MAKERS
            or ast.unparse(node.func).startswith(("random.", "np.random."))
            or (name in ("generator", "torch_generator") and not ast.unparse(node.args[1]).startswith("Stream."))
        ):
            yield node


@pytest.mark.slow
def test_no_stream_is_made_outside_the_table():
    for path in ROOT.rglob("*.py"):
        if path != ROOT / "random.py":
            found = [ast.unparse(node) for node in calls(ast.parse(path.read_text(encoding="utf-8")))]
            assert not found, f"{path}: {found}"


def test_the_search_for_calls_finds_them():
    """The control."""
    makers = ("np.random.default_rng([seed, 7])", "generator(seed, 7)", "torch.Generator().manual_seed(7)")
    source = "\n".join([*makers, "generator(seed, Stream.SPLIT)"])
    assert len(list(calls(ast.parse(source)))) == 3


def test_all_streams_differ():
    assert len({int(stream) for stream in Stream}) == len(Stream)
    numbers = [(stream, number) for stream in Stream for number in ((0, 1, 2) if stream in NUMBERED else (None,))]
    draws = {tuple(generator(3, *one).random(4)) for one in numbers}
    assert len(draws) == len(numbers)
    assert len({tuple(torch.rand(4, generator=torch_generator(3, s)).tolist()) for s in Stream}) == len(Stream)


def test_a_stream_depends_on_the_seed_and_what_else_is_given():
    draws = [generator(*numbers).random() for numbers in [(0, Stream.SCORE_ROWS, 1), (0, Stream.SCORE_ROWS, 2)]]
    draws += [generator(seed, Stream.SPLIT).random() for seed in (0, 1)]
    assert len(set(draws)) == 4
    assert generator(5, Stream.MASK_NOISE).random() == np.random.default_rng([5, 1]).random()


def test_a_stream_without_a_number_is_never_number_0_of_itself():
    for stream in Stream:
        padded = np.random.default_rng([5, stream]).random() == np.random.default_rng([5, stream, 0]).random()
        assert padded  # by numpy: which is why one of the two is refused
        with pytest.raises(ValueError, match=stream.name):
            generator(5, stream, *([] if stream in NUMBERED else [0]))


def test_torch_draws_by_step_and_rank_and_goes_on_as_before():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    drawn = []
    for arguments in [(1, 0), (1, 1), (1, 0, 0), (1, 0, 1), (2, 0, 1)]:
        with step_noise(*arguments):
            drawn.append(tuple(torch.rand(2).tolist()))
    assert len(set(drawn)) == 5
    assert torch.equal(torch.rand(3), expected)


# torch's generator on the CPU reads the low 32 bits of a seed alone: seeds that are shifted beyond them would draw the same.
SEEDS = [0, 1, 2, 2**12, 2**12 + 1, 2**20, 2**31, 2**32 - 1]


def test_steps_of_different_seeds_draw_different_dropout():
    drawn = set()
    for seed in SEEDS:
        for step in (0, 1, 1000):
            with step_noise(seed, step):
                drawn.add(tuple(functional.dropout(torch.ones(64)).tolist()))
    assert len(drawn) == 3 * len(SEEDS)


def test_torch_streams_of_different_seeds_differ():
    drawn = {
        tuple(torch.rand(4, generator=torch_generator(seed, stream)).tolist()) for seed in SEEDS for stream in Stream
    }
    assert len(drawn) == len(SEEDS) * len(Stream)
