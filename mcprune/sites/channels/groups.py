"""Which channels of a network belong together, found by recording its forward pass and following them through it.

torch.fx records the forward pass as a graph of calls, which `follow` goes through. (torch-pruning finds such groups as well, but follows
gradients' functions, so what it does not know it passes over; here that is refused. And fx comes with torch.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx, nn

from mcprune.errors import ModelError, brief
from mcprune.models.forward import zero_rows
from mcprune.models.layers import AsFloat, Cast, TwoLogits
from mcprune.models.mlp import MLP
from mcprune.models.modes import evaluating
from mcprune.models.parametrized import folded
from mcprune.sites.channels.follow import ChannelGroup, Follower

__all__ = ["ChannelGroup", "channel_groups"]
# Layers of our own that ask for what no symbol has: the number of dimensions, a dtype.
LEAVES = (MLP, Cast, AsFloat, TwoLogits)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LEAVES or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs the graph, and keeps the shape of every tensor."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        out = super().run_node(n)
        if isinstance(out, torch.Tensor):
            self.shapes[n] = tuple(out.shape)
        return out


def channel_groups(model: nn.Module, rows: Sequence[int]) -> list[ChannelGroup]:
    """Find the groups of channels of a model.

    Parameters
    ----------
    model : nn.Module
        Left as it is. Its forward pass must be one that torch.fx can follow: no decisions that depend on numbers.
    rows : sequence of int
        Shape of one row as the model takes it.

    Returns
    -------
    list of ChannelGroup
        In the order in which their first layers run.

    Raises
    ------
    ModelError
        If the forward pass cannot be followed, or cannot be run on such rows.
    """
    name = type(model).__name__
    model = folded(model)
    try:
        # In evaluation, so that the graph holds no functional dropout that would draw random numbers.
        with evaluating(model):
            graph = _Tracer().trace(model)
    except Exception as error:  # the user's own code, called with symbols instead of numbers
        raise ModelError(
            f"the forward pass of {name} cannot be followed by torch.fx ({type(error).__name__}: {brief(error)}), so what reads its "
            'channels is not known. Write it without decisions on numbers, or choose sites = "inputs".'
        ) from error
    x = zero_rows(model, 2, rows)
    shapes = _Shapes(model, graph)
    try:
        with torch.no_grad(), evaluating(model):
            shapes.run(x)
    except Exception as error:
        raise ModelError(
            f"{name} could not be run on rows of shape {tuple(rows)}: {brief(error)}. "
            "Pass input_shape=..., the shape of one row as the model takes it, such as (1, 28, 28)."
        ) from error
    return Follower(model, shapes.shapes).follow(graph)
