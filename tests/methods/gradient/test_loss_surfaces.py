"""The script that draws docs/losses.md: its surfaces are the program's losses, its level lines lie where they should."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from mcprune.methods.gradient import penalties

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("loss_surfaces", ROOT / "benchmarks" / "loss_surfaces.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_surfaces_are_the_losses_of_the_program(script):
    for x, y in np.random.default_rng(0).uniform(0.01, 0.99, (20, 2)):
        gates = torch.tensor([x, y])
        rejection = float(penalties.rejection_loss(gates))
        assert script.rejection(x, y) == pytest.approx(rejection)
        assert script.modified(x, y) == pytest.approx(float(penalties.modified_rejection_loss(gates, gates.log())))
        assert script.pruning(x, y) == pytest.approx(rejection + float(penalties.selection_loss(gates, 1.0)))


def test_a_level_line_lies_on_its_level(script):
    x, y = np.meshgrid(np.arange(6.0), np.arange(5.0))
    segments = np.array(script.contour(2 * x + y, 4.5))
    assert len(segments)
    ends = segments.reshape(-1, 2)
    assert 2 * ends[:, 0] + ends[:, 1] == pytest.approx(4.5)
    assert script.contour(2 * x + y, 100.0) == []


def test_the_figures_stand_alone(script):
    for path in sorted((ROOT / "docs" / "figures").glob("loss_*.svg")):
        tree = ElementTree.parse(path)
        links = [value for node in tree.iter() for name, value in node.attrib.items() if name.endswith("href")]
        assert all(link.startswith("data:image/png;base64,") for link in links)
        assert f"figures/{path.name}" in (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "figures" / "loss_diagonal.svg").read_text(encoding="utf-8") == script.diagonal()
