import numpy as np
import pytest

import mcprune
from mcprune.errors import ConfigError
from mcprune.path.call import is_range, split_levels
from mcprune.path.run import find_path
from mcprune.path.search.ladder import Watch, stops_of
from mcprune.path.search.store import PathStore
from mcprune.problem import problem_and_rest
from mcprune.session.interrupt import Interrupt
from mcprune.storage.path_events import PathProgress


@pytest.fixture(scope="module")
def table():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 8))
    y = (x[:, 0] + x[:, 1] + x[:, 2] > 0).astype(int)
    return x, y


@pytest.fixture(scope="module")
def path(table):
    return mcprune.prune_path(*table, keep="1:8:5", seed=0, threads=1, progress=False)


@pytest.mark.slow
def test_every_level_has_a_mask_of_its_size(path):
    assert path.levels == (1, 2, 3, 5, 8)
    assert [len(level.indices) for level in path.curve.levels] == [1, 2, 3, 5, 8]


@pytest.mark.slow
def test_the_informative_columns_are_kept_and_are_enough(path):
    assert set(path.curve.at(3).indices) == {0, 1, 2}
    assert set(path.curve.at(5).indices) > {0, 1, 2}
    assert path.enough == 3


@pytest.mark.slow
def test_a_level_becomes_a_result_of_a_run(path, table):
    result = path.at(2)
    assert result.mask.indices.tolist() == list(path.curve.at(2).indices)
    assert result.curve is path.curve
    assert result.model.predict(table[0][:5]).shape == (5,)
    # The classifier is that of the search: at 3 it was trained on the very columns that won.
    assert path.at(3).metrics["test_accuracy_before_retraining"] > 0.9


def test_the_mask_of_a_selector_has_the_classifiers_of_its_level(table, monkeypatch):
    """They are untrained otherwise, and accuracy before retraining and samples would be those of no classifier."""
    from mcprune.path import run as path_run

    seen = []
    monkeypatch.setattr(path_run, "candidates_content", lambda masks: seen.extend(masks) or {"candidates": []})
    mcprune.prune_path(*table, keep="2,4", seed=0, threads=1, epochs=2, progress=False)
    by_way = {one.way: one.parameters for one in seen if one.place == 0}
    assert set(by_way) == {"down", "up", "forest", "l1"} - ({"up"} - set(by_way))
    assert all(one.parameters is not None for one in seen)


@pytest.mark.slow
def test_a_level_that_is_none_is_refused(path):
    with pytest.raises(ConfigError, match=r"no level 4\. Choose one of 1, 2, 3, 5, 8"):
        path.at(4)


@pytest.mark.long("a resumed path ends in the same bits")
def test_the_same_seed_gives_the_same_path(path, table):
    again = mcprune.prune_path(*table, keep="1:8:5", seed=0, threads=1, progress=False)
    assert [level.indices for level in again.curve.levels] == [level.indices for level in path.curve.levels]
    assert [level.loss for level in again.curve.levels] == [level.loss for level in path.curve.levels]


@pytest.mark.slow
def test_a_figure_and_a_text(path):
    figure = path.plot()
    assert list(figure.data[0].x) == [1, 2, 3, 5, 8]
    assert str(path).startswith("3 columns are enough")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep": "1:9"}, "goes up to 9 sites, but .* has 8"),
        ({"keep": "2:8", "must_keep": ["0", "1", "2"]}, "At the lowest level of the path: must_keep names 3 sites"),
        ({"keep": "1:8", "start": "forest"}, "a path starts from all sites"),
        ({"keep": "1:8", "keep_schedule": "constant"}, "its own n"),
        ({"keep": "1:8", "method": "gradient"}, "searched by the chain"),
        ({"keep": "1:8", "macs": "5:10"}, "goes over one of them"),
        ({"macs": "5:10", "parameters": "5:10"}, "goes over one of them"),
        ({"keep": {"inputs": 3}}, "names kinds"),
        ({"keep": "1:8", "groups": {"a": ["0", "1"]}}, "with groups"),
        ({"keep": "4:8", "sites": "units", "validation": 0}, "validation=0"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(table, options, text):
    with pytest.raises(ConfigError, match=text):
        mcprune.prune_path(*table, progress=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize("sites", ["inputs", "units"])
def test_an_interrupted_path_has_the_levels_that_were_reached(table, sites):
    levels, rest = split_levels({"keep": "2,4,6,8", "sites": sites, "seed": 0, "threads": 1, "epochs": 8})
    problem, others = problem_and_rest(None, table, rest)
    config, interrupt, notes = problem.config(None, others), Interrupt(), []
    events = find_path(config, levels, problem.dataset(config), Watch(interrupt, PathStore()))
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            curve = end.value.curve
            break
        if isinstance(event, mcprune.Note):
            notes.append(event.text)
        if isinstance(event, mcprune.Progress) and event.kept == 6:
            interrupt.ask("interrupt")
    assert [level.level for level in curve.levels] in ([8], [6, 8])
    assert any("ended early: no mask was searched for 2, 4" in text for text in notes)


def test_levels_are_taken_out_of_the_options():
    levels, rest = split_levels({"keep": "5,10", "epochs": 3})
    assert levels is not None
    assert levels.numbers == (5, 10)
    assert rest == {"keep": 5, "epochs": 3, "start": "all"}
    levels, rest = split_levels({"keep": "auto", "macs": "10:20:2"})
    assert levels is not None
    assert (levels.unit, rest) == ("macs", {"macs": 10, "start": "all"})
    assert split_levels({"keep": "auto"})[0] is None


def test_what_is_a_range():
    assert all(map(is_range, ["auto", "1:5", "1,5", [1, 2], range(3)]))
    assert not any(map(is_range, [None, 5, "5", "inputs=3,units=4", {"inputs": 3}]))


def test_stops_go_down_and_up():
    assert stops_of([5, 10, 20], is_two_way=False) == (2, 1, 0)
    assert stops_of([5, 10, 20], is_two_way=True) == (2, 1, 0, 1, 2)


@pytest.mark.slow
def test_a_path_over_a_cost_goes_down_and_up_and_every_level_is_within_its_limit(table, tmp_path):
    ways = []

    class Ways(mcprune.Callback):
        def on_event(self, event):
            if isinstance(event, PathProgress):
                ways.append((event.level, event.way))

    options = {"sites": "units", "hidden": (12, 12), "epochs": 6, "retrain_epochs": 4, "seed": 0, "threads": 1}
    path = mcprune.prune_path(*table, macs="40:200:3", callbacks=[Ways()], progress=False, **options)
    assert {way for level, way in ways if level == path.levels[1]} == {"down", "up", "score"}
    assert (path.levels[-1], "up") in ways
    for level in path.curve.levels:
        result = path.at(level.level, out=tmp_path / str(level.level))
        assert 0.5 * level.level < level.cost <= level.level
        assert result.events[-1].macs.after == level.cost
        exported = mcprune.export(tmp_path / str(level.level), to="safetensors")
        assert exported is not None
