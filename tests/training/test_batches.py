"""Which rows train and which judge, the masks that training sees, and when training gives up."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from mcprune.errors import NumericalError
from mcprune.models.mlp import MLP
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.training import batches
from mcprune.training.batches import EvaluationRows
from mcprune.training.fit import fit
from mcprune.training.folds import Folds, split_rows
from mcprune.training.metrics import accuracy
from mcprune.training.steps import swap_sites
from mcprune.training.trainer import Trainer

CPU = torch.device("cpu")


def test_an_evaluation_batch_is_rows_with_their_own_classes():
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    targets = np.arange(50)
    rows = EvaluationRows(features, targets, device=CPU, seed=3)
    state, seen = rows.init(), set()
    for _ in range(200):
        batch = rows.batch(state, 20)
        assert batch.features.shape == (20, 3)
        np.testing.assert_array_equal(batch.features.numpy(), features[batch.targets.numpy()])
        assert len(set(batch.targets.tolist())) == 20
        assert batch.features.stride() == (1, 50)  # a slice of the transposed copy, not a copy
        assert torch.equal(rows.last(state).targets, batch.targets)
        seen.update(batch.targets.tolist())
    assert seen == set(range(50))
    for count in (50, 500):
        assert sorted(rows.batch(state, count).targets.tolist()) == list(range(50))


def test_chosen_rows_are_laid_out_as_a_copy_of_them_would_be(monkeypatch):
    draw = np.random.default_rng(0)
    features, targets = draw.normal(size=(300, 4)).astype(np.float32), draw.integers(0, 3, 300)
    weights, chosen = draw.random(300), draw.permutation(300)[:123]
    copied = EvaluationRows(
        features[chosen], targets[chosen], device=CPU, seed=3, input_noise=0.1, weights=weights[chosen]
    )
    wanted = copied.batch(copied.init(), 123)
    monkeypatch.setattr(batches, "COPIED", 50)
    picked = EvaluationRows(
        features, targets, folds=Folds((chosen,), (chosen,)), device=CPU, seed=3, input_noise=0.1, weights=weights
    )
    rows = picked.batch(picked.init(), 123)
    assert torch.equal(rows.features, wanted.features)
    assert torch.equal(rows.targets, wanted.targets)
    assert torch.equal(rows.rows.weights, wanted.rows.weights)


def test_a_batch_of_folds_has_the_rows_of_each_where_its_bounds_say():
    draw = np.random.default_rng(0)
    features, classes = draw.normal(size=(90, 4)).astype(np.float32), draw.integers(0, 3, 90)
    folds = split_rows(classes, "folds", fraction=0.0, folds=4, seed=0)
    rows = EvaluationRows(features, np.arange(90), folds=folds, device=CPU, seed=3, weights=features[:, 0] ** 2)
    state, seen = rows.init(), set()
    for count in (90, 1000, *[30] * 60):
        batch, bounds = rows.batch(state, count), folds.bounds(count)
        assert len(batch.targets) == min(count, 90)
        assert torch.equal(rows.last(state).targets, batch.targets)
        np.testing.assert_array_equal(batch.features.numpy(), features[batch.targets.numpy()])
        np.testing.assert_array_equal(batch.rows.weights.numpy(), features[batch.targets.numpy(), 0] ** 2)
        for place, members in enumerate(folds.evaluation):
            part = batch.targets[bounds[place] : bounds[place + 1]].tolist()
            assert len(set(part)) == len(part)
            assert set(part) <= set(members.tolist())
        seen.update(batch.targets.tolist())
    assert seen == set(range(90))


def test_judging_rows_carry_the_same_noise_in_every_batch_and_the_data_none():
    features = np.random.default_rng(0).random((400, 30)).astype(np.float32)
    before = features.copy()
    rows = EvaluationRows(features, np.arange(400), device=CPU, seed=3, input_noise=0.1)
    first, second = rows.batch(rows.init(), 400), rows.batch(rows.init(), 400)
    assert torch.equal(first.features, second.features)
    noise = first.features.numpy() - features[first.targets.numpy()]
    # 12,000 draws: the deviation is within 5 standard errors of .1 (false alarm 6e-7).
    assert abs(noise.std() / 0.1 - 1) < 5 / np.sqrt(2 * noise.size)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.25
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_row_trades_as_many_sites_as_it_says(count):
    gates = np.random.default_rng(0).random(30).astype(np.float32)
    kept, dropped = np.arange(12), np.arange(12, 30)
    swapped = swap_sites(gates, kept, dropped, count, 400, np.random.default_rng(1))
    draw = np.random.default_rng(1)  # the same draws, to know in which rows none came twice
    out, in_ = draw.integers(0, 12, (400, count)), draw.integers(0, 18, (400, count))
    distinct = np.array([len(set(a)) == len(set(b)) == count for a, b in zip(out.tolist(), in_.tolist(), strict=True)])
    assert distinct.sum() > 60
    changed = swapped != gates
    for row in np.flatnonzero(distinct):
        assert changed[row, kept].sum() == changed[row, dropped].sum() == count
        # The same gates at other places: their sum stays.
        np.testing.assert_array_equal(np.sort(swapped[row]), np.sort(gates))
    assert (changed[:, kept].sum(axis=1) <= count).all()
    assert (changed[:, dropped].sum(axis=1) <= count).all()
    places = changed[distinct].sum(axis=0)
    assert (places > 0).all()  # every site comes to its turn


def test_there_is_nothing_to_trade_when_all_is_kept_or_none():
    gates = np.ones(6, np.float32)
    for kept, dropped in ((np.arange(6), np.arange(0)), (np.arange(0), np.arange(6))):
        swapped = swap_sites(gates, kept, dropped, 3, 4, np.random.default_rng(0))
        np.testing.assert_array_equal(swapped, np.ones((4, 6)))


def trainer(learning_rate=1e-2, mask_noise=0.0, seed=0, batch_size=16):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(80, 6, generator=draw)
    y = (x[:, 0] > 0).long()
    model = MLP((6, 12, 2), seed=1)
    return Trainer(
        GatedModel(model, site_map(model, "inputs", 6)),
        x,
        y,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=0.0,
        mask_noise=mask_noise,
        seed=seed,
    )


def weights_after(steps, **options):
    made = trainer(**options)
    made.run(
        made.init(), steps, np.array([1, 1, 1, 1, 0, 0], np.float32), np.array([4.0, 4.0, 4.0, 4.0, -4.0, -4.0]), 0.0
    )
    return torch.cat([parameter.flatten() for parameter in made.gated.model.parameters()]).detach()


def test_training_is_a_function_of_the_seed_and_perturbing_changes_it():
    assert torch.equal(weights_after(20, mask_noise=0.3), weights_after(20, mask_noise=0.3))
    assert not torch.equal(weights_after(20, seed=1), weights_after(20, seed=0))
    assert not torch.equal(weights_after(20, mask_noise=0.3), weights_after(20))


def test_a_site_whose_gate_is_zero_learns_only_when_rows_trade_it_in():
    first = MLP((6, 12, 2), seed=1).layers[0].weight.detach()
    gates, weights = np.array([1, 1, 1, 1, 0, 0], np.float32), np.array([4.0, 4, 4, 4, -4, -4])
    plain, swapped = trainer(), trainer(mask_noise=0.3)
    for made in (plain, swapped):
        made.run(made.init(), 40, gates, weights, 0.0)
    assert torch.equal(plain.gated.model.layers[0].weight[:, 4:], first[:, 4:])
    assert not torch.equal(swapped.gated.model.layers[0].weight[:, 4:], first[:, 4:])
    assert not torch.equal(plain.gated.model.layers[0].weight[:, :4], first[:, :4])


def test_every_row_trains_once_before_any_trains_twice():
    made = trainer()
    state = made.init().order
    order = torch.cat([made._batches.next(state) for _ in range(10)])
    for first, last in pairwise(range(0, 161, 80)):
        assert sorted(order[first:last].tolist()) == list(range(80))
    assert order[:80].tolist() != order[80:].tolist()
    large = trainer(batch_size=500)
    assert len(large._batches.next(large.init().order)) == 80


def test_the_learning_rate_falls_at_the_end():
    def moved(progress):
        made = trainer()
        made.run(made.init(), 5, np.ones(6, np.float32), np.ones(6), progress)
        before = MLP((6, 12, 2), seed=1).layers[0].weight
        return (made.gated.model.layers[0].weight - before).abs().max().item()

    assert moved(0.0) == moved(0.6)
    assert moved(0.6) > 1.9 * moved(0.8)
    assert moved(0.8) > 10 * moved(1.0) > 0


def test_a_diverging_classifier_is_given_up_naming_the_step_and_the_remedy():
    made = trainer(learning_rate=1e30)
    with pytest.raises(NumericalError, match=r"at training step 7\. Lower --learning-rate \(it is 1e\+30\)"):
        made.run(made.init(), 7, np.ones(6, np.float32), np.ones(6), 0.0)
    with pytest.raises(NumericalError, match=r"while it was trained\. Lower --learning-rate"):
        fit(
            made.gated.model,
            made.features,
            made.targets,
            epochs=2,
            batch_size=16,
            learning_rate=1e30,
            weight_decay=0.0,
            seed=0,
        )


def test_accuracy_is_the_share_of_right_answers_in_parts():
    model = MLP((6, 12, 2), seed=1)
    x = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        answers = model(x).argmax(1)
    y = answers.clone()
    y[:500] = 1 - y[:500]
    assert accuracy(model, x, y) == 19_500 / 20_000
    gated = GatedModel(model, site_map(model, "inputs", 6))
    assert accuracy(gated, x, answers, torch.ones(6)) == 1.0
    assert accuracy(gated, x, answers, torch.zeros(6)) < 1.0
