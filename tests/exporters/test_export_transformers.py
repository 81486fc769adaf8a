"""A transformer without some of its heads, neurons and sub-blocks as a graph for other runtimes."""

import pytest
import torch

from mcprune.exporters.graphs import program_of, write_onnx
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink
from tests.shared.transformers_nets import NETS
from tests.sites.test_block_gates import drawn

NAMES = ["torch", "torch, tokens first", "grouped queries", "rigid", "fused, causal"]


def cut(name):
    net = NETS[name]().eval()
    sites = site_map(net, "heads,neurons,blocks", 64)
    return shrink(net, sites, drawn(sites, 3), input_shape=(64,))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_program_of_any_number_of_rows(name):
    small = cut(name)
    program = program_of(small, 64).module()
    for rows in (1, 3, 70):
        x = torch.randn(rows, 64)
        torch.testing.assert_close(program(x), small(x))


@pytest.mark.parametrize("name", NAMES[:2])
def test_onnx_of_any_number_of_rows(name, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    small = cut(name)
    run = write_onnx(program_of(small, 64), tmp_path / "small.onnx", {})
    for rows in (1, 70):
        x = torch.randn(rows, 64)
        torch.testing.assert_close(torch.from_numpy(run(x.numpy())), small(x), atol=1e-5, rtol=1e-5)
