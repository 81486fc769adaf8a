"""The suffix evaluator: the bits of the canonical one, from the first changed site on; parts of the rows within the band."""

import numpy as np
import pytest
import torch
from deep_models import Pairs, Shared, TorchEncoder, Transformer
from torch import nn

from mcprune.chain import moves, state
from mcprune.errors import ModelError
from mcprune.evaluators.full import FullEvaluator
from mcprune.evaluators.suffix import SuffixEvaluator
from mcprune.models.mlp import MLP
from mcprune.objectives.classification import CrossEntropy, ErrorRate


def nested():
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 11)),
        nn.Sequential(nn.BatchNorm1d(11), nn.Dropout(0.5), nn.Tanh(), nn.Linear(11, 9), nn.GELU()),
        nn.Linear(9, 3),
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model


def twice():
    layer = nn.Linear(12, 12)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


CASES = [
    *[
        (lambda name=name: MLP((12, 17, 9, 3), name, dropout=0.2, seed=4), kinds, (12,))
        for name in ("relu", "sigmoid", "gelu")
        for kinds in ("inputs", "units", "inputs,units")
    ],
    (nested, "units", (1, 8, 8)),
    (nested, "inputs,units", (1, 8, 8)),
    (twice, "inputs,units", (12,)),
    (Transformer, "units:blocks.0.fc1,blocks.1.fc1,blocks.2.fc1", (12,)),
    (TorchEncoder, "inputs,units:encoder.layers.0.linear1,encoder.layers.1.linear1", (12,)),
    (Pairs, "inputs,units", (12,)),
    (Shared, "units", (12,)),
]


def pair(build, kinds, shape, problem, sharpness, objective=CrossEntropy, **more):
    torch.manual_seed(0)
    case = problem(build(), kinds, shape, 90, transposed=len(shape) == 1)
    current = state.new_state(np.random.default_rng(3).normal(0.0, 2.0, (2, case.sites.size)), sharpness=sharpness)
    both = FullEvaluator(case.gated, objective()), SuffixEvaluator(case.gated, objective(), **more)
    for one in both:
        one.begin(case.x, case.y, current.position, sharpness)
    return case, current, *both


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [1.0, np.inf])
@pytest.mark.parametrize(("build", "kinds", "shape"), CASES)
def test_every_bit_is_the_canonical_one_also_after_accepted_moves(build, kinds, shape, sharpness, problem):
    _, current, full, suffix = pair(build, kinds, shape, problem, sharpness)
    plan = moves.move_plan(site=1.0, exchange=1.0, block=1.0, toggle=1.0, uniform=0.3, block_size=3)
    assert suffix.error == 0.0
    seen = set()
    for turn in range(5):
        batch = moves.propose(
            current, 9, plan=plan, delta=3.0, sharpness=sharpness, seed=turn, chains=np.arange(2, dtype=np.int64)
        )
        wanted = full.losses(current, batch)
        np.testing.assert_array_equal(suffix.losses(current, batch), wanted)
        seen.update(wanted[np.isfinite(wanted)])
        index = np.array([turn, -1 if turn % 2 else 8])
        for replica in np.flatnonzero(index >= 0):
            current.position[replica] = moves.dense(current, batch)[replica, index[replica]]
        state.refresh(current, sharpness=sharpness)
        for one in (full, suffix):
            one.moved(current.position, batch, index)
        np.testing.assert_array_equal(suffix.current(), full.current())
    assert len(seen) > 15  # equality of values that differ


def test_layers_before_the_first_changed_site_do_not_run(problem):
    case, current, _, suffix = pair(lambda: MLP((12, 17, 9, 3), seed=4), "units:layers.2", (12,), problem, np.inf)
    ran = []
    for name in ("layers.0", "layers.2", "layers.4"):
        module = case.model.get_submodule(name)
        module.forward = lambda *args, name=name, forward=module.forward: (ran.append(name), forward(*args))[1]
    batch = moves.propose(
        current, 4, plan=moves.move_plan(toggle=1.0), delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(2)
    )
    suffix.losses(current, batch)
    assert ran == ["layers.4"] * 8


def test_any_objective_is_served(problem):
    _, current, full, suffix = pair(nested, "units", (1, 8, 8), problem, np.inf, ErrorRate)
    batch = moves.propose(
        current, 9, plan=moves.move_plan(toggle=1.0), delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(2)
    )
    np.testing.assert_array_equal(suffix.losses(current, batch), full.losses(current, batch))


