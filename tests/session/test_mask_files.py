"""Masks from other tools, as files and as objects: each is read as the mask of the sites of a run, or refused with the reason."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.feature_selection import SelectKBest
from torch import nn
from torch.nn.utils import prune

from mcprune.errors import ConfigError
from mcprune.session.build.external_mask import resolve_mask
from mcprune.session.build.mask_files import ExternalMask, dense_copy, external_mask, read_start
from mcprune.sites.site_map import SiteGroup, SiteMap, site_map

NAMES = ("age", "height", "weight", "pulse", "sex", "7")
COLUMNS = SiteMap((SiteGroup("inputs", "", 0, 6),))
KEPT = [1, 2, 4]
SUPPORT = np.isin(np.arange(6), KEPT)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def pruned():
    model = net()
    for layer in (model[0], model[2]):
        prune.l1_unstructured(layer, "weight", amount=0.5)
    return model


def of_columns(mask):
    return np.flatnonzero(resolve_mask(mask, COLUMNS, NAMES, "it")).tolist()


def both_ways(value):
    """The mask of an object, and the same after it was written out as a start."""
    mask = external_mask(value)
    again = ExternalMask.from_text(mask.text())
    assert read_start(mask.text()).size == mask.size
    return mask, again


@pytest.mark.parametrize(
    "value",
    [
        SUPPORT,
        SUPPORT.astype(int),
        SUPPORT.astype(np.float32),
        SUPPORT.tolist(),
        torch.from_numpy(SUPPORT),
        SUPPORT.reshape(2, 3),
        KEPT,
        np.array(KEPT),
        [NAMES[place] for place in KEPT],
        {"n_sites": 6, "indices": KEPT, "names": ["other", "names", "here"]},
        {"indices": KEPT},
        {"names": [NAMES[place] for place in KEPT]},
        {"support": SUPPORT.tolist()},
        {"inputs": SUPPORT},
    ],
    ids=lambda value: f"{type(value).__name__}{value!r:.20}",
)
def test_a_mask_of_columns(value):
    for mask in both_ways(value):
        assert of_columns(mask) == KEPT


def test_a_selector_of_scikit_learn_and_a_result():
    x, y = np.random.default_rng(0).normal(size=(40, 6)), np.arange(40) % 2
    x[:, 3] += y
    selector = SelectKBest(k=1).fit(x, y)
    assert of_columns(external_mask(selector)) == np.flatnonzero(selector.get_support()).tolist()

    class Mask:
        support = SUPPORT

    class Result:
        mask = Mask()

    assert of_columns(external_mask(Mask())) == of_columns(external_mask(Result())) == KEPT


def test_masks_of_torch_are_those_of_the_weights():
    model = pruned()
    wanted = np.concatenate([model[place].weight_mask.numpy().ravel() > 0 for place in (0, 2)])
    sites = site_map(net(), "weights", 6)
    removed = pruned()
    for layer in (removed[0], removed[2]):
        prune.remove(layer, "weight")
    wrapped = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    for value in (model, model.state_dict(), removed, removed.state_dict(), wrapped):
        for mask in both_ways(value):
            assert resolve_mask(mask, sites, sites.names(), "it").tolist() == wanted.tolist()


def test_a_unit_is_kept_where_any_of_its_weights_is():
    model = net()
    prune.ln_structured(model[0], "weight", amount=3, n=2, dim=0)
    sites = site_map(net(), "units", 6)
    mask = resolve_mask(external_mask(model), sites, sites.names(), "it")
    assert mask.tolist() == (model[0].weight_mask.numpy() > 0).any(axis=1).tolist()
    assert mask.sum() == 5


def test_the_dense_copy_computes_as_before_the_pruning_and_the_model_stays():
    model, dense = pruned(), dense_copy(pruned())
    rows = torch.randn(5, 6)
    assert torch.equal(dense(rows), net()(rows))
    assert not torch.equal(model(rows), net()(rows))
    assert not prune.is_pruned(dense)
    plain = net()
    assert dense_copy(plain) is plain
    # Its parameters are ordinary ones: they train.
    assert {name for name, _ in dense.named_parameters()} == {name for name, _ in plain.named_parameters()}
    dense(rows).sum().backward()
    assert dense[0].weight.grad is not None


def test_files_of_each_kind(tmp_path):
    np.save(tmp_path / "a.npy", SUPPORT)
    np.savez(tmp_path / "b.npz", support=SUPPORT)
    (tmp_path / "c.json").write_text(json.dumps(KEPT))
    (tmp_path / "d.json").write_text(json.dumps({"n_sites": 6, "indices": KEPT, "weights": [0.5] * 6}))
    (tmp_path / "e.json").write_text(json.dumps([NAMES[place] for place in KEPT]))
    for name in "a.npy", "b.npz", "c.json", "d.json", "e.json":
        assert of_columns(read_start(str(tmp_path / name))) == KEPT
        assert of_columns(external_mask(tmp_path / name)) == KEPT
    model, sites = pruned(), site_map(net(), "weights", 6)
    torch.save(model.state_dict(), tmp_path / "f.pt")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "g.pth")
    save_file(model.state_dict(), tmp_path / "h.safetensors")
    masks = [
        resolve_mask(read_start(str(tmp_path / name)), sites, (), "it") for name in ("f.pt", "g.pth", "h.safetensors")
    ]
    assert masks[0].sum() == 36
    assert masks[0].tolist() == masks[1].tolist() == masks[2].tolist()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.ones(5, bool), "has 5 sites, but this run has 6. Give"),
        ({"n_sites": 9, "indices": KEPT}, "has 9 sites, but this run has 6. Give"),
        ([1, 9], "names site 9, but this run has 6. Give"),
        ([-1, 2], "names site -1, but this run has 6. Give"),
        ([2, 1, 2], "names site 2 twice. Name each"),
        (["age", "sex", "age"], "names site 'age' twice. Name each"),
        (np.array(3), r"A mask is needed, but this is an array of int64 of shape \(\)\. Give"),
        ([[1], [2]], r"A mask is needed, but this is \[\[1\], \[2\]\]\. Give"),
        (["age", "heigt"], r"names 'heigt', which is no site .did you mean 'height'.*\. Give"),
        (np.zeros(6, bool), "keeps none of the 6 sites. Give"),
        (
            {"fc1.weight_mask": np.ones((2, 3))},
            "has a mask of 'fc1.weight', but the sites of this run are in 'inputs'. Name",
        ),
        ([0.5, 0.2], r"A mask is needed, but this is \[0.5, 0.2\]\. Give"),
        (np.array([0.5, 0.2]), r"A mask is needed, but this is an array of float64 of shape \(2,\)\. Give"),
        ("runs/nowhere/mask.json", "cannot be read .No such file or directory.. Give the mask.json of a run"),
        ("mask:abc", "'mask:abc' holds no mask .*Give the file"),
        (net(), "There is no mask, and no weight is 0. Give"),
    ],
    ids=lambda value: f"{value!r:.30}",
)
def test_what_is_no_mask_of_these_sites_is_refused(value, says):
    with pytest.raises(ConfigError, match=says):
        of_columns(external_mask(value))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("b.json", b"\xff\xfe"),
        ("c.npy", b"no array"),
        ("d.npz", b"no archive"),
        ("e.pt", b"no tensors"),
        ("f.safetensors", b"no tensors"),
        ("g.json", b"3.5"),
        ("h.json", b"{}"),
        ("i.json", b'{"indices": "many"}'),
    ],
)
def test_a_broken_file_is_one_clear_error(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=r"start: .*Give the mask.json of a run, a JSON list") as caught:
        of_columns(read_start(str(tmp_path / name)))
    assert "\n" not in str(caught.value)


def test_a_pickle_with_code_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"mask": Code()}, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="is no mask file"):
        read_start(str(tmp_path / "a.pt"))
    assert not (tmp_path / "written").exists()
