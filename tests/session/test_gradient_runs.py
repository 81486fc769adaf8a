"""Runs of the gradient path: exactly n under every schedule and gate, the same events, errors, repetition."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from selection import long_but, slow_but

import mcprune
from mcprune.cli.main import main
from mcprune.config.files import read_options
from mcprune.config.schema import make_config
from mcprune.config.sections.gradient import Alpha
from mcprune.data.load import load as load_data
from mcprune.errors import ConfigError, NumericalError
from mcprune.session import pilots
from mcprune.session.build.markov import make_method
from mcprune.session.build.planner import make_plan
from mcprune.session.loop import run
from mcprune.storage.event_log import read_result

SCHEDULES = ("fixed", "ratio", "mu-lambda", "decade", "stall", "ramp")
DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"
KEYS = ("kept_before", "near_hard", "last_crossed", "steps", "gate_sum_error")


def told_of(config):
    return list(run(config))


def data_of(told, kind):
    return [event for event in told if event.kind == kind]


def checked(told, n, sites):
    """What every run must end with, and the harden event's data."""
    (harden,), (done,) = data_of(told, "hardened"), data_of(told, "run_done")
    assert len(set(done.indices)) == harden.kept == n
    assert harden.n_sites == len(harden.last_crossed) == sites
    assert all(0 <= step <= harden.steps for step in harden.last_crossed)
    assert harden.gate_sum_error == pytest.approx(abs(harden.gate_sum - n))
    assert 0 <= harden.near_hard <= 1
    # All gates start above one half: those that are below have crossed.
    assert sum(step > 0 for step in harden.last_crossed) >= sites - harden.kept_before
    assert done.hardened == harden
    return harden


@pytest.mark.slow
@pytest.mark.parametrize("schedule", long_but("other schedules", SCHEDULES, "decade", "stall"))
def test_every_schedule_ends_with_exactly_n(schedule, quick, tmp_path):
    told = told_of(quick(method="gradient", alpha=schedule, out=str(tmp_path / "run")))
    harden = checked(told, 16, 64)
    assert json.loads((tmp_path / "run" / "mask.json").read_text())["n_sites"] == 64
    weights = np.array(json.loads((tmp_path / "run" / "mask.json").read_text())["weights"])
    assert (weights > 0).sum() == harden.kept_before
    last = data_of(told, "progress")[-1]
    assert last.proposals == 0
    assert last.target == 16
    assert last.alpha > 0
    steps = last.blocks * 8
    assert harden.steps == steps
    assert harden.forwards == last.forwards == 3 * steps * 64


@pytest.mark.parametrize(
    "kind", slow_but(["sigmoid", "annealed", "hard-concrete", "straight-through"], "annealed", "hard-concrete")
)
@pytest.mark.parametrize(
    ("sites", "keep", "size"), slow_but([("units", 9, 36), ("inputs,units", 30, 100)], "inputs,units")
)
def test_every_kind_of_gate_and_of_site(kind, sites, keep, size, quick, tmp_path):
    options = {"weight_bound": 4.6, "rejection": "modified", "gate_optimizer": "sgd"} if kind == "annealed" else {}
    config = quick(method="gradient", gates=kind, sites=sites, keep=keep, epochs=3, out=str(tmp_path / "r"), **options)
    checked(told_of(config), keep, size)
    if options:
        position = np.array(json.loads((tmp_path / "r" / "mask.json").read_text())["weights"])
        assert np.abs(position).max() <= 4.6


@pytest.mark.parametrize("keep", [4, 64])
def test_a_layer_whose_gates_have_all_closed_keeps_its_best_unit(keep, quick):
    """The sum of the gates says nothing of where they are: a rising penalty may close a whole layer, and then nothing passes."""
    from mcprune.chain import min_per_layer as floor
    from mcprune.session.search import Search

    plan = make_plan(quick(method="gradient", sites="inputs,units", keep=keep), load_data("digits"))
    search = Search(plan, make_method(plan))
    weights = np.linspace(1.0, 2.0, 100)
    weights[64:88] -= 5.0  # all units of the first layer
    search.state.method.weights.data.copy_(torch.from_numpy(weights))
    mask, _ = search.harden()
    assert mask.sum() == keep
    assert [part.sum() for part in np.split(mask, [64, 88])][1] == 1
    assert mask[87]  # its largest weight
    assert search.accuracies()[1] == search.validation.accuracy(mask)
    # The control: the largest weights alone empty it.
    assert not floor.hardened(weights, keep, None)[64:88].any()


