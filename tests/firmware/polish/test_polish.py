"""Polishing from a start to a budget: kept, repeatable, resumed, never worse than its start."""

import numpy as np
import pytest
from polish_problem import NOTHING, settings_of, splits_of, start_network

from mcprune.data.prepare import Rows
from mcprune.errors import ConfigError, DataError
from mcprune.firmware.counting.costs import UNITS, costs
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network_files import load_network
from mcprune.firmware.polish.checkpoint import NEWEST, STATE, load_state, save_state
from mcprune.firmware.polish.engine.chain import mean_loss
from mcprune.firmware.polish.polish import polish
from mcprune.firmware.polish.run import Polisher, with_noise
from mcprune.firmware.polish.settings import PolishSettings
from mcprune.objectives.named import make_objective


def same(one, other):
    return one.widths == other.widths and all(
        (a.weight == b.weight).all() and (a.bias == b.bias).all() for a, b in zip(one.layers, other.layers, strict=True)
    )


@pytest.mark.parametrize("unit", UNITS)
def test_the_result_keeps_to_the_budget(unit):
    network = start_network()
    budget = costs(remove_dead(network)).of(unit) // 2
    result = polish(network, splits_of(), settings_of(budget, unit))
    assert costs(result.network).of(unit) <= budget
    assert result.after.costs == costs(result.network)
    assert result.before.costs == costs(remove_dead(network))
    assert result.after.loss == pytest.approx(mean_loss(result.network, splits_of().train))
    assert set(result.after.accuracies) == {"train", "validation", "test"}
    assert result.evaluated > 500


def test_a_start_within_the_budget_only_becomes_better():
    network, splits = start_network(), splits_of()
    result = polish(network, splits, settings_of(10_000))
    assert mean_loss(result.network, splits.validation) < mean_loss(network, splits.validation)
    without = polish(network, splits._replace(validation=Rows(splits.test.features[:0], NOTHING)), settings_of(10_000))
    assert without.after.loss < without.before.loss
    assert without.after.loss <= result.after.loss


def test_equal_calls_give_equal_networks_and_a_resumed_one_too(tmp_path):
    settings, rows = settings_of(40, "digit-bits", drops=1, temperature=1e-3), splits_of().train
    polisher = Polisher(rows, settings_of(200, "digit-bits", drops=1, temperature=1e-3))
    settings = polisher.settings
    straight = list(polisher.run(polisher.start(start_network())))
    save_state(straight[2], settings, "digest", tmp_path)
    loaded = load_state(settings, "digest", tmp_path)
    assert loaded.block == 3
    resumed = list(polisher.run(loaded))
    assert same(resumed[-1].best, straight[-1].best)
    assert same(resumed[-1].network, straight[-1].network)
    assert (resumed[-1].random_state, resumed[-1].evaluated) == (straight[-1].random_state, straight[-1].evaluated)
    assert (resumed[-1].statistics == straight[-1].statistics).all()
    assert load_state(settings_of(60), "digest", tmp_path) is None
    assert load_state(settings, "another", tmp_path) is None


def test_a_checkpoint_that_was_cut_off_leaves_the_older_one(tmp_path):
    settings = settings_of(40)
    polisher = Polisher(splits_of().train, settings)
    states = list(polisher.run(polisher.start(start_network())))
    save_state(states[0], settings, "", tmp_path)
    save_state(states[1], settings, "", tmp_path)
    assert load_state(settings, "", tmp_path).block == 2
    (tmp_path / NEWEST).rename(tmp_path / "checkpoint-older")
    (tmp_path / NEWEST).mkdir()
    assert load_state(settings, "", tmp_path).block == 2
    (tmp_path / "checkpoint-older" / STATE).write_text("{")
    assert load_state(settings, "", tmp_path) is None


def test_the_folder_holds_the_network_and_no_checkpoint(tmp_path):
    result = polish(start_network(), splits_of(), settings_of(40), folder=tmp_path / "out")
    assert same(load_network(tmp_path / "out"), result.network)
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["network.json", "network.safetensors"]


def test_an_interrupted_call_goes_on_and_ends_in_the_same_network(tmp_path, monkeypatch):
    monkeypatch.setattr("mcprune.firmware.polish.polish.SAVED_EVERY", 0.0)
    settings, blocks = settings_of(40, drops=1), []

    def interrupt(state):
        blocks.append(state.block)
        if state.block == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        polish(start_network(), splits_of(), settings, folder=tmp_path, on_block=interrupt)
    second = polish(
        start_network(), splits_of(), settings, folder=tmp_path, on_block=lambda state: blocks.append(state.block)
    )
    assert blocks == [1, 2, 3, 4, 5, 6]
    whole = polish(start_network(), splits_of(), settings)
    assert same(second.network, whole.network)
    assert (second.evaluated, second.moves) == (whole.evaluated, whole.moves)


