"""The observations on gradient flow against made-up figures: each verdict holds in one world and not in the other."""

import copy

import pytest

from mcprune.studies.claims import summary
from mcprune.studies.reproduce.flow.claims import by_share, claims, recovery, table
from mcprune.studies.reproduce.flow.setting import FRACTIONS, MEASURES

# Loss right after pruning and accuracy at the end, in a world that is as the paper says.
LOSSES = {"random": 2.0, "magnitude": 1.5, "loss": 1.2, "loss-weighted": 1.0, "grasp": 4.0, "gradient-norm": 1.3}
ACCURACIES = {"random": 0.6, "magnitude": 0.7, "loss": 0.7, "loss-weighted": 0.72, "grasp": 0.5, "gradient-norm": 0.71}
RELATION = {"pearson": 0.8, "spearman": 0.7, "spearman_magnitude": 0.1, "overlap": 0.6}


def dense(losses=LOSSES, relation=RELATION, flow=None, seed=0):
    by = {
        name: {f"{part:g}": {"running": loss * part, "batch": 0.0} for part in FRACTIONS}
        for name, loss in losses.items()
    }
    return {
        "kind": "dense", "network": "vgg13", "seed": seed, "measure": "", "fraction": 0.0, "losses": by, "accuracy": 0.8,
        "relations": {"flow": flow or {**RELATION, "spearman": 0.95}, "10": relation}, "parameters": 1000,
    }  # fmt: skip


def pruned(measure, fraction, accuracy, after, seed=0):
    # The loss of the epoch after the last round is what counts: those before and after it say the opposite.
    curve = [[1.0, 9 - after], [2.0, 9 - after], [2.5, after + 0.1], [3.0, after - 0.1], [4.0, 9 - after]]
    return {
        "kind": "pruned", "network": "vgg13", "seed": seed, "measure": measure, "fraction": fraction, "accuracy": accuracy, "curve": curve,
        "rounds": [{"epoch": 1}, {"epoch": 2}], "parameters": 500,
    }  # fmt: skip


def world(losses=LOSSES, accuracies=ACCURACIES, relation=RELATION, flow=None, **after):
    slow = {**LOSSES, **after}
    return [
        dense(losses, relation, flow),
        *(pruned(name, part, accuracies[name] - part / 10, slow[name]) for name in MEASURES for part in FRACTIONS),
    ]


def verdicts(runs):
    return {claim.number: claim.verdict for claim in claims(runs)}


def test_a_world_as_the_paper_says():
    made = claims(world())
    assert len(made) >= 5
    assert {claim.verdict for claim in made} == {"holds"}
    assert all({"claim", "measured", "threshold", "verdict"} <= set(claim.row()) for claim in made)
    assert "not as the paper says: none" in summary(made, "the paper says")


FLIPS = {
    "1a": {"losses": {**LOSSES, "magnitude": 2.5}},
    "1b": {"magnitude": 3.0},
    "2a": {"flow": {**RELATION, "spearman": 0.89}},
    "2b": {"relation": {**RELATION, "spearman": 0.1}},
    "2c": {"relation": {**RELATION, "overlap": 0.25}},
    "3a": {"losses": {**LOSSES, "loss-weighted": 1.6, "loss": 1.7}},
    "3b": {"losses": {**LOSSES, "loss": 0.9}},
    "4a": {"losses": {**LOSSES, "random": 5.0}},
    "4b": {"accuracies": {**ACCURACIES, "random": 0.4}},
    "5": {"accuracies": {**ACCURACIES, "gradient-norm": 0.3, "grasp": 0.35, "random": 0.36}},
}


@pytest.mark.parametrize("number", FLIPS)
def test_each_observation_can_fail(number):
    found = verdicts(world(**FLIPS[number]))
    assert found[number] == "does not hold"
    others = {other for other, verdict in found.items() if verdict != "holds"} - {number}
    # gradient-norm below grasp means too that grasp is not the lowest
    assert others <= ({"4b"} if number == "5" else set())


def test_equal_is_not_better():
    assert verdicts(world(losses={**LOSSES, "magnitude": 2.0}))["1a"] == "does not hold"


@pytest.mark.parametrize(
    ("spearman", "expected"), [(0.5, "holds"), (0.49, "unclear"), (0.2, "unclear"), (0.19, "does not hold")]
)
def test_the_thresholds_of_the_correlation(spearman, expected):
    assert verdicts(world(relation={**RELATION, "spearman": spearman}))["2b"] == expected


def test_shares_and_too_few_cases():
    assert by_share([True, True]) == "unclear"
    assert by_share([True, True, True]) == "holds"
    assert by_share([True, True, True, False]) == "holds"
    assert by_share([True, True, False]) == "unclear"
    assert by_share([True, False, True, False]) == "does not hold"


def test_nothing_is_unclear():
    assert {claim.verdict for claim in claims([])} == {"unclear"}
    assert all(claim.measured == "nothing" for claim in claims([]))


def test_without_grasp_its_rows_are_unclear_and_others_stand():
    found = verdicts([run for run in world() if run["measure"] != "grasp"])
    assert found["4b"] == found["5"] == "unclear"
    assert found["4a"] == found["1b"] == "holds"


def test_a_loss_that_is_not_finite_is_the_highest():
    runs = world()
    for losses in runs[0]["losses"]["grasp"].values():
        losses["running"] = None
    assert verdicts(runs)["4a"] == "holds"
    lost = copy.deepcopy(runs)
    for losses in lost[0]["losses"]["magnitude"].values():
        losses["running"] = None
    assert verdicts(lost)["1a"] == "does not hold"


def test_speed_of_recovery_is_of_the_epoch_after_the_last_round():
    assert recovery(pruned("magnitude", 0.5, 0.7, 1.5)) == pytest.approx(1.5)


def test_the_table_has_means_over_seeds():
    entries = table([dense(), pruned("loss", 0.5, 0.6, 1.0), pruned("loss", 0.5, 0.7, 1.0, seed=1)])
    assert [(entry["measure"], entry["fraction"]) for entry in entries] == [("none", 0.0), ("loss", 0.5)]
    assert entries[1]["accuracy"] == pytest.approx(0.65)
    assert (entries[1]["lowest"], entries[1]["highest"]) == (0.6, 0.7)
