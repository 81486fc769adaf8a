"""The names that models give to projections and to numbers of heads, and questions about modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import nn

from mcprune.models.projections import is_projection
from mcprune.sites.blocks.description import Number
from mcprune.sites.channels.calls import CONVOLUTIONS

QUERIES = ("q_proj", "query", "to_q", "wq", "q", "q_lin", "query_proj", "w_q", "linear_q", "queries")
KEYS = ("k_proj", "key", "to_k", "wk", "k", "k_lin", "key_proj", "w_k", "linear_k", "keys")
VALUES = ("v_proj", "value", "to_v", "wv", "v", "v_lin", "value_proj", "w_v", "linear_v", "values")
FUSED = (
    "qkv",
    "c_attn",
    "in_proj",
    "to_qkv",
    "wqkv",
    "qkv_proj",
    "query_key_value",
    "attn_qkv",
    "w_qkv",
    "in_projection",
)
OUTPUTS = (
    "o_proj",
    "out_proj",
    "proj",
    "to_out",
    "wo",
    "o",
    "out",
    "out_lin",
    "dense",
    "c_proj",
    "w_o",
    "linear_o",
    "linear_out",
    "output",
)
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "nhead", "num_attn_heads", "nheads", "h")
SHARED_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_kv_head", "kv_heads")
WIDTHS = (
    "all_head_size",
    "attn_dim",
    "inner_dim",
    "split_size",
    "inner_size",
    "hidden_size",
    "embed_dim",
    "dim",
    "n_embd",
    "d_model",
)


def child(module: nn.Module, names: Iterable[str]) -> tuple[str, nn.Module] | None:
    """Return the name and the layer of the first direct projection of such a name, in any spelling of capitals.

    A Sequential with one projection and dropout counts as that projection.
    """
    by_name = {name.lower(): (name, layer) for name, layer in module.named_children()}
    for needed in names:
        if needed not in by_name:
            continue
        name, layer = by_name[needed]
        if is_projection(layer):
            return name, layer
        if type(layer) is nn.Sequential:
            inside = [(inner, each) for inner, each in layer.named_children() if is_projection(each)]
            others = [each for each in layer if not is_projection(each)]
            if len(inside) == 1 and all(isinstance(each, nn.Dropout | nn.Identity) for each in others):
                return f"{name}.{inside[0][0]}", inside[0][1]
    return None


def number(module: nn.Module, names: Iterable[str]) -> int | None:
    """Return the first attribute of such a name that is a whole number above 0, of the module or of its `config`."""
    for owner in (module, getattr(module, "config", None)):
        for name in names:
            value = getattr(owner, name, None)
            if type(value) is int and value > 0:
                return value
    return None


def path(*parts: str) -> str:
    """Return a dotted name."""
    return ".".join(part for part in parts if part)


def head_numbers(module: nn.Module, name: str, query_heads: int, sites: int, width: int) -> tuple[Number, ...]:
    """Return the attributes of an attention that count its heads or its inner features.

    Parameters
    ----------
    module : nn.Module
    name : str
        Its name in the model.
    query_heads, sites : int
        All query heads, and the sites that they belong to.
    width : int
        All inner features of the queries.
    """
    counts = [(HEADS, query_heads), (SHARED_HEADS, sites), (WIDTHS, width)]
    return tuple(
        Number(name, attribute, value // sites)
        for names, value in counts
        for attribute in names
        if attribute in vars(module) and vars(module)[attribute] == value
    )


class Surroundings(NamedTuple):
    """Where an attention adds to the residual stream, and how it can be removed: see `SubBlock`."""

    out: str
    whole: str = ""
    entries: tuple[str, ...] = ()


def surroundings(model: nn.Module, name: str, projections: Sequence[str]) -> Surroundings | None:
    """Return the output projection of an attention, in it or beside it as `output.dense` of BERT; None where there is none.

    Parameters
    ----------
    model : nn.Module
    name : str
        Of the attention.
    projections : sequence of str
        Those that read the residual stream.
    """
    out = child(model.get_submodule(name), OUTPUTS)
    if out is not None:
        inside = path(name, out[0])
        is_whole = bool(name) and own_everything(model, name, [*projections, inside])
        return Surroundings(inside, name if is_whole else "")
    beside = path(name.rpartition(".")[0], "output.dense")
    if name and is_projection(dict(model.named_modules()).get(beside)):
        return Surroundings(beside, "", (name,))
    return None


def own_everything(model: nn.Module, name: str, parts: Iterable[str]) -> bool:
    """Whether a module has no other projections or convolutions than some that it contains."""
    inside = {part[len(name) + 1 :] for part in parts if part.startswith(f"{name}.")}
    return bool(inside) and all(
        inner in inside or not (is_projection(layer) or isinstance(layer, CONVOLUTIONS))
        for inner, layer in model.get_submodule(name).named_modules()
    )
