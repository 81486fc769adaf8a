"""Sites: what can be dropped, and where each kind of it lies in the one flat vector that the chain moves."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mcprune.errors import ConfigError, ModelError
from mcprune.models.forward import zero_rows
from mcprune.models.modes import evaluating
from mcprune.sites.blocks.description import KINDS as BLOCK_KINDS
from mcprune.sites.blocks.description import SubBlock, kind_and_size
from mcprune.sites.blocks.find import choose_blocks
from mcprune.sites.channels.choice import choose_groups, units_behind_norms
from mcprune.sites.row_axes import AXES
from mcprune.sites.states import choose_states
from mcprune.sites.weights import element_names, size_of, weight_layers
from mcprune.types import AnyArray

KINDS = ("inputs", "units", "channels", "weights", "states", *BLOCK_KINDS)


@dataclass(frozen=True)
class SiteGroup:
    """Sites of one kind in one place: flat indices start .. start + size - 1.

    Attributes
    ----------
    kind : "inputs", "units", "channels", "weights", "states", "heads", "neurons", "experts" or "blocks"
    layer : str
        Name of the place: the module, as ``model.named_modules()`` gives it, whose outputs (units, channels) or whose
        elements of ``weight`` (weights, row by row) are the sites; "" for inputs.
    start, size : int
    parts : tuple of str
        Modules with parameters that belong to these sites, one slice of dimension 0 a site: the layer itself, its
        batch-norm, depthwise layers behind it, and layers whose outputs are added to its. Empty for inputs and weights.
    gated : tuple of str
        Modules whose outputs (dimension 1) the gates multiply. Empty for inputs and weights.
    shape : tuple of int
        Of the weight whose elements are the sites; empty for other kinds.
    block : SubBlock or None
        The sub-block of a transformer whose heads, neurons or experts are the sites, or which is itself the only site of the group;
        None for other kinds.
    """

    kind: str
    layer: str
    start: int
    size: int
    parts: tuple[str, ...] = ()
    gated: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    block: SubBlock | None = None

    @property
    def stop(self) -> int:
        """One past the last flat index."""
        return self.start + self.size

    @property
    def places(self) -> tuple[str, ...]:
        """Modules whose outputs are gated: units at their own layer and a normalisation over them, channels where the structure says."""
        return self.gated or (self.layer,)


@dataclass(frozen=True)
class SiteMap:
    """All sites of a run; groups are contiguous and in order.

    Attributes
    ----------
    groups : tuple of SiteGroup
    """

    groups: tuple[SiteGroup, ...]

    @property
    def size(self) -> int:
        """N, the number of sites."""
        return self.groups[-1].stop if self.groups else 0

    @property
    def inputs(self) -> SiteGroup | None:
        """The group of inputs, if inputs are sites."""
        return next((group for group in self.groups if group.kind == "inputs"), None)

    @property
    def units(self) -> tuple[SiteGroup, ...]:
        """The groups of hidden units, in the model's order."""
        return tuple(group for group in self.groups if group.kind == "units")

    @property
    def channels(self) -> tuple[SiteGroup, ...]:
        """The groups of channels, in the model's order."""
        return tuple(group for group in self.groups if group.kind == "channels")

    @property
    def weights(self) -> tuple[SiteGroup, ...]:
        """The groups of single weights, in the model's order."""
        return tuple(group for group in self.groups if group.kind == "weights")

    @property
    def states(self) -> tuple[SiteGroup, ...]:
        """The groups of hidden units of recurrent layers, in the model's order."""
        return tuple(group for group in self.groups if group.kind == "states")

    @property
    def blocks(self) -> tuple[SiteGroup, ...]:
        """The groups of heads, neurons, experts and sub-blocks of transformers."""
        return tuple(group for group in self.groups if group.block is not None)

    def names(self, feature_names: Sequence[str] | None = None) -> tuple[str, ...]:
        """One name a site.

        Parameters
        ----------
        feature_names : sequence of str, optional
            Names of the inputs; without them an input is called ``input[3]``. Unit 3 of layers.0 is
            ``layers.0[3]``, its weight for input 7 ``layers.0.weight[3,7]``.

        Raises
        ------
        ConfigError
            If there are not as many feature names as inputs.
        """
        names: list[str] = []
        for group in self.groups:
            if group.kind == "inputs" and feature_names is not None:
                if len(feature_names) != group.size:
                    raise ConfigError(
                        f"{len(feature_names)} feature names for {group.size} inputs. Give one name for each input."
                    )
                names.extend(str(name) for name in feature_names)
            elif group.kind == "weights":
                names.extend(element_names(group.layer, group.shape))
            elif group.kind == "blocks":
                names.append(group.layer)
            else:
                prefix = group.layer or "input"
                names.extend(f"{prefix}[{index}]" for index in range(group.size))
        return tuple(names)

    @overload
    def split(self, vector: torch.Tensor) -> tuple[torch.Tensor, ...]: ...
    @overload
    def split(self, vector: AnyArray) -> tuple[AnyArray, ...]: ...
    def split(self, vector: torch.Tensor | AnyArray) -> tuple[torch.Tensor | AnyArray, ...]:
        """Return views of ``vector`` (..., N), one (..., size) for each group.

        Raises
        ------
        ConfigError
            If the last side is not N.
        """
        if vector.ndim == 0 or vector.shape[-1] != self.size:
            raise ConfigError(
                f"a vector of shape {tuple(vector.shape)} for {self.size} sites. Its last side must be {self.size}."
            )
        return tuple(vector[..., group.start : group.stop] for group in self.groups)


