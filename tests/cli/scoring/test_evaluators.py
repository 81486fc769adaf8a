"""`mcprune evaluators`, and evaluators that are asked for by name."""

import numpy as np
import pytest
import torch
from torch import nn

import mcprune
from mcprune.cli.main import main
from mcprune.cli.scoring import evaluators_table
from mcprune.config.schema import make_config
from mcprune.data.load import from_arrays
from mcprune.errors import ConfigError, ModelError
from mcprune.session.build.markov import candidates_ahead, evaluation_problem, make_evaluators
from mcprune.session.build.planner import make_plan


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(evaluators_table, "SECONDS", 0.005)


def test_the_table_names_each_evaluator_once_and_the_one_that_is_picked(capsys):
    assert main(["evaluators", "--data", "wine", "--keep", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line for line in lines if line.rstrip().endswith(("picked", "+00")) or "e-" in line}
    assert {"fused", "suffix", "incremental", "graph", "full"} <= set(found)
    assert [name for name, line in found.items() if line.rstrip().endswith("picked")] == ["fused"]
    assert "1.00 / 1.00" in next(line for line in lines if line.startswith("plain loop"))


@pytest.mark.slow
def test_who_does_not_serve_says_why(capsys):
    assert main(["evaluators", "--data", "wine", "--activation", "gelu"]) == 0
    out = capsys.readouterr().out
    assert "fused cannot be used: module 1 of the chain is a GELU" in out
    assert "note: evaluator: " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["evaluators", "--data", "wine", "--evaluator", "fused", "--activation", "gelu"],
            "The evaluator 'fused' cannot be used",
        ),
        (["run", "--data", "wine", "--evaluator", "fused", "--activation", "gelu"], "see `mcprune evaluators`"),
        (["run", "--data", "wine", "--evaluator", "graph", "--early-reject", "0.01"], "cannot use --evaluator graph"),
        (
            ["run", "--data", "wine", "--objective", "error", "--early-reject", "0.01"],
            "--early-reject needs the evaluator fused or suffix, and neither is usable in this run: fused: ",
        ),
        (["run", "--data", "wine", "--evaluator", "numba"], "'incremental', 'fused' or 'graph'"),
        (["evaluators", "--json"], "Leave them out of mcprune evaluators"),
    ],
)
def test_what_cannot_be_is_refused_with_exit_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["full", "suffix", "incremental", "fused", "graph"])
def test_an_evaluator_by_name_judges_the_run(name):
    plan = make_plan(make_config(data="wine", evaluator=name), mcprune_data())
    assert make_evaluators(plan)[0].name == name
    assert not any(note.startswith("evaluator") for note in plan.notes)


def test_a_random_model_ends_before_anything_is_written_and_staged_names_are_checked():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def forward(self, x):
            return self.layer(nn.functional.dropout(x, 0.5))

    torch.manual_seed(0)
    with pytest.raises(ModelError, match="Random is random in evaluation mode"):
        mcprune.prune(mcprune_pair(), keep=2, model=Random())
    plan = make_plan(make_config(data="wine", early_reject=0.01, evaluator="incremental"), mcprune_data())
    with pytest.raises(ConfigError, match="sees every row"):
        make_evaluators(plan)
    for options, name in (({}, "fused"), ({"activation": "gelu"}, "suffix"), ({"evaluator": "suffix"}, "suffix")):
        plan = make_plan(make_config(data="wine", early_reject=0.01, **options), mcprune_data())
        assert make_evaluators(plan)[0].name == name
        assert make_evaluators(plan)[0].early_reject == 0.01


def mcprune_pair():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int)


def mcprune_data():
    return from_arrays(*mcprune_pair(), name="rows")


@pytest.mark.slow
def test_memory_cuts_what_is_proposed_ahead_where_moves_are_dense():
    draw = np.random.default_rng(0)
    rows = from_arrays(draw.normal(size=(12, 40_000)).astype(np.float32), np.arange(12) % 2, name="wide")
    given = {"data": "wine", "hidden": (2,), "max_memory": 2**24, "keep_schedule": "constant", "keep": 20_000}
    for shares, most in (({"uniform": 1.0}, 5), ({"exchange": 1.0}, 16)):
        plan = make_plan(make_config(**given, moves=shares), rows)
        ahead = candidates_ahead(plan.chain, plan.sites.size, plan.runtime.max_memory)
        assert ahead == evaluation_problem(plan).lookahead == most


def test_a_method_that_proposes_nothing_is_said_to_use_no_evaluator(capsys, monkeypatch):
    monkeypatch.setattr("mcprune.cli.scoring.evaluators_table.SECONDS", 0.001)
    for method, is_said in (("gradient", True), ("markov", False)):
        assert main(["evaluators", "--data", "wine", "--keep", "5", "--method", method, "--hidden", "4"]) == 0
        assert ("uses none of these" in " ".join(capsys.readouterr().out.split())) is is_said
