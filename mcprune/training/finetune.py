"""Fine-tune what a mask keeps of a trained classifier: by steps of backprop, or by least squares."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.models.modes import evaluating
from mcprune.objectives.losses import CROSS_ENTROPY, RowLoss
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteMap
from mcprune.training.fit import fit

# Added to the diagonal of the normal equations, in units of the mean square of the inputs of the layer.
RIDGE = 1e-4
PART = 8192


class MaskedClassifier(nn.Module):
    """A gated classifier under one fixed mask: dropped sites get no gradient, and stay dropped while it trains."""

    def __init__(self, model: nn.Module, sites: SiteMap, mask: torch.Tensor) -> None:
        super().__init__()
        self.gated = GatedModel(model, sites)
        self.gates = self.gated.hard_gates(mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of rows (B, ...)."""
        logits: torch.Tensor = self.gated(x, self.gates)
        return logits


def finetune_steps(
    model: nn.Module,
    sites: SiteMap,
    mask: torch.Tensor,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    input_noise: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
    weights: torch.Tensor | None = None,
    row_loss: RowLoss = CROSS_ENTROPY,
) -> nn.Module:
    """Return a copy of the model, trained further under the mask.

    Parameters
    ----------
    model : nn.Module
        It does not change.
    sites : SiteMap
    mask : Tensor of bool, shape (N,)
    features : Tensor, shape (rows, ...)
    targets : Tensor of int64, shape (rows,), or of float32, shape (rows, T)
    epochs, batch_size, learning_rate, weight_decay, seed, input_noise, should_stop, weights, row_loss
        See `fit`.
    """
    out = copy.deepcopy(model)
    fit(
        MaskedClassifier(out, sites, mask),
        features,
        targets,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seed=seed,
        input_noise=input_noise,
        should_stop=should_stop,
        weights=weights,
        row_loss=row_loss,
    )
    return out


@torch.no_grad()
def finetune_least_squares(
    model: nn.Module,
    sites: SiteMap,
    mask: torch.Tensor,
    features: torch.Tensor,
    *,
    ridge: float = RIDGE,
    weights: torch.Tensor | None = None,
) -> nn.Module:
    """Return a copy of the model whose Linear layers reproduce their outputs from what the mask keeps.

    Layer by layer, the kept weights w and the bias b of each output minimise the (weighted) sum over the rows of (x w + b - y)^2,
    plus `ridge` times the mean square of x times |w - w_trained|^2. Here x is the input of the layer under the mask, with the layers
    before it updated, and y the output of the layer with all sites kept. Frozen weights and biases do not change.

    Parameters
    ----------
    model : nn.Module
        It does not change.
    sites : SiteMap
    mask : Tensor of bool, shape (N,)
    features : Tensor, shape (rows, ...)
    ridge : float
    weights : tensor of float32, shape (rows,), optional
        Of the rows; their scale does not matter.

    Raises
    ------
    ModelError
        A layer whose weights are sites is not Linear, or a layer is called more than once.
    """
    for group in sites.weights:
        if not isinstance(model.get_submodule(group.layer), nn.Linear):
            raise ModelError(
                f"Layer {group.layer!r} is not Linear, and least squares update Linear layers only. Use --finetune short."
            )
    out = copy.deepcopy(model)
    kept = {group.layer: mask[group.start : group.stop].view(group.shape) for group in sites.weights}
    masked, whole = MaskedClassifier(out, sites, mask), model
    with evaluating(out), evaluating(whole):
        for name in _call_order(masked, features[:2]):
            layer = out.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            if not layer.weight.requires_grad:
                continue
            width, has_bias = layer.in_features, layer.bias is not None and layer.bias.requires_grad
            fixed_bias = None if layer.bias is None or has_bias else layer.bias.double()
            gram = torch.zeros(width + 1, width + 1, dtype=torch.float64)
            product = torch.zeros(width + 1, layer.out_features, dtype=torch.float64)
            for first in range(0, len(features), PART):
                rows = features[first : first + PART]
                with _recorded(layer) as masked_values:
                    masked(rows)
                with _recorded(whole.get_submodule(name)) as whole_values:
                    whole(rows)
                x = masked_values["inputs"].reshape(-1, width).double()
                y = whole_values["output"].reshape(-1, layer.out_features).double()
                y = y if fixed_bias is None else y - fixed_bias
                x = torch.cat([x, torch.full((len(x), 1), float(has_bias), dtype=torch.float64, device=x.device)], 1)
                left = x
                if weights is not None:  # a row of a layer may be one place of several of a row of the data
                    share = (weights[first : first + PART].double() / weights.double().mean()).to(x)
                    left = x * share.repeat_interleave(len(x) // len(rows))[:, None]
                gram += (left.T @ x).cpu()
                product += (left.T @ y).cpu()
            scale = ridge * float(gram.diagonal()[:-1].mean())
            chosen = kept.get(name, torch.ones(layer.weight.shape, dtype=torch.bool)).cpu()
            for unit in range(layer.out_features):
                index = torch.cat([chosen[unit].nonzero().flatten(), torch.tensor([width])[: int(has_bias)]])
                if not len(index):
                    continue
                start = layer.weight[unit].double().cpu()
                if layer.bias is not None and has_bias:
                    start = torch.cat([start, layer.bias[unit : unit + 1].double().cpu()])
                start = start[index]
                matrix = gram[index][:, index] + scale * torch.eye(len(index), dtype=torch.float64)
                solved = torch.linalg.solve(matrix, product[index, unit] + scale * start)
                where = index if not has_bias else index[:-1]
                layer.weight[unit, where.to(layer.weight.device)] = solved[: len(where)].to(layer.weight)
                if layer.bias is not None and has_bias:
                    layer.bias[unit] = solved[-1].to(layer.bias)
    return out


def _call_order(masked: MaskedClassifier, rows: torch.Tensor) -> list[str]:
    """Return the names of the Linear layers in the order of their calls."""
    order: list[str] = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: order.append(name))
        for name, layer in masked.gated.model.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        masked(rows)
    finally:
        for handle in handles:
            handle.remove()
    if len(set(order)) < len(order):
        twice = next(name for name in order if order.count(name) > 1)
        raise ModelError(
            f"Layer {twice!r} is called more than once, which least squares cannot update. Use --finetune short."
        )
    return order


@contextmanager
def _recorded(layer: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Record the `inputs` and the `output` of the layer in the calls inside."""
    values: dict[str, torch.Tensor] = {}

    def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        # The output before the gates of its units, whose hook runs after this one.
        values["inputs"], values["output"] = inputs[0].detach(), output.detach()

    handle = layer.register_forward_hook(hook)
    try:
        yield values
    finally:
        handle.remove()
