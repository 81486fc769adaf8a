"""Feed-forward layers: a projection to hidden units and one back, with or without a gate beside or within the first."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from mcprune.models.layers import ELEMENTWISE
from mcprune.models.projections import is_projection, n_inputs, n_outputs
from mcprune.sites.blocks.description import Number, Rows, SubBlock
from mcprune.sites.blocks.finders.names import own_everything, path

# The first projections and the last one, by their names.
PATTERNS = (
    (("gate_proj", "up_proj"), "down_proj"),
    (("w1", "w3"), "w2"),
    (("wi_0", "wi_1"), "wo"),
    (("fc1_g", "fc1_x"), "fc2"),
    (("up_proj",), "down_proj"),
    (("fc1",), "fc2"),
    (("linear1",), "linear2"),
    (("lin1",), "lin2"),
    (("linear_1",), "linear_2"),
    (("c_fc",), "c_proj"),
    (("fc_in",), "fc_out"),
    (("dense_h_to_4h",), "dense_4h_to_h"),
    (("w1",), "w2"),
    (("wi",), "wo"),
    (("intermediate.dense",), "output.dense"),
    (("ffn",), "ffn_output"),
    (("gate_up_proj",), "down_proj"),
    (("Wi",), "Wo"),
    (("w12",), "w3"),
)
NUMBERS = ("intermediate_size", "hidden_features", "ffn_dim", "d_ff", "hidden_dim")


def find(model: nn.Module) -> Iterator[SubBlock]:
    """Yield the feed-forward sub-blocks."""
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if type(module) is nn.Sequential:
            yield from _of_sequential(name, module)
            continue
        for firsts, last in PATTERNS:
            names = [path(name, each) for each in (*firsts, last)]
            if all(is_projection(modules.get(each)) for each in names):
                yield _described(model, name, names[:-1], names[-1])
                break


def _described(model: nn.Module, name: str, firsts: list[str], last: str) -> SubBlock:
    layers, out = [model.get_submodule(each) for each in firsts], model.get_submodule(last)
    size = n_inputs(out)
    whole = (
        name if name and own_everything(model, name, [*firsts, last]) and "." not in firsts[0][len(name) + 1 :] else ""
    )
    writes = tuple(Rows(each, 0, 1) for each in firsts)
    blocked = ""
    if len(layers) == 1 and n_outputs(layers[0]) == 2 * size:  # the gate and what it multiplies, one after the other
        writes = (Rows(firsts[0], 0, 1), Rows(firsts[0], size, 1))
    elif any(n_outputs(layer) != size for layer in layers):
        widths = " and ".join(str(n_outputs(layer)) for layer in layers)
        blocked = f"{last!r} reads {size} features, but {' and '.join(firsts)} make {widths}"
    module = model.get_submodule(name)
    numbers = tuple(Number(name, each, 1) for each in NUMBERS if vars(module).get(each) == size)
    return SubBlock(
        kind="neurons",
        layer=whole or firsts[-1],
        size=size,
        spread=1,
        writes=writes,
        out=last,
        whole=whole,
        entries=() if whole else tuple(firsts),
        numbers=numbers,
        blocked=blocked,
    )


def _of_sequential(name: str, module: nn.Sequential) -> Iterator[SubBlock]:
    """Yield a Sequential of two projections with functions of single features between, of as many outputs as inputs.

    A normalisation may come before.
    """
    layers = list(module.named_children())
    while layers and not is_projection(layers[0][1]) and "norm" in type(layers[0][1]).__name__.lower():
        layers.pop(0)
    products = [(inner, layer) for inner, layer in layers if is_projection(layer)]
    others = [layer for _, layer in layers if not is_projection(layer)]
    if not name or len(products) != 2 or not all(isinstance(layer, ELEMENTWISE) for layer in others):
        return
    (first_name, first), (last_name, last) = products
    if n_outputs(first) == n_inputs(last) and n_inputs(first) == n_outputs(last):
        writes = (Rows(path(name, first_name), 0, 1),)
        yield SubBlock("neurons", name, n_inputs(last), 1, writes, path(name, last_name), whole=name)
