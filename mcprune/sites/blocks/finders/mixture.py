"""Mixtures of experts: an nn.ModuleList of modules of one class, and a layer beside it that gives each of them a logit."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from mcprune.models.projections import n_outputs
from mcprune.sites.blocks.description import Number, Rows, SubBlock
from mcprune.sites.blocks.finders.names import path

# Attributes that count the experts, and those that each token takes.
COUNTS = (
    "num_experts",
    "n_experts",
    "num_local_experts",
    "n_routed_experts",
    "num_routed_experts",
    "n_expert",
    "num_expert",
    "moe_num_experts",
)
TAKEN = (
    "top_k",
    "topk",
    "k",
    "num_experts_per_tok",
    "num_experts_per_token",
    "n_activated_experts",
    "num_selected_experts",
    "experts_per_token",
    "moe_top_k",
)


def find(model: nn.Module) -> Iterator[SubBlock]:
    """Yield the mixtures of experts; whether a router runs before its experts is seen when the model is run."""
    for name, module in model.named_modules():
        for listed, experts in module.named_children():
            if type(experts) is not nn.ModuleList or len(experts) < 2 or len({type(each) for each in experts}) > 1:
                continue
            routers = [
                inner
                for inner, layer in module.named_modules()
                if isinstance(layer, nn.Linear) and not _is_inside(inner, listed) and n_outputs(layer) == len(experts)
            ]
            if routers:
                yield _described(model, name, listed, routers)


def _described(model: nn.Module, name: str, listed: str, routers: list[str]) -> SubBlock:
    experts, router = model.get_submodule(path(name, listed)), path(name, routers[0])
    assert isinstance(experts, nn.ModuleList)
    size = len(experts)
    blocked = ""
    if len(routers) > 1:
        blocked = (
            f"{' and '.join(repr(path(name, each)) for each in routers)} have an output for each of its {size} experts"
        )
    numbers: list[Number] = []
    for owner in dict.fromkeys((name, router.rpartition(".")[0])):
        values = vars(model.get_submodule(owner))
        numbers += [Number(owner, each, 1) for each in COUNTS if values.get(each) == size]
        # Where fewer experts are left than each token takes, it takes all of them.
        numbers += [Number(owner, each, 1, values[each]) for each in TAKEN if type(values.get(each)) is int]
    return SubBlock(
        kind="experts",
        layer=name or router,
        size=size,
        spread=0,
        writes=(Rows(router, 0, 1),),
        out=router,
        numbers=tuple(numbers),
        blocked=blocked,
        members=tuple(path(name, listed, str(place)) for place in range(size)),
    )


def _is_inside(name: str, listed: str) -> bool:
    return name == listed or name.startswith(f"{listed}.")
