"""Sampling a run: until it is precise, resumed to the same bits, refused where chains do not agree."""

import copy
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from mcprune.errors import ConfigError, FolderError, SamplingError
from mcprune.report.samples import law_in_words, samples_json, samples_lines
from mcprune.sampling import from_run, sampler, settle
from mcprune.sampling import sample as sampling
from mcprune.sampling.from_run import sample, sample_folder
from mcprune.sampling.sample import SampleSettings
from mcprune.sampling.samples import Samples
from mcprune.sampling.walks.chains import MaskChains
from mcprune.storage.layout import CLASSIFIERS, SAMPLES

ROUGH = {"precision": 0.1}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(sampling, "ENOUGH", 50.0)
    monkeypatch.setattr(sampling, "MIXED", 1.05)
    # Classifiers are trained under their masks for a moment: that this does its work is the matter of test_settle.
    monkeypatch.setattr(settle, "LEAST_STEPS", 60)
    monkeypatch.setattr(settle, "SHARE", 0.0)
    monkeypatch.setattr(settle, "LEGS", 8)
    monkeypatch.setattr(sampler, "FIRST_LEGS", 4)


@pytest.fixture
def ticking(monkeypatch):
    """A clock that goes on by a second whenever it is looked at: tests must not depend on the load of the machine."""
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr(sampling, "time", clock)
    monkeypatch.setattr(from_run, "time", clock)


@pytest.mark.slow
def test_a_run_is_sampled_to_the_precision(wine):
    drawn = sample_folder(wine, SampleSettings(**ROUGH))
    samples = drawn.samples
    assert drawn.is_precise
    assert samples.monte_carlo_error.max() <= 0.1
    assert (samples.keep, samples.sites, samples.chains) == (4, 13, 4)
    assert samples.probability.sum() == pytest.approx(4.0)
    assert 0.5 < samples.loss_spread / samples.paired_error < 2.0
    assert np.unique(samples.flat_masks, axis=0).shape[0] > 20
    text = "\n".join(samples_lines(drawn))
    assert "cannot distinguish" in text
    assert "proline" in text
    content = samples_json(drawn)
    assert [line["probability"] for line in content["sites"]] == sorted(samples.probability, reverse=True)
    assert sum(line["in_mask"] for line in content["sites"]) == 4


@pytest.mark.slow
def test_an_interrupted_sample_ends_in_the_same_bits(wine, tmp_path, monkeypatch):
    whole = sample(wine, **ROUGH)
    (wine / SAMPLES).unlink()
    chunks, run = [], sampling.Sampler.draw

    def cut(self, state, legs):
        if len(chunks) in (1, 3):  # a signal within a chunk: what it has done is lost
            chunks.append("cut")
            run(self, copy.deepcopy(state), 2)
            raise KeyboardInterrupt
        chunks.append("whole")
        return run(self, state, legs)

    monkeypatch.setattr(sampling.Sampler, "draw", cut)
    monkeypatch.setattr(sampling, "WRITTEN_EVERY", 0.0)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sample(wine, **ROUGH)
    resumed = sample(wine, **ROUGH)
    assert chunks.count("cut") == 2
    np.testing.assert_array_equal(whole.masks, resumed.masks)
    np.testing.assert_array_equal(whole.losses, resumed.losses)
    assert (whole.temperature, whole.paired_error) == (resumed.temperature, resumed.paired_error)


@pytest.mark.slow
def test_the_same_call_goes_on_with_the_samples_and_force_starts_again(wine):
    first = sample(wine, **ROUGH)
    again = sample(wine, **ROUGH)
    np.testing.assert_array_equal(first.masks, again.masks)
    more = sample(wine, precision=0.02)
    assert more.draws > first.draws
    np.testing.assert_array_equal(more.masks[:, : first.draws], first.masks)
    with pytest.raises(
        FolderError, match=r"samples with temperature=auto, not 0\.05\. Leave temperature out to continue"
    ):
        sample(wine, temperature=0.05, **ROUGH)
    assert sample(wine, temperature=0.05, force=True, **ROUGH).temperature == 0.05
    with pytest.raises(
        FolderError, match=r"samples with temperature=0\.05, not auto\. Give temperature=0\.05 to continue"
    ):
        sample(wine, **ROUGH)


@pytest.mark.slow
def test_masks_are_evaluated_on_so_many_rows(wine):
    drawn = sample_folder(wine, SampleSettings(rows=40, **ROUGH))
    assert drawn.rows == 40
    with pytest.raises(FolderError, match=r"samples with rows=40, not auto\. Give rows=40 to continue"):
        sample(wine, **ROUGH)


