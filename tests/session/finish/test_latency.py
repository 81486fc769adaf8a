"""A bound on the measured latency: kept by the result of a run, whatever the fit says; refusals."""

import json

import numpy as np
import pytest

import mcprune
from mcprune.errors import ConfigError
from mcprune.exporters import latency
from mcprune.models.flops import multiply_accumulates

QUICK = {"epochs": 8, "retrain_epochs": 2, "hidden": "24,12", "threads": 1, "compare": "no", "max_time": 100}


def seconds(models, shapes, rows, rounds):
    """No additive model: waves of 6%, as caches and vector units make them."""
    macs = np.array([multiply_accumulates(model, shape) for model, shape in zip(models, shapes, strict=True)])
    return (3e-6 + 1e-9 * macs) * (1.0 + 0.06 * np.sin(macs / 100.0))


@pytest.fixture
def clockless(monkeypatch):
    monkeypatch.setattr(latency, "cut_latency", seconds)


@pytest.mark.slow
@pytest.mark.parametrize("sites", ["units", "inputs,units"])
def test_the_result_takes_at_most_the_bound_and_most_of_it(sites, clockless, tmp_path):
    result = mcprune.prune("wine", sites=sites, latency=3.35, out=tmp_path / "run", **QUICK)
    model = result.model.model
    taken = seconds([model], [(result.mask.support[:13].sum() if "inputs" in sites else 13,)], 1, 1)[0]
    assert 0.95 * 3.35e-6 <= taken <= 3.35e-6
    done = json.loads((tmp_path / "run" / "result.json").read_text())
    (cost,) = done["costs"]
    assert cost["unit"] == "latency"
    assert cost["used"] == pytest.approx(taken * 1e12, rel=1e-6)
    assert cost["limit"] == 3_350_000


@pytest.mark.slow
def test_a_recorded_table_is_not_measured_again(clockless, monkeypatch, tmp_path):
    first = mcprune.prune("wine", sites="units", latency=3.35, out=tmp_path / "run", **QUICK)
    config = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[0])["config"]
    table = config["latency_table"]
    assert len(table["counts"]) == len(table["microseconds"])
    (tmp_path / "table.json").write_text(json.dumps(table))
    monkeypatch.setattr(latency.LatencyModel, "table", lambda *_: pytest.fail("measured"))
    again = mcprune.prune("wine", sites="units", latency=3.35, latency_table=str(tmp_path / "table.json"), **QUICK)
    np.testing.assert_array_equal(again.mask.indices, first.mask.indices)
    with pytest.raises(ConfigError, match="latency_rows=4, but the table was measured with 1 rows"):
        mcprune.prune("wine", sites="units", latency=3.35, latency_rows=4, latency_table=table, **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latency": 1.0}, r"latency=1\.00, but the smallest model, .*microseconds. Choose 3\.\d\d <= latency <= "),
        ({"latency": 500.0}, r"latency=500\.00, but the whole model has \d\.\d\d microseconds"),
        ({"latency": 3.3, "sites": "weights"}, "the zeros of single weights save no time"),
        (
            {"latency_table": {"rows": 1, "counts": [[3]], "microseconds": [4.0]}, "keep": 5},
            "latency_table without a bound on the latency. Give --latency too",
        ),
        ({"latency_table": "nowhere.json", "latency": 3.3}, r"'nowhere\.json' cannot be read"),
        ({"latency_table": {"rows": 1}, "latency": 3.3}, "a table of latencies is needed"),
    ],
)
def test_refusals(options, message, clockless):
    with pytest.raises(ConfigError, match=message):
        mcprune.prune("wine", **{"sites": "units", **options}, **QUICK)