@pytest.mark.parametrize("kinds", ["units", "inputs,units"])
def test_stacked_candidates_as_on_a_gpu_agree_within_the_band(kinds, problem):
    _, current, full, suffix = pair(nested, kinds, (1, 8, 8), problem, 1.0, stacks=True)
    plan = moves.move_plan(toggle=1.0, exchange=1.0)
    batch = moves.propose(current, 20, plan=plan, delta=3.0, sharpness=1.0, seed=0, chains=np.arange(2))
    assert suffix.error == 2e-5
    np.testing.assert_allclose(suffix.losses(current, batch), full.losses(current, batch), rtol=2e-5)
    assert np.ptp(full.losses(current, batch)) > 4e-4  # 20 times the band
    alone = SuffixEvaluator(suffix.gated, CrossEntropy(), stacks=True, max_memory=1)
    alone.begin(suffix.features, suffix.targets, current.position, 1.0)
    np.testing.assert_allclose(alone.losses(current, batch), full.losses(current, batch), rtol=2e-5)


FC1 = "units:blocks.0.fc1,blocks.1.fc1,blocks.2.fc1"


def cut(problem, objective=CrossEntropy, **more):
    """A transformer on 90 rows in parts of 16."""
    return pair(Transformer, FC1, (12,), problem, np.inf, objective, widest=16 * 48, **more)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [CrossEntropy, ErrorRate])
def test_parts_of_the_rows_give_the_loss_of_all(objective, problem):
    _, current, full, suffix = cut(problem, objective)
    assert len(suffix.parts) == 6
    assert suffix.error == 1e-5
    plan = moves.move_plan(toggle=1.0, exchange=1.0)
    for turn in range(4):
        batch = moves.propose(current, 9, plan=plan, delta=3.0, sharpness=np.inf, seed=turn, chains=np.arange(2))
        np.testing.assert_allclose(suffix.losses(current, batch), full.losses(current, batch), rtol=1e-5)
        index = np.array([turn, -1])
        current.position[0] = moves.dense(current, batch)[0, turn]
        state.refresh(current, sharpness=np.inf)
        for one in (full, suffix):
            one.moved(current.position, batch, index)
        np.testing.assert_allclose(suffix.current(), full.current(), rtol=1e-5)


@pytest.mark.slow
def test_a_candidate_above_its_limit_is_rejected_after_some_rows_and_no_other(problem):
    _, current, full, suffix = cut(problem)
    plan = moves.move_plan(toggle=1.0, exchange=1.0)
    batch = moves.propose(current, 40, plan=plan, delta=3.0, sharpness=np.inf, seed=0, chains=np.arange(2))
    expected = full.losses(current, batch)
    limits = np.array([np.median(expected[0]), 0.6 * expected[1].min()])[:, None].repeat(40, axis=1)
    runs, run = [], suffix.replay.run
    suffix.replay.run = lambda *args, **more: (runs.append(1), run(*args, **more))[1]
    losses = suffix.losses(current, batch, limits)
    is_open = expected <= limits
    np.testing.assert_allclose(losses[is_open], expected[is_open], rtol=1e-5)
    assert (losses[~is_open] > limits[~is_open]).all()
    assert 0 < is_open[0].sum() < 40
    assert len(runs) <= 40 * 6 + 40 * 4
    runs.clear()
    suffix.losses(current, batch)  # the control
    assert len(runs) == 80 * len(suffix.parts)


def test_the_rows_with_the_highest_losses_are_in_front(problem):
    _, _, _, suffix = cut(problem)
    gates = torch.from_numpy((suffix_position(suffix) > 0).astype(np.float32))
    with torch.no_grad():
        means = [
            float(nn.functional.cross_entropy(suffix.gated(rows, gates), suffix.targets[own]))
            for rows, own in zip(suffix.parts, suffix._rows, strict=True)
        ]
    assert means == sorted(means, reverse=True)
    assert means[0] > 1.2 * means[-1]


def suffix_position(suffix):
    """The position of the first replica, as `pair` draws it."""
    return np.random.default_rng(3).normal(0.0, 2.0, (2, suffix.gated.sites.size))[0]


