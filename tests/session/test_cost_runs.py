"""Runs under a budget in multiply-accumulates or parameters: the small model holds it, and impossible budgets say why."""

import json

import pytest
import torch
from torch import nn

from mcprune.cli.main import main
from mcprune.data.load import load
from mcprune.errors import ConfigError, ModelError
from mcprune.exporters.footprint import macs
from mcprune.report.screens.lines import start_lines
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import run
from mcprune.surgery.model_files import load_model

WIDTHS = {"sites": "inputs,units", "keep": None, "hidden": (24, 12)}
WHOLE = {"macs": 64 * 24 + 24 * 12 + 12 * 10, "parameters": 64 * 24 + 24 * 12 + 12 * 10 + 24 + 12 + 10}


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "limit"), [("macs", 401), ("parameters", 333)])
def test_the_small_model_is_within_its_budget_and_no_site_more_would_be(quick, tmp_path, unit, limit):
    told = list(run(quick(**WIDTHS, **{unit: limit}, moves="exchange=3,toggle=1", out=str(tmp_path / "run"))))
    model, _ = load_model(tmp_path / "run")
    done = told[-1]
    cost, groups = done.costs[0], done.costs[0].groups
    assert sum(groups) == len(done.indices)
    assert tuple(model.widths) == (*groups, 10)
    met = macs(model, groups[0]) if unit == "macs" else sum(parameter.numel() for parameter in model.parameters())
    assert met == cost.used <= limit == cost.limit
    assert cost.total == WHOLE[unit]
    a, b, c = groups
    bias = int(unit == "parameters")
    more = (b, a + c + bias, b + 10 + bias)
    assert all(met + extra > limit for extra in more)
    progress = [event for event in told if event.kind == "progress"]
    assert all(data.costs <= data.cost_targets for data in progress)
    assert progress[0].cost_targets > progress[-1].cost_targets == (limit,)
    assert progress[-1].rejected_by_cost > 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["hardened"]["kept"] == sum(groups)


@pytest.mark.slow
def test_a_run_under_a_cost_is_repeated_by_its_own_configuration(quick, tmp_path):
    options = {**WIDTHS, "macs": 300, "compare": "yes", "retrain_epochs": 1, "epochs": 4}
    first = list(run(quick(**options, out=str(tmp_path / "first"))))[-1]
    out = str(tmp_path / "again")
    assert main(["run", "--quiet", "--config", str(tmp_path / "first" / "config.toml"), "--out", out]) == 0
    assert json.loads((tmp_path / "again" / "result.json").read_text())["indices"] == list(first.indices)
    assert {row.name for row in first.scores} > {"random masks", "first-layer magnitude"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--macs 11", ("macs=11", "12", "one input")),
        ("--macs 1945", ("1,945", "1,944")),
        ("--macs 300 --alpha 2", ("--alpha",)),
        ("--macs 300 --pool none --moves toggle", ("--pool none",)),
        ("--macs 300 --method gradient", ("--macs", "--method markov")),
        ("--macs many", ("macs", "many")),
    ],
)
def test_budgets_that_cannot_be_are_one_line(given, words, tmp_path, capsys):
    arguments = ["run", "--sites", "inputs,units", "--hidden", "24,12", "--out", str(tmp_path / "run"), *given.split()]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert all(word in said for word in words), said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_smallest_budget_and_the_whole_one_are_served(quick):
    for keep in (12, WHOLE["macs"]):
        told = list(run_quietly(quick(**WIDTHS, macs=keep, epochs=2, retrain_epochs=1)))
        assert told[-1].costs[0].used == keep


def run_quietly(config):
    from mcprune.session.loop import run_on

    return run_on(config, load(config.data.source), None)


def test_a_model_that_is_no_chain_is_refused_before_the_search(quick):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + self.b(x).tanh()

    with pytest.raises(ModelError, match="Two"):
        make_plan(quick(keep=None, macs=600), load("digits"), Two())
    with pytest.raises(ConfigError, match="alpha"):
        make_plan(quick(keep=None, macs=600, alpha=2.0), load("digits"))


@pytest.mark.slow
def test_a_start_by_a_measure_is_under_the_cost(quick):
    config = quick(**WIDTHS, macs=400, start="fisher", epochs=4, retrain_epochs=1)
    told = list(run_quietly(config))
    assert told[-1].costs[0].used <= 400
    costs = [event.costs[0] for event in told if event.kind == "progress" and event.costs]
    assert costs
    assert max(costs) <= WHOLE["macs"]


@pytest.mark.slow
def test_events_carry_every_cost_of_the_budget(quick):
    events = list(run_quietly(quick(**WIDTHS, macs=401, parameters=380, epochs=4, retrain_epochs=1)))
    started, done = events[0], events[-1]
    assert {cost.unit: cost.limit for cost in started.costs} == {"macs": 401, "parameters": 380}
    assert [cost.unit for cost in done.costs] == [cost.unit for cost in started.costs]
    assert {cost.unit: cost.used for cost in done.costs} == {
        "macs": done.macs.after,
        "parameters": done.parameters.after,
    }
    assert all(cost.used <= cost.limit for cost in done.costs)
    progress = [event for event in events if event.kind == "progress"]
    assert all(len(event.costs) == len(event.cost_targets) == 2 for event in progress)
    assert progress[-1].cost_targets == tuple(cost.limit for cost in started.costs)
    assert "401 of" in (line := start_lines(started)[0])
    assert "380 of" in line
