"""Candidates of a model whose layers hold only what is kept: the losses of the canonical evaluator, with less run."""

import numpy as np
import pytest
import torch
from deep_models import Shared, TorchEncoder, Transformer
from torch import nn
from transformers_nets import NETS, OwnNet, plain_forward

from mcprune.chain import moves, state
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.replay.calls import tensors_of
from mcprune.evaluators.replay.narrow_passes import NarrowReplay
from mcprune.evaluators.replay.narrow_trial import narrowed
from mcprune.evaluators.replay.recording import Recording
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.objectives.classification import CrossEntropy
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map

PLAN = moves.move_plan(site=1.0, exchange=1.0, block=1.0, toggle=2.0, block_size=3)
FC1 = "units:blocks.0.fc1,blocks.1.fc1,blocks.2.fc1"
# The kinds of sites that are narrow: not where the code fixes the number of features, or reads it from a configuration.
NARROW = {
    **{name: {"heads", "neurons"} for name in NETS},
    **{name: {"neurons"} for name in ("rigid", "fused, causal", "configured")},
}


class Normalised(nn.Module):
    """A feed-forward layer with a normalisation over its hidden features; the last layer is 0 at first."""

    def __init__(self, width=16, hidden=24):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        self.inner = nn.LayerNorm(hidden)
        nn.init.zeros_(self.fc2.weight)

    def forward(self, x):
        return self.fc2(self.inner(self.act(self.fc1(x))))


