"""Runs by importance measures, and the chain that starts from one: exactly n, round by round, errors, repetition."""

import json

import numpy as np
import pytest
import torch
from running import Running
from selection import slow_but

from mcprune.chain.scores import floored, new_statistics
from mcprune.cli.main import main
from mcprune.config.files import read_options
from mcprune.config.measures import MEASURES
from mcprune.config.schema import make_config
from mcprune.data.load import load as load_data
from mcprune.errors import ConfigError, ModelError
from mcprune.methods.importance.scorer import Scorer, ScorerState, ScoreSettings
from mcprune.methods.markov.proposals import MeasuredProposals, ranks
from mcprune.objectives.classification import CrossEntropy, ErrorRate
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import run, run_on
from mcprune.sites.budget import Budget, CountBudget, Goal
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.sites.space import SearchSpace
from mcprune.storage.event_log import read_result

SHORT = {
    "epochs": 3,
    "retrain_epochs": 2,
    "batch_size": 256,
    "compare": "no",
    "hidden": (12, 8),
    "keep": 20,
    "threads": 1,
}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def short(**more):
    return make_config(**{**SHORT, **more})


def unwritten(config, dataset):
    return list(run_on(config, dataset, None))


def data_of(told, kind):
    return [event for event in told if event.kind == kind]


@pytest.mark.parametrize(
    "measure",
    slow_but([name for name in MEASURES if name != "bn-scale"], "magnitude", "loss", "fisher", "loss-tracked"),
)
def test_every_measure_ends_with_exactly_n(measure, tmp_path):
    rows = "" if measure in ("magnitude", "magnitude-l1", "random", "loss-tracked") else ",rows=200"
    config = short(
        method="importance",
        measure=measure + rows,
        sites="inputs,units",
        rounds="2,recover=1",
        train_steps=1,
        out=str(tmp_path / "run"),
    )
    told = list(run(config))
    (harden,), (done,) = data_of(told, "hardened"), data_of(told, "run_done")
    assert harden.kept == len(set(done.indices)) == 20
    kept = [point.kept for point in data_of(told, "progress")]
    assert kept == 3 * [84] + 4 * [32] + 5 * [20]  # fractions p / (k p + 2 (1 - p)), p = 64 / 84
    mask = json.loads((tmp_path / "run" / "mask.json").read_text())
    assert len(mask["scores"]) == 84
    assert (np.array(mask["weights"]) > 0).sum() == len(mask["indices"]) == 20
    assert harden.steps == 12
    assert sorted(set(harden.last_crossed)) == [0, 4, 8]  # rounds come at the ends of epochs
    notes = [data.text for data in data_of(told, "note")]
    assert any(f"{measure}: sites left after each round: 32, 20" in text for text in notes)


@pytest.mark.slow
def test_a_rerun_from_the_folder_repeats_the_mask(tmp_path):
    for options in (
        {"measure": "fisher,rows=200", "rounds": 2},
        {"measure": "obd,rows=200,layerwise", "rounds": {"counts": (40, 30, 20), "recover": 0}},
    ):
        folder, again = tmp_path / options["measure"], tmp_path / f"{options['measure']}-again"
        list(run(short(method="importance", sites="inputs,units", out=str(folder), **options)))
        list(run(make_config(**{**read_options(folder / "config.toml"), "out": str(again)})))
        assert (folder / "mask.json").read_text() == (again / "mask.json").read_text()
        assert read_result(folder).method == "importance"


def test_groups_keep_their_floor_and_their_shares(digits):
    told = unwritten(short(method="importance", measure="magnitude,min_per_layer=4", sites="inputs,units"), digits)
    keep = np.array(data_of(told, "run_done")[0].indices)
    counts = [((keep >= a) & (keep < b)).sum() for a, b in ((0, 64), (64, 76), (76, 84))]
    assert min(counts) >= 4
    told = unwritten(short(method="importance", measure="magnitude,layerwise", sites="inputs,units"), digits)
    keep = np.array(data_of(told, "run_done")[0].indices)
    counts = [((keep >= a) & (keep < b)).sum() for a, b in ((0, 64), (64, 76), (76, 84))]
    assert counts == [15, 3, 2]


def test_a_run_that_is_cut_short_still_has_n(digits):
    told = unwritten(short(method="importance", rounds="1,recover=0", search_time=1e-9), digits)
    assert data_of(told, "hardened")[0].kept == 20
    assert any("the remaining sites are dropped in one more round" in data.text for data in data_of(told, "note"))


