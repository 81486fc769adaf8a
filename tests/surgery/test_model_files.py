"""Models through files: what is written comes back, and every broken file says what is wrong with it."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import nn

from mcprune.errors import ConfigError, FolderError, ModelError
from mcprune.models.layers import Scatter
from mcprune.models.mlp import MLP
from mcprune.models.registry import describe, from_description, is_built_in
from mcprune.sites.site_map import site_map
from mcprune.surgery.model_files import _digest, load_model, save_model
from mcprune.surgery.shrink import shrink


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def cnn() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)),
        nn.Conv2d(1, 3, 3, stride=(1, 2), padding="valid"),
        nn.BatchNorm2d(3),
        nn.LeakyReLU(0.2),
        nn.AvgPool2d(2, count_include_pad=False),
        nn.MaxPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4, bias=False),
        nn.PReLU(),
        nn.LayerNorm(4),
        nn.Sequential(nn.GELU(approximate="tanh"), nn.Linear(4, 3)),
        nn.LogSoftmax(dim=1),
    )


@pytest.fixture
def folder(tmp_path):
    save_model(MLP((5, 4, 3), "tanh", seed=1), tmp_path, {"keep": [1, 2]})
    return tmp_path


def edit(folder, **changes):
    """Other content with a digest that fits."""
    path = folder / "model.json"
    content = {key: value for key, value in (json.loads(path.read_text()) | changes).items() if value is not None}
    path.write_text(json.dumps(content | {"sha256": _digest(content)}))


def exchange(folder, tensors):
    """Other tensors with a digest that fits."""
    data = save(tensors)
    (folder / "model.safetensors").write_bytes(data)
    edit(folder, weights_sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP((36, 7, 3), "softplus", dropout=0.5, seed=3),
        cnn,
        lambda: Scatter(cnn(), range(36), (36,)),
        lambda: shrink(MLP((36, 4, 3)), site_map(MLP((36, 4, 3)), "units", 36), np.array([1, 0, 0, 1], dtype=bool)),
    ],
)
def test_what_is_saved_comes_back_bit_for_bit(tmp_path, make, dtype):
    model = make().to(dtype).eval()
    save_model(model, tmp_path / "new" / "place", {"labels": ["ä", 1, 2.5]})
    loaded, description = load_model(tmp_path / "new" / "place")
    x = draw(8, 36).to(dtype)
    assert torch.equal(loaded(x), model(x))
    assert type(loaded) is type(model)
    assert not loaded.training
    assert description["extra"] == {"labels": ["ä", 1, 2.5]}
    assert describe(loaded) == describe(model) == description["model"]
    assert {name: p.dtype for name, p in loaded.state_dict().items()} == {
        n: p.dtype for n, p in model.state_dict().items()
    }
    loaded.train()(x).sum().backward()
    assert sorted(path.name for path in (tmp_path / "new" / "place").iterdir()) == [
        "model.json",
        "model.safetensors",
    ]


def test_a_constant_is_saved_too(tmp_path):
    model = MLP((5, 4, 3), "tanh", seed=1)
    mask = np.array([True] * 5 + [False] * 4)
    small = shrink(model, site_map(model, "inputs,units", 5), mask)
    save_model(small, tmp_path)
    assert torch.equal(load_model(tmp_path)[0](draw(4, 5)), small(draw(4, 5)))


def test_equal_models_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        save_model(MLP((5, 4, 3), seed=1), tmp_path / name, {"b": 1, "a": 2} if name == "a" else {"a": 2, "b": 1})
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_loading_leaves_the_global_random_state(folder):
    before = torch.random.get_rng_state()
    load_model(folder)
    assert torch.equal(before, torch.random.get_rng_state())


def test_from_description_is_a_function_of_the_seed():
    description = json.loads(json.dumps(describe(cnn())))
    torch.manual_seed(1)
    first = from_description(description, seed=5).state_dict()
    torch.manual_seed(2)
    second = from_description(description, seed=5).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert float(first["2.running_var"].sum()) == 3.0
    other = from_description(description, seed=6).state_dict()
    assert not torch.equal(other["7.weight"], first["7.weight"])
    mlp = MLP((5, 4, 3), seed=9)
    again = from_description(describe(mlp), seed=9)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in mlp.state_dict().items())


class Own(nn.Module):
    """A user's own class."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.a(x) * torch.sigmoid(x))