class Residual(nn.Module):
    """One feed-forward layer on a residual stream."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Mixer(nn.Module):
    """A feed-forward layer over the tokens of each feature, behind a normalisation over tokens and features."""

    def __init__(self, width=16, tokens=8, hidden=24):
        super().__init__()
        self.norm, self.inner = nn.LayerNorm((tokens, width)), nn.LayerNorm(tokens)
        self.mix = nn.Sequential(nn.Linear(tokens, hidden), nn.GELU(), nn.Linear(hidden, tokens))
        self.feed = plain_forward(width, hidden)

    def forward(self, x):
        x = x + self.mix(self.inner(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return x + self.feed(self.norm(x))


def feed(activation):
    return nn.Sequential(nn.Linear(16, 24), activation, nn.Linear(24, 16))


def evaluators(build, kinds, problem, sharpness, shape=(64,), **more):
    """Return a case, a position, `full`, and `suffix` on 90 rows in parts of 16."""
    torch.manual_seed(0)
    case = problem(build(), kinds, shape, 90, classes=3)
    current = state.new_state(np.random.default_rng(3).normal(0.0, 2.0, (2, case.sites.size)), sharpness=sharpness)
    both = FullEvaluator(case.gated, CrossEntropy()), SuffixEvaluator(case.gated, CrossEntropy(), widest=16, **more)
    for one in both:
        one.begin(case.x, case.y, current.position, sharpness)
    assert len(both[1].parts) == 6
    return case, current, *both


def agree(current, full, suffix, sharpness, turns=4):
    """Compare candidates and the position itself, also after accepted moves."""
    seen = []
    for turn in range(turns):
        batch = moves.propose(
            current, 8, plan=PLAN, delta=3.0, sharpness=sharpness, seed=turn, chains=np.arange(2, dtype=np.int64)
        )
        expected = full.losses(current, batch)
        np.testing.assert_allclose(suffix.losses(current, batch), expected, rtol=1e-5)
        seen.extend(expected[np.isfinite(expected)])
        index = np.array([turn, -1 if turn % 2 else 5])
        for replica in np.flatnonzero(index >= 0):
            current.position[replica] = moves.dense(current, batch)[replica, index[replica]]
        state.refresh(current, sharpness=sharpness)
        for one in (full, suffix):
            one.moved(current.position, batch, index)
        np.testing.assert_allclose(suffix.current(), full.current(), rtol=1e-5)
    assert np.ptp(seen) > 1e-3  # equality of values that differ by a hundred times the tolerance


@pytest.mark.parametrize("sharpness", [pytest.param(1.0, marks=pytest.mark.slow), np.inf])
@pytest.mark.parametrize("kinds", ["heads,neurons", pytest.param("heads,neurons/4,blocks", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NETS)
def test_losses_are_those_of_full_also_after_accepted_moves(name, kinds, sharpness, problem):
    case, current, full, suffix = evaluators(NETS[name], kinds, problem, sharpness)
    narrow = suffix.replay.narrow.blocks
    groups = [group for number, group in enumerate(case.sites.groups) if number in narrow]
    has_torch = "blocks" in kinds and name.startswith("torch")  # its attention has one gate for heads and for the whole
    assert {group.kind for group in groups} == NARROW[name] - ({"heads"} if has_torch else set())
    agree(current, full, suffix, sharpness)


@pytest.mark.parametrize(
    ("build", "kinds", "is_narrow"),
    [
        (Transformer, FC1, True),
        (TorchEncoder, "inputs,units:encoder.layers.0.linear1,encoder.layers.1.linear1", True),
        (
            lambda: OwnNet(Residual(feed(nn.ReLU())), Residual(feed(nn.SiLU()))),
            "units:blocks.0.inner.0,blocks.1.inner.0",
            True,
        ),
        (lambda: OwnNet(Residual(feed(nn.Sigmoid()))), "units:blocks.0.inner.0", False),
        (lambda: OwnNet(Residual(Normalised()), Residual(Normalised())), "neurons", False),
        (Shared, "units", False),
    ],
)
@pytest.mark.parametrize("sharpness", [pytest.param(1.0, marks=pytest.mark.slow), np.inf])
def test_what_depends_on_other_sites_or_sends_something_when_dropped_is_not_narrow(
    build, kinds, is_narrow, sharpness, problem
):
    shape = (64,) if "blocks.0.inner" in kinds or kinds == "neurons" else (12,)
    case, current, full, suffix = evaluators(build, kinds, problem, sharpness, shape)
    assert isinstance(suffix.replay, NarrowReplay) == is_narrow
    if kinds == "neurons":  # seen although the last layers are 0 when the model is tried
        for block in case.model.blocks:
            nn.init.normal_(block.inner.fc2.weight, std=0.5)
        for one in (full, suffix):
            one.begin(case.x, case.y, current.position, sharpness)
    agree(current, full, suffix, sharpness)


@pytest.mark.parametrize("sharpness", [1.0, np.inf])
def test_normalisations_and_feed_forward_layers_over_tokens(sharpness, problem):
    case, current, full, suffix = evaluators(lambda: OwnNet(Mixer(), Mixer()), "neurons", problem, sharpness)
    assert [group.layer for group in case.sites.groups] == [
        f"blocks.{number}.{name}" for number in (0, 1) for name in ("mix", "feed")
    ]
    # A layer that is called twice, as the normalisation is, replays each call by itself.
    assert len(suffix.replay.narrow.blocks) == 4
    agree(current, full, suffix, sharpness)
    small = SuffixEvaluator(case.gated, CrossEntropy())  # the whole batch: every bit
    for one in (full, small):
        one.begin(case.x, case.y, current.position, sharpness)
    batch = moves.propose(current, 8, plan=PLAN, delta=3.0, sharpness=sharpness, seed=0, chains=np.arange(2))
    assert small.error == 0.0
    np.testing.assert_array_equal(small.losses(current, batch), full.losses(current, batch))


@pytest.mark.parametrize("store", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["torch", "separate"])
def test_a_shorter_number_type_halves_the_memory_and_states_its_error(name, store, problem):
    case, current, full, suffix = evaluators(NETS[name], "heads,neurons", problem, np.inf)
    short = SuffixEvaluator(case.gated, CrossEntropy(), widest=16, store=store)
    for _ in range(3):
        short.begin(case.x, case.y, current.position, np.inf)
        batch = moves.propose(current, 12, plan=PLAN, delta=3.0, sharpness=np.inf, seed=1, chains=np.arange(2))
        expected = full.losses(current, batch)
        away = np.nanmax(np.abs(short.losses(current, batch) - expected) / np.maximum(1.0, expected))
        assert 1e-6 < away < short.error < 0.05
        assert np.nanmax(np.abs(suffix.losses(current, batch) - expected)) < 1e-6  # the control
        current.position[:] *= -1.0
        for one in (full, suffix):
            one.begin(case.x, case.y, current.position, np.inf)
    sizes = [sum(one.replay.bytes(90, each._store).values()) for one, each in ((suffix, suffix), (short, short))]
    assert sizes[1] * 2 == sizes[0]
    stored = [leaf for each in short.recordings[0][0].outputs.values() for leaf in tensors_of(each)]
    assert {leaf.dtype for leaf in stored} == {getattr(torch, store)}


def test_what_the_shorter_type_cannot_hold_is_stored_as_it_is():
    recording = Recording(torch.float16)
    recording.put(0, (torch.tensor([1.0, 1e5]), torch.tensor([3]), None))
    recording.put(1, {"x": torch.tensor([0.1])})
    assert torch.equal(recording.get(0)[0], torch.tensor([1.0, 1e5]))
    assert torch.equal(recording.get(0)[1], torch.tensor([3]))
    assert recording.get(0)[2] is None
    assert recording.get(1)["x"].dtype == torch.float32
    assert 0.0 < float((recording.get(1)["x"] - 0.1).abs()) < 1e-4


def test_only_the_change_runs_in_its_block_and_only_what_is_kept_behind_it(problem):
    case, current, _, suffix = evaluators(
        lambda: OwnNet(*(Residual(plain_forward()) for _ in range(3))), "neurons", problem, np.inf
    )
    widths = []
    for block in case.model.blocks:
        block.inner[1].register_forward_hook(lambda _module, _inputs, output: widths.append(output.shape[-1]))
    batch = moves.propose(
        current, 1, plan=moves.move_plan(toggle=1.0), delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(2)
    )
    batch.sites[:, 0, 0], batch.weights[:, 0, 0] = 30, -current.position[:, 30]  # of the second block
    suffix.losses(current, batch)
    kept = (current.position[:, 48:] > 0).sum(axis=1)
    assert widths == [each for count in kept for each in [1, int(count)] * len(suffix.parts)]


def test_weights_that_were_trained_meanwhile_are_read_again(problem):
    case, current, full, suffix = evaluators(NETS["separate"], "heads,neurons", problem, np.inf)
    before = suffix.current()
    with torch.no_grad():
        for parameter in case.model.parameters():
            parameter.mul_(1.5)
    for one in (full, suffix):
        one.begin(case.x, case.y, current.position, np.inf)
    assert not np.allclose(suffix.current(), before, rtol=1e-3)
    agree(current, full, suffix, np.inf, turns=2)


def test_outputs_that_do_not_fit_in_memory_are_computed_again(problem):
    _, current, full, suffix = evaluators(NETS["fused, causal"], "heads,neurons", problem, np.inf, max_memory=100_000)
    replay = suffix.replay
    assert set(replay.bases.values()) - replay.kept
    agree(current, full, suffix, np.inf)


def test_a_layer_that_keeps_nothing_adds_its_bias(problem):
    _, current, full, suffix = evaluators(NETS["torch"], "heads,neurons", problem, np.inf)
    current.position[:] = -np.abs(current.position)
    state.refresh(current, sharpness=np.inf)
    for one in (full, suffix):
        one.begin(suffix.features, suffix.targets, current.position, np.inf)
    np.testing.assert_allclose(suffix.current(), full.current(), rtol=1e-5)
    agree(current, full, suffix, np.inf, turns=2)


def test_the_model_is_as_it_was_also_after_an_error():
    torch.manual_seed(0)
    model = NETS["separate"]().eval()
    gated, x = GatedModel(model, site_map(model, "heads,neurons", 64)), torch.randn(6, 64)
    expected = model(x)
    narrow = narrowed(gated, x[:2])
    gates = np.zeros(gated.sites.size, np.float32)
    gates[[1, 5]] = 1.0

    def fail():
        with narrow.attached():
            narrow.use({number: narrow.kept(number, gates) for number in narrow.blocks})
            assert model.blocks[0].attn.num_heads == 1
            raise RuntimeError("an error")

    with pytest.raises(RuntimeError, match="an error"):
        fail()
    assert model.blocks[0].attn.num_heads == 4
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert torch.equal(model(x), expected)
