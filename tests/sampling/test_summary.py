"""What samples say, as a file: written and read back, refused where it is broken, ranks against closed forms."""

import json

import numpy as np
import pytest

from mcprune.errors import FolderError
from mcprune.sampling.drawn import Drawn
from mcprune.sampling.samples import Samples
from mcprune.sampling.summary import BINS, POINTS, SampleSummary, rank_shares, read_summary, write_summary
from mcprune.storage.layout import SAMPLES_SUMMARY


def drawn(seed: int = 0, shift: float = 0.0) -> Drawn:
    """Four chains of 600 masks of 2 of 5 sites: a or b, and two of the others; the losses of the last chain are shifted."""
    draw = np.random.default_rng(seed)
    masks = np.zeros((4, 600, 5), bool)
    first, second = draw.integers(0, 2, (2, 4, 600))
    np.put_along_axis(masks, first[..., None], True, axis=2)
    np.put_along_axis(masks, 2 + second[..., None], True, axis=2)
    losses = draw.normal(size=(4, 600))
    losses[3] += shift
    samples = Samples(masks, losses, 0.1, 0.2, tuple("abcde"))
    return Drawn(samples, masks[0, 0], 3.0, 0.0, 0.02, 100, 0.3)


def test_it_is_read_as_it_was_written(tmp_path):
    content = drawn()
    write_summary(tmp_path, content)
    summary, own = read_summary(tmp_path), SampleSummary.of(content)
    assert summary is not None
    for name in SampleSummary.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(summary, name), getattr(own, name), err_msg=name)
    assert summary.traces.shape[1] <= POINTS
    np.testing.assert_allclose(summary.probability, [0.5, 0.5, 0.5, 0.5, 0.0], atol=0.05)
    assert "a" in summary.substitute_lines[0] + summary.substitute_lines[1]


def test_a_run_that_was_not_sampled_has_none(tmp_path):
    assert read_summary(tmp_path) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.pop("probability"),
        lambda content: content.update(error=[1.0]),
        lambda content: content.update(traces=[[1.0], [1.0, 2.0]]),
        lambda content: content.update(ranks=[[0.5] * BINS]),
        lambda content: content.update(count_rows="many"),
        lambda content: content.update(chains="four"),
        lambda content: content.update(substitute_lines=7),
    ],
)
def test_a_broken_file_is_refused(tmp_path, spoil):
    write_summary(tmp_path, drawn())
    content = json.loads((tmp_path / SAMPLES_SUMMARY).read_text())
    spoil(content)
    (tmp_path / SAMPLES_SUMMARY).write_text(json.dumps(content))
    with pytest.raises(FolderError, match=r"samples\.json of the run is not one of mcprune sample.*Sample again"):
        read_summary(tmp_path)


def test_ranks_of_chains_of_one_law_are_even_and_those_of_another_are_not():
    even, shifted = rank_shares(drawn().samples), rank_shares(drawn(shift=3.0).samples)
    np.testing.assert_allclose(even.sum(axis=1), 1.0)
    # A share of 600 draws in 20 parts has a standard deviation of .009.
    assert np.abs(even - 1 / BINS).max() < 0.045
    assert shifted[3, -1] > 3 / BINS  # the control
