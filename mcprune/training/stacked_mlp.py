"""Several perceptrons of one shape as one: batched products in place of a loop over small ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mcprune.models.mlp import MLP


class StackedMLP:
    """The built-in perceptrons of a sequence, whose parameters become views of stacked tensors.

    Parameters
    ----------
    models : sequence of MLP
        Those for which `have_one_shape` holds.

    Attributes
    ----------
    parameters : list of tensor, shape (F, ...)
        In the order of those of a model.
    dropouts : list of (int, float)
        Units and share of each dropout layer.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        first = models[0]
        assert isinstance(first, MLP)
        self._layers = list(first.layers)
        self.parameters = [_joined(parts) for parts in zip(*(model.parameters() for model in models), strict=True)]
        self.dropouts: list[tuple[int, float]] = []
        units = 0
        for layer in self._layers:
            if isinstance(layer, nn.Linear):
                units = layer.out_features
            elif isinstance(layer, nn.Dropout):
                self.dropouts.append((units, layer.p))

    def draw_scales(self, rows: int, draw: torch.Generator | None = None) -> list[torch.Tensor]:
        """Return what each dropout layer of one model multiplies its units with (rows, units), drawn as torch's dropout does on the CPU.

        Parameters
        ----------
        rows : int
            Of a batch.
        draw : Generator, optional
            By default torch's global state.
        """
        empty = self.parameters[0].new_empty
        return [
            empty((rows, units)).bernoulli_(1.0 - share, generator=draw).div_(1.0 - share)
            for units, share in self.dropouts
        ]

    def forward(
        self, signal: torch.Tensor, columns: torch.Tensor | None = None, scales: Sequence[torch.Tensor] = ()
    ) -> torch.Tensor:
        """Return logits (F, rows, classes).

        Parameters
        ----------
        signal : tensor, shape (F, rows, inputs)
        columns : tensor of int64, shape (F, inputs), optional
            Which inputs each model gets, the others being 0; by default all.
        scales : sequence of tensor, shape (F, rows, units)
            What each dropout layer multiplies its units with.
        """
        parameters, scale = iter(self.parameters), iter(scales)
        for layer in self._layers:
            if isinstance(layer, nn.Linear):
                weight = next(parameters)
                if columns is not None:
                    weight = weight.gather(2, columns[:, None, :].expand(-1, weight.shape[1], -1))
                    columns = None  # of the first layer alone
                product = weight.transpose(1, 2)
                has_bias = layer._parameters["bias"] is not None
                signal = (
                    torch.baddbmm(next(parameters)[:, None, :], signal, product)
                    if has_bias
                    else torch.bmm(signal, product)
                )
            elif isinstance(layer, nn.Dropout):
                signal = signal * next(scale)
            else:
                signal = layer(signal)
        return signal


def have_one_shape(models: Sequence[nn.Module]) -> bool:
    """Whether two or more models are built-in perceptrons of one shape, all of whose parameters are trained."""
    shapes = [[(one.shape, one.requires_grad) for one in model.parameters()] for model in models]
    is_same = all(shape == shapes[0] and all(trains for _, trains in shape) for shape in shapes)
    kinds = {(type(model), getattr(model, "activation", ""), getattr(model, "dropout", 0.0)) for model in models}
    return len(models) > 1 and is_same and len(kinds) == 1 and type(models[0]) is MLP


@torch.no_grad()
def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return tensors of one shape as one, of which they become views."""
    out = torch.stack([part.detach() for part in parts])
    for part, own in zip(parts, out, strict=True):
        part.data = own
    return out.requires_grad_()
