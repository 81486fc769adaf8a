"""Runs under objectives without a gradient and with fixed sites, from the command line and Python, on digits."""

import json

import numpy as np
import pytest
from selection import long_but, slow_but

import mcprune
from mcprune.cli.main import main
from mcprune.errors import ConfigError, ObjectiveError

SHORT = {
    "epochs": 2,
    "retrain_epochs": 1,
    "hidden": 16,
    "keep": 9,
    "compare": "no",
    "threads": 1,
    "eval_on": "held-out",
}


def command(folder, more=(), **options):
    options = {**SHORT, "out": folder, **options}
    pairs = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return main(["run", *pairs, *more])


@pytest.mark.slow
def test_the_table_and_the_events_name_the_objective(tmp_path, capsys):
    assert command(tmp_path / "run", objective="auc") == 0
    shown = capsys.readouterr().out
    assert "test accuracy  1 - AUC" in shown
    assert "objective: the chain minimises 1 - AUC" in shown
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert events[0]["objective"] == "1 - AUC"
    last = [one for one in events if one["event"] == "progress"][-1]
    assert 0 < last["validation_objective"] < 0.5
    assert all(0 < row["objective"] < 0.5 for row in events[-1]["scores"])


@pytest.mark.slow
@pytest.mark.parametrize("objective", long_but("another objective", ["error", "auc"], "auc"))
def test_a_rank_or_a_step_is_followed_to_the_same_mask_whatever_evaluates(objective):
    """Both evaluators are exact; another seed is the control."""
    data = "breast-cancer" if objective == "auc" else "digits"  # of two classes there is one curve
    masks = [
        mcprune.prune(
            data,
            sites="inputs,units",
            objective=objective,
            evaluator=one,
            seed=seed,
            **{**SHORT, "epochs": 12 if objective == "auc" else 2},
        ).mask.indices.tolist()
        for one, seed in (("full", 0), ("suffix", 0), ("full", 1))
    ]
    assert masks[0] == masks[1] != masks[2]


@pytest.mark.slow
def test_the_chain_lowers_what_it_is_given_and_not_another():
    """An objective that only counts the kept pixels of the left half empties it; the control prefers the right."""
    left = np.arange(64) % 8 < 4

    def mine(predictions, targets, mask):
        return float(mask[left].mean())

    def other(predictions, targets, mask):
        return float(mask[~left].mean())

    shares = [
        left[
            mcprune.prune(
                "digits",
                objective=one,
                **{**SHORT, "epochs": 4},
            ).mask.indices
        ].mean()
        for one in (mine, other)
    ]
    assert shares == [0.0, 1.0]


@pytest.mark.slow
def test_a_function_that_fails_late_loses_nothing(tmp_path, capsys):
    """The earlier run that was to be replaced is as it was."""
    assert command(tmp_path / "run") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    own = tmp_path / "own.py"
    own.write_text(
        "count = 0\ndef late(predictions, targets):\n    global count\n    count += 1\n    return 1.0 if count < 300 else 1 / 0\n"
    )
    capsys.readouterr()
    assert command(tmp_path / "run", objective=f"{own}:late", more=["--force"]) == 2
    said = capsys.readouterr().err
    assert "own.py:late' raised ZeroDivisionError" in said
    assert "Traceback" not in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_function_that_fails_at_once_writes_nothing(tmp_path):
    with pytest.raises(ObjectiveError, match="raised KeyError"):
        mcprune.prune(
            "digits",
            out=str(tmp_path / "run"),
            objective=lambda p, t: {}["a"],
            **SHORT,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_rows_that_are_sorted_by_class_hold_every_class():
    draw = np.random.default_rng(0)
    y = np.arange(400) // 200
    X = draw.normal(size=(400, 6)) + 2.0 * y[:, None] * (np.arange(6) < 2)
    found = mcprune.prune((X, y), keep=2, objective="auc", epochs=6, retrain_epochs=2, hidden=16, threads=1)
    assert found.mask.indices.tolist() == [0, 1]


def test_a_fault_of_its_own_keeps_its_traceback(monkeypatch):
    """Only what the user can mend becomes an error of ours."""
    monkeypatch.setattr("mcprune.objectives.ranking.one_minus_auc", lambda found: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mcprune.prune(
            "digits",
            objective="auc",
            **SHORT,
        )


@pytest.mark.slow
def test_groups_come_from_a_column():
    found = mcprune.prune(
        "digits",
        objective="worst-group:pixel_0_2",
        **SHORT,
    )
    assert found.events[0].objective == "error of the worst pixel_0_2"
    rows = np.random.default_rng(0).normal(size=(3000, 4))
    with pytest.raises(ObjectiveError, match="too many for groups"):
        mcprune.prune((rows, rows[:, 0] > 0), keep=2, objective="worst-group:column 2")


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    slow_but([{}, {"replicas": 2, "temperature": 1e-3, "gates": "sigmoid"}, {"sites": "inputs,units"}], {}),
)
def test_fixed_sites_stay_and_the_count_is_exact(more):
    """Sites that the free chain drops are kept, and sites that it keeps are dropped."""
    free = mcprune.prune("digits", **SHORT, **more).mask
    names = [*free.names[:3]]
    never = free.indices[:3].tolist()
    always = np.flatnonzero(~free.support)[:2].tolist()
    held = mcprune.prune(
        "digits",
        must_keep=always,
        must_drop=names,
        **SHORT,
        **more,
    ).mask
    assert held.indices.size == 9
    assert set(always) <= set(held.indices.tolist())
    assert not set(never) & set(held.indices.tolist())


def test_a_chain_among_fixed_sites_empties_no_layer():
    """In groups of 64 inputs and 8 units the one unit that is free stays, whatever the losses say; without floors it goes."""
    options = {**SHORT, "hidden": (8,), "sites": "inputs,units"}
    drop = [f"layers.0[{unit}]" for unit in range(7)]
    held = mcprune.prune(
        "digits",
        must_drop=drop,
        **options,
    ).mask
    assert held.support[64:].tolist() == [False] * 7 + [True]
    with pytest.raises(ConfigError, match="must_drop names all sites of layers"):
        mcprune.prune(
            "digits",
            must_drop=[*drop, "layers.0[7]"],
            **options,
        )
    with pytest.raises(ConfigError, match="nothing is left to choose"):
        mcprune.prune(
            "digits",
            must_keep=list(range(8)),
            **{**options, "keep": 8},
        )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"must_keep": list(range(10))}, "must_keep names 10 sites, but keep=9"),
        ({"must_keep": list(range(9))}, "nothing is left to choose"),
        ({"must_drop": list(range(60))}, "leaves 4, but keep=9"),
        ({"must_keep": [1], "must_drop": "pixel_0_1"}, "both name 'pixel_0_1'"),
        ({"must_keep": "pixel_0_9"}, "'pixel_0_9', which is no site .did you mean"),
        ({"must_drop": "64"}, "Give names or indices 0..63"),
        ({"must_keep": "1", "method": "gradient"}, "belongs to --method markov"),
    ],
)
def test_what_contradicts_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        mcprune.prune("digits", **SHORT, **options)