def site_map(model: nn.Module, kinds: str, n_inputs: int, *, input_shape: Sequence[int] | None = None) -> SiteMap:
    """Plan the sites of a model.

    Parameters
    ----------
    model : nn.Module
        Any classifier; for ``units`` it must have Linear layers.
    kinds : str
        ``inputs``, ``units``, ``inputs,units``, or ``units:NAME,NAME`` with module names:
        ``inputs,units:layers.0``. ``units`` alone means every Linear but the last one that runs, which gives
        the logits. ``channels`` are those of every group of convolutions that belong together, or of the groups
        that hold the named layers. ``weights`` are those of every Linear and Conv2d, one site an element, or of the
        named ones. ``states`` are the hidden units of every nn.RNN, nn.LSTM and nn.GRU, in all of its layers and both
        directions. ``heads`` are those of every attention, ``neurons`` the hidden units of every feed-forward layer of a
        transformer (``neurons/16``: 16 in a row are one site), ``experts`` those of every mixture, ``blocks`` the attention
        and feed-forward layers as a whole.
    n_inputs : int
        Features of one row, flattened.
    input_shape : sequence of int, optional
        Shape of one row as the model takes it, by default flat; ``channels`` are found by running the model on such rows.

    Returns
    -------
    SiteMap
        Inputs first, then layers in the model's order, whatever order ``kinds`` names them in: equal choices
        number their sites equally.

    Raises
    ------
    ConfigError
        If ``kinds`` cannot be read.
    ModelError
        If a layer is missing, is not a Linear, is the last Linear, or has no shape yet; or if channels are
        tied in a way that is not understood.
    """
    named = parse_kinds(kinds)
    groups: list[SiteGroup] = []

    def add(kind: str, layer: str, size: int, parts: tuple[str, ...] = (), gated: tuple[str, ...] = ()) -> None:
        groups.append(SiteGroup(kind, layer, groups[-1].stop if groups else 0, size, parts, gated))

    if "inputs" in named:
        if n_inputs < 1:
            raise ConfigError(f"n_inputs={n_inputs}, but inputs are to be sites. Give the number of features of a row.")
        add("inputs", "", n_inputs)
    if "units" in named:
        shape = tuple(input_shape or (n_inputs,))
        gated = units_behind_norms(model, shape)
        for name, layer in _unit_layers(model, named["units"], shape):
            add("units", name, layer.out_features, (name,), gated.get(name, (name,)))
    if "channels" in named:
        for channels in choose_groups(model, named["channels"], input_shape or (n_inputs,)):
            add("channels", channels.layer, channels.size, channels.parts, channels.gated)
    if "weights" in named:
        for name, shape in weight_layers(model, named["weights"]):
            start = groups[-1].stop if groups else 0
            groups.append(SiteGroup("weights", name, start, size_of(shape), shape=shape))
    if "states" in named:
        for name, recurrent in choose_states(model, named["states"]):
            add("states", name, recurrent.hidden_size, (name,), (name,))
    for text in sorted(named, key=lambda text: KINDS.index(_base(text))):
        kind = kind_and_size(text)[0]
        for block in choose_blocks(model, text, named[text], input_shape or (n_inputs,)) if kind in BLOCK_KINDS else ():
            start = groups[-1].stop if groups else 0
            size = 1 if kind == "blocks" else block.size
            groups.append(SiteGroup(kind, block.layer, start, size, block.parts, (block.out,), block=block))
    return SiteMap(tuple(groups))


