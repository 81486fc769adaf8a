"""A classifier seen through gates: every site's signal is multiplied by a number between 0 and 1."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from mcprune.errors import ConfigError, ModelError
from mcprune.models.adapters import hard_columns
from mcprune.models.mlp import MLP
from mcprune.models.modes import evaluating
from mcprune.sites.block_gates import block_gates
from mcprune.sites.channels.calls import TRANSPOSED
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.sites.state_gates import state_gates, state_weights
from mcprune.types import BoolArray, FloatArray


def hard_gates(
    mask: BoolArray | torch.Tensor, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Gates 1 where the mask keeps and 0 where it drops, same shape as the mask."""
    return as_mask(mask).to(device=device, dtype=dtype)


def as_mask(mask: BoolArray | torch.Tensor) -> torch.Tensor:
    """Return the mask as a tensor on the CPU; an array is copied, so it may be read-only or reversed."""
    if isinstance(mask, torch.Tensor):
        return mask.detach().cpu()
    return torch.from_numpy(np.array(mask, order="C"))


class GatedModel(nn.Module):
    """A classifier whose forward pass takes gates.

    Parameters
    ----------
    model : nn.Module
        Any classifier of (B, ...) rows. It is shared, not copied; its parameters are the only ones.
    sites : SiteMap
        Inputs are multiplied where they enter (the flattened row; it gets its shape back). Units are
        multiplied at the OUTPUT of their Linear layer, before the activation: a dropped unit of a sigmoid
        layer still sends 0.5; and again behind a normalisation over all of them. Channels are multiplied at the
        outputs of the modules that their group names in ``gated``. Single weights are multiplied while the model
        runs; it keeps its own.

    Raises
    ------
    ModelError
        If a layer of ``sites`` is missing in the model or has another width.

    Notes
    -----
    Hooks exist on the model's layers only while ``forward`` runs, so outside of it the model is exactly the
    user's. Two threads must not run one model at the same time.
    """

    def __init__(self, model: nn.Module, sites: SiteMap) -> None:
        super().__init__()
        self.model = model
        self.sites = sites
        self._inputs = sites.inputs
        self._hard = None if sites.inputs is None else hard_columns(model, sites.inputs.size)
        modules = dict(model.named_modules())
        for group in sites.units:
            layer = modules.get(group.layer)
            if not isinstance(layer, nn.Linear) or layer.out_features != group.size:
                got = "there is no such layer" if layer is None else f"it is {layer}"
                raise ModelError(
                    f"the sites need layer {group.layer!r} to be a Linear with {group.size} outputs, but "
                    f"{got}. Plan the sites again with site_map(model, ...)."
                )
        for group in sites.channels:
            missing = [name for name in (*group.parts, *group.gated) if name not in modules]
            layer = modules.get(group.layer)
            width = layer.out_channels if isinstance(layer, TRANSPOSED) else len(getattr(layer, "weight", ()))
            if missing or width != group.size:
                got = f"{missing[0]!r} is missing" if missing else f"it has {width}"
                raise ModelError(
                    f"the sites need layer {group.layer!r} to have {group.size} channels, but {got}. "
                    "Plan the sites again with site_map(model, ...)."
                )
        for group in sites.blocks:
            missing = [name for name in (*group.parts, *group.gated) if name not in modules]
            if missing:
                raise ModelError(
                    f"the sites need layer {missing[0]!r}, which {type(model).__name__} does not have. "
                    "Plan the sites again with site_map(model, ...)."
                )
        for group in sites.states:
            layer = modules.get(group.layer)
            if not isinstance(layer, nn.RNNBase) or layer.hidden_size != group.size:
                raise ModelError(
                    f"the sites need layer {group.layer!r} to be recurrent with {group.size} hidden units. Plan the sites again with "
                    "site_map(model, ...)."
                )
        for group in sites.weights:
            weight = getattr(modules.get(group.layer), "weight", None)
            if not isinstance(weight, torch.Tensor) or tuple(weight.shape) != group.shape:
                got = "there is none" if weight is None else f"it has shape {tuple(weight.shape)}"
                raise ModelError(
                    f"the sites need the weight of layer {group.layer!r} to have shape {group.shape}, but {got}. "
                    "Plan the sites again with site_map(model, ...)."
                )

    def hard_gates(self, mask: BoolArray | torch.Tensor) -> torch.Tensor:
        """`hard_gates` in the dtype and on the device of the model's parameters."""
        for parameter in self.model.parameters():
            return hard_gates(mask, dtype=parameter.dtype, device=parameter.device)
        return hard_gates(mask)

    def forward(self, x: torch.Tensor, gates: torch.Tensor, *, is_partial: bool = False) -> torch.Tensor:
        """Logits of the gated classifier.

        Parameters
        ----------
        x : Tensor, shape (B, ...)
            If inputs are sites, the sides after the first multiply to their number.
        gates : Tensor, shape (N,) or (B, N)
            One gate a site for all rows, or for each row (not where weights are sites: all rows share them). Taken to the
            dtype of what it multiplies; gradients flow.
        is_partial : bool
            Some modules do not run, since what they return is known: none is missed.

        Returns
        -------
        Tensor, shape (B, C)
            With all gates 1 it equals ``model(x)`` bit for bit.

        Raises
        ------
        ConfigError
            If shapes do not fit.
        ModelError
            If the model's forward pass does not call a layer whose outputs are gated (attention blocks read the
            weights of some Linear layers without calling them): its gates would have no effect, without an error.
        """
        if gates.shape[-1:] != (self.sites.size,) or (gates.dim() == 2 and gates.shape[0] != x.shape[0]):
            raise ConfigError(
                f"gates of shape {tuple(gates.shape)} for {self.sites.size} sites and {x.shape[0]} rows. "
                f"Give ({self.sites.size},) or ({x.shape[0]}, {self.sites.size})."
            )
        if self._inputs is not None:
            x = self._gate_inputs(x, gates, self._inputs)
        places = self.sites.units + self.sites.channels
        blocks, states = self.sites.blocks, self.sites.states
        weights = self._gated_weights(gates)
        if not places and not blocks and not states:
            return self._run(x, weights)
        called: set[str] = set()
        handles = []
        try:
            for group in places:
                handles += gate_hooks(self.model, group, gates, called)
            with block_gates(self.model, blocks, gates, called), state_gates(self.model, states, gates, called):
                logits = self._run(x, weights)
        finally:
            for handle in handles:
                handle.remove()
        missing = next(
            (name for group in (*places, *blocks, *states) for name in group.places if name not in called), None
        )
        if missing is not None and not is_partial:
            raise ModelError(
                f"layer {missing!r} is not called when {type(self.model).__name__} runs, so gates on "
                "its outputs would do nothing. Name the layers that are to have sites, without this one."
            )
        return logits

    def _run(self, x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = functional_call(self.model, weights, (x,)) if weights else self.model(x)
        return logits

    def _gated_weights(self, gates: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the weights that are sites, by their names as parameters, times their gates."""
        out = state_weights(self.model, self.sites.states, gates) if gates.dim() == 1 else {}
        for group in self.sites.weights:
            if gates.dim() != 1:
                raise ConfigError(
                    f"gates of shape {tuple(gates.shape)}, but weights are sites, which all rows share. "
                    f"Give ({self.sites.size},)."
                )
            weight = self.model.get_submodule(group.layer).weight
            assert isinstance(weight, torch.Tensor)
            name = f"{group.layer}.weight" if group.layer else "weight"
            out[name] = weight * _like(gates[group.start : group.stop].view(group.shape), weight)
        return out

    @property
    def takes_columns(self) -> bool:
        """Whether `of_columns` can be used: a plain MLP whose sites are its inputs and nothing else."""
        return type(self.model) is MLP and [group.kind for group in self.sites.groups] == ["inputs"]

    def of_columns(self, x: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Logits of gated rows that hold some inputs only, the others being 0.

        Parameters
        ----------
        x : Tensor, shape (B, M)
            The inputs `columns` of each row, already multiplied by their gates.
        columns : Tensor of int64, shape (M,)

        Returns
        -------
        Tensor, shape (B, C)
            Those of ``forward`` up to rounding: the sums leave the zeros out.
        """
        assert isinstance(self.model, MLP)
        first = self.model.layers[0]
        assert isinstance(first, nn.Linear)
        signal = functional.linear(x, first.weight.index_select(1, columns), first.bias)
        logits: torch.Tensor = self.model.layers[1:](signal)
        return logits

    def _gate_inputs(self, x: torch.Tensor, gates: torch.Tensor, group: SiteGroup) -> torch.Tensor:
        flat = x.flatten(1)
        if flat.shape[1] != group.size:
            raise ConfigError(
                f"rows of shape {tuple(x.shape[1:])} hold {flat.shape[1]} features, but {group.size} inputs "
                "are sites. Give the rows that the sites were planned for."
            )
        chosen = gates[..., group.start : group.stop]
        if self._hard is not None:
            chosen = torch.where(self._hard.to(chosen.device), (chosen > 0.5).to(chosen.dtype), chosen)
        return (flat * _like(chosen, flat)).view(x.shape)


def _like(gates: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
    return gates.to(signal.dtype) if signal.is_floating_point() else gates


def gate_hooks(
    model: nn.Module,
    group: SiteGroup,
    gates: torch.Tensor,
    called: set[str],
) -> list[RemovableHandle]:
    """Set the forward hooks that gate a group of units or channels, and note the names of the modules that are called.

    Parameters
    ----------
    model : nn.Module
    group : SiteGroup
    gates : Tensor, shape (N,) or (B, N)
        Of all sites.
    called : set of str
    """
    chosen = gates[..., group.start : group.stop]
    return [
        model.get_submodule(name).register_forward_hook(_multiplier(chosen, group.kind, name, called))
        for name in group.places
    ]


def gated_signal(signal: torch.Tensor, gates: torch.Tensor, kind: str) -> torch.Tensor:
    """Units (B, ..., size) or channels (B, size, ...) times their gates (size,) or (B, size)."""
    chosen = _like(gates, signal)
    if kind == "channels":
        chosen = chosen.view(*chosen.shape, *(1,) * (signal.dim() - 2))
    elif chosen.dim() == 2 and signal.dim() > 2:
        chosen = chosen.view(chosen.shape[0], *(1,) * (signal.dim() - 2), chosen.shape[1])
    return signal * chosen


def _multiplier(
    gates: torch.Tensor, kind: str, name: str, called: set[str]
) -> Callable[[nn.Module, object, torch.Tensor], torch.Tensor]:
    def hook(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        called.add(name)
        return gated_signal(output, gates, kind)

    return hook


def _input_sizes(layer: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the root mean square of the channel that each weight of a convolution reads, in a shape that broadcasts."""
    batched = x if x.dim() == weight.dim() else x[None]
    rms = batched.square().mean(dim=(0, *range(2, batched.dim()))).sqrt()
    ones = (1,) * (weight.dim() - 2)
    if isinstance(layer, TRANSPOSED):
        return rms.view(-1, 1, *ones)
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    groups = rms.view(layer.groups, 1, -1).expand(-1, weight.shape[0] // layer.groups, -1)
    return groups.reshape(weight.shape[0], weight.shape[1], *ones)


@torch.no_grad()
def effects(gated: GatedModel, rows: torch.Tensor) -> FloatArray:
    """Estimate how much each site matters, (N,): of a weight |w| times the root mean square of the signal that it multiplies.

    Sites of other kinds, and weights of layers that are not called, get the mean of the others.

    Parameters
    ----------
    gated : GatedModel
    rows : Tensor, shape (B, ...)
        They run through the model with all sites kept.
    """
    out = np.full(gated.sites.size, np.nan)
    groups = {group.layer: group for group in gated.sites.weights}
    handles = []

    def hook(group: SiteGroup) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].detach()
            weight = layer.get_parameter("weight").detach()
            if isinstance(layer, nn.Embedding):
                factor = torch.ones(())
            elif isinstance(layer, nn.Linear):
                factor = x.flatten(0, -2).square().mean(dim=0).sqrt()
            else:
                factor = _input_sizes(layer, x, weight)
            out[group.start : group.stop] = (weight.abs() * factor).flatten().double().cpu().numpy()

        return note

    for name, group in groups.items():
        handles.append(gated.model.get_submodule(name).register_forward_pre_hook(hook(group)))
    try:
        with evaluating(gated.model):
            gated.model(rows)
    finally:
        for handle in handles:
            handle.remove()
    known = np.isfinite(out)
    out[~known] = out[known].mean() if known.any() else 1.0
    return out