def test_the_tracked_mean_is_that_of_the_steps_since_the_last_round(digits):
    """Against gradients taken by hand before every step."""
    plan = make_plan(short(method="importance", measure="loss-tracked", rounds="1,recover=0"), digits)
    method = make_method(plan)
    state = method.init()
    hook = method.hook(state)
    rows = torch.from_numpy(plan.splits.train.features[:96])
    targets = torch.from_numpy(plan.splits.train.targets[:96])
    optimizer = torch.optim.SGD(plan.model.parameters(), 0.1)
    seen = []
    for part in range(3):
        piece = slice(32 * part, 32 * part + 32)
        loss = torch.nn.functional.cross_entropy(plan.gated(rows[piece], hook.gates(32)), targets[piece])
        optimizer.zero_grad()
        loss.backward()
        weight = plan.model.layers[0].weight
        seen.append((weight.detach() * weight.grad).sum(0).abs().double().numpy())
        hook.on_gradients()
        optimizer.step()
        hook.after_step(loss.detach())
    method.finish(state, None)
    scores = method.scores(state)
    np.testing.assert_allclose(scores, np.mean(seen, axis=0), rtol=1e-4, atol=1e-9)
    assert np.abs(scores - seen[-1]).max() > 1e-3 * scores.max()


def test_importance_judges_nothing_and_counts_its_work(digits):
    told = unwritten(short(method="importance", measure="grasp,rows=300", rounds=1, train_steps=1), digits)
    last = data_of(told, "progress")[-1]
    assert last.proposals == 0
    assert last.alpha is None or np.isnan(last.alpha)
    assert data_of(told, "hardened")[0].forwards == 3 * 12 * 256 + 3 * 4 * 300  # 12 steps; grasp: 4 passes
    at_n = [point.validation_at_n for point in data_of(told, "progress")]
    assert at_n[0] is None
    assert at_n[-1] == last.validation_accuracy


REFUSED = {
    "--measure does nothing under --method markov": {"measure": "obd"},
    "--rounds does nothing under --method gradient": {"method": "gradient", "rounds": 2},
    "--delta does nothing under --method importance": {"method": "importance", "delta": 2},
    "--start does nothing under --method importance": {"method": "importance", "start": "obd"},
    "rows belongs to measures that look at the loss, got random,rows=9": {
        "method": "importance",
        "measure": "random,rows=9",
    },
    "name: field required": {"start": {"after": 2}},
    "did you mean 'fisher'": {"start": "fishr"},
    "do not fit into 3 epochs": {"method": "importance", "rounds": 4},
    "must decrease from at most 64": {"method": "importance", "rounds": (10, 20)},
    "keep=2, but 3 layers must keep one site each": {"method": "importance", "sites": "inputs,units", "keep": 2},
    "only --method importance watches": {"start": "loss-tracked"},
    "--moves has none": {"proposals": "obd"},
    "after=3 leaves the chain none": {"start": "obd,after=3"},
    "'inputs' has none": {"method": "importance", "measure": "bn-scale"},
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_refused_before_it_runs(words, digits):
    with pytest.raises(ConfigError, match=words.replace("--", "--")):
        make_method(make_plan(short(**REFUSED[words]), digits))


def test_a_measure_with_a_gradient_refuses_an_objective_without(digits):
    plan = make_plan(short(method="importance"), digits)
    rows, targets = torch.from_numpy(plan.splits.train.features), torch.from_numpy(plan.splits.train.targets)
    with pytest.raises(ConfigError, match=r"'obd' needs a gradient, and the objective 'error' has none"):
        Scorer(plan.model, plan.sites, rows, targets, ErrorRate(), ScoreSettings("obd"))
    found = Scorer(plan.model, plan.sites, rows, targets, ErrorRate(), ScoreSettings("magnitude")).scores()
    assert found.values.shape == (64,)


def test_a_model_that_begins_with_no_linear_is_refused(digits):
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 10))
    with pytest.raises(ModelError, match=r"first layer, '0', is a BatchNorm1d"):
        make_method(make_plan(short(method="importance"), digits, model))


def first_masks(config, digits, blocks):
    plan = make_plan(config, digits)
    method = Running(make_method(plan))
    from mcprune.methods.base import Batch

    batch = Batch(torch.from_numpy(plan.splits.train.features[:300]), torch.from_numpy(plan.splits.train.targets[:300]))
    updates = [method.step(batch, (block + 1) / blocks) for block in range(blocks)]
    return plan, method, updates


