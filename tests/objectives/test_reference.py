"""Every objective against a reference: sklearn.metrics where it has one, a plain loop elsewhere, ties and weights included."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics

from mcprune.errors import ConfigError, ObjectiveError
from mcprune.objectives.base import Rows
from mcprune.objectives.named import make_objective

K, B = 5, 203
WEIGHTS = [False, True]


def problem(classes, seed=0, ties=True, weighted=False):
    """Outputs (K, B, C) that tell something, some exactly alike; targets; weights."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, classes, B)
    logits = draw.normal(size=(K, B, classes)).astype(np.float32)
    logits[:, np.arange(B), targets] += 1.0
    if ties:
        logits = np.round(logits, 1 if classes > 2 else 0)
    weights = draw.integers(0, 4, B).astype(np.float64) if weighted else None
    return torch.from_numpy(logits), torch.from_numpy(targets), weights


def values(objective, logits, targets, weights=None, groups=None):
    objective.begin(Rows(*(None if one is None else torch.from_numpy(one) for one in (weights, groups))))
    return objective.losses(logits, targets)


def scores(logits, label):
    """Log-odds by another formula: of probabilities in float64."""
    shares = softmax(logits.double().numpy(), axis=-1)[..., label]
    return np.log(shares) - np.log1p(-shares)


@pytest.mark.parametrize("weighted", WEIGHTS)
@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_that_of_scikit_learn(ties, weighted):
    logits, targets, weights = problem(2, ties=ties, weighted=weighted)
    # Binary log-odds are the difference of the outputs, whose ties are exact.
    rank = (logits[..., 1].double() - logits[..., 0].double()).numpy()
    wanted = [1 - metrics.roc_auc_score(targets, one, sample_weight=weights) for one in rank]
    np.testing.assert_allclose(values(make_objective("auc"), logits, targets, weights), wanted, atol=1e-13)


def test_auc_of_several_classes_is_the_mean_of_one_against_the_rest():
    logits, targets, _ = problem(4, ties=False)
    wanted = [
        1 - metrics.roc_auc_score(targets, softmax(one.double().numpy(), axis=1), multi_class="ovr", average="macro")
        for one in logits
    ]
    np.testing.assert_allclose(values(make_objective("auc", range(4)), logits, targets), wanted, atol=1e-12)


