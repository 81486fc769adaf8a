"""The small model written for other programs: what their runtimes give, bit for bit or within 1e-5, and what is refused by name."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.data.scale import Scaler
from mcprune.errors import ConfigError, FolderError, ModelError
from mcprune.exporters import export as exports
from mcprune.exporters.c_header import compiled, compiler, header
from mcprune.exporters.integers import IntegerNet, integer_net
from mcprune.exporters.writers import compare
from mcprune.models.registry import build
from mcprune.sites.gates import GatedModel, hard_gates
from mcprune.sites.site_map import site_map
from mcprune.storage.pruned_model import PrunedModel
from mcprune.surgery.shrink import shrink

N, CLASSES, KEPT = 20, 4, 6
SHIFT, FACTOR = 3.0, 0.25
rng = np.random.default_rng(5)
ROWS = (rng.normal(size=(1000, N)) / FACTOR + SHIFT).astype(np.float32)
MASK = np.arange(N + 32) % 4 != 1
MASK[:N] = np.arange(N) % 3 == 1
NEEDS_C = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")


def full(activation="relu"):
    return build("mlp", N, CLASSES, (32,), activation, seed=2).eval()


def small_of(model, keep, **more):
    extra = {
        "columns": keep,
        "names": [f"column {k} */ ??/" for k in keep],
        "labels": ["a", "b", "c", "d"],
        "scaler": Scaler("standard", np.full(len(keep), SHIFT), np.full(len(keep), FACTOR)).to_dict(),
        "feature_names": [f"column {k} */ ??/" for k in range(N)],
        "target_name": None,
        "image_shape": None,
        **more,
    }
    return PrunedModel(model, extra)


@pytest.fixture(scope="module")
def pruned():
    """The masked whole model's outputs on ROWS, and the small model cut from it."""
    model = full()
    sites = site_map(model, "inputs,units", N)
    scaled = torch.from_numpy(((ROWS.astype(np.float64) - SHIFT) * FACTOR).astype(np.float32))
    with torch.inference_mode():
        masked = GatedModel(model, sites)(scaled, hard_gates(MASK)).numpy()
    return masked, small_of(shrink(model, sites, MASK), np.flatnonzero(MASK[:N]).tolist())


@pytest.mark.slow
def test_a_torch_program_gives_the_masked_models_outputs_for_any_number_of_rows(pruned, tmp_path):
    masked, small = pruned
    made = exports.export(small, "torch", tmp_path / "a.pt2", rows=ROWS, measure=False)
    assert made.worst <= 1e-5
    assert made.rows == 1000
    run = torch.export.load(tmp_path / "a.pt2").module()
    for count in (1, 3, 1000):
        found = run(torch.from_numpy(ROWS[:count, small.columns])).detach().numpy()
        np.testing.assert_allclose(found, masked[:count], atol=1e-5)
    # Control: rows that are scaled twice give something else.
    assert np.abs(run(torch.from_numpy(ROWS[:5, small.columns] * FACTOR)).detach().numpy() - masked[:5]).max() > 1e-2


def test_onnx_gives_the_masked_models_outputs_and_names_its_features(pruned, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    masked, small = pruned
    made = exports.export(small, "onnx", tmp_path / "a.onnx", rows=ROWS)
    assert made.worst <= 1e-5
    assert set(made.seconds) == {1, 256}
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3, 1000):
        found = session.run(["logits"], {"kept": ROWS[:count, small.columns]})[0]
        np.testing.assert_allclose(found, masked[:count], atol=1e-5)
    said = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert small.names[0] in said["mcprune.features"]
    assert said["mcprune.labels"] == '["a", "b", "c", "d"]'

    class Decomposed(nn.Module):
        def forward(self, x):
            square = x[:, :4].unsqueeze(2) * x[:, :4].unsqueeze(1)
            return torch.linalg.eigvalsh(square)

    odd = small_of(Decomposed(), small.columns.tolist())
    with pytest.raises(ModelError, match=r"because of the operator aten\._linalg_eigh"):
        exports.export(odd, "onnx", tmp_path / "b.onnx", rows=ROWS)
    assert not list(tmp_path.glob("b.onnx*"))


