"""Budgets that combine: exact counts, several costs, fixed sites and groups in one run; what cannot be says why in one line."""

import numpy as np
import pytest

from mcprune.cli.main import main
from mcprune.data.load import load
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.search import Search

BOTH = {"sites": "inputs,units", "hidden": (12, 8), "keep": None, "epochs": 3, "retrain_epochs": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"keep": 6, "macs": 200},
        {"keep": {"inputs": 6, "units": 9}},
        {"keep": {"inputs": 6, "units": 9}, "macs": 140},
        {"keep": {"units": 9}, "parameters": 400},
        {"macs": 300, "parameters": 320},
        {"macs": 300, "must_keep": ["0", "layers.0[1]"], "must_drop": ["5"]},
        {"keep": 6, "macs": 200, "must_keep": ["0"], "must_drop": ["20", "layers.0[1]"]},
        {"keep": 6, "macs": 200, "start": "magnitude", "must_keep": ["0"]},
        {"keep": 9, "must_keep": ["0"], "proposals": "magnitude", "moves": "informed=1,exchange=1"},
        {"keep": 12, "macs": 300, "groups": {"top": ["0-3"], "some": ["20-23"]}},
        {"sites": "inputs", "keep": 8, "macs": 300},
        {"sites": "weights", "keep": 100, "parameters": 200, "retrain_epochs": None},
    ],
    ids=str,
)
def test_every_combination_ends_in_an_allowed_mask(quick, options):
    config = quick(**{**BOTH, "moves": "exchange=3,toggle=1", **options})
    plan = make_plan(config, load("digits"))
    search = Search(plan, make_method(plan))
    for block in range(plan.train.blocks):
        search.advance(block)
    mask, _ = search.harden()
    assert plan.space.allowed(mask)
    kinds = np.repeat([group.kind for group in plan.sites.groups], [group.size for group in plan.sites.groups])
    keep = options.get("keep")
    if isinstance(keep, dict):
        assert all(int(mask[kinds == kind].sum()) == number for kind, number in keep.items())
    elif keep is not None and "groups" not in options:
        several = len(set(kinds)) > 1 and ("macs" in options or "parameters" in options)
        assert int(mask[kinds == "inputs"].sum() if several else mask.sum()) == keep


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--must-drop pixel_0_0 --keep 500 --macs 500", ("64", "500")),
        ("--keep 6 --sites inputs,units --hidden 24,12 --macs 16", ("macs=16", "6 inputs", "smallest")),
        ("--keep inputs=6 --sites inputs,units", ("units=N", "--macs N")),
        ("--keep channels=6 --sites inputs,units", ("keep names channels", "inputs and units")),
        ("--keep inputs=65,units=9 --sites inputs,units", ("keep inputs=65", "64")),
        ("--keep inputs=6,units=1 --sites inputs,units --hidden 24,12", ("keep units=1", "2 layers")),
        ("--keep inputs=6,units=9 --sites inputs,units --method gradient", ("--method markov",)),
        ("--keep inputs=6,units=9 --sites inputs,units --alpha 2", ("--alpha",)),
        ("--keep inputs=6,inputs=9", ("named twice",)),
        ("--keep inputs=none", ("whole number",)),
    ],
)
def test_budgets_that_cannot_be_are_one_line(given, words, tmp_path, capsys):
    assert main(["run", "--out", str(tmp_path / "run"), *given.split()]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("\n") == 1
    assert all(word in said for word in words), said
    assert not (tmp_path / "run").exists()
