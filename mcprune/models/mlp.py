"""The multilayer perceptron that is mcprune's default classifier."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from mcprune.errors import ConfigError
from mcprune.models.layers import allocate, initialise

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Parameters
    ----------
    widths : sequence of int
        (N inputs, hidden units..., C classes); at least two numbers, each at least 1. (N, C) is softmax
        regression.
    activation : str
        One of ``ACTIVATIONS``.
    dropout : float
        Share of hidden activations that is zeroed in training, 0 <= dropout < 1. With 0 there is no Dropout
        layer, so the Linear layers are ``layers.0``, ``layers.2``, ...; with any other share ``layers.0``,
        ``layers.3``, ...
    seed : int
        The initial parameters are a function of it alone: torch's global seed, default dtype and default
        device have no say, and are left as they were. The model is float32; call ``.double()`` for float64.
    bias : bool
        Whether the Linear layers have biases.
    device : "cpu" or "meta"
        "meta" makes a model without storage, for loaders that bring the tensors themselves.

    Raises
    ------
    ConfigError
        For widths, an activation, a dropout or a seed that cannot be.

    Notes
    -----
    ``forward`` takes (B, N), or (B, ...) whose other sides multiply to N, and gives (B, C) logits.
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "relu",
        dropout: float = 0.0,
        seed: int = 0,
        *,
        bias: bool = True,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.bias = bool(bias)
        self.widths = tuple(int(width) for width in widths)
        self.activation = activation
        self.dropout = float(dropout)
        self.bias = bool(bias)
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ConfigError(
                f"widths={list(widths)} is no MLP. Give at least inputs and classes, each 1 or more, such as "
                "[64, 32, 10]."
            )
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation={activation!r} is not known. Choose one of {', '.join(ACTIVATIONS)}.")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout={dropout} is not a share. Choose 0 <= dropout < 1, such as 0.2.")
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(self.widths):
            if layers:
                layers.append(ACTIVATIONS[activation]())
                if self.dropout:
                    layers.append(nn.Dropout(self.dropout))
            # On "meta" torch's own initialisation has nothing to fill, so it leaves the global random state.
            layers.append(nn.Linear(inputs, outputs, bias=self.bias, device="meta", dtype=torch.float32))
        self.layers = nn.Sequential(*layers)
        if device != "meta":
            allocate(self, device)
            initialise(self, seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N) -> (B, C) logits."""
        logits: torch.Tensor = self.layers(x.flatten(1) if x.dim() > 2 else x)
        return logits
