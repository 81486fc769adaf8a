"""Hidden units of recurrent layers as sites: which there are."""

from __future__ import annotations

from torch import nn

from mcprune.errors import ModelError
from mcprune.models.narrow.recurrent import BLOCKS, directions_of


def recurrent_layers(model: nn.Module) -> dict[str, nn.RNNBase]:
    """Return the recurrent modules of a model, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)}


def choose_states(model: nn.Module, named: tuple[str, ...]) -> list[tuple[str, nn.RNNBase]]:
    """Return the recurrent modules whose hidden units are to be sites: all, or those of some names.

    Raises
    ------
    ModelError
        There are none, a name is none of them, or one that is wanted cannot be cut.
    """
    layers = recurrent_layers(model)
    free = [name for name, layer in layers.items() if not why_no_states(model, layer)]
    remedy = (
        f'Choose among {", ".join(free)}, as in sites = "states:{free[0]}".' if free else 'Choose sites = "inputs".'
    )
    if not layers:
        raise ModelError(
            f"{type(model).__name__} has no nn.RNN, nn.LSTM or nn.GRU, so there are no states to drop. Choose other sites, such as "
            '"inputs" or "units".'
        )
    for name in named:
        if name not in layers:
            modules = dict(model.named_modules())
            got = f"is a {type(modules[name]).__name__}, no recurrent layer" if name in modules else "does not exist"
            raise ModelError(f"layer {name!r} {got} in {type(model).__name__}, so it has no states. {remedy}")
    chosen = [(name, layer) for name, layer in layers.items() if not named or name in named]
    for name, layer in chosen:
        if why := why_no_states(model, layer):
            raise ModelError(f"the states of {name!r} cannot be sites: {why}. {remedy}")
    return chosen


def why_no_states(model: nn.Module, layer: nn.RNNBase) -> str:
    """Why the hidden units of a recurrent layer cannot be sites; "" if they can."""
    if type(layer) not in BLOCKS:
        return f"it is a {type(layer).__name__} of another class than nn.RNN, nn.LSTM and nn.GRU"
    if layer.proj_size:
        return "it projects its states (proj_size), so what it returns are no hidden units"
    if any(each.weight_hh not in layer._parameters for each in directions_of(layer)):
        return "its weights are computed from others"
    own = {id(tensor) for tensor in layer.parameters()}
    others = (module for module in model.modules() if module is not layer)
    if any(id(tensor) in own for module in others for tensor in module._parameters.values()):
        return "its weights are those of another layer too"
    return ""