@pytest.mark.parametrize("scattered", [False, True])
def test_models_of_a_users_own_class_need_the_object(tmp_path, scattered):
    model = Scatter(Own(), [0, 2, 3], (4,)) if scattered else Own()
    assert not is_built_in(model)
    with pytest.raises(ModelError, match="your own code"):
        describe(model)
    save_model(model, tmp_path)
    with pytest.raises(ModelError, match=r"'Own'.*mcprune\.load\(folder, model="):
        load_model(tmp_path)
    loaded, _ = load_model(tmp_path, Own())
    x = draw(3, 3 if scattered else 4)
    assert torch.equal(loaded(x), model(x))
    with pytest.raises(FolderError, match=r"a\.bias|layers"):
        load_model(tmp_path, MLP((4, 2)))


def test_changed_models_are_not_passed_off_as_built_in(tmp_path):
    model = MLP((4, 3, 2))
    model.layers[1] = nn.Tanh()
    assert not is_built_in(model)
    hooked = nn.Sequential(nn.Linear(4, 2))
    hooked[0].register_forward_hook(lambda layer, inputs, output: output + 1)
    assert not is_built_in(hooked)
    shared = nn.Linear(3, 3)
    assert not is_built_in(nn.Sequential(shared, shared))
    relu = nn.ReLU()
    twice = nn.Sequential(nn.Linear(3, 3), relu, nn.Linear(3, 3), relu)
    assert len(from_description(describe(twice))) == 4
    cut = nn.Sequential(nn.Linear(4, 2))
    cut[0].weight = nn.Parameter(torch.zeros(2, 3))
    with pytest.raises(ModelError, match=r"'0\.weight' has shape \(2, 3\)"):
        save_model(cut, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_missing_and_truncated_files(folder):
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    for broken in (b"", data[:3], data[: len(data) // 2], data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
        weights.write_bytes(broken)
        with pytest.raises(FolderError, match=r"model\.safetensors is broken.*Copy the folder again"):
            load_model(folder)
        edit(folder, weights_sha256=hashlib.sha256(broken).hexdigest())
        if len(broken) < len(data):
            with pytest.raises(FolderError, match="not a safetensors file"):
                load_model(folder)
        edit(folder, weights_sha256=hashlib.sha256(data).hexdigest())
    weights.unlink()
    with pytest.raises(FolderError, match=r"model\.safetensors cannot be read: No such file"):
        load_model(folder)
    with pytest.raises(FolderError, match=r"model\.json cannot be read: No such file"):
        load_model(folder / "nowhere")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"", "not JSON"),
        (b'{"format": "mcprune-model"', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"format": NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "another program"),
        (b'{"model": {"kind": "mlp"}, "version": 1}', "another program"),
    ],
)
def test_foreign_json(folder, text, cause):
    (folder / "model.json").write_bytes(text)
    with pytest.raises(FolderError, match=cause):
        load_model(folder)


def test_another_version_is_refused_with_the_remedy(folder):
    edit(folder, version=3)
    with pytest.raises(FolderError, match=r"has version 3.*Install a newer mcprune"):
        load_model(folder)
    edit(folder, version=1)
    with pytest.raises(FolderError, match=r"has version 1.*Make the model again"):
        load_model(folder)
    for version in (None, "1", 0, True):
        edit(folder, version=version)
        with pytest.raises(FolderError, match="its version is"):
            load_model(folder)


def test_a_description_that_was_changed_is_refused(folder):
    path = folder / "model.json"
    text = path.read_text()
    assert '"keep": [\n   1,' in text
    changed = text.replace('"keep": [\n   1,', '"keep": [\n   3,')
    path.write_text(changed)
    with pytest.raises(FolderError, match="does not fit its key 'sha256'"):
        load_model(folder)


@pytest.mark.parametrize("key", ["weights_sha256", "model", "extra"])
def test_missing_keys(folder, key):
    edit(folder, **{key: None})
    with pytest.raises(FolderError, match=f"key '{key}' is missing"):
        load_model(folder)


