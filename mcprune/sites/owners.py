"""Which site owns which element of which parameter, and sums of elements over sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mcprune.errors import ModelError
from mcprune.sites.blocks.description import SubBlock
from mcprune.sites.blocks.slices import block_slices
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.types import BoolArray, FloatArray


@dataclass(frozen=True)
class Owned:
    """A parameter tensor with elements that belong to sites of one group.

    Attributes
    ----------
    parameter : str
        Its name, as ``model.named_parameters()`` gives it.
    index : Tensor of int64
        The flat index of the site that owns each element, -1 for none; it has as many sides as the parameter and broadcasts to
        its shape.
    group : SiteGroup
    """

    parameter: str
    index: torch.Tensor
    group: SiteGroup


class Owners:
    """The parameter elements of all sites of a model.

    An input owns its column of the first Linear; a unit and a channel own one slice of dimension 0 of every parameter of their
    ``parts`` (row and bias of a Linear; filter, bias, batch-norm's scale and shift); a weight owns itself. An element may be owned
    once by a site of each group: the weight between an input and a unit belongs to both. Heads and neurons own rows of the projections
    that make them and columns of the one that reads them; a sub-block all of its parameters; an expert its own and its row of the
    router; a hidden unit of a recurrent layer its rows there.

    Parameters
    ----------
    model : nn.Module
    sites : SiteMap

    Raises
    ------
    ModelError
        A site owns nothing: inputs of a model that does not begin with a Linear, or a layer that is missing or of another size.
    """

    def __init__(self, model: nn.Module, sites: SiteMap) -> None:
        self.sites = sites
        # A tensor that several modules share goes by its first name.
        self._first = {id(tensor): name for name, tensor in model.named_parameters()}
        self._model = model
        self.parts: tuple[Owned, ...] = tuple(part for group in sites.groups for part in self._of(group))

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that sites own elements of, by name."""
        names = {part.parameter for part in self.parts}
        return {name: tensor for name, tensor in self._model.named_parameters() if name in names}

    def index(self, parameter: str, kind: str | None = None) -> torch.Tensor:
        """Return the owners (int64, broadcastable) of a parameter's elements among the sites of a kind; all -1 where there are none.

        Raises
        ------
        ModelError
            Sites of several kinds own its elements and no kind is named.
        """
        matches = [part for part in self.parts if part.parameter == parameter and kind in (None, part.group.kind)]
        if len(matches) > 1:
            kinds = ", ".join(part.group.kind for part in matches)
            raise ModelError(f"elements of {parameter!r} belong to sites of several kinds ({kinds}). Name one of them.")
        if matches:
            return matches[0].index
        return torch.full((1,) * dict(self._model.named_parameters())[parameter].dim(), -1)

    def sums(self, values: Mapping[str, torch.Tensor], kind: str = "") -> FloatArray:
        """Sum elements over what each site owns.

        Parameters
        ----------
        values : mapping of name to Tensor
            One tensor of its parameter's shape for each name; parameters that are not named add nothing.
        kind : str
            Only what belongs to modules of this type counts ("BatchNorm" for all its kinds); "" for all.

        Returns
        -------
        ndarray of float64, shape (N,)
        """
        out = np.zeros(self.sites.size)
        for part in self.parts:
            value = values.get(part.parameter)
            if value is None or not self._is_of(part.parameter, kind):
                continue
            # Sides over which all elements have one owner go first: scattering every single one costs as much as a pass.
            spread = [side for side, size in enumerate(part.index.shape) if size == 1 and value.shape[side] > 1]
            # float32 sums pairwise inside a slice are exact enough; sums of sums are float64.
            sums = value.sum(dim=spread, keepdim=True) if spread else value
            owner = part.index.expand(sums.shape).reshape(-1).numpy()
            flat = sums.reshape(-1).double().cpu().numpy()
            owned = owner >= 0
            out += np.bincount(owner[owned], weights=flat[owned], minlength=self.sites.size)
        return out

    def counts(self) -> FloatArray:
        """How many elements each site owns, shape (N,)."""
        return self.sums({name: torch.ones_like(tensor) for name, tensor in self.parameters.items()})

    def masked(self, mask: BoolArray | None) -> dict[str, torch.Tensor]:
        """Parameters as leaves of a graph, 0 where one of their owners is dropped.

        Under them the plain model gives the masked model's outputs.
        """
        out = {name: tensor.detach() for name, tensor in self.parameters.items()}
        if mask is not None and not mask.all():
            # The last place stands for -1: elements of no site stay.
            gates = torch.from_numpy(np.append(np.asarray(mask, np.float32), np.float32(1.0)))
            for part in self.parts:
                value = out[part.parameter]
                out[part.parameter] = value * gates[part.index].to(value)
        return {name: tensor.clone().requires_grad_() for name, tensor in out.items()}

    def _is_of(self, parameter: str, kind: str) -> bool:
        module = self._model.get_submodule(parameter.rpartition(".")[0])
        return not kind or kind in type(module).__name__

    def _of(self, group: SiteGroup) -> list[Owned]:
        numbers = torch.arange(group.start, group.stop)
        if group.block is not None:
            return self._of_block(group, group.block, numbers)
        if group.kind == "states":
            layer = self._model.get_submodule(group.layer)
            return [
                Owned(
                    self._first[id(p)], numbers.repeat(p.shape[0] // group.size).view(-1, *(1,) * (p.dim() - 1)), group
                )
                for p in layer.parameters()
            ]
        if group.kind == "inputs":
            name, layer = self._reader(group)
            return [Owned(self._first[id(layer.weight)], numbers.view(1, -1), group)]
        owned: dict[str, Owned] = {}
        for part in group.parts or (group.layer,):
            module = dict(self._model.named_modules()).get(part)
            if module is None:
                raise ModelError(
                    f"the sites name the layer {part!r}, which {type(self._model).__name__} does not have."
                )
            for own, tensor in module.named_parameters(recurse=False):
                name = self._first[id(tensor)]
                if group.kind == "weights":
                    if own == "weight" and tensor.numel() == group.size:
                        owned[name] = Owned(name, numbers.view(tensor.shape), group)
                elif tensor.dim() and tensor.shape[0] == group.size:
                    owned[name] = Owned(name, numbers.view(-1, *(1,) * (tensor.dim() - 1)), group)
        if not owned:
            raise ModelError(
                f"layer {group.layer!r} has no parameter for its {group.size} sites of kind {group.kind}. "
                "Plan the sites again with site_map(model, ...)."
            )
        return list(owned.values())

    def _of_experts(self, group: SiteGroup, block: SubBlock, numbers: torch.Tensor) -> list[Owned]:
        owned = [
            Owned(self._first[id(p)], numbers[place].view((1,) * p.dim()), group)
            for place, name in enumerate(block.members)
            for p in self._model.get_submodule(name).parameters()
        ]
        router = self._model.get_submodule(block.out).parameters()
        return owned + [Owned(self._first[id(p)], numbers.view(-1, *(1,) * (p.dim() - 1)), group) for p in router]

    def _of_block(self, group: SiteGroup, block: SubBlock, numbers: torch.Tensor) -> list[Owned]:
        """Return what heads or neurons own of projections, by rows and columns, or all that a sub-block has."""
        if group.kind == "experts":
            return self._of_experts(group, block, numbers)
        if group.kind == "blocks":
            inside = [block.whole] if block.whole else [*block.entries, block.out]
            names = {self._first[id(p)]: p for name in inside for p in self._model.get_submodule(name).parameters()}
            return [Owned(name, numbers.view((1,) * p.dim()), group) for name, p in names.items()]
        owners: dict[str, torch.Tensor] = {}
        for name, side, rows in block_slices(self._model, block):
            tensor = self._model.get_parameter(name)
            index = owners.setdefault(self._first[id(tensor)], torch.full((tensor.shape[side],), -1))
            index[torch.from_numpy(rows.of(np.arange(group.size)))] = numbers.repeat_interleave(rows.each)
        sides = {
            self._first[id(self._model.get_parameter(name))]: side for name, side, _ in block_slices(self._model, block)
        }
        return [
            Owned(name, index.view([-1 if side == sides[name] else 1 for side in range(dim)]), group)
            for name, index in owners.items()
            for dim in (self._model.get_parameter(name).dim(),)
        ]

    def norms(self) -> FloatArray:
        """Return the norm of all elements that each site owns, shape (N,)."""
        return np.sqrt(self.sums({name: tensor.detach().square() for name, tensor in self.parameters.items()}))

    def _reader(self, group: SiteGroup) -> tuple[str, nn.Linear]:
        """Return the Linear that reads the inputs, if it is the first layer with parameters."""
        first = next(
            ((name, module) for name, module in self._model.named_modules() if list(module.parameters(recurse=False))),
            None,
        )
        if first is None or not isinstance(first[1], nn.Linear) or first[1].in_features != group.size:
            reason = (
                "it has no parameters"
                if first is None
                else f"its first layer, {first[0]!r}, is a {type(first[1]).__name__}"
            )
            raise ModelError(
                f"inputs own the columns of a Linear with {group.size} inputs at the front of a model, but of "
                f"{type(self._model).__name__} {reason}. Prune its units, channels or weights by importance, or its inputs by "
                "--method markov or gradient."
            )
        return first[0], first[1]
