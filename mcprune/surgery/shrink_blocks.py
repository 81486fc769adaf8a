"""Cut heads, neurons and whole sub-blocks out of a transformer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from mcprune.errors import ConfigError, ModelError, brief
from mcprune.models.attention import NarrowAttention, PlainAttention, Skipped, new_linear
from mcprune.models.forward import home, rows_that_run, run_model
from mcprune.models.modes import plain_attention
from mcprune.models.projections import has_bias, is_projection, keep_inputs, keep_outputs, matrix, n_outputs
from mcprune.sites.blocks.description import Rows, SubBlock
from mcprune.sites.blocks.finders.names import HEADS, SHARED_HEADS
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.surgery.agreement import require_agreement


def shrink_blocks(model: nn.Module, sites: SiteMap, mask: torch.Tensor, rows: tuple[int, ...]) -> nn.Module:
    """Return a copy without the dropped heads, neurons and sub-blocks; sites of other kinds stay.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    sites : SiteMap
    mask : Tensor of bool, shape (N,)
        Of all sites.
    rows : tuple of int
        Shape of one row as the model takes it.

    Returns
    -------
    nn.Module
        Of the same class. Projections are narrower, lists of experts shorter; torch's MultiheadAttention becomes a
        `NarrowAttention`, and an attention of a user's own whose code fixes its number of features a `PlainAttention`. In place
        of a removed sub-block is a `Skipped`.

    Raises
    ------
    ConfigError
        A layer keeps no head, neuron or expert.
    ModelError
        The outputs differ from the masked model's on random rows, in float64; the message names the layer.
    """
    for group in sites.blocks:
        if group.kind != "blocks" and not bool(mask[group.start : group.stop].any()):
            raise ConfigError(
                f"The mask keeps none of the {group.size} {group.kind} of {group.layer!r}, and a layer without them cannot be built. "
                "Keep at least one, or choose sites='blocks' to remove whole layers."
            )
    cutter = _Cutter(model, {group: mask[group.start : group.stop] for group in sites.blocks}, rows)
    small = cutter.cut(sites.blocks)
    if cutter.why_not(small, sites.blocks):
        for group in sites.blocks:
            cutter.settle(group)
        small = cutter.cut(sites.blocks)
        if why := cutter.why_not(small, sites.blocks):
            raise ModelError(f"{type(model).__name__} cannot be cut: {why}. Choose sites='inputs'.")
    dtype, device = home(model)
    return small.to(device=device, dtype=dtype).train(model.training)


class _Cutter:
    """Cuts copies of a model in float64, and compares them with the masked one.

    Parameters
    ----------
    model : nn.Module
    flags : mapping of SiteGroup to Tensor of bool
        What is kept of each group.
    rows : tuple of int
    """

    def __init__(self, model: nn.Module, flags: Mapping[SiteGroup, torch.Tensor], rows: tuple[int, ...]) -> None:
        self.name = type(model).__name__
        self.original = copy.deepcopy(model).cpu().double().eval()
        self.dtype = torch.float64
        self.flags, self.rows = flags, rows
        if not _runs(self.original, rows):  # some operators know no float64
            self.original = copy.deepcopy(model).cpu().eval()
            self.dtype = home(self.original)[0]
        self.calls = _calls(self.original, [_block(group) for group in flags], rows)
        self.is_causal: dict[str, bool] = {}  # of the attentions that are replaced
        self.with_config: set[str] = set()  # attentions that read their heads from a configuration

    def cut(self, groups: Sequence[SiteGroup]) -> nn.Module:
        """Return a copy without what is dropped of some groups."""
        small = copy.deepcopy(self.original)
        gone = {group.layer for group in groups if group.kind == "blocks" and not bool(self.flags[group][0])}
        for group in groups:
            block, kept = _block(group), self.flags[group].nonzero().flatten()
            if group.kind == "blocks":
                if not kept.numel():
                    _remove(small, block, self.calls)
            elif kept.numel() < group.size and group.layer not in gone:
                if block.layer in self.is_causal:
                    _put(small, block.whole, self._plain(small, block, kept))
                else:
                    _narrow(small, block, kept)
                    if block.layer in self.with_config:
                        _own_config(small, block, kept.numel())
        return small

    def why_not(self, small: nn.Module, groups: Sequence[SiteGroup]) -> str:
        """Return how a copy that lacks what is dropped of some groups differs from the masked model; "" if it does not."""
        starts = [sum(group.size for group in groups[:place]) for place in range(len(groups))]
        part = SiteMap(tuple(replace(group, start=start) for group, start in zip(groups, starts, strict=True)))
        masked, mask = GatedModel(self.original, part), torch.cat([self.flags[group] for group in groups])
        try:
            require_agreement(masked, small.eval(), mask, self.rows, self.dtype)
        except ModelError as error:
            why = brief(error, 300).partition(". Pass input_shape")[0].partition(": its forward pass")[0]
            return why.replace(
                f"{self.name} could not be run on rows of shape {self.rows}", "the smaller model cannot be run"
            )
        return ""

    def settle(self, group: SiteGroup) -> None:
        """Choose how a group is cut: narrower layers, with a configuration of their own, or a plain attention in their place.

        Raises
        ------
        ModelError
            Neither gives the outputs of the masked model.
        """
        block = _block(group)
        why = self.why_not(self.cut([group]), [group])
        if why and group.kind == "heads" and _has_config(self.original, block):
            self.with_config.add(block.layer)
            if not self.why_not(self.cut([group]), [group]):
                return
            self.with_config.remove(block.layer)
        if why and group.kind == "heads" and _may_be_plain(self.original, block, self.calls):
            for is_causal in (False, True):
                self.is_causal[block.layer] = is_causal
                if not self.why_not(self.cut([group]), [group]):
                    return
            del self.is_causal[block.layer]
        if why:
            raise ModelError(
                f"The {group.kind} of {group.layer!r} cannot be cut out of {self.name}: {why}. Leave that layer out of the sites."
            )

    def _plain(self, model: nn.Module, block: SubBlock, kept: torch.Tensor) -> PlainAttention:
        parts = []
        for rows in block.writes:
            layer = model.get_submodule(rows.layer)
            parts.append(new_linear(matrix(layer), _bias(layer), _rows(rows, kept)))
        out = model.get_submodule(block.out)
        parts.append(new_linear(matrix(out)[:, _rows(Rows(block.out, 0, block.spread), kept)], _bias(out)))
        head_dim = block.spread // block.query_heads
        returns = self.calls[block.whole].returns
        return PlainAttention(parts, head_dim, is_causal=self.is_causal[block.layer], returns=returns)


def _block(group: SiteGroup) -> SubBlock:
    assert group.block is not None
    return group.block


def _bias(layer: nn.Module) -> torch.Tensor | None:
    return layer.get_parameter("bias") if has_bias(layer) else None


def _rows(rows: Rows, kept: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(rows.of(kept.numpy()))


def _runs(model: nn.Module, rows: tuple[int, ...]) -> bool:
    """Whether a model can be run in its dtype."""
    try:
        with torch.no_grad(), plain_attention():
            model(rows_that_run(model, rows).to(home(model)[0]))
    except Exception:  # the user's own code
        return False
    return True


def _has_config(model: nn.Module, block: SubBlock) -> bool:
    """Whether an attention has a configuration that counts its heads."""
    config = getattr(dict(model.named_modules()).get(block.layer), "config", None)
    return any(hasattr(config, name) for name in (*HEADS, *SHARED_HEADS))


def _own_config(model: nn.Module, block: SubBlock, kept: int) -> None:
    """Give an attention a copy of its configuration with the heads that are left."""
    module = model.get_submodule(block.layer)
    config = copy.copy(module.config)
    for names, each in ((HEADS, block.query_heads), (SHARED_HEADS, 1)):
        for name in names:
            if isinstance(getattr(config, name, None), int):
                setattr(config, name, each * kept)
    module.config = config


def _may_be_plain(model: nn.Module, block: SubBlock, calls: Mapping[str, Call]) -> bool:
    """Whether a plain self-attention can stand for an attention: it has only its projections, and is called on one tensor."""
    if not block.whole or len(block.writes) != 3 or not calls[block.whole].is_of_one:
        return False
    known = {id(tensor) for part in block.parts for tensor in model.get_submodule(part).parameters()}
    return all(id(tensor) in known for tensor in model.get_submodule(block.whole).parameters())


class Call(NamedTuple):
    """How a module is called.

    Attributes
    ----------
    returns : int
        Values that it returns as a tuple; 0: a tensor.
    is_of_one : bool
        It gets one tensor and nothing else.
    """

    returns: int
    is_of_one: bool


def _calls(model: nn.Module, blocks: Sequence[SubBlock], rows: tuple[int, ...]) -> dict[str, Call]:
    """Return how the modules of sub-blocks are called."""
    out: dict[str, Call] = {}

    def noted(name: str) -> Callable[..., None]:
        def note(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], values: object) -> None:
            passed = [each for each in (*args, *kwargs.values()) if each is not None and each is not False]
            is_of_one = len(passed) == 1 and isinstance(passed[0], torch.Tensor)
            out[name] = Call(len(values) if isinstance(values, tuple) else 0, is_of_one)

        return note

    names = {name for block in blocks for name in (block.whole, *block.entries) if name}
    hooks = [model.get_submodule(name).register_forward_hook(noted(name), with_kwargs=True) for name in names]
    try:
        with torch.no_grad(), plain_attention():
            run_model(lambda: model(rows_that_run(model, rows).to(home(model)[0])), model, rows)
    finally:
        for hook in hooks:
            hook.remove()
    return out


def _narrow(model: nn.Module, block: SubBlock, kept: torch.Tensor) -> None:
    """Keep some inner sites of a sub-block, in place."""
    out = model.get_submodule(block.out)
    if isinstance(out, nn.MultiheadAttention):
        _put(model, block.out, NarrowAttention(out, tuple(kept.tolist())))
        return
    by_layer: dict[str, list[torch.Tensor]] = {}
    for rows in block.writes:
        by_layer.setdefault(rows.layer, []).append(_rows(rows, kept))
    for name, parts in by_layer.items():
        keep_outputs(model.get_submodule(name), torch.cat(parts))
    if block.members:
        experts = [model.get_submodule(block.members[place]) for place in kept.tolist()]
        _put(model, block.members[0].rpartition(".")[0], nn.ModuleList(experts))
    else:
        keep_inputs(out, _rows(Rows(block.out, 0, block.spread), kept))
    for number in block.numbers:
        setattr(model.get_submodule(number.layer), number.attribute, number.of(kept.numel()))


def _remove(model: nn.Module, block: SubBlock, calls: Mapping[str, Call]) -> None:
    """Remove a sub-block, in place: nothing is added to the residual stream."""
    out = model.get_submodule(block.out)
    features = out.embed_dim if isinstance(out, nn.MultiheadAttention) else n_outputs(out)
    if block.whole:
        batch_first = out.batch_first if isinstance(out, nn.MultiheadAttention) else True
        _put(
            model,
            block.whole,
            Skipped(features, calls[block.whole].returns, batch_first=batch_first),
        )
        return
    for name in block.entries:
        is_layer = is_projection(model.get_submodule(name))
        _put(model, name, nn.Identity() if is_layer else Skipped(features, calls[name].returns))
    _put(model, block.out, Skipped(features))


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in another one's place, and keep torch's encoders from reading weights that are gone."""
    around, _, last = name.rpartition(".")
    parent = model.get_submodule(around)
    module.train(model.get_submodule(name).training)
    setattr(parent, last, module)
    if isinstance(parent, nn.TransformerEncoderLayer):
        parent.activation_relu_or_gelu = 0
    names = name.split(".")
    for depth in range(len(names)):
        above = model.get_submodule(".".join(names[:depth]))
        if isinstance(above, nn.TransformerEncoder):
            above.use_nested_tensor = False