def test_fewer_sites_than_layers_are_refused(quick):
    with pytest.raises(ConfigError, match="Choose 3 <= keep <= 100"):
        make_plan(quick(method="gradient", sites="inputs,units", keep=2), load_data("digits"))


@pytest.mark.slow
def test_straight_through_gates_end_at_n_with_a_mask_that_chance_does_not_reach(quick, tmp_path):
    config = quick(
        method="gradient", gates="straight-through", epochs=60, retrain_epochs=30, hidden=(64, 32), compare="yes",
        out=str(tmp_path / "run"), seed=1,
    )  # fmt: skip
    told = told_of(config)
    assert abs(checked(told, 16, 64).kept_before - 16) <= 2
    rows = {row.name: row for row in data_of(told, "scored")}
    random = rows["random masks"]
    # One more random mask would lie there in 1 of 17 cases (t with 4 degrees of freedom, sqrt(6/5) wider).
    assert rows["hard mask, retrained"].accuracy > random.accuracy + 2 * random.spread


def test_the_events_are_those_of_the_document(quick, tmp_path):
    fields = {}
    for section in DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, *lines = section.splitlines()
        cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
        fields[title.strip()] = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    for event in told_of(quick(method="gradient", alpha="stall", epochs=2, out=str(tmp_path / "run"))):
        assert set(event.to_dict()) == fields[event.kind], event.kind
        json.loads(event.to_json())


@pytest.mark.slow
def test_the_written_configuration_repeats_the_run_and_names_only_what_it_uses(quick, tmp_path):
    told_of(quick(method="gradient", alpha="decade", epochs=6, out=str(tmp_path / "one")))
    written = read_options(tmp_path / "one" / "config.toml")
    alpha = Alpha.model_validate(written["alpha"])
    assert (alpha.kind, alpha.epochs, alpha.window) == ("decade", 6 / 8, 1)
    assert alpha.lambda_end == 1e7
    assert alpha.tolerance is alpha.factor is None
    assert not {"moves", "delta", "mask_noise", "eval_on"} & set(written)
    told_of(make_config(**written, out=str(tmp_path / "two")))
    for name in ("mask.json", "config.toml", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sigmoid", "hard-concrete"])
def test_a_run_is_a_function_of_its_seed(kind, quick):
    options = {"compare": "no", "epochs": 3, "retrain_epochs": 1, "hidden": (24, 12), "threads": 1}
    state = torch.random.get_rng_state()
    runs = [
        mcprune.prune("digits", keep=16, method="gradient", gates=kind, seed=seed, **options).mask.weights
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": {"kind": "fixed", "epochs": 3}}, ["epochs belongs to alpha decade or stall", "got fixed"]),
        ({"alpha": {"kind": "ratio", "value": 3}}, ["value belongs to alpha fixed or ramp", "got ratio"]),
        ({"alpha": "ramp:factor=3"}, ["factor belongs to alpha stall", "got ramp"]),
        ({"alpha": "mu-lambda:lambda_end=1e9"}, ["lambda_end belongs to alpha decade or stall"]),
        ({"alpha": "ratio:window_kind=literal"}, ["window_kind belongs to", "got ratio"]),
        ({"alpha": "auto", "gates": "sigmoid"}, ["--gates", "auto"]),
        ({"alpha": "ramp:pilots=0.5"}, ["pilots belongs to alpha auto"]),
        ({"gates": "sigmoid:3"}, ["sharpness", "annealed"]),
        ({"delta": 1}, ["--delta", "--method markov"]),
        ({"mask_noise": 0.05}, ["--mask-noise", "--method markov"]),
        ({"preset": "slides"}, ["--preset slides", "--method markov"]),
        ({"method": "markov", "gate_optimizer": "sgd"}, ["--gate-optimizer", "--method gradient"]),
        ({"method": "markov", "alpha": "decade:lambda=3"}, ["alpha: ", "decade:lambda=3"]),
        ({"alpha": "ratio:window=13"}, ["window=13", "longer than the run of 12"]),
        ({"alpha": "decade:epochs=12.5"}, ["epochs=12.5", "longer than the run"]),
        ({"alpha": "stall:epochs=99"}, ["epochs=99", "longer than the run"]),
        ({"alpha": "decade:lambda=10,lambda_end=5"}, ["lambda=10", "lambda_end=5"]),
        (
            {"alpha": "fixed:geometric:1:2"},
            ["a fixed alpha is one number", "got geometric:1:2. Write the schedule alone"],
        ),
        ({"alpha": "ramp:7"}, ["a ramp is geometric", "Write the number alone to fix alpha"]),
        ({"alpha": 1e31}, ["alpha: ", "overflow", "Choose at most 1e+09"]),
    ],
)
def test_options_that_conflict_or_do_not_fit_the_run(options, words, quick, tmp_path):
    with pytest.raises(ConfigError) as error:
        next(run(quick(**{"method": "gradient", "out": str(tmp_path / "run"), **options})))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("stall", "lambda", 1e31),
        ("stall", "lambda", "inf"),
        ("stall", "lambda_end", 1e300),
        ("ratio", "cap", 1e31),
        ("stall", "factor", 1),
    ],
)
def test_a_lambda_that_overflows_is_refused(kind, name, value):
    with pytest.raises(ConfigError, match=rf"alpha: {name}: .*got .*\. Choose another value of --alpha \("):
        make_config(method="gradient", alpha=f"{kind}:{name}={value}")