def test_tensors_of_another_model(folder, tmp_path):
    tensors = load_file(folder / "model.safetensors")
    name = "layers.0.weight"
    for changed, cause in (
        ({k: v for k, v in tensors.items() if k != name}, "is missing"),
        (tensors | {"more": torch.zeros(1)}, "'more' does not belong"),
        (tensors | {name: torch.zeros(4, 6)}, r"shape \(4, 6\) in place of \(4, 5\)"),
        (tensors | {name: torch.zeros(4, 5, dtype=torch.float64)}, r"float64 in place of torch\.float32"),
        (tensors | {name: torch.zeros(4, 5, dtype=torch.int64)}, "int64"),
    ):
        exchange(folder, changed)
        with pytest.raises(FolderError, match=cause):
            load_model(folder)
    save_file(tensors, folder / "model.safetensors")


LINEAR = {"kind": "linear", "in_features": 3, "out_features": 2, "bias": True}


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "os.system", "dtype": "float32"},
        {"kind": "Sequential", "dtype": "float32"},
        {"kind": ["mlp"], "dtype": "float32"},
        {"kind": "mlp", "widths": [5, 4, 3], "activation": "tanh", "dropout": 0.0, "dtype": "load"},
        {"kind": "mlp", "widths": [5, 4, 3], "activation": "tanh", "dtype": "float32"},
        {"kind": "mlp", "widths": [5, 4, 3], "activation": "__import__", "dropout": 0.0, "dtype": "float32"},
        {"kind": "mlp", "widths": [5], "activation": "tanh", "dropout": 0.0, "dtype": "float32"},
        {"kind": "mlp", "widths": [5, True], "activation": "tanh", "dropout": 0.0, "dtype": "float32"},
        {"kind": "mlp", "widths": [10**30, 2], "activation": "tanh", "dropout": 0.0, "dtype": "float32"},
        {"kind": "mlp", "widths": [5, 4, 3], "activation": "tanh", "dropout": 7, "dtype": "float32"},
        {**LINEAR, "device": "cuda", "dtype": "float32"},
        {**LINEAR, "bias": "yes", "dtype": "float32"},
        {"kind": "sequential", "layers": {"0": LINEAR}, "dtype": "float32"},
        {"kind": "sequential", "layers": [LINEAR], "dtype": "float32"},
        {"kind": "sequential", "layers": [{"name": "forward", **LINEAR}], "dtype": "float32"},
        {"kind": "sequential", "layers": [{"name": "_modules", **LINEAR}], "dtype": "float32"},
        {"kind": "sequential", "layers": [{"name": "a.b", **LINEAR}], "dtype": "float32"},
        {"kind": "sequential", "layers": ["linear"], "dtype": "float32"},
        {"kind": "scatter", "keep": [0, 0], "shape": [4], "model": LINEAR, "dtype": "float32"},
        {"kind": "scatter", "keep": [4], "shape": [4], "model": LINEAR, "dtype": "float32"},
        {"kind": "scatter", "keep": "0", "shape": [4], "model": LINEAR, "dtype": "float32"},
        {"kind": "scatter", "keep": [0], "shape": [2**20, 2**20], "model": LINEAR, "dtype": "float32"},
        {"kind": "flatten", "start_dim": 1.5, "end_dim": -1, "dtype": "float32"},
        {"kind": "dropout", "p": 3.0, "dtype": "float32"},
    ],
)
def test_descriptions_outside_of_the_table(folder, model):
    with pytest.raises(ModelError):
        from_description(model)
    edit(folder, model=model)
    with pytest.raises(FolderError, match=r"model\.json is broken"):
        load_model(folder)


def test_endless_nesting_is_refused():
    model = LINEAR
    for _ in range(200):
        model = {"kind": "sequential", "layers": [{"name": "0", **model}]}
    with pytest.raises(ModelError, match="nests deeper"):
        from_description({**model, "dtype": "float32"})


def test_a_pickle_is_never_read(folder):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("a pickle was executed",)

    data = pickle.dumps(Bomb())
    (folder / "model.safetensors").write_bytes(data)
    edit(folder, weights_sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(FolderError, match="not a safetensors file"):
        load_model(folder)


def test_folders_that_cannot_be_written_and_extras_that_are_not_json(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        save_model(MLP((2, 2)), tmp_path / "file")
    for extra in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(ConfigError, match="extra"):
            save_model(MLP((2, 2)), tmp_path / "new", extra)
    assert not (tmp_path / "new").exists()
