"""Runs on a user's own classifier: what comes frozen stays as it came."""

import copy
import threading
import types

import numpy as np
import pytest
import torch
from selection import long_but
from torch import nn

import mcprune
from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays
from mcprune.errors import ConfigError, ModelError
from mcprune.session.loop import run_on

SHORT = {"epochs": 3, "retrain_epochs": 3, "threads": 1, "seed": 0}


def table(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(rows, 8)), draw.integers(0, 3, rows)
    x[:, 1] += 2 * y
    x[:, 6] -= 1.5 * y
    return x.astype(np.float32), y


DATA = table()


def train(net: nn.Module, steps: int = 150, rows: np.ndarray = DATA[0]) -> nn.Module:
    x, y = torch.from_numpy(rows), torch.from_numpy(DATA[1])
    adam = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(steps):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    return net


def extractor_and_head() -> nn.Sequential:
    """A trained and frozen extractor, normalised, before a trainable head."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2))
    net = train(nn.Sequential(body, nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    body.requires_grad_(False)
    return net


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def kept_units(result: mcprune.Result, width: int) -> np.ndarray:
    """The kept units of a first hidden layer, where units alone are sites."""
    kept = np.flatnonzero(result.mask.support)
    return kept[kept < width]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    long_but(
        "other ways to train the rest",
        [
            {},
            {"finetune": "warm"},
            {"finetune": "short", "retrain_epochs": 2},
            {"finetune": "least-squares", "retrain_epochs": None},
            {"finetune": "none", "retrain_epochs": None},
            {"frozen": True},
            {"pretrain": 2},
            {"method": "gradient"},
            {"method": "importance", "rounds": 2},
            {"retrain_distill": 2.0},
            {"weight_decay": 0.1},
        ],
        {},
        {"frozen": True},
        {"method": "gradient"},
        {"method": "importance", "rounds": 2},
    ),
    ids=lambda options: "-".join(map(str, [*options, *options.values()])) or "default",
)
@pytest.mark.parametrize(("sites", "keep"), [("inputs", 4), ("units", 6)])
def test_a_frozen_extractor_is_kept_in_the_search_the_cut_and_the_retraining(sites, keep, options):
    net = extractor_and_head()
    before = tensors(net[0])
    result = mcprune.prune(DATA, keep=keep, model=net, sites=sites, **{**SHORT, **options})
    assert all(torch.equal(value, before[name]) for name, value in net[0].state_dict().items())
    linear, norm = (
        next(m for m in result.model.modules() if isinstance(m, kind)) for kind in (nn.Linear, nn.BatchNorm1d)
    )
    rows = slice(None) if sites == "inputs" else kept_units(result, 6)
    columns = result.mask.indices if sites == "inputs" else slice(None)
    torch.testing.assert_close(linear.weight, before["0.weight"][rows][:, columns], rtol=0, atol=0)
    torch.testing.assert_close(linear.bias, before["0.bias"][rows], rtol=0, atol=0)
    for name in ("weight", "bias", "running_mean", "running_var"):
        torch.testing.assert_close(getattr(norm, name), before[f"1.{name}"][rows], rtol=0, atol=0)
    assert not linear.weight.requires_grad
    assert not norm.weight.requires_grad


@pytest.mark.slow
def test_frozen_weights_as_sites_are_kept_or_zero():
    net = extractor_and_head()
    before = net[0][0].weight.clone()
    result = mcprune.prune(DATA, keep=60, model=net, sites="weights", **SHORT)
    assert torch.equal(net[0][0].weight, before)
    mask = torch.from_numpy(result.mask.support[: before.numel()]).view(before.shape)
    small = result.model.model[0][0].weight if isinstance(result.model.model[0], nn.Sequential) else None
    if small is None:  # units without a kept weight were cut as well
        small = next(m for m in result.model.modules() if isinstance(m, nn.Linear)).weight
        rows = [row for row in range(6) if any(torch.equal(before[row] * mask[row], each) for each in small)]
        assert len(rows) == len(small)
    else:
        assert torch.equal(small, before * mask)


def test_a_frozen_middle_layer_and_half_a_layer():
    torch.manual_seed(1)
    net = train(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    net[2].requires_grad_(False)
    net[4].bias.requires_grad_(False)
    before = tensors(net)
    result = mcprune.prune(DATA, keep=4, model=net, **SHORT)
    small = result.model.model
    assert torch.equal(small[2].weight, before["2.weight"])
    assert torch.equal(small[2].bias, before["2.bias"])
    assert torch.equal(small[4].bias, before["4.bias"])
    assert not torch.equal(small[4].weight, before["4.weight"])
    assert not torch.equal(small[0].bias, before["0.bias"])


@pytest.mark.slow
def test_channels_of_a_frozen_convolution():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Unflatten(1, (1, 2, 4)), nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU())
    net = train(nn.Sequential(body, nn.Flatten(), nn.Linear(40, 3)), 30)
    body.requires_grad_(False)
    before = tensors(body)
    result = mcprune.prune(DATA, keep=3, model=net, sites="channels", **SHORT)
    small, kept = result.model.model[0], result.mask.indices
    assert torch.equal(small[1].weight, before["1.weight"][kept])
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(small[2], name), before[f"2.{name}"][kept])


@pytest.mark.parametrize("sites", ["inputs", "units", "weights"])
def test_a_mask_over_a_model_that_is_frozen_altogether(sites):
    net = train(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))).requires_grad_(False)
    before = tensors(net)
    result = mcprune.prune(
        DATA, keep=5 if sites != "weights" else 30, model=net, sites=sites, frozen=True, scale="none", **SHORT
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert list(result.metrics) == ["test_accuracy_dense", "test_accuracy_before_retraining"]
    x = torch.from_numpy(DATA[0])
    if sites == "inputs":
        gated = net(x * torch.from_numpy(result.mask.support))
        small = result.model(result.model.transform(DATA[0]))
        torch.testing.assert_close(small, gated, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["gradient", "importance"])
def test_other_methods_on_a_model_that_is_frozen_altogether(method):
    net = train(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))).requires_grad_(False)
    before = tensors(net)
    result = mcprune.prune(DATA, keep=4, model=net, method=method, **SHORT)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert result.mask.indices.size == 4
    assert list(result.metrics) == ["test_accuracy_before_retraining"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Pass frozen=True"),
        ({"frozen": True, "finetune": "least-squares", "retrain_epochs": None}, "Use finetune='none'"),
        ({"frozen": True, "finetune": "scratch"}, "Use finetune='none'"),
        ({"frozen": True, "pretrain": 2}, "Leave pretrain out"),
    ],
)
def test_training_what_is_frozen_altogether_is_refused(options, message):
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).requires_grad_(False)
    with pytest.raises(ConfigError, match=message):
        mcprune.prune(DATA, keep=4, model=net, **{**SHORT, **options})


def test_tracked_losses_of_frozen_layers_are_refused():
    with pytest.raises(ConfigError, match="measure=loss"):
        mcprune.prune(DATA, keep=4, model=extractor_and_head(), method="importance", measure="loss-tracked", **SHORT)


@pytest.mark.slow
def test_modules_that_the_user_put_into_evaluation_mode_are_so_again():
    net = extractor_and_head().train()
    net[0].eval()
    modes = [module.training for module in net.modules()]
    mcprune.prune(DATA, keep=4, model=net, **SHORT)
    assert [module.training for module in net.modules()] == modes


def test_parameters_that_nothing_draws_afresh_are_said():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((8,), 2.0))
            self.layer = nn.Linear(8, 3)

        def forward(self, x):
            return self.layer(self.scale * x)

    net = Scaled()
    result = mcprune.prune(DATA, keep=4, model=copy.deepcopy(net), **SHORT)
    notes = [event.text for event in result.events if event.kind == "note"]
    assert any("'scale'" in note and "reset_parameters" in note for note in notes)


@pytest.mark.slow
def test_a_resume_with_other_parameters_frozen_is_refused(tmp_path):
    net = extractor_and_head()
    again = copy.deepcopy(net).requires_grad_(True)
    folder = tmp_path / "run"
    running = run_on(
        make_config(**SHORT, keep=4, checkpoint_every="1", out=str(folder)), from_arrays(*DATA), folder, model=net
    )
    for event in running:
        if event.kind == "progress":
            break
    running.close()
    with pytest.raises(ConfigError, match=r"'0.0.bias' of the model has requires_grad=True.*it had False"):
        mcprune.resume(folder, DATA, again)


def notes_of(result: mcprune.Result) -> list[str]:
    return [event.text for event in result.events if event.kind == "note"]


class InForward(nn.Module):
    """A softmax that no module is."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        return torch.softmax(self.two(torch.relu(self.one(x))), dim=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sites"), [("module", "inputs"), ("module", "units"), ("forward", "inputs"), ("sigmoid", "units")]
)
def test_a_model_of_probabilities_is_trained_on_its_logits(kind, sites):
    torch.manual_seed(0)
    last = nn.Sigmoid() if kind == "sigmoid" else nn.Softmax(dim=1)
    net = InForward() if kind == "forward" else nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3), last)
    result = mcprune.prune(DATA, keep=4, model=net, sites=sites, **{**SHORT, "epochs": 10, "retrain_epochs": 120})
    note = next(note for note in notes_of(result) if "logits" in note)
    assert ("sigmoid" if kind == "sigmoid" else "softmax") in note
    assert result.metrics["test_accuracy"] > 0.7
    probabilities = result.model.predict_proba(DATA[0])
    assert probabilities.max() > 0.9
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_frozen_model_of_probabilities_keeps_its_probabilities():
    torch.manual_seed(0)
    net = train(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)))
    whole = nn.Sequential(*net, nn.Softmax(dim=1)).requires_grad_(False)
    expected = whole(torch.from_numpy(DATA[0])).numpy()
    result = mcprune.prune(DATA, keep=8, model=whole, frozen=True, **SHORT)
    np.testing.assert_allclose(result.model.predict_proba(DATA[0]), expected, atol=1e-6)
    assert isinstance(whole[3], nn.Softmax)


