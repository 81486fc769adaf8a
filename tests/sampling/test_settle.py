"""Classifiers are trained under the masks that they evaluate, so that copies count as stand-ins for one another."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mcprune.config.schema import make_config
from mcprune.sampling import from_run, settle
from mcprune.sampling.analysis.substitutes import find_substitutes
from mcprune.sampling.from_run import sample_folder
from mcprune.sampling.sample import SampleSettings, make_sampler
from mcprune.sampling.settle import SwapPool, settle_classifiers
from mcprune.sampling.store import SampleStore
from mcprune.session.checkpoints.classifiers import (
    SearchClassifiers,
    classifiers_config,
    read_classifiers,
    restore_classifiers,
)
from mcprune.session.loop import run
from mcprune.storage.layout import CLASSIFIERS

SIGNALS, COPIES = 3, 3  # a signal and two copies of correlation .95
SETTINGS = SampleSettings(temperature=0.01, precision=0.1, max_time=60)
HOT, HOTTER = (
    SampleSettings(temperature=0.1, precision=0.1),
    SampleSettings(temperature=0.2, precision=0.1),
)  # soon mixed


def columns() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(600, SIGNALS))
    parts = [signals, *(0.95 * signals + 0.31 * rng.normal(size=signals.shape) for _ in range(COPIES - 1))]
    x = np.concatenate([*parts, rng.normal(size=(600, 3))], axis=1)
    return x.astype(np.float32), (signals.sum(axis=1) + 0.5 * rng.normal(size=600) > 0).astype(np.int64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settle")
    x, y = columns()
    np.savez(path / "copies.npz", X=x, y=y)
    config = make_config(
        data=str(path / "copies.npz"), keep=SIGNALS, epochs=15, retrain_epochs=1, compare="no", hidden=(16,), threads=1, seed=1,
        out=str(path / "run"),
    )  # fmt: skip
    list(run(config))
    return path / "run"


def classifiers(folder: Path, **changes: object) -> SearchClassifiers:
    content = read_classifiers(folder)
    config = classifiers_config(content, "the run").replace(**changes)
    return restore_classifiers(content, config, from_run._dataset(config, None, None), name="the run")


def bits(own: SearchClassifiers) -> list[torch.Tensor]:
    return [value.clone() for gated in own.plan.stack for value in gated.model.state_dict().values()]


def costs(own: SearchClassifiers) -> tuple[float, float]:
    """Return the mean costs of a copy in place of a kept site, and of noise."""
    sampler, _ = make_sampler(own.plan, own.mask, SETTINGS)
    copy, noise = [], []
    for site in np.flatnonzero(own.mask):
        for other in np.flatnonzero(~own.mask):
            mask = own.mask.copy()
            mask[[site, other]] = False, True
            if other >= SIGNALS * COPIES:
                noise.append(mask)
            elif other % SIGNALS == site % SIGNALS:
                copy.append(mask)
    before = sampler.evaluate(own.mask[None])[0]
    return float(sampler.evaluate(np.array(copy)).mean() - before), float(
        sampler.evaluate(np.array(noise)).mean() - before
    )


@pytest.mark.slow
def test_a_copy_costs_what_it_costs_a_classifier_trained_on_it(folder: Path) -> None:
    own = classifiers(folder)
    assert set(np.flatnonzero(own.mask) % SIGNALS) == set(range(SIGNALS))
    before = costs(own)
    assert settle_classifiers(own.plan, make_sampler(own.plan, own.mask, SETTINGS)[0])
    after = costs(own)
    # The control: classifiers of the search take a copy for little better than noise.
    assert before[0] > 0.4 * before[1]
    assert after[0] < 0.25 * after[1]


@pytest.mark.long("two samples of a run, of which the test before it shows the cause")
def test_copies_come_out_as_substitutes_of_a_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def groups(path: Path) -> list[list[int]]:
        drawn = sample_folder(path, SampleSettings(temperature=0.015, precision=0.02, max_time=300))
        found = find_substitutes(drawn.samples, evaluate=drawn.evaluate)
        return sorted(sorted(group.sites) for group in found.groups)

    triples = [[signal + SIGNALS * copy for copy in range(COPIES)] for signal in range(SIGNALS)]
    assert groups(Path(shutil.copytree(folder, tmp_path / "run"))) == triples
    # The control: the classifiers of the search as they are keep copies out of all masks.
    monkeypatch.setattr(from_run, "settle_classifiers", lambda *_: False)
    assert groups(Path(shutil.copytree(folder, tmp_path / "control"))) != triples


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "LEAST_STEPS", 60)
    monkeypatch.setattr(settle, "SHARE", 0.0)
    monkeypatch.setattr(settle, "LEGS", 8)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_the_same_classifiers_come_out_again(folder: Path) -> None:
    first, second = classifiers(folder), classifiers(folder)
    start = bits(first)
    for own in (first, second):
        settle_classifiers(own.plan, make_sampler(own.plan, own.mask, SETTINGS)[0])
    assert all(torch.equal(one, other) for one, other in zip(bits(first), bits(second), strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(bits(first), start, strict=True))


def test_a_frozen_classifier_stays_as_it_is(folder: Path) -> None:
    own = classifiers(folder)
    own.plan.settings = own.plan.settings._replace(train=own.plan.train._replace(is_frozen=True))
    start = bits(own)
    assert not settle_classifiers(own.plan, make_sampler(own.plan, own.mask, SETTINGS)[0])
    assert all(torch.equal(one, other) for one, other in zip(bits(own), start, strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_a_folder_keeps_the_classifiers_of_its_samples(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(folder, tmp_path / "run"))
    other = SampleSettings(temperature=0.02)

    def settled(settings: SampleSettings) -> bytes:
        store = SampleStore(folder, force=False)
        from_run.settle(read_classifiers(folder), classifiers(folder), settings, store)
        store.close()
        return (folder / CLASSIFIERS).read_bytes()

    search = (folder / CLASSIFIERS).read_bytes()
    after = settled(SETTINGS)
    assert after != search
    assert read_classifiers(folder)["settled"] == [SETTINGS.temperature, SETTINGS.chains, SETTINGS.rows]
    assert settled(SETTINGS) == after
    # Where there are samples the classifiers stay theirs, also under settings that are about to be refused.
    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "evaluator", lambda _: "full")
        assert settled(other) == after
    assert settled(other) != after


@pytest.mark.parametrize("swaps", [1, 3])
def test_swapped_masks_keep_their_number(swaps: int) -> None:
    masks = np.zeros((5, 9), bool)
    for row, mask in enumerate(masks):
        mask[row : row + 4] = True
    out = SwapPool(masks).masks_of(400, swaps, np.random.default_rng(0))
    assert (out.sum(axis=1) == 4).all()
    away = np.array([(one & ~masks).sum(axis=1).min() for one in out])
    assert away.max() <= swaps
    assert 0.2 < (away > 0).mean() < 0.4
    assert masks.sum() == 20


def test_a_mask_of_all_places_has_none_to_swap() -> None:
    assert SwapPool(np.ones((3, 4), bool)).masks_of(10, 2, np.random.default_rng(0)).all()