@pytest.mark.slow
def test_a_rejection_is_minimised_as_the_objective():
    splits = splits_of(count=900)
    objective = make_objective("auc", splits.labels, splits.names)
    settings = settings_of(50, proposals=1200, drops=0, temperature=0.0)
    polisher = Polisher(splits.train, settings, objective=objective)
    state = polisher.start(start_network())
    values = [one.best_value for one in polisher.run(state)]
    assert values[-1] <= min(values)
    assert costs(state.network).digits > 50
    by_loss = polish(start_network(), splits, settings)
    from mcprune.firmware.polish.engine.chain import Chain
    from mcprune.firmware.polish.objective_walk import objective_value

    assert values[-1] < objective_value(Chain(by_loss.network, polisher.rows, "digits", 0), objective)


def test_adders_are_counted_by_the_solver_that_is_given():
    def shared(network):  # a solver that shares a fifth
        return costs(network).adders * 4 // 5

    result = polish(start_network(), splits_of(), settings_of(20, "adders"), solver_count=shared)
    assert shared(result.network) <= 20
    assert costs(result.network).adders > 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget=0"),
        ({"unit": "bytes"}, "no unit"),
        ({"moves": "exchange,jump"}, "unknown 'jump'"),
        ({"descent": 2.0}, "descent"),
        ({"temperature": -1.0}, "temperature"),
        ({"input_noise": -0.1}, "input_noise"),
        ({"input_noise": float("inf")}, "input_noise"),
        ({"drops": -1}, "drops"),
        ({"proposals": 20}, "blocks=40 is more than proposals=20"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        PolishSettings(**({"budget": 10} | options))


def test_rows_of_other_data():
    splits = splits_of()
    with pytest.raises(ConfigError, match=r"The targets of \w+ are numbers"):
        polish(start_network(), splits._replace(labels=()), settings_of(10))
    with pytest.raises(DataError, match=r"Column 2 of .* is 'b', and the network reads 'x1' there"):
        polish(start_network(), splits._replace(names=("x0", "b", *splits.names[2:])), settings_of(10))
    narrow = splits._replace(train=Rows(splits.train.features[:, :4], splits.train.targets))
    with pytest.raises(DataError, match="4 columns"):
        polish(start_network(), narrow, settings_of(10))
    other = splits._replace(train=Rows(splits.train.features, splits.train.targets + 3))
    with pytest.raises(DataError, match="classes"):
        polish(start_network(), other, settings_of(10))
    empty = splits._replace(train=Rows(splits.train.features[:0], splits.train.targets[:0]))
    with pytest.raises(DataError, match="no training rows"):
        polish(start_network(), empty, settings_of(10))


def test_rows_with_noise_are_the_rows_and_a_copy_beside_them():
    rows = splits_of().train._replace(weights=np.arange(200.0))
    assert with_noise(rows, 0.0, 1) is rows
    both = with_noise(rows, 0.5, 1)
    assert (both.features[:200] == rows.features).all()
    assert (both.targets == np.tile(rows.targets, 2)).all()
    assert (both.weights == np.tile(rows.weights, 2)).all()
    noise = both.features[200:] - rows.features
    assert noise.std() == pytest.approx(0.5, rel=0.1)
    assert abs(noise.mean()) < 0.1
    assert both.features.dtype == rows.features.dtype
    assert (with_noise(rows, 0.5, 1).features == both.features).all()
    assert (with_noise(rows, 0.5, 2).features != both.features).any()


def test_a_polish_with_noise_decides_by_twice_the_rows():
    splits, settings = splits_of(), settings_of(40, input_noise=0.3)
    assert len(Polisher(splits.train, settings).rows.targets) == 400
    assert len(Polisher(splits.train, settings, splits.validation).judging.targets) == 200
    result = polish(start_network(), splits, settings)
    assert result.after.costs.digits <= 40
    plain = polish(start_network(), splits, settings_of(40))
    assert any(
        one.weight.shape != other.weight.shape or (one.weight != other.weight).any()
        for one, other in zip(result.network.layers, plain.network.layers, strict=True)
    )