def parse_kinds(kinds: str) -> dict[str, tuple[str, ...]]:
    """Read ``kinds`` into the layers named for each kind; none named means all that can be."""
    listing = ", ".join(f'"{kind}"' for kind in KINDS)
    remedy = f'Write {listing}, some of them, or layer names as in "units:layers.0,layers.2".'
    named: dict[str, list[str]] = {}
    current = ""
    for token in (part.strip() for part in kinds.split(",")):
        kind, colon, name = (part.strip() for part in token.partition(":"))
        if _base(kind) in KINDS:
            if _base(kind) in map(_base, named):
                raise ConfigError(f"sites={kinds!r} names {kind!r} twice. {remedy}")
            if colon and (kind == "inputs" or not name):
                raise ConfigError(f"sites={kinds!r}: {token!r} cannot be read. {remedy}")
            named[kind] = [name] if colon else []
            current = kind if colon else ""
        elif current and token and not colon:
            named[current].append(token)
        else:
            near = difflib.get_close_matches(kind, KINDS, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            if kind == "digits":
                guess = " Signed digits are those of a network in fixed point: mcprune run --sites digits, or mcprune polish."
            if kind in AXES:
                guess = f" Runs tie the inputs of {kind}: mcprune run --sites {kind}."
            raise ConfigError(f"sites={kinds!r}: {token!r} is no kind of site.{guess} {remedy}")
    if any(len(set(layers)) != len(layers) for layers in named.values()):
        raise ConfigError(f"sites={kinds!r} names a layer twice. {remedy}")
    return {kind: tuple(layers) for kind, layers in named.items()}


def _base(text: str) -> str:
    """Return the kind of "neurons/16"; "" where there is no such."""
    try:
        return kind_and_size(text)[0]
    except ValueError:
        return ""


def hidden_layers(model: nn.Module, shape: Sequence[int]) -> dict[str, nn.Linear]:
    """Every Linear but the one that gives the outputs, by name: the last one that runs, whatever the order of registration.

    Parameters
    ----------
    model : nn.Module
    shape : sequence of int
        Of a row; where the model cannot be run on such rows, the last Linear that was registered gives the outputs.
    """
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    order = _calls(model, linear, shape)
    last = order[-1] if order else next(reversed(linear), "")
    return {name: layer for name, layer in linear.items() if name != last}


def _calls(model: nn.Module, layers: Mapping[str, nn.Module], shape: Sequence[int]) -> list[str]:
    """Return the names of the layers in the order in which they run; empty where the model cannot be run, or has layers without shapes."""
    order: list[str] = []
    if any(is_lazy(parameter) for parameter in model.parameters()):  # a run would give them their shapes
        return order
    hooks = [layer.register_forward_hook(lambda *_, name=name: order.append(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad(), evaluating(model):
            model(zero_rows(model, 2, shape))
    except Exception:  # the user's own code; who runs the model says what is wrong
        return []
    finally:
        for hook in hooks:
            hook.remove()
    return order


def _unit_layers(model: nn.Module, named: tuple[str, ...], shape: Sequence[int]) -> list[tuple[str, nn.Linear]]:
    hidden = hidden_layers(model, shape)
    linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    listing = ", ".join(hidden)
    if not hidden:
        raise ModelError(
            f"{type(model).__name__} has {len(linear)} Linear layer(s), so none is hidden and there are no "
            "units to drop. "
            'Choose sites = "inputs", or a model with a hidden Linear layer.'
        )
    modules = dict(model.named_modules())
    for name in named:
        if name in linear and name not in hidden:
            raise ModelError(
                f"layer {name!r} is the last Linear: its outputs are the logits, which are not dropped. "
                f"Choose among {listing}."
            )
        if name not in hidden:
            kind = type(modules[name]).__name__ if name in modules else None
            got = f"is a {kind}, not a Linear" if kind else "does not exist"
            raise ModelError(f"layer {name!r} {got} in {type(model).__name__}. Choose among {listing}.")
    chosen = [(name, layer) for name, layer in hidden.items() if not named or name in named]
    for name, layer in chosen:
        if is_lazy(layer.weight):
            raise ModelError(
                f"layer {name!r} has no shape yet. Run the model once on a row before its units become sites."
            )
    return chosen
