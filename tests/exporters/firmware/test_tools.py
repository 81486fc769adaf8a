"""Fixed-point networks in alkaid, verilator, hls4ml and qonnx: no logit of any row differs. Skipped where a tool is not installed."""

import importlib.util
import os
import shutil
import subprocess

import numpy as np
import pytest
from fixed_networks import random_network, random_rows

from mcprune.errors import ConfigError, FolderError, ModelError
from mcprune.exporters.firmware import alkaid, export, hls4ml, qonnx
from mcprune.exporters.firmware.export import compare_bits, export_network
from mcprune.exporters.firmware.rows import drawn_rows, rows_of_values

pytestmark = pytest.mark.filterwarnings("default")  # those of other packages


def needs(*names):
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def example(seed, **options):
    network = random_network(seed, (6, 5, 4, 3), relu=True, **options)
    rows = rows_of_values(network, random_rows(seed, 300, 6), "of the test")
    return network, rows


@needs("alkaid")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_alkaid_and_verilator(seed, tmp_path):
    network, rows = example(seed)
    written = export_network(network, "alkaid", tmp_path / "net", rows)
    assert (tmp_path / "net/src/mcprune_net.v").exists()
    text = " ".join(written.words)
    assert "equal bit for bit in alkaid's interpreter" in text
    assert ("equal bit for bit in verilator" in text) == alkaid.has_verilator()
    assert "LUTs" in text


@needs("hls4ml")
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_hls4ml(overflow, tmp_path):
    network, rows = example(1, overflow=overflow)
    written = export_network(network, "hls4ml", tmp_path / "net", rows)
    assert "equal bit for bit in hls4ml" in " ".join(written.words)
    assert (tmp_path / "net/firmware/mcprune_net.cpp").exists()


@needs("onnx", "qonnx")
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("seed", range(4))
def test_qonnx(seed, overflow, tmp_path):
    network, rows = example(seed, overflow=overflow)
    written = export_network(network, "qonnx", tmp_path / "net.onnx", rows)
    assert "equal bit for bit in qonnx" in " ".join(written.words)


@needs("onnx", "qonnx")
def test_sums_that_float32_cannot_hold_are_refused_by_qonnx(tmp_path):
    network = random_network(0, size=40)
    layers = tuple(
        type(layer)(layer.weight * 2**16, layer.fraction, layer.bias, layer.activation, layer.relu)
        for layer in network.layers
    )
    with pytest.raises(ModelError, match="float32"):
        qonnx.write_qonnx(network.but(layers=layers), tmp_path / "net.onnx")


def test_one_logit_that_differs_is_refused():
    network, rows = example(0)
    logits = network.forward(rows.inputs)
    assert compare_bits(network, rows, logits, "the tool").startswith("all 900 logits of 300 rows are equal")
    logits[7, 2] += 1
    with pytest.raises(ModelError, match="on 1 of 300 rows, first on row 7"):
        compare_bits(network, rows, logits, "the tool")


def test_nothing_is_left_behind_after_an_error(tmp_path, monkeypatch):
    network, rows = example(0)

    def broken(net, path, rows):
        path.write_text("half")
        raise ModelError("no")

    monkeypatch.setitem(export.WRITERS, "c", broken)
    with pytest.raises(ModelError):
        export_network(network, "c", tmp_path / "net.h", rows)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "net.h").write_text("before")
    with pytest.raises(FolderError, match="exists already"):
        export_network(network, "c", tmp_path / "net.h", rows)
    with pytest.raises(ModelError):
        export_network(network, "c", tmp_path / "net.h", rows, force=True)
    assert (tmp_path / "net.h").read_text() == "before"


def test_formats_and_backends_that_are_none_are_refused(tmp_path):
    network, rows = example(0)
    with pytest.raises(ConfigError, match="no format of fixed-point networks"):
        export_network(network, "vhdl", tmp_path / "net", rows)
    with pytest.raises(ConfigError, match="Vitis, Vivado"):
        hls4ml.hls4ml_model(network, tmp_path / "net", backend="Quartus")


def test_drawn_rows_reach_the_ends_of_the_formats():
    network, _ = example(3)
    drawn = drawn_rows(network)
    own = drawn.inputs >> network.inputs.shift
    assert (own.min(axis=0) == network.inputs.low).all()
    assert (own.max(axis=0) == network.inputs.high).all()
    assert (network.quantize_inputs(drawn.floats, scaled=False) == drawn.inputs).all()
    assert np.isfinite(drawn.floats).all()


def test_the_packaged_verilator_is_told_how_a_precompiled_header_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(alkaid, "_is_recent", lambda _: False)
    monkeypatch.setattr(alkaid, "_packaged", lambda: tmp_path)
    monkeypatch.setattr(alkaid, "version", lambda _: "5.48.0")
    monkeypatch.setenv("MAKEFLAGS", "-s")
    (tmp_path / "include").mkdir()
    with alkaid._verilator_on_path():
        makefile = tmp_path / "Makefile"
        makefile.write_text("CFG_CXXFLAGS_PCH_I =\nall:\n\t@echo $(CFG_CXXFLAGS_PCH_I) header\n")
        text = subprocess.run(["make", "-f", str(makefile)], capture_output=True, text=True, check=True).stdout
        assert text == "-include header\n"
    assert os.environ["MAKEFLAGS"] == "-s"
    assert "VERILATOR_ROOT" not in os.environ