@pytest.mark.slow
def test_chains_that_do_not_agree_are_refused_with_the_remedy(wine, ticking, monkeypatch):
    for name in ("leg", "visit"):  # they stay where they start
        monkeypatch.setattr(MaskChains, name, lambda *_: None)
    with pytest.raises(SamplingError, match="do not agree after") as refused:
        sample(wine, temperature=0.03, max_time=60.0)
    assert "--max-time" in str(refused.value)
    assert "--temperature 0.06 --force" in str(refused.value)


@pytest.mark.slow
def test_chains_that_all_stand_at_one_mask_are_refused(wine, monkeypatch):
    place = MaskChains.place
    monkeypatch.setattr(
        MaskChains, "place", lambda self, state, masks: place(self, state, masks[:1].repeat(len(masks), axis=0))
    )
    for name in ("leg", "visit"):
        monkeypatch.setattr(MaskChains, name, lambda *_: None)
    with pytest.raises(SamplingError, match=r"All 4 chains stand at one mask.*none has moved") as refused:
        sample(wine, temperature=1e-9)
    assert "--temperature 2e-09 --force" in str(refused.value)


@pytest.mark.slow
def test_a_time_that_ends_in_the_burn_in_says_so(wine):
    with pytest.raises(SamplingError, match=r"ended in round \d of 8 of the burn-in.*Give more time"):
        sample(wine, max_time=1e-9)


@pytest.mark.slow
def test_a_precision_that_the_time_does_not_allow_says_what_was_reached(wine, ticking, monkeypatch):
    monkeypatch.setattr(sampling, "REFUSED", math.inf)
    drawn = sample_folder(wine, SampleSettings(precision=0.0005, max_time=12.0))
    assert not drawn.is_precise
    assert drawn.seconds_needed > 10
    text = "\n".join(samples_lines(drawn))
    assert "only: 0.0005 takes about" in text
    assert "continues from here" in text


def test_a_folder_without_classifiers_or_with_broken_ones_is_refused(wine, tmp_path):
    (wine / CLASSIFIERS).write_bytes((wine / CLASSIFIERS).read_bytes()[:-9])
    with pytest.raises(FolderError, match=r"cannot be read.*Run again"):
        sample(wine, **ROUGH)
    (wine / CLASSIFIERS).unlink()
    with pytest.raises(FolderError, match=r"has no classifiers\.safetensors.*Run again"):
        sample(wine, **ROUGH)
    with pytest.raises(FolderError, match="no folder"):
        sample(tmp_path / "nothing", **ROUGH)


@pytest.mark.slow
def test_broken_samples_are_refused_and_replaced_with_force(wine):
    (wine / SAMPLES).write_bytes(b"nothing")
    with pytest.raises(FolderError, match=r"cannot be read.*--force"):
        sample(wine, **ROUGH)
    assert sample(wine, force=True, **ROUGH).draws >= 100


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"chains": 2}, "choose 4 to 64"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": 1e-300}, "choose 1e-09 to 1e\\+09"),
        ({"temperature": 1e300}, "choose 1e-09 to 1e\\+09"),
        ({"hottest": 1e300}, "at most 1000"),
        ({"precision": 0.0}, "0 < precision < 0.5"),
        ({"max_time": -1.0}, "positive number of seconds"),
        ({"rungs": 0}, "1 for no ladder"),
        ({"hottest": 1.0}, "more than 1"),
        ({"precision": "low"}, "Give a number"),
        ({"chains": 4.5}, r"chains=4\.5\. Give a whole number"),
        ({"rows": 31}, r"rows=31\. So few rows .* choose 32 or more"),
        ({"rungs": 2.0}, r"rungs=2\.0\. Give a whole number"),
        ({"draws": 5}, "no setting of sampling"),
    ],
)
def test_settings_out_of_range_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        SampleSettings.of(settings)


@pytest.mark.parametrize(
    ("spread", "says"), [(0.1, "masks that these"), (0.3, "more masks than"), (0.03, "fewer masks than")]
)
def test_the_law_is_put_into_words(spread, says):
    losses = np.tile([-spread, spread], (2, 5))
    samples = Samples(np.ones((2, 10, 3), bool), losses, 0.1, 0.1, ("a", "b", "c"))
    assert law_in_words(samples).startswith(says)