def test_errors_leave_the_command_line_with_code_2(capsys):
    assert main(["run", "--method", "gradient", "--alpha", "auto", "--gates", "sigmoid"]) == 2
    assert "--gates does nothing under --alpha auto" in capsys.readouterr().err


@pytest.mark.slow
def test_an_alpha_beyond_its_cap_is_cut_counted_and_said(quick, tmp_path):
    told = told_of(quick(method="gradient", alpha="ratio:cap=0.5", out=str(tmp_path / "run")))
    assert max(data.alpha for data in data_of(told, "progress")) == 0.5
    assert any("above its cap in 1" in note.text and "capped" in note.text for note in data_of(told, "note"))


def test_weights_that_are_not_finite_end_the_run(quick, tmp_path):
    path = make_method(make_plan(quick(method="gradient"), load_data("digits")))
    state = path.init()
    with torch.no_grad():
        state.weights[3] = float("nan")
    with pytest.raises(NumericalError, match="--gate-optimizer"):
        path.step(state, None, 0.5)


def test_the_report_says_how_far_from_n_it_was(quick, tmp_path, capsys):
    folder = tmp_path / "run"
    told = told_of(quick(method="gradient", alpha="ratio", epochs=3, out=str(folder)))
    assert main(["show", str(folder)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    harden = data_of(told, "hardened")[0]
    assert f"before hardening: {harden.kept_before} gates above one half ({harden.kept_before - 16:+d} of n)" in text
    assert f"= {harden.gate_sum_error:.1f}," in text
    assert "gates crossed one half" in text or "no gate has crossed" in text
    assert set(KEYS) <= set(read_result(folder).hardened.to_dict())


@pytest.mark.slow
def test_the_chain_counts_its_work_and_its_crossings_too(quick, tmp_path):
    told = told_of(quick(epochs=4, evaluator="full", out=str(tmp_path / "run")))
    harden = data_of(told, "hardened")[0]
    assert harden.kept_before == 16
    assert sum(step > 0 for step in harden.last_crossed) >= 48
    trained, last = 3 * harden.steps * 64, data_of(told, "progress")[-1]
    # The rows of a batch are those that are held out: 30% of 1,168. Every decision is evaluated on them.
    judged = (harden.forwards - trained) / 350
    assert judged >= 0.8 * last.decisions
    assert harden.forwards == last.forwards


def test_epochs_fit_the_time_unless_they_are_given(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(pilots, "_epoch_seconds", lambda *_: 0.01)
    config = quick(method="gradient", alpha="decade", search_time=0.5, out=str(tmp_path / "run"))
    assert next(run(config)).epochs == 12
    start = next(run(config.replace(epochs=None)))
    assert 1 <= start.epochs <= 46
    assert Alpha.model_validate(start.config["alpha"]).epochs == start.epochs / 8


@pytest.mark.slow
def test_auto_runs_what_its_pilots_chose_and_says_so(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(pilots, "_epoch_seconds", lambda *_: 0.01)
    config = quick(method="gradient", alpha="auto", out=str(tmp_path / "run"))
    told = told_of(config)
    checked(told, 16, 64)
    start, note = told[0], next(data.text for data in data_of(told, "note") if "auto" in data.text)
    assert start.epochs == 12
    assert Alpha.model_validate(start.config["alpha"]).kind in SCHEDULES
    assert all(name in note for name in pilots.CANDIDATES)
    figures = dict(re.findall(r"([a-z][\w ,-]*): (0\.\d{4}) after", note))
    best = re.search(r"alpha auto: (.*?) by the validation", note)[1]
    assert float(figures[best]) == max(map(float, figures.values()))
    assert start.config["gates"].split(":")[0] == pilots.CANDIDATES[best].gates.kind
    assert data_of(told, "hardened")[0].forwards > 3 * data_of(told, "hardened")[0].steps * 64
    # The resolved configuration names the choice, so it repeats without pilots.
    written = read_options(tmp_path / "run" / "config.toml")
    assert written["alpha"] != "auto"
    again = told_of(make_config(**written, out=str(tmp_path / "again")))
    assert data_of(again, "run_done")[0].indices == data_of(told, "run_done")[0].indices


@pytest.mark.slow
def test_auto_goes_on_when_a_pilot_fails_and_ends_when_all_do(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(pilots, "_epoch_seconds", lambda *_: 0.01)
    score = pilots._score

    def failing(plan, searcher, until):
        if plan.config.gradient.gates.kind != "sigmoid":
            raise NumericalError("made up")
        return score(plan, searcher, until)

    monkeypatch.setattr(pilots, "_score", failing)
    config = quick(method="gradient", alpha="auto", epochs=3, out=str(tmp_path / "run"))
    told = told_of(config)
    assert told[0].config["gates"] == "sigmoid"
    assert any("failed" in data.text for data in data_of(told, "note"))

    def none_works(plan, searcher, until):
        raise NumericalError("made up")

    monkeypatch.setattr(pilots, "_score", none_works)
    with pytest.raises(NumericalError, match="every pilot"):
        told_of(config.replace(force=True))
    assert len(read_result(tmp_path / "run").indices) == 16  # the earlier run is as it was


@pytest.mark.slow
def test_pilots_that_get_slower_end_with_their_share_of_the_time(quick, monkeypatch):
    """Under a clock of its own: a block takes 0.05 s, ten times what an epoch's timing promised, and training takes none."""
    from mcprune.session.search import Search

    now, share = [0.0], 0.4
    monkeypatch.setattr(pilots, "_epoch_seconds", lambda *_: 0.005)
    monkeypatch.setattr(pilots.time, "monotonic", lambda: now[0])
    real = Search._advance

    def advance(search, block):
        now[0] += 0.05
        return real(search, block)

    monkeypatch.setattr(Search, "_advance", advance)
    config = quick(method="gradient", alpha="auto", epochs=None, search_time=2.0)
    plan = make_plan(config, load_data("digits"))
    final = pilots.plan_in_time(plan, config, 0.0, lambda plan: Search(plan, make_method(plan)))
    assert now[0] <= share * 2.0 + 0.3
    assert "no time for it" in final.notes[-1]
    assert final.config.gradient.alpha.kind == "ramp"
    # The control: without a bound they take several times their share.
    now[0] = 0.0
    monkeypatch.setattr(pilots, "SLOW", 1e9)
    pilots.plan_in_time(
        make_plan(config, load_data("digits")), config, 0.0, lambda plan: Search(plan, make_method(plan))
    )
    assert now[0] > 2 * share * 2.0


def test_auto_takes_the_time_of_a_chain_when_none_is_given(quick, monkeypatch):
    config = quick(method="gradient", alpha="auto", epochs=None)
    plan = make_plan(config, load_data("digits"))
    from mcprune.session.search import Search

    seconds = pilots._chain_seconds(plan, lambda plan: Search(plan, make_method(plan)))
    assert 0 < seconds < 600
