"""Layers that pruned models need besides torch's own, and initialisation from a seed alone."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError
from mcprune.random import weights_generator

Stage = tuple[str, nn.Module]


class Cast(nn.Module):
    """Rows in the precision of the model that follows, or as whole numbers.

    Parameters
    ----------
    target : "float", "int" or "bool"
        "float" casts to the precision that the module was moved to, as `model.double()` moves it.
    """

    like: torch.Tensor

    def __init__(self, target: str) -> None:
        super().__init__()
        if target not in ("float", "int", "bool"):
            raise ModelError(f"a Cast to {target!r} is not known. Save the model again.")
        self.target = target
        self.register_buffer("like", torch.empty(0, dtype=torch.float32, device="cpu"), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cast; whole numbers are rounded first."""
        if self.target == "float":
            return x.to(self.like.dtype)
        return x.round().to(torch.int64 if self.target == "int" else torch.bool)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the brackets."""
        return self.target


class AsFloat(nn.Module):
    """Outputs of half precision in float32, which numpy has; others as they are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cast."""
        return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


# f(x)_i depends on x_i alone, the same for every i.
ELEMENTWISE: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.GELU,
    nn.Softplus,
    nn.SiLU,
    nn.ELU,
    nn.LeakyReLU,
    nn.SELU,
    nn.CELU,
    nn.Mish,
    nn.ReLU6,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Softshrink,
    nn.Hardshrink,
    nn.Tanhshrink,
    nn.Threshold,
    nn.Identity,
    Cast,
    AsFloat,
    nn.Dropout,  # in evaluation, and on average in training, it is the identity
    nn.AlphaDropout,
)


class Constant(nn.Module):
    """The same output for every row: the network that is left when all units of a layer are dropped.

    Parameters
    ----------
    outputs : int
        Length of the output; it starts at zero.
    device : str
        Where the parameter is put.
    """

    def __init__(self, outputs: int, *, device: str = "cpu") -> None:
        super().__init__()
        self.outputs = outputs
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=torch.float32, device=device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Repeat the constant; ``x`` (B, ...) gives only the number of rows, and may have no columns."""
        # A copy: an expanded view shares its memory between rows, so nothing could work on it in place.
        return self.bias.expand(x.shape[0], self.outputs).clone()

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the brackets."""
        return f"outputs={self.outputs}"


class Scatter(nn.Module):
    r"""A classifier of N inputs that takes n: the kept inputs are put into rows of zeros, then the model runs.

    It serves models whose first layer cannot be cut (a convolution, an attention block). It needs fewer
    measured inputs, but as many parameters and operations as the model inside.

    Parameters
    ----------
    model : nn.Module
        Takes (B, \*shape).
    keep : sequence of int, length n
        Distinct flat indices of the kept inputs, in the order in which the small input brings them.
    shape : sequence of int
        Shape of one full input; its product is N.

    Raises
    ------
    ModelError
        If an index is outside 0..N-1 or comes twice.
    """

    keep: torch.Tensor

    def __init__(self, model: nn.Module, keep: Sequence[int], shape: Sequence[int]) -> None:
        super().__init__()
        self.indices = tuple(int(index) for index in keep)
        self.shape = tuple(int(side) for side in shape)
        self.size = math.prod(self.shape)
        outside = [index for index in self.indices if not 0 <= index < self.size]
        if outside or len(set(self.indices)) != len(self.indices):
            reason = f"{outside[0]} is not" if outside else "one comes twice"
            raise ModelError(
                f"the kept inputs of a Scatter must be distinct and within 0..{self.size - 1}, but {reason}. "
                "Shrink and save the model again."
            )
        self.model = model
        # Part of the description, not of the weights: so it is not in the state that is saved.
        self.register_buffer("keep", torch.tensor(self.indices, dtype=torch.int64, device="cpu"), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, n) kept inputs -> the model's logits."""
        full = x.new_zeros((x.shape[0], self.size)).index_copy(1, self.keep, x)
        logits: torch.Tensor = self.model(full.view(x.shape[0], *self.shape))
        return logits

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the brackets."""
        return f"kept={self.keep.numel()}, shape={self.shape}"


class TwoLogits(nn.Module):
    """The two logits (0, z) of one logit z, as a binary cross-entropy takes it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B,) or (B, 1) -> (B, 2)."""
        z = x.reshape(-1, 1)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def allocate(model: nn.Module, device: str = "cpu") -> nn.Module:
    """Give a model on "meta" uninitialised storage, in place, and return it: `Module.to_empty` without a second of imports."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
                module._parameters[name] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
    return model


def initialise(model: nn.Module, seed: int) -> nn.Module:
    """Give every known layer of ``model`` fresh parameters that depend on nothing but the seed.

    Parameters
    ----------
    model : nn.Module
        Changed in place. Linear and convolution layers get torch's default law, U[-1/sqrt(fan_in),
        1/sqrt(fan_in)] for weights and biases [1]_; normalisations and PReLU their constants.
    seed : int
        0 <= seed < 2**63. The global random state of torch is neither read nor advanced.

    Returns
    -------
    nn.Module
        The same object.

    Raises
    ------
    ConfigError
        If the seed is out of range.

    References
    ----------
    .. [1] LeCun, Bottou, Orr & Mueller, Efficient BackProp (1998), section 4.6, as torch.nn.Linear applies
    it.
    """
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed={seed} is outside 0..2**63-1. Choose a seed that is not negative, such as 0.")
    generator = weights_generator(seed)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                bound = 1.0 / math.sqrt(layer.weight[0].numel())
                for parameter in (layer.weight, layer.bias):
                    if parameter is not None:
                        parameter.copy_(
                            torch.empty(parameter.shape, dtype=torch.float32, device="cpu").uniform_(
                                -bound, bound, generator=generator
                            )
                        )
            elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                layer.reset_parameters()
            elif isinstance(layer, nn.PReLU):
                layer.weight.fill_(0.25)
            elif isinstance(layer, Constant):
                layer.bias.zero_()
            elif isinstance(layer, Scatter):
                layer.keep.copy_(torch.tensor(layer.indices, dtype=torch.int64))
    return model