@pytest.mark.slow
def test_a_model_that_decides_on_numbers_is_refused(tmp_path):
    class Deciding(nn.Module):
        def forward(self, x):
            return x[:, :4] if x.sum() > 0 else -x[:, :4]

    with pytest.raises(ModelError, match=r"Deciding cannot be exported by torch.export.*without decisions"):
        exports.export(small_of(Deciding(), list(range(KEPT))), "torch", tmp_path / "a.pt2", rows=ROWS)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@NEEDS_C
@pytest.mark.parametrize("bits", [8, 16])
def test_the_compiled_header_is_numpys_integers(pruned, tmp_path, bits):
    masked, small = pruned
    made = exports.export(small, "c", tmp_path / "net.h", rows=ROWS, bits=bits, measure=False)
    assert any("numpy's integers" in words for words in made.words)
    assert made.worst < {8: 0.1, 16: 1e-3}[bits] * np.abs(masked).max()
    ready = small.scaler.apply(small.transform(ROWS))
    net = integer_net(small.model, ready, bits)
    found = compiled((tmp_path / "net.h").read_text(), ROWS[:, small.columns], CLASSES)
    np.testing.assert_array_equal(found.outputs, net.outputs(net.quantise(ready)))


@NEEDS_C
def test_a_header_with_one_wrong_weight_fails_its_own_test_vector(pruned):
    _, small = pruned
    ready = small.scaler.apply(small.transform(ROWS))
    net = integer_net(small.model, ready)
    text = header(net, None, small.names, small.labels, ready)
    start = text.index("mcprune_w0[")
    start = text.index("\n", start) + 1
    stop = text.index(",", start)
    wrong = text[:start] + str(int(text[start:stop]) ^ 64) + text[stop:]
    with pytest.raises(ModelError, match="ended with code 4"):
        compiled(wrong, ready, CLASSES)


def test_integers_follow_the_rule_written_out(pruned):
    _, small = pruned
    ready = small.scaler.apply(small.transform(ROWS))[:50]
    net = integer_net(small.model, ready, 8)
    for row, found in zip(net.quantise(ready), net.outputs(net.quantise(ready)), strict=True):
        signals = [int(value) for value in row]
        for place, layer in enumerate(net.layers):
            sums = [
                sum(int(w) * s for w, s in zip(line, signals, strict=True)) + int(b)
                for line, b in zip(layer.weight, layer.bias, strict=True)
            ]
            if place < len(net.layers) - 1:
                half = 1 << (layer.shift - 1)
                signals = [min((max(value, 0) + half) >> layer.shift, 32767) for value in sums]
        assert sums == found.tolist()
    assert max(abs(int(w)) for layer in net.layers for w in layer.weight.ravel()) <= 127
    assert isinstance(net, IntegerNet)


def test_what_no_integer_net_holds_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"layer 'layers\.1' is a Tanh"):
        exports.export(small_of(full("tanh"), list(range(N))), "c", tmp_path / "a.h", rows=ROWS)
    with pytest.raises(ConfigError, match="bits=7"):
        exports.export(small_of(full(), list(range(N))), "c", tmp_path / "a.h", rows=ROWS, bits=7)
    with pytest.raises(ConfigError, match="'pickle' is no format"):
        exports.export(small_of(full(), list(range(N))), "pickle", tmp_path / "a")
    (tmp_path / "a.h").write_text("mine")
    with pytest.raises(FolderError, match="exists already"):
        exports.export(small_of(full(), list(range(N))), "c", tmp_path / "a.h", rows=ROWS)
    assert (tmp_path / "a.h").read_text() == "mine"


def test_safetensors_come_back_and_rows_that_are_drawn_are_said_to_be(tmp_path):
    made = exports.export(small_of(full(), list(range(N))), "safetensors", tmp_path / "new", measure=False)
    assert made.worst <= 1e-6  # a batch of one row may round otherwise
    assert made.origin.startswith("drawn, not real")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["model.json", "model.safetensors"]


def test_outputs_that_differ_are_refused():
    rows = np.zeros((3, 2), np.float32)
    with pytest.raises(ModelError, match=r"differs from the small one by 0\.0001"):
        compare(lambda x: np.full((len(x), 2), 1e-4, np.float32), rows, np.zeros((3, 2)))
    with pytest.raises(ModelError, match="shape"):
        compare(lambda x: np.zeros((3, 2), np.float32), rows[:2], np.zeros((2, 2)))
