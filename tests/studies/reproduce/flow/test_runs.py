"""`mcprune reproduce flow` on digits with next to no training: exact counts, figures against plain code, what is finished stays."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from selection import slow_but
from torch.nn import functional

from mcprune.cli.main import main
from mcprune.data.load import from_arrays, load
from mcprune.errors import DataError, NumericalError
from mcprune.methods.importance.evidence import balanced_rows
from mcprune.methods.importance.selection import telescoping_counts
from mcprune.sites.owners import Owners
from mcprune.studies.reproduce.flow import setting as flow_setting
from mcprune.studies.reproduce.flow import training as flow_training
from mcprune.studies.reproduce.flow.setting import MEASURES, SCALES, Rows, make_rows, resized
from mcprune.studies.reproduce.flow.training import Training, flow_change, moved, relation, square_change

TINY = dataclasses.replace(
    SCALES["quick"], width={"vgg13": 0.0625, "mobilenet_v1": 0.125, "resnet56": 0.125}, images=128, tests=60, epochs=4, score_rows=40,
    measure_rows=40,
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("network", slow_but(["vgg13", "mobilenet_v1", "resnet56"], "mobilenet_v1"))
def test_counts_are_exact_after_each_round_and_no_layer_is_emptied(network, digits):
    size = dataclasses.replace(TINY, epochs=2, rounds=3, images=32)
    found = Training(network, 0, make_rows(digits, size, network), size, CPU).pruned("magnitude", 0.5)
    keep = found["sites"] - round(0.5 * found["sites"])
    assert [round_["kept"] for round_ in found["rounds"]] == list(telescoping_counts(found["sites"], keep, 3))
    for round_ in found["rounds"]:
        assert sum(round_["groups"]) == round_["kept"]
        assert min(round_["groups"]) >= size.floor[network]
    assert found["kept"] == keep < found["sites"]


def test_every_scale_leaves_depthwise_layers_two_channels():
    assert all(size.floor["mobilenet_v1"] >= 2 for size in SCALES.values())
    assert all(set(size.floor) == set(size.width) == {"vgg13", "mobilenet_v1", "resnet56"} for size in SCALES.values())


def test_the_flow_is_minus_two_theta_g(digits):
    training = Training("mobilenet_v1", 0, make_rows(digits, TINY, "mobilenet_v1"), TINY, CPU)
    net, _ = training.started()
    part = np.concatenate(balanced_rows(training.rows.y, TINY.score_rows, 1000, flow_training.LOOK, 1))
    net.model.eval()
    functional.cross_entropy(net.model(training.x[part]), training.y[part]).backward()
    products = {name: -2.0 * tensor.detach() * tensor.grad for name, tensor in net.model.named_parameters()}
    wanted = Owners(net.model, net.sites).sums(products)
    met = flow_change(training, net)
    np.testing.assert_allclose(met, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(met + wanted).max() > np.abs(wanted).max()  # the sign counts


def test_the_change_of_squares_and_its_relations():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    from mcprune.sites.site_map import site_map

    owners = Owners(model, site_map(model, "units", 2))
    before = {name: torch.ones_like(tensor) for name, tensor in model.named_parameters()}
    after = {name: tensor.clone() for name, tensor in before.items()}
    after["0.weight"][1, 0] = 3.0
    after["0.bias"][2] = 0.0
    np.testing.assert_allclose(square_change(owners, before, after), [0.0, 8.0, -1.0])
    score, draw = np.arange(40.0), np.random.default_rng(0)
    scored = {"loss": score, "magnitude": draw.random(40)}
    same = relation(scored, score**3)
    assert same["spearman"] == pytest.approx(1.0)
    assert same["overlap"] == 1.0
    assert same["pearson"] < 1.0
    assert relation(scored, score[::-1])["overlap"] == 0.0
    assert relation(scored, np.ones(40))["spearman"] is None


def test_images_are_averaged_or_repeated():
    image = np.arange(16, dtype=np.float32).reshape(1, 16)
    np.testing.assert_array_equal(resized(image, 1, 4, 2), [[2.5, 4.5, 10.5, 12.5]])
    np.testing.assert_array_equal(resized(resized(image, 1, 4, 8), 1, 8, 4), image)
    with pytest.raises(DataError, match="whole factor"):
        resized(image, 1, 4, 6)


def test_rows_are_balanced_and_no_test_row_is_trained_on(digits):
    rows = make_rows(digits, TINY, "vgg13")
    assert isinstance(rows, Rows)
    assert rows.x.shape == (128, 1024)
    assert np.bincount(rows.y).min() >= 12
    assert not {row.tobytes() for row in rows.x} & {row.tobytes() for row in rows.x_test}
    with pytest.raises(DataError, match="square images"):
        make_rows(from_arrays(np.random.default_rng(0).random((60, 5)), np.arange(60) % 3), TINY, "vgg13")


def test_moved_images_are_moved_and_mirrored():
    shape, count = (2, 6, 6), 40
    x = torch.arange(1, count * 72 + 1, dtype=torch.float32).reshape(count, 72)
    got = moved(x, shape, np.random.default_rng(3)).view(count, *shape)
    draw = np.random.default_rng(3)
    down, right, mirrored = draw.integers(0, 9, count), draw.integers(0, 9, count), draw.random(count) < 0.5
    for row in range(count):
        wide = functional.pad(x[row].view(shape), (4,) * 4)
        wanted = wide[:, down[row] : down[row] + 6, right[row] : right[row] + 6]
        assert torch.equal(got[row], wanted.flip(2) if mirrored[row] else wanted)
    assert 0 < mirrored.sum() < count


COMMAND = ["reproduce", "flow", "--quick", "--fractions", "0.5", "--threads", "1", "--device", "cpu", "--out"]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(flow_setting.SCALES, "quick", TINY)


def results(root):
    return json.loads((root / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_from_the_command_to_the_page_and_again(tmp_path, capsys):
    root = tmp_path / "flow"
    assert main([*COMMAND, str(root)]) == 0
    said = capsys.readouterr().out
    found = results(root)
    assert len(found["rows"]) >= 5
    for row in found["rows"]:
        assert {"claim", "measured", "threshold", "verdict"} <= set(row)
        assert row["verdict"] in ("holds", "does not hold", "unclear")
        assert row["claim"] in said
    assert len(found["runs"]) == 1 + len(MEASURES)
    assert {entry["measure"] for entry in found["table"]} == {"none", *MEASURES}
    assert found["unfinished"] == []
    assert found["failures"] == {}
    page = (root / "page.html").read_text(encoding="utf-8")
    assert "Plotly.react" in page
    assert all(row["claim"] in page for row in found["rows"])
    assert page.count('style="height:') == 5
    # Again: what is finished stays as it is; a run that is gone is made again, to the same bits.
    gone = root / "parts" / "vgg13-seed0-loss-0.5.json"
    gone.unlink()
    assert main([*COMMAND, str(root)]) == 0
    said = capsys.readouterr().out
    assert said.count("finished before") == len(MEASURES)
    again = results(root)
    assert again["unfinished"] == []
    both = [[{**run, "seconds": 0} for run in one["runs"]] for one in (found, again)]
    assert len(both[0]) == 1 + len(MEASURES)
    assert both[0] == both[1]
    # Another number of threads may come to other bits.
    assert main([*COMMAND[:6], "2", *COMMAND[7:], str(root)]) == 2
    assert "threads = 1, not 2" in capsys.readouterr().err
    # Other options are refused, and replaced where that is asked for.
    assert main([*COMMAND[:4], "0.25", *COMMAND[5:], str(root)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["reproduce", "slides", "--quick", "--out", str(root)]) == 2
    assert "Choose another --out" in capsys.readouterr().err


@pytest.mark.long("a study from end to end in a process of its own")
@pytest.mark.usefixtures("tiny")
def test_a_measure_that_fails_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    root, real = tmp_path / "flow", Training.scores

    def scores(self, net, measure, stream):
        if measure == "grasp" and stream > flow_training.ROUND:
            raise NumericalError("no score is finite")
        return real(self, net, measure, stream)

    monkeypatch.setattr(Training, "scores", scores)
    assert main([*COMMAND, str(root), "--quiet"]) == 1
    assert "no score is finite" in capsys.readouterr().err
    found = results(root)
    assert found["unfinished"] == ["vgg13-seed0-grasp-0.5"]
    assert {row["verdict"] for row in found["rows"] if row["number"] == "5"} == {"unclear"}
    monkeypatch.undo()
    monkeypatch.setitem(flow_setting.SCALES, "quick", TINY)
    assert main([*COMMAND, str(root), "--quiet"]) == 0
    assert results(root)["unfinished"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--networks", "vgg31"], "vgg13"),
        (["--quick", "--scale", "small"], "exclude"),
        (["--fractions", "1"], "below 1"),
        (["--seeds", "x"], "--seeds"),
        (["--threads", "0"], "threads"),
        (["--quick", "--data", "iris"], "iris"),
        (["--keep", "3"], "--keep"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, words, tmp_path, capsys):
    assert main(["reproduce", "flow", *arguments, "--out", str(tmp_path / "flow")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "flow").exists()


def test_flow_comes_first(capsys):
    assert main(["reproduce", "--quick", "flow"]) == 2
    assert "comes first" in capsys.readouterr().err
