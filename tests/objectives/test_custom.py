"""A user's own function: what it is given, what it may give, and one clear error for each way to go wrong."""

import numpy as np
import pytest
import torch

from mcprune.errors import ObjectiveError
from mcprune.objectives.base import Rows
from mcprune.objectives.custom import AGAIN, OwnObjective
from mcprune.objectives.named import make_objective

LOGITS = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(20) % 4
MASKS = np.arange(3 * 6).reshape(3, 6) % 2 == 0


def test_it_gets_probabilities_classes_and_its_own_mask():
    met = []

    def mine(predictions, targets, mask):
        met.append((predictions, targets, mask))
        return float((predictions.argmax(axis=1) != targets).mean()) + mask.sum()

    objective = OwnObjective(mine, "mine")
    assert objective.reads_mask
    found = objective.masked_losses(LOGITS, TARGETS, MASKS)
    error = make_objective("error", range(4)).losses(LOGITS, TARGETS)
    np.testing.assert_allclose(found, error + MASKS.sum(axis=1))
    predictions, targets, _ = met[0]
    assert (predictions.dtype, targets.dtype) == (np.float64, np.int64)
    np.testing.assert_allclose(predictions.sum(axis=1), 1.0)


def test_with_two_parameters_it_is_not_given_the_mask():
    objective = OwnObjective(lambda predictions, targets: 0.5, "half")
    assert not objective.reads_mask
    assert objective.losses(LOGITS, TARGETS).tolist() == [0.5] * 3


def test_outputs_that_are_not_finite_are_a_rejection_and_not_its_business():
    logits = LOGITS.clone()
    logits[1, 0, 0] = torch.inf
    objective = OwnObjective(lambda predictions, targets: 1.0, "one")
    assert np.isnan(objective.losses(logits, TARGETS)).tolist() == [False, True, False]


def test_a_bound_that_it_declares_is_believed():
    def mine(predictions, targets):
        return 1.0

    assert OwnObjective(mine, "mine").lower_bound is None
    mine.lower_bound = 0
    assert OwnObjective(mine, "mine").lower_bound == 0.0


def overwrites(predictions, targets):
    predictions[:] = 0
    return 0.0


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda p, t: 1 / 0, r"raised ZeroDivisionError: division by zero \(test_custom.py, line \d+\)"),
        (lambda p, t: np.nan, "gave nan for outputs that are finite"),
        (lambda p, t: -np.inf, "gave -inf"),
        (lambda p, t: p.mean(axis=0), r"gave a ndarray of shape \(4,\); it must give one real number"),
        (lambda p, t: "small", "gave a str; it must"),
        (lambda p, t: None, "gave a NoneType; it must"),
        (lambda p, t: True, "gave a bool; it must"),
        (overwrites, "raised ValueError: .*read-only"),
        (lambda: 0.0, "raised TypeError"),
    ],
)
def test_what_is_no_value_is_one_clear_error_that_names_it(function, says):
    with pytest.raises(ObjectiveError, match=f"objective 'bad' {says}") as error:
        OwnObjective(function, "bad").losses(LOGITS, TARGETS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("calls", [0, AGAIN - 1])
def test_hidden_state_is_found_at_the_first_call_and_later(calls):
    """A counter at once; one that starts to count later within `AGAIN` calls more. The control counts nothing."""
    count = iter(range(10_000))

    def counts(predictions, targets):
        return float(max(0, next(count) - calls))

    objective = OwnObjective(counts, "counts")
    stack = LOGITS.repeat(AGAIN, 1, 1)
    with pytest.raises(
        ObjectiveError, match=r"objective 'counts' gave .* for the same candidate: it depends on hidden"
    ):
        objective.losses(stack, TARGETS)
    OwnObjective(lambda predictions, targets: 1.0, "steady").losses(stack, TARGETS)


def test_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def loss(predictions, targets):\n    return 0.25\nnumber = 3\n")
    assert make_objective(f"{path}:loss").losses(LOGITS, TARGETS).tolist() == [0.25] * 3
    for text, says in (
        (f"{path}:gain", "has no 'gain'"),
        (f"{path}:number", "is a int, no function"),
        (f"{tmp_path}/other.py:loss", "there is no file"),
    ):
        with pytest.raises(ObjectiveError, match=says):
            make_objective(text)
    path.write_text("1 / 0")
    with pytest.raises(ObjectiveError, match="cannot be run, ZeroDivisionError"):
        make_objective(f"{path}:loss")


def test_it_gets_the_weights_of_the_rows_by_name():
    def mean(predictions, targets, mask, sample_weight):
        assert sample_weight is None or not sample_weight.flags.writeable
        return float(np.average(1 - predictions[np.arange(len(targets)), targets], weights=sample_weight))

    objective = make_objective(mean, (0, 1), is_weighted=True)
    assert objective.reads_mask
    assert not make_objective(lambda predictions, targets, sample_weight: 0.0).reads_mask
    logits, targets = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]]), torch.tensor([0, 1, 1])
    right = float(torch.softmax(logits[0, 0], 0)[0])
    masks = np.ones((1, 2), bool)
    assert objective.masked_losses(logits, targets, masks)[0] == pytest.approx((2 * (1 - right) + right) / 3)
    objective.begin(Rows(torch.tensor([1.0, 4.0, 1.0])))
    assert objective.masked_losses(logits, targets, masks)[0] == pytest.approx((2 * (1 - right) + 4 * right) / 6)


def test_a_function_that_takes_no_weights_is_refused_where_there_are_some(tmp_path):
    with pytest.raises(ObjectiveError, match=r"counts all rows alike.*Give the function a parameter sample_weight"):
        make_objective(lambda predictions, targets: 0.0, is_weighted=True)
    path = tmp_path / "own.py"
    path.write_text("def objective(p, t, m):\n    return 0.0\n")
    with pytest.raises(ObjectiveError, match="counts all rows alike"):
        make_objective(str(path), is_weighted=True)