def pictures(rows: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 6 x 6 pixels from 0 to 255, with a bright stripe whose place is the class."""
    draw = np.random.default_rng(1)
    x, y = draw.uniform(0, 60, (rows, 6, 6)), draw.integers(0, 3, rows)
    for row, label in enumerate(y):
        x[row, 2 * label] += 150
    return x.reshape(rows, 36).astype(np.float32), y


def cnn() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )


def trained_cnn(x: np.ndarray, y: np.ndarray) -> nn.Sequential:
    net = cnn()
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(100):
        adam.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        adam.step()
    return net


@pytest.mark.slow
@pytest.mark.parametrize("is_marked", [True, False], ids=["requires_grad=False", "frozen=True"])
def test_a_frozen_model_is_judged_on_rows_as_they_are(is_marked):
    x, y = pictures()
    net = trained_cnn(x, y).requires_grad_(not is_marked)
    result = mcprune.prune((x, y), keep=30, model=net, frozen=True, **SHORT)
    assert result.metrics["test_accuracy_dense"] == 1.0
    assert any(note.startswith("scale: none, since") for note in notes_of(result))
    assert result.model.scaler.kind == "none"
    scaled = mcprune.prune((x, y), keep=30, model=trained_cnn(x, y), frozen=True, scale="standard", **SHORT)
    assert scaled.metrics["test_accuracy_dense"] < 1.0
    assert any(note.startswith("scale: standard, as given") for note in notes_of(scaled))


@pytest.mark.slow
def test_a_model_that_comes_trained_gets_rows_as_they_are_though_nothing_is_frozen():
    x, y = pictures()
    result = mcprune.prune((x, y), keep=2, model=trained_cnn(x, y), sites="channels", **SHORT)
    assert any("the model comes trained" in note for note in notes_of(result))
    assert result.model.scaler.kind == "none"


def test_a_model_that_comes_untrained_gets_scaled_rows_and_a_note():
    result = mcprune.prune(pictures(), keep=30, model=cnn(), **SHORT)
    assert any(note.startswith("scale: standard, learned") and "untrained" in note for note in notes_of(result))
    assert result.model.scaler.kind == "standard"


def test_rows_as_they_are_are_doubted_where_scaled_ones_are_right_more_often():
    standard = (DATA[0] - DATA[0].mean(axis=0)) / DATA[0].std(axis=0)
    net = train(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), 150, standard).requires_grad_(False)
    x = DATA[0] * 50 + np.arange(8, dtype=np.float32) * 100
    result = mcprune.prune((x, DATA[1]), keep=6, model=net, frozen=True, **SHORT)
    note = next(note for note in notes_of(result) if note.startswith("scale: none"))
    assert "with scale='standard'" in note


class Returns(nn.Module):
    """Returns what a function makes of the logits."""

    def __init__(self, change, outputs: int = 3):
        super().__init__()
        self.layer, self.change = nn.Linear(8, outputs), change

    def forward(self, x):
        return self.change(self.layer(x))


TWO = (DATA[0], DATA[1] % 2)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Returns(lambda out: (out.sum(), out[:1])), DATA, r"a tuple of 2 .*such as model\(x\)\[0\]"),
        (Returns(lambda out: {"scores": out[:, :2]}), DATA, r"a dict with 'scores' .*model\(x\)\['scores'\]"),
        (Returns(lambda out: out[..., None].expand(-1, -1, 2)), DATA, r"\(2, 3, 2\).*3 classes"),
        (Returns(lambda out: out.argmax(1)), DATA, r"\(2,\).*\(2, 3\)"),
        (Returns(lambda out: out.argsort(1)), DATA, "int64 outputs, not logits"),
        (Returns(lambda out: out, 1), DATA, r"\(2, 1\).*3 classes"),
        (Returns(lambda out: out.half() @ torch.zeros(4, 3)), DATA, "cannot be run on float32 rows of 8 features"),
    ],
)
def test_outputs_that_are_no_logits_are_refused_with_the_remedy(model, data, message):
    with pytest.raises(ModelError, match=f"(?s){message}"):
        mcprune.prune(data, keep=4, model=model, **SHORT)


def test_a_program_without_modes_is_refused():
    program = torch.export.export(nn.Sequential(nn.Linear(8, 3)), (torch.zeros(2, 8),)).module()
    with pytest.raises(ModelError, match="cannot switch between training and evaluation mode"):
        mcprune.prune(DATA, keep=4, model=program, **SHORT)


def test_outputs_that_depend_on_the_batch_are_said():
    net = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3))
    assert any(
        "depends on the other rows" in note for note in notes_of(mcprune.prune(DATA, keep=4, model=net, **SHORT))
    )


@pytest.mark.parametrize("sites", ["inputs", "units", "weights"])
def test_lazy_layers_get_their_shapes(sites):
    net = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(3))
    result = mcprune.prune(DATA, keep=7 if sites == "inputs" else 5, model=net, sites=sites, **SHORT)
    assert result.mask.support.size == {"inputs": 8, "units": 6, "weights": 66}[sites]


def test_a_model_that_cannot_be_copied_is_refused():
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    net.note = net[0].weight * 2  # with a history
    with pytest.raises(ModelError, match=r"cannot be copied \(.*Use torch.nn.utils.parametrizations"):
        mcprune.prune(DATA, keep=4, model=net, **SHORT)
    del net.note
    net[1].lock = threading.Lock()
    says = r"cannot be copied: attribute 'lock' of a ReLU \(TypeError.*Keep lock outside of the module"
    with pytest.raises(ModelError, match=says):
        mcprune.prune(DATA, keep=4, model=net, **SHORT)


def test_a_forward_that_a_copy_would_share_is_refused():
    """A lambda put onto the module holds the module itself: the cut model would call the whole one."""
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    before = net[1].forward
    net[1].forward = lambda x: 2.0 * before(x)
    with pytest.raises(
        ModelError, match=r"The forward of layer '1' was replaced by a function.*Define forward in a subclass"
    ):
        mcprune.prune(DATA, keep=4, model=net, sites="units", **SHORT)
    net[1].forward = types.MethodType(lambda self, x: 2.0 * torch.relu(x), net[1])  # the control: a method goes along
    assert len(mcprune.prune(DATA, keep=4, model=net, sites="units", **SHORT).mask) == 4


def test_a_model_that_changes_its_rows_is_refused():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(x.mul_(0.5))

    with pytest.raises(ModelError, match=r"Halves changes its rows in place.*Work on a copy"):
        mcprune.prune(DATA, keep=4, model=Halves(), **SHORT)


def normalised():
    """A network whose normalisation has seen the rows of `bright`, times 3; it came from training."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 8)).astype(np.float32)
    with torch.no_grad():
        for _ in range(30):
            net(3 * torch.from_numpy(x))
    return net, x, (x[:, 1] > 0).astype(int)


@pytest.mark.parametrize("finetune", ["short", "warm", "scratch"])
@pytest.mark.parametrize("is_held", [True, False])
def test_a_normalisation_in_evaluation_mode_keeps_its_statistics(finetune, is_held):
    net, x, y = normalised()
    net[1].training = not is_held
    came = net[1].running_var.clone()
    result = mcprune.prune(x, y, keep=4, model=net, finetune=finetune, **SHORT)
    (cut,) = (layer for layer in result.model.model.modules() if isinstance(layer, nn.BatchNorm1d))
    for layer in (net[1], cut):
        assert torch.equal(layer.running_var, came) == is_held  # the control: else they follow the training
    assert [module.training for module in net] == [True, not is_held, True, True]
    assert net[1].weight.requires_grad


def test_of_a_model_in_evaluation_mode_all_is_trained():
    net, x, y = normalised()
    net.eval()
    came = net[1].running_var.clone()
    mcprune.prune(x, y, keep=4, model=net, **SHORT)
    assert not torch.equal(net[1].running_var, came)
    assert not any(module.training for module in net.modules())
