"""Models as they are in the wild, by each kind of site: what is cut gives the masked model's outputs, what is not is refused by name."""

import copy
import re

import numpy as np
import pytest
import torch
from model_matrix import PAGE, page
from selection import long_but
from wild_models import CUT, MODELS, SCATTER, SITES, ZEROS

import mcprune
from mcprune.errors import McpruneError, ModelError
from mcprune.exporters.graphs import program_of
from mcprune.models.layers import Scatter
from mcprune.problem import Problem
from mcprune.session.build.own_model import settle_own_model
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.surgery.trial import cuttable_sites
from mcprune.training.classifiers import shrunken

WORKS = (CUT, SCATTER, ZEROS)
CASES = [(name, site) for name in MODELS for site in SITES]
WORKING = [(name, site) for name, site in CASES if getattr(MODELS[name], site) in WORKS]
SHOWN = [
    ("returns a dict", "inputs"),
    ("Conv1d over time", "units"),
    ("squeeze-and-excite", "channels"),
    ("weight_norm", "units"),
    ("one logit", "inputs"),
    ("several inputs by name", "channels"),
    ("masks passed to forward", "inputs"),
]
REFUSED = [case for case in CASES if case not in WORKING]


def settled(name, site):
    """The model as a run takes it, its sites, rows (B, N), and the note on what is left out."""
    wild = MODELS[name]
    X, y = wild.data()
    problem = Problem(wild.make(), X if y is None else (X, y), sites=site)
    config = problem.config(None, {})
    dataset = problem.dataset(config)
    own = settle_own_model(config.own_model_settings(), problem.model, dataset, 0, torch.device("cpu"))
    kinds, note = cuttable_sites(own.model, site, (dataset.n_inputs,))
    sites = site_map(own.model, kinds, dataset.n_inputs)
    return own.model, sites, torch.from_numpy(dataset.features.astype(np.float32)), note


def random_mask(sites, share, seed):
    mask = np.random.default_rng(seed).random(sites.size) < share
    for group in sites.groups:
        mask[group.stop - 1], mask[group.start] = False, True
    return mask


@pytest.mark.slow
@pytest.mark.parametrize(("name", "site"), WORKING)
def test_a_cut_model_gives_the_masked_outputs(name, site):
    model, sites, x, note = settled(name, site)
    wild = MODELS[name]
    assert bool(note) == (site in wild.partly_of)
    assert not note or f" of {wild.partly} are left out" in note
    mask = random_mask(sites, 0.6, 0)
    if site == "inputs" and name == "masks passed to forward":
        mask[6:] = True  # without any token there is nothing to attend to
    small = shrunken(model, sites, mask, x.shape[1])
    masked, small = copy.deepcopy(model).double().eval(), copy.deepcopy(small).double().eval()
    kept = x[:, torch.from_numpy(mask)] if site == "inputs" else x
    with torch.no_grad():
        expected = GatedModel(masked, sites)(x.double(), torch.from_numpy(mask).double())
        got = small(kept.double())
    # The cut model was rounded to the precision of the model, which matters where constants became biases.
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    numbers = [sum(each.numel() for each in one.parameters()) for one in (small, masked)]
    expectation = getattr(wild, site)
    assert isinstance(small, Scatter) == (expectation == SCATTER)
    if expectation == CUT:
        assert numbers[0] < numbers[1]
    if expectation == ZEROS:
        weights = [each for each in small.parameters() if each.dim() > 1]
        assert any(bool((each == 0).any()) for each in weights) or numbers[0] < numbers[1]


@pytest.mark.parametrize(("name", "site"), WORKING)
def test_the_gates_of_the_masked_model_reach_its_outputs(name, site):
    """The control: with other gates the outputs differ, so that the comparison above compares something."""
    model, sites, x, _ = settled(name, site)
    masks = [random_mask(sites, 0.5, seed) for seed in range(3)]
    masks.append(np.ones(sites.size, bool))
    gated = GatedModel(model.eval(), sites)
    with torch.no_grad():
        outputs = [gated(x, gated.hard_gates(mask)) for mask in masks]
        assert torch.equal(outputs[-1], model(x))
    assert any(not torch.equal(outputs[-1], each) for each in outputs[:-1])


@pytest.mark.parametrize(("name", "site"), REFUSED)
def test_what_cannot_be_cut_is_refused_by_name(name, site):
    X, y = MODELS[name].data()
    with pytest.raises(ModelError) as caught:
        mcprune.prune(X, y, keep=2, model=MODELS[name].make(), sites=site, epochs=1, threads=1)
    message = str(caught.value)
    assert re.search(getattr(MODELS[name], site), message), message
    assert isinstance(caught.value, McpruneError)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "site"), long_but("a whole run of every kind of model and site", WORKING, *SHOWN))
def test_a_run_is_loaded_again_and_exported(name, site, tmp_path):
    wild = MODELS[name]
    X, y = wild.data()
    result = mcprune.prune(
        X, y, model=wild.make(), sites=site, epochs=1, retrain_epochs=1, threads=1, seed=0, out=tmp_path / "run"
    )
    again = mcprune.load(tmp_path / "run", model=wild.make())
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (7, again.n_inputs)).astype(np.float32))
    if "masks" in name:
        rows[:, 6:] = 1
    one, other = (model.predict_proba(rows.numpy()) for model in (result.model, again))
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(one).all()
    if wild.export:
        program = program_of(result.model.model, again.columns.size)
        kept = rows[:, again.columns]
        torch.testing.assert_close(program.module()(kept), result.model.model(kept), rtol=1e-4, atol=1e-4)


def test_the_page_of_the_matrix_is_that_of_the_tests():
    assert PAGE.read_text() == page(), "regenerate it by: python tests/shared/model_matrix.py --write"
