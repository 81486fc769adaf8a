"""Hessian products, the Hessian's diagonal and squared gradients of rows are those of curvlinops."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.methods.importance.evidence import Evidence
from mcprune.methods.importance.samples import label_slopes, squared_sums
from mcprune.methods.importance.second_order import hessian_diagonal
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import site_map

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    curvlinops = pytest.importorskip("curvlinops")


def perceptron() -> tuple[nn.Module, str, int]:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), "weights", 5


def network() -> tuple[nn.Module, str, int]:
    layers = (nn.Unflatten(1, (1, 3, 3)), nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    return nn.Sequential(*layers), "channels", 9


@pytest.fixture(params=[perceptron, network])
def case(request) -> tuple[Evidence, nn.Module, list[tuple[torch.Tensor, torch.Tensor]]]:
    torch.manual_seed(0)
    model, kinds, width = request.param()
    model = model.double()
    batches = [(torch.randn(6, width, dtype=torch.float64), torch.randint(0, 3, (6,))) for _ in range(2)]
    losses = lambda logits, targets: nn.functional.cross_entropy(logits, targets, reduction="none")  # noqa: E731
    return Evidence(model, Owners(model, site_map(model, kinds, width)), batches, losses=losses), model, batches


def operator(
    kind: str, model: nn.Module, names: list[str], batches: list[tuple[torch.Tensor, torch.Tensor]]
) -> np.ndarray:
    """The whole matrix of a curvature over the named parameters."""
    parameters = [parameter for name, parameter in model.named_parameters() if name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = getattr(curvlinops, kind)(model, nn.CrossEntropyLoss(), parameters, batches)
        size = sum(parameter.numel() for parameter in parameters)
        return np.asarray(made @ torch.eye(size, dtype=torch.float64))


def flat(tensors: dict[str, torch.Tensor], names: list[str]) -> np.ndarray:
    return torch.cat([tensors[name].reshape(-1) for name in names]).numpy()


@pytest.mark.slow
def test_hessian_products(case):
    evidence, model, batches = case
    names = [name for name, _ in model.named_parameters() if name in evidence.leaves]
    matrix = operator("HessianLinearOperator", model, names, batches)
    gradient = flat(evidence.gradient, names)
    np.testing.assert_allclose(flat(evidence.hessian_gradient, names), matrix @ gradient, rtol=1e-8, atol=1e-12)


def test_the_diagonal_of_the_hessian(case):
    evidence, model, batches = case
    names = [name for name, _ in model.named_parameters() if name in evidence.leaves]
    matrix = operator("HessianLinearOperator", model, names, batches)
    np.testing.assert_allclose(flat(hessian_diagonal(evidence), names), np.diag(matrix), rtol=1e-8, atol=1e-12)


def test_squared_gradients_of_rows(case):
    evidence, model, batches = case
    names = [name for name, _ in model.named_parameters() if name in evidence.leaves]
    matrix = operator("EFLinearOperator", model, names, batches)
    sums = squared_sums(evidence, label_slopes(evidence))
    np.testing.assert_allclose(flat(sums, names) / evidence.rows, np.diag(matrix), rtol=1e-8, atol=1e-12)