@pytest.mark.slow
def test_early_rejection_on_request_is_rarely_wrong_and_saves_parts(problem, monkeypatch):
    """A candidate just within its limit is rejected with about the probability that is asked for; a poor one after few rows."""
    monkeypatch.setattr("mcprune.evaluators.early_rejection.FEWEST", 8)
    case, current, full, suffix = cut(problem, early_reject=0.2)
    plan = moves.move_plan(toggle=1.0, exchange=1.0)
    batch = moves.propose(current, 40, plan=plan, delta=3.0, sharpness=np.inf, seed=0, chains=np.arange(2))
    expected = full.losses(current, batch)
    runs, run = [], suffix.replay.run
    suffix.replay.run = lambda *args, **more: (runs.append(1), run(*args, **more))[1]
    wrong = 0
    for turn in range(6):
        order = torch.randperm(90, generator=torch.Generator().manual_seed(turn))
        suffix.begin(case.x[order], case.y[order], current.position, np.inf)
        assert [len(rows) for rows in suffix.parts] == [11, 11, 12, 11, 15, 15, 15]
        losses = suffix.losses(current, batch, expected + 1e-4)
        is_whole = losses <= expected + 1e-4
        np.testing.assert_allclose(losses[is_whole], expected[is_whole], rtol=1e-5)
        wrong += int((~is_whole).sum())
    assert 0 < wrong < 0.2 * 6 * 80
    far = np.broadcast_to(suffix.current()[:, None] - 2 * np.ptp(expected), expected.shape)
    runs.clear()
    assert (suffix.losses(current, batch, far) > far).all()
    staged = len(runs)
    exact = SuffixEvaluator(suffix.gated, CrossEntropy(), widest=16 * 48)
    exact.begin(suffix.features, suffix.targets, current.position, np.inf)
    exact.replay.run = lambda *args, _run=exact.replay.run, **more: (runs.append(1), _run(*args, **more))[1]
    runs.clear()
    exact.losses(current, batch, far)
    assert staged < 0.5 * len(runs)
    np.testing.assert_allclose(
        suffix.losses(current, batch), full.losses(current, batch), rtol=1e-5
    )  # without limits: whole


def test_early_rejection_needs_a_mean_over_rows_and_rows_enough(problem):
    with pytest.raises(ModelError, match="the objective 'error' is no mean over rows"):
        cut(problem, ErrorRate, early_reject=0.1)
    _, current, full, suffix = pair(Transformer, FC1, (12,), problem, np.inf, early_reject=0.1)
    batch = moves.propose(
        current, 9, plan=moves.move_plan(toggle=1.0), delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(2)
    )
    assert len(suffix.parts) == 1  # 90 rows are too few for the test
    np.testing.assert_array_equal(suffix.losses(current, batch, np.zeros((2, 9))), full.losses(current, batch))


def test_rows_that_depend_on_each_other_are_not_cut(problem):
    def build():
        return nn.Sequential(
            nn.Linear(12, 17), nn.BatchNorm1d(17, track_running_stats=False), nn.GELU(), nn.Linear(17, 3)
        )

    _, current, full, suffix = pair(build, "units", (12,), problem, np.inf, widest=17)
    batch = moves.propose(
        current, 9, plan=moves.move_plan(toggle=1.0), delta=1.0, sharpness=np.inf, seed=0, chains=np.arange(2)
    )
    assert len(suffix.parts) == 1
    np.testing.assert_array_equal(suffix.losses(current, batch), full.losses(current, batch))
    *_, suffix = pair(lambda: MLP((12, 17, 3), "gelu", seed=1), "units", (12,), problem, np.inf, widest=17)
    assert len(suffix.parts) > 1  # the control


def test_hooks_of_the_user_run_as_in_the_whole_model(problem):
    case = problem(nn.Sequential(nn.Sequential(nn.Linear(12, 5)), nn.ReLU(), nn.Linear(5, 3)), "units", (12,), 10)
    case.model[0].register_forward_hook(lambda _module, _inputs, output: 2.0 * output)
    current = state.new_state(np.random.default_rng(3).normal(0.0, 2.0, (1, 5)), sharpness=1.0)
    both = FullEvaluator(case.gated, CrossEntropy()), SuffixEvaluator(case.gated, CrossEntropy())
    batch = moves.propose(
        current, 6, plan=moves.move_plan(site=1.0), delta=1.0, sharpness=1.0, seed=0, chains=np.arange(1)
    )
    for one in both:
        one.begin(case.x, case.y, current.position, 1.0)
    np.testing.assert_array_equal(*(one.losses(current, batch) for one in both))