@pytest.mark.parametrize("weighted", WEIGHTS)
@pytest.mark.parametrize("efficiency", [0.05, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_background_at_an_efficiency_is_read_off_the_roc_curve(classes, efficiency, weighted):
    logits, targets, weights = problem(classes, ties=classes == 2, weighted=weighted)
    wanted = []
    for one in logits:
        rank = (one[:, 1].double() - one[:, 0].double()).numpy() if classes == 2 else scores(one, 1)
        passed, kept, _ = metrics.roc_curve(targets == 1, rank, sample_weight=weights, drop_intermediate=False)
        wanted.append(passed[np.searchsorted(kept, efficiency - 1e-12)])
    objective = make_objective(f"rejection:{efficiency}:1", range(classes))
    np.testing.assert_allclose(values(objective, logits, targets, weights), wanted, atol=1e-12)


@pytest.mark.parametrize("weighted", WEIGHTS)
@pytest.mark.parametrize("yields", [None, (30.0, 2000.0)])
def test_significance_is_the_best_of_all_thresholds(yields, weighted):
    logits, targets, weights = problem(2, weighted=weighted)
    target = targets.numpy()
    every = np.ones(B) if weights is None else weights
    wanted = []
    for one in logits.double().numpy():
        rank, best = one[:, 1] - one[:, 0], 0.0
        factors = [1.0, 1.0] if yields is None else [yields[i] / every[target == 1 - i].sum() for i in (0, 1)]
        for cut in np.unique(rank):
            above = rank >= cut
            s = factors[0] * every[above & (target == 1)].sum()
            b = factors[1] * every[above & (target == 0)].sum()
            best = max(best, s / np.sqrt(s + b) if s + b > 0 else 0.0)
        wanted.append(1 - best / np.sqrt(factors[0] * every[target == 1].sum()))
    text = "significance" if yields is None else "significance:30:2000"
    np.testing.assert_allclose(values(make_objective(text), logits, targets, weights), wanted, atol=1e-12)


@pytest.mark.parametrize("weighted", WEIGHTS)
def test_error_is_one_minus_accuracy(weighted):
    logits, targets, weights = problem(3, ties=False, weighted=weighted)
    wanted = [1 - metrics.accuracy_score(targets, one.argmax(1), sample_weight=weights) for one in logits]
    np.testing.assert_allclose(values(make_objective("error"), logits, targets, weights), wanted, atol=1e-12)


@pytest.mark.parametrize("weighted", WEIGHTS)
def test_cross_entropy_under_weights_is_log_loss(weighted):
    logits, targets, weights = problem(3, ties=False, weighted=weighted)
    wanted = [metrics.log_loss(targets, softmax(one.double().numpy(), axis=1), sample_weight=weights) for one in logits]
    objective = make_objective("cross-entropy", is_weighted=weighted)
    np.testing.assert_allclose(values(objective, logits, targets, weights), wanted, rtol=1e-6)


@pytest.mark.parametrize("weighted", WEIGHTS)
def test_cost_is_that_of_the_cheapest_decisions(weighted):
    logits, targets, weights = problem(3, ties=False, weighted=weighted)
    costs = np.array([[0, 1, 2], [10, 0, 1], [3, 1, -1.0]])
    wanted = []
    for one in softmax(logits.double().numpy(), axis=2):
        decided = np.array([min(range(3), key=lambda j, p=row: p @ costs[:, j]) for row in one])
        wanted.append(np.average(costs[targets.numpy(), decided], weights=weights))
    objective = make_objective("cost:0,1,2;10,0,1;3,1,-1", range(3))
    np.testing.assert_allclose(values(objective, logits, targets, weights), wanted, atol=1e-12)
    assert objective.lower_bound == -1


def test_cost_of_zero_and_one_is_the_share_of_wrong_answers():
    logits, targets, _ = problem(2, ties=False)
    both = [values(make_objective(text), logits, targets) for text in ("cost:0,1;1,0", "error")]
    np.testing.assert_allclose(*both, atol=1e-12)


@pytest.mark.parametrize("weighted", WEIGHTS)
def test_worst_group_is_one_minus_the_lowest_recall(weighted):
    """Of classes; and of the values of a column, by accuracy within each."""
    logits, targets, weights = problem(3, ties=False, weighted=weighted)
    wanted = [
        1 - metrics.recall_score(targets, one.argmax(1), average=None, sample_weight=weights).min() for one in logits
    ]
    np.testing.assert_allclose(values(make_objective("worst-group"), logits, targets, weights), wanted, atol=1e-12)
    groups = np.random.default_rng(1).integers(0, 4, B)
    objective = make_objective("worst-group:b", range(3), ["a", "b"])
    assert objective.column == 1
    every = np.ones(B) if weights is None else weights
    wanted = [
        max(np.average((one.argmax(1) != targets).numpy()[groups == g], weights=every[groups == g]) for g in range(4))
        for one in logits
    ]
    np.testing.assert_allclose(values(objective, logits, targets, weights, groups), wanted, atol=1e-12)


ALL = ["cross-entropy", "error", "auc", "rejection:0.5:1", "significance:1", "worst-group", "cost:0,1,2;1,0,2;2,1,0"]


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("weighted", WEIGHTS)
def test_a_candidate_has_the_same_bits_whatever_stands_beside_it(text, weighted):
    logits, targets, weights = problem(3, ties=False, weighted=weighted)
    objective = make_objective(text, range(3))
    together = values(objective, logits, targets, weights)
    alone = [objective.losses(one[None], targets)[0] for one in logits]
    assert together.tolist() == alone


@pytest.mark.parametrize("text", ALL)
def test_no_value_is_below_the_declared_bound_and_nan_stays_nan(text):
    logits, targets, _ = problem(3)
    logits[2, 7, 1] = torch.nan
    objective = make_objective(text, range(3))
    found = values(objective, logits, targets)
    assert np.isnan(found).tolist() == [False, False, True, False, False]
    perfect = 100.0 * torch.nn.functional.one_hot(targets, 3).float()[None]
    assert objective.lower_bound <= values(objective, perfect, targets)[0] <= np.nanmin(found)


@pytest.mark.parametrize("text", ["auc", "rejection:0.3", "significance:5:50"])
def test_ranks_do_not_see_an_increasing_function_of_the_score(text):
    """The control: cross-entropy and cost do."""
    logits, targets, _ = problem(2, ties=False)
    bent = torch.stack([torch.zeros_like(logits[..., 0]), ((logits[..., 1] - logits[..., 0]) ** 3).double().float()], 2)
    one = make_objective(text)
    assert values(one, logits, targets).tolist() == values(one, bent, targets).tolist()
    other = make_objective("cross-entropy")
    assert values(other, logits, targets).tolist() != values(other, bent, targets).tolist()


def test_confident_rows_are_not_tied_by_softmax():
    """Probabilities in float32 are all 1 here: their AUC is that of a coin."""
    logits = torch.tensor([[[0.0, 40.0], [0.0, 50.0], [0.0, 60.0], [0.0, 70.0]]])
    targets = torch.tensor([0, 0, 1, 1])
    shares = torch.softmax(logits, dim=2)[0, :, 1]
    assert metrics.roc_auc_score(targets, shares) == 0.5
    assert values(make_objective("auc"), logits, targets).tolist() == [0.0]


@pytest.mark.parametrize("text", ["auc", "rejection:0.5", "significance"])
def test_rows_without_a_signal_are_refused(text):
    logits, _, _ = problem(2)
    with pytest.raises(ObjectiveError, match="raise --evaluation-rows"):
        values(make_objective(text), logits, torch.zeros(B, dtype=torch.int64))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("eror", "did you mean 'error'"),
        ("auc:3", "takes no parameter"),
        ("rejection", "needs the share"),
        ("rejection:1.5", "must lie in 0..1"),
        ("rejection:half", "no finite number"),
        ("rejection:0.5:x", "there is no class 'x'; the classes are cat, dog"),
        ("significance:0:4", "must be above 0"),
        ("cost", "2 classes need 2 rows of 2 costs, got none"),
        ("cost:1,2", "got 1 rows of 2"),
        ("cost:0,1;nan,0", "no finite number"),
        ("worst-group:sx", "there is no input 'sx'; the nearest is 'sex'"),
        ("function:f", "give --objective FILE.py:NAME"),
    ],
)
def test_texts_that_mean_nothing_are_refused(text, says):
    with pytest.raises(ConfigError, match=says):
        make_objective(text, ["cat", "dog"], ["age", "sex"])


def test_of_several_classes_the_signal_must_be_named():
    with pytest.raises(ConfigError, match="of 3 classes one must be named"):
        make_objective("rejection:0.5", range(3))
