"""`mcprune reproduce obd` as a user meets it, on digits with a tiny net and few percentages."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from mcprune.cli.main import main
from mcprune.studies.reproduce.obd import setting as obd
from mcprune.studies.reproduce.obd.net import Net

TINY = {
    "hidden": (8, 8, 8, 8),
    "epochs": 30,
    "percents": (*obd.LIGHT, 50, 90),
    "chain_percents": (50,),
    "chain": {"epochs": 1, "decisions": 64},
}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(obd, "QUICK", TINY)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """The folder of a short study."""
    root = tmp_path_factory.mktemp("obd") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(obd, "QUICK", TINY)
        assert main(command(root)) == 0
    return root


def command(root, *more):
    return ["reproduce", "obd", "--quick", "--quiet", "--seeds", "0", "--threads", "1", "--out", str(root), *more]


def results(root):
    return json.loads((root / "results.json").read_text(encoding="utf-8"))


def times(root):
    return {path.name: path.stat().st_mtime_ns for path in (root / "parts").iterdir()}


def test_rows_and_curves(studied):
    found = results(studied)
    assert len(found["rows"]) >= 5
    for row in found["rows"]:
        assert {"claim", "measured", "threshold", "verdict"} <= set(row)
        assert row["verdict"] in ("holds", "does not hold", "unclear")
    assert found["failures"] == {}
    names = {(curve["net"], curve["measure"], curve["how"]) for curve in found["curves"]}
    nets, measures = ("plain", "dropout"), ("magnitude", "obd", "signed", "obd-row-sum")
    wanted = {(net, measure, how) for net in nets for measure in measures for how in ("layerwise", "global")}
    assert names == wanted | {(net, "chain", "global") for net in nets}
    assert {one["net"]: one["seed"] for one in found["dense"]} == {"plain": 0, "dropout": 0}


def test_a_curve_is_that_of_its_mask(studied):
    """One figure made again by hand: the percentage of the smallest |w| set to 0, biases left alone."""
    from mcprune.data.load import load
    from mcprune.data.prepare import prepare

    with np.load(studied / "parts" / "plain-seed0.npz") as held:
        tensors = [held[f"arr_{number}"] for number in range(len(held.files) - 1)]
    weights, biases = tensors[0::2], tensors[1::2]
    assert [weight.shape for weight in weights] == [(8, 64), (8, 8), (8, 8), (8, 8), (10, 8)]
    data = prepare(load("digits"), seed=0, validation=0.15, test=0.2)

    def right(kept):
        x = data.test.features
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = x @ np.where(kept[number], weight, 0).T + bias
            x = np.maximum(x, 0) if number < 4 else x
        return (x.argmax(1) == data.test.targets).mean()

    def one(measure, how, percent):
        curve = next(
            curve
            for curve in results(studied)["curves"]
            if (curve["net"], curve["measure"], curve["how"]) == ("plain", measure, how)
        )
        return curve["accuracy"][curve["percent"].index(percent)]

    flat = np.abs(np.concatenate([weight.ravel() for weight in weights]))
    least = np.sort(flat)[-round(flat.size * 0.5)]
    assert one("magnitude", "global", 50) == pytest.approx(right([np.abs(weight) >= least for weight in weights]))
    values = np.concatenate([weight.ravel() for weight in weights])
    least = np.sort(values)[-round(flat.size * 0.9)]
    assert one("signed", "global", 10) == pytest.approx(right([weight >= least for weight in weights]))
    own = [np.abs(weight) >= np.sort(np.abs(weight).ravel())[-round(weight.size * 0.5)] for weight in weights]
    assert one("magnitude", "layerwise", 50) == pytest.approx(right(own))
    assert one("signed", "global", 10) != one("magnitude", "global", 10)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_what_is_finished_is_kept(studied, capsys):
    before, rows = times(studied), results(studied)["rows"]
    assert main(command(studied)) == 0
    assert capsys.readouterr().out.strip() == str(studied / "page.html")
    assert times(studied) == before
    assert results(studied)["rows"] == rows
    # A chain that is gone is made again, and nothing else; the same seed gives the same figure.
    lost = studied / "parts" / "plain-seed0-chain50.json"
    text = json.loads(lost.read_text())["value"]
    lost.write_text("{")  # half written
    assert main(command(studied)) == 0
    again = json.loads(lost.read_text())["value"]
    assert {name for name, time in times(studied).items() if time != before[name]} == {lost.name}
    assert (again["accuracy"], again["digest"]) == (text["accuracy"], text["digest"])
    # A net that is gone is trained again; its chain still belongs to it.
    before = times(studied)
    (studied / "parts" / "dropout-seed0.npz").write_bytes(b"no archive")
    assert main(command(studied)) == 0
    changed = {name for name, time in times(studied).items() if time != before[name]}
    assert changed == {"dropout-seed0.npz", "dropout-seed0.json"}
    assert results(studied)["rows"] == rows


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_another_setting_is_refused_and_replaced_by_force(studied, capsys, monkeypatch):
    monkeypatch.setattr(obd, "QUICK", {**TINY, "epochs": 2, "chain_percents": ()})
    assert main(command(studied)) == 2
    assert "epochs = 30, not 2. Choose another --out" in capsys.readouterr().err
    assert main(["reproduce", "slides", "--quick", "--out", str(studied)]) == 2
    dense = {one["net"]: one["accuracy"] for one in results(studied)["dense"]}
    assert main(command(studied, "--force")) == 0
    assert {one["net"]: one["accuracy"] for one in results(studied)["dense"]} != dense
    monkeypatch.setattr(obd, "QUICK", TINY)
    assert main(command(studied, "--force")) == 0
    assert {one["net"]: one["accuracy"] for one in results(studied)["dense"]} == dense


@pytest.mark.usefixtures("tiny")
def test_the_chain_searches_at_the_percentages_that_are_named(studied, capsys):
    made = {path.name for path in studied.rglob("*-chain*.json")}
    rows = results(studied)["rows"]
    assert main(command(studied, "--chain", "90")) == 0
    assert results(studied)["setting"]["chain_percents"] == [90]
    new = {"plain-seed0-chain90.json", "dropout-seed0-chain90.json"}
    assert {path.name for path in studied.rglob("*-chain*.json")} == made | new  # nothing is lost
    assert main(["reproduce", "slides", "--quick", "--chain", "90", "--out", str(studied)]) == 2
    assert "--chain belongs to reproduce obd" in capsys.readouterr().err
    assert main(command(studied)) == 0
    assert results(studied)["rows"] == rows


class Reader(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_page_needs_nothing_from_elsewhere(studied):
    text = (studied / "page.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert not [tag for tag, attrs in page.tags if {"src", "href", "srcset"} & set(attrs)]
    assert "default-src 'none'" in text
    figures = json.loads(re.search(r"const FIGURES = (.*?);\nconst NARROW", text, re.S)[1].replace("<\\/", "</"))
    assert len(figures) >= 3
    shown = {trace["name"] for figure in figures.values() for trace in figure["data"]}
    assert {"OBD, all layers", "magnitude, layer-wise", "the chain", "OBD, all layers, dropout"} <= shown
    for row in results(studied)["rows"]:
        assert row["number"] in text


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_a_part_that_fails_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    root = tmp_path / "study"
    monkeypatch.setattr(obd, "QUICK", {**TINY, "chain": {"epochs": 1, "keep_at_most": 3}})
    assert main(command(root)) == 2  # no such option: told before anything is trained
    assert not root.exists()
    capsys.readouterr()
    monkeypatch.setattr(obd, "QUICK", {**TINY, "chain_percents": ()})

    def broken(self, *_):
        raise ValueError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(Net, "_scores", broken)
        assert main(command(root)) == 1
    assert "failed: plain-seed0: ValueError: no luck" in capsys.readouterr().err
    assert {row["verdict"] for row in results(root)["rows"]} == {"unclear"}
    assert main(command(root)) == 0
    assert results(root)["failures"] == {}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--keep", "16"], "--keep belongs to reproduce slides"),
        (["--chain", "50,100"], "--chain takes percentages from 1 to 99, but got 100"),
        (["--chain", "half"], "--chain needs whole numbers"),
        (["--seeds", "-1"], "--seeds needs numbers of at least 0"),
        (["--threads", "none"], "threads"),
        (["--data", "nothing-of-that-name"], "nothing-of-that-name"),
    ],
)
def test_what_cannot_be_is_refused_before_it_begins(tmp_path, capsys, more, told):
    root = tmp_path / "study"
    assert main(["reproduce", "obd", "--quick", "--out", str(root), *more]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not root.exists()
