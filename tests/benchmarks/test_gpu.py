"""The script for a GPU runs without one, on small sizes, and writes its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.long("half a minute of a benchmark")
def test_the_script_runs_on_a_cpu(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--device", "cpu", "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    written = json.loads(out.read_text())
    assert written["device"] == "cpu"
    rows = {row["name"]: row for row in written["rows"]}
    for title in ("perceptron", "convolutions, channels", "transformer"):
        row = rows[f"{title}: suffix, difference from the CPU"]
        assert row["value"] <= row["bar"]
    assert rows["perceptron: graph, difference from the CPU"]["value"] <= 1e-4
    assert sum("end to end" in name for name in rows) == 2
    assert any("a neuron of the last two blocks" in name for name in rows)
    assert rows["seconds in all"]["value"] < 360