def test_the_chain_waits_and_starts_from_the_measures_mask(digits):
    config = short(start="magnitude,after=1", keep_schedule="constant")
    plan, method, updates = first_masks(config, digits, 6)
    assert [update.kept for update in updates] == [64, 20, 20, 20, 20, 20]
    assert updates[0].proposals == 0
    assert updates[1].decisions == 64 < updates[1].proposals
    # The model does not train here, so the mask of a measure that draws no rows is known.
    plain = Scorer(
        plan.model,
        plan.sites,
        plan.rows(plan.splits.train.features),
        torch.from_numpy(plan.splits.train.targets),
        CrossEntropy(),
        ScoreSettings("magnitude"),
    )
    best = np.argsort(-plain.scores().values, kind="stable")[:20]
    starts = make_method(make_plan(config, digits)).starts
    state = starts.init(64)
    goal = Goal(np.array([20]), np.empty(0, np.int64))
    assert starts.enter(state, 0.5, np.ones(64, bool))
    assert set(np.flatnonzero(starts.choose(state, goal, plan.space))) == set(best)
    assert state.is_done
    assert "start: 20 sites by magnitude" in method.method.notes(method.state)[0]


def test_a_falling_budget_starts_at_n_of_t(digits):
    _, _, updates = first_masks(short(start="magnitude,after=1", keep_schedule="geometric"), digits, 6)
    assert updates[0].kept == 64
    assert updates[1].kept <= updates[1].target == round(np.ceil(64 * (20 / 64) ** (2 / 3)))
    assert updates[-1].kept == 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"start": "fisher,rows=200"}, {"proposals": "obd,rows=200", "moves": {"exchange": 1, "informed": 1}}]
)
def test_the_chain_with_a_measure_ends_with_n_and_repeats(options, tmp_path):
    config = short(**options, out=str(tmp_path / "run"))
    told = list(run(config))
    assert data_of(told, "hardened")[0].kept == 20
    list(run(make_config(**{**read_options(tmp_path / "run" / "config.toml"), "out": str(tmp_path / "again")})))
    assert (tmp_path / "run" / "mask.json").read_text() == (tmp_path / "again" / "mask.json").read_text()
    if "proposals" in options:
        assert data_of(told, "progress")[-1].moves["informed"][0] > 0


def test_scores_of_proposals_are_recomputed_at_their_times_only():
    class Counting:
        asked = 0

        def init(self):
            return ScorerState()

        def scores(self, state):
            self.asked += 1
            return type("Scores", (), {"values": np.array([3.0, -1.0, 7.0, 7.0])})

    space = SearchSpace(SiteMap((SiteGroup("inputs", "", 0, 4),)), Budget((CountBudget("sites", (0,), 2),)))
    proposals = MeasuredProposals(Counting(), space, every=0.25)
    state, statistics = proposals.init(), new_statistics(4)
    asked = []
    for progress in np.linspace(0.0, 1.0, 21):
        proposals.update(state, statistics, progress)
        asked.append(proposals.scorer.asked)
    assert asked[:6] == [1, 1, 1, 1, 1, 2]
    assert asked[-1] == 5
    add, remove = ranks(np.array([3.0, -1.0, 7.0, 7.0]))
    np.testing.assert_allclose(add, [0.5, 0.25, 0.875, 0.875])
    np.testing.assert_allclose(remove, [0.75, 1.0, 0.375, 0.375])
    np.testing.assert_array_equal(statistics.scores, [floored(add), floored(remove)])
    assert ranks(np.ones(4))[0].tolist() == [0.625] * 4


def test_informed_draws_what_the_measure_ranks_high(digits):
    """With all of the weight on few sites the added ones are among them far more often than by chance."""
    config = short(proposals="magnitude", moves={"informed": 1}, keep_schedule="constant", temperature=0.0)
    informed = make_method(make_plan(config, digits)).informed
    state = informed.init(64)
    informed.proposals.update(state.proposals, state.statistics, 0.5)
    values = informed.proposals.scorer.scores().values
    add, remove = state.statistics.scores
    assert np.argmax(values) == np.argmax(add) == np.argmin(remove)


def test_score_is_a_run_with_a_mask_and_a_table(tmp_path, capsys):
    folder = tmp_path / "scored"
    given = [
        "--keep",
        "20",
        "--epochs",
        "3",
        "--retrain-epochs",
        "2",
        "--batch-size",
        "256",
        "--hidden",
        "12",
        "--compare",
        "no",
    ]
    assert main(["score", "--measure", "l2", *given, "--threads", "1", "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "hard mask, not retrained" in out
    options = read_options(folder / "config.toml")
    assert (options["method"], options["measure"], options["rounds"]) == (
        "importance",
        "magnitude,min_per_layer=1",
        "1,recover=0",
    )
    result = read_result(folder)
    # Nothing trains after the one look, so all sites that go go at the last step.
    assert set(result.hardened.last_crossed) == {0, result.hardened.steps}
    assert main(["score", "--method", "markov"]) == 2
    assert "mcprune score is for --method importance" in capsys.readouterr().err
    assert main(["score", "--measure", "obb"]) == 2
    assert "did you mean 'obd'?" in capsys.readouterr().err
