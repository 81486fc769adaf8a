"""A teacher's outputs in place of the labels: what they are, what the loss is, and that a run uses them."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.data.load import load
from mcprune.errors import ConfigError
from mcprune.random import step_noise
from mcprune.session.build.planner import make_plan
from mcprune.training import distill
from mcprune.training.augment import RandomAffine
from mcprune.training.distill import DistillationTargets
from mcprune.training.fit import fit


def linear(inputs, outputs, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(inputs, outputs)


def rows(count=50, inputs=6):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, inputs)).astype(np.float32))


def test_lessons_are_the_teachers_softened_outputs_on_full_rows():
    full, teacher = rows(), linear(6, 3, 1)
    distillation = DistillationTargets(teacher, full, np.array([1, 4]), 2.0)
    part = torch.tensor([7, 7, 0, 49])
    seen, said = distillation(part)
    assert distillation.copies == 1
    torch.testing.assert_close(seen, full[part][:, [1, 4]])
    torch.testing.assert_close(said, torch.softmax(teacher(full[part]) / 2.0, dim=1))


def test_warped_copies_are_labelled_as_they_are_seen_and_bounded_in_memory(monkeypatch):
    images, teacher = rows(40, 36).abs(), linear(36, 3, 1)
    everything = np.arange(36)
    with step_noise(0, 0):
        distillation = DistillationTargets(
            teacher, images, everything, 3.0, RandomAffine(images, (6, 6), everything, 1.0)
        )
    assert distillation.copies == distill.COPIES
    with step_noise(0, 1):
        seen, said = distillation(torch.arange(40).repeat(20))
    torch.testing.assert_close(said, torch.softmax(teacher(seen) / 3.0, dim=1))
    first = seen[::40]
    assert len(torch.unique(first, dim=0)) > 5  # row 0 comes in several copies
    monkeypatch.setattr(distill, "MOST_BYTES", 3 * 4 * 40 * 36)
    with step_noise(0, 0):
        assert (
            DistillationTargets(teacher, images, everything, 3.0, RandomAffine(images, (6, 6), everything, 1.0)).copies
            == 3
        )


def test_a_student_of_the_teachers_shape_becomes_the_teacher_and_labels_have_no_say():
    full, teacher = rows(400), linear(6, 3, 1)
    student = linear(6, 3, 2)
    wrong = torch.zeros(400, dtype=torch.int64)
    fit(
        student, full, wrong, epochs=60, batch_size=40, learning_rate=0.02, weight_decay=0.0, seed=0,
        distillation=DistillationTargets(teacher, full, np.arange(6), 2.0),
    )  # fmt: skip
    apart = (torch.softmax(student(full), 1) - torch.softmax(teacher(full), 1)).abs().max()
    assert apart < 0.02
    control = linear(6, 3, 2)
    fit(control, full, wrong, epochs=60, batch_size=40, learning_rate=0.02, weight_decay=0.0, seed=0)
    assert (torch.softmax(control(full), 1) - torch.softmax(teacher(full), 1)).abs().max() > 0.3


def test_the_gradient_keeps_its_size_at_every_temperature():
    """T^2 times the softened loss: for small outputs its gradient does not depend on T, where without T^2 it would fall as 1 / T^2."""
    full, teacher = 0.01 * rows(400), linear(6, 3, 1)
    sizes = []
    for heat in (1.0, 4.0):
        distillation = DistillationTargets(teacher, full, np.arange(6), heat)
        logits = torch.zeros(400, 3, requires_grad=True)
        _, said = distillation(torch.arange(400))
        (heat**2 * nn.functional.cross_entropy(logits / heat, said)).backward()
        sizes.append(logits.grad.norm())
    assert sizes[1] / sizes[0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.slow
def test_a_run_is_taught_and_what_retrains_nothing_is_refused(quick):
    from mcprune.session.finish.retrain import Refit

    plan = make_plan(quick(retrain_distill=2.0, retrain_epochs=3, retrain_warp=0.5), load("digits"))
    mask = np.zeros(64, bool)
    mask[:20] = True
    taught = Refit(plan, lambda: False)
    one = taught.train(mask, 0)
    assert taught._teacher is not None
    again = Refit(plan, lambda: False).train(mask, 0)
    assert all((a == b).all() for a, b in zip(one.parameters(), again.parameters(), strict=True))
    plain = Refit(make_plan(quick(retrain_epochs=3, retrain_warp=0.5), load("digits")), lambda: False)
    other = plain.train(mask, 0)
    assert plain._teacher is None
    assert any((a != b).any() for a, b in zip(one.parameters(), other.parameters(), strict=True))
    for more in ({"finetune": "short"}, {}):  # which weights have by default
        with pytest.raises(ConfigError, match=r"retrain_distill=2 .*nothing is under --finetune short"):
            make_plan(quick(sites="weights", keep=50, retrain_distill=2.0, **more), load("digits"))
        with pytest.raises(ConfigError, match=r"retrain_warp=1 .*nothing is under --finetune short"):
            make_plan(quick(sites="weights", keep=50, retrain_warp=1.0, **more), load("digits"))


def test_the_rate_of_retraining_is_its_own(quick):
    from mcprune.session.finish.retrain import Refit

    mask = np.ones(64, bool)
    nets = [
        Refit(make_plan(quick(retrain_epochs=2, **more), load("digits")), lambda: False).train(mask, 0)
        for more in ({}, {"retrain_learning_rate": 2e-3}, {"retrain_learning_rate": 1e-4})
    ]
    first, same, other = ([value.detach() for value in net.parameters()] for net in nets)
    assert all((a == b).all() for a, b in zip(first, same, strict=True))  # --learning-rate is 2e-3
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_an_estimator_is_taught_too():
    from mcprune import MarkovPrunedClassifier

    x, y = rows(60).numpy(), np.arange(60) % 2
    plain, taught = (
        MarkovPrunedClassifier(keep=2, options={"epochs": 2, "retrain_epochs": 2, **options}).fit(x, y).predict_proba(x)
        for options in ({}, {"retrain_distill": 2.0})
    )
    assert not np.array_equal(plain, taught)
