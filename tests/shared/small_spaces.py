"""Small search spaces of every kind, their allowed masks by enumeration, and an evaluator that looks losses up."""

import itertools
from typing import Any

import numpy as np
from hypothesis import strategies as st

from mcprune.chain import moves
from mcprune.objectives.classification import CrossEntropy
from mcprune.session.build.budget import make_space
from mcprune.sites.budget import Budget, CostBudget, CountBudget
from mcprune.sites.costs.terms import Layer, costs_of
from mcprune.sites.items import Fixed, Item
from mcprune.sites.named_sites import TiedItems
from mcprune.sites.site_map import SiteGroup, SiteMap
from mcprune.sites.space import SearchSpace


class Table:
    """An evaluator that looks the loss of each mask of all sites up."""

    name, error, objective = "table", 0.0, CrossEntropy()

    def __init__(self, sites: int, seed: int = 2) -> None:
        self.table, self.bits = np.random.default_rng(seed).random(2**sites) / 20, 1 << np.arange(sites)

    def pieces(self, rows: int) -> list[Any]:
        return []  # no rows stand behind the losses: no standard error is measured

    def at(self, position: Any) -> Any:
        return self.table[(position > 0) @ self.bits]

    def begin(self, features: Any, targets: Any, position: Any, sharpness: float) -> None:
        self.now = self.at(position)

    def current(self) -> Any:
        return self.now

    def losses(self, current: Any, candidates: Any, limits: Any = None) -> Any:
        return self.at(moves.dense(current, candidates))

    def moved(self, position: Any, candidates: Any, index: Any) -> None:
        self.now = self.at(position)


def layered(*sizes: int) -> SiteMap:
    """Inputs and layers of units of these sizes."""
    starts = np.cumsum([0, *sizes])
    names = [("inputs", ""), *(("units", f"layers.{2 * k}") for k in range(len(sizes) - 1))]
    return SiteMap(
        tuple(SiteGroup(*name, int(start), size) for name, start, size in zip(names, starts, sizes, strict=False))
    )


def chain_costs(sites: SiteMap, unit: str, classes: int = 2) -> Any:
    """The costs of a perceptron whose inputs and hidden units are the sites."""
    groups = len(sites.groups)
    layers = [Layer(place, place + 1, 1, 1, 1, 1) for place in range(groups - 1)]
    return costs_of([*layers, Layer(groups - 1, None, 1, classes, 1, 1)], sites, unit)


def counts_of(sites: SiteMap, keep: dict[str, int]) -> tuple[CountBudget, ...]:
    """Exact counts by kind, or of all sites."""
    everything = range(len(sites.groups))
    return tuple(
        CountBudget(kind, tuple(place for place in everything if kind in ("sites", sites.groups[place].kind)), n)
        for kind, n in keep.items()
    )


def all_masks(size: int) -> np.ndarray:
    return np.array(list(itertools.product([False, True], repeat=size)))


def allowed_by_hand(space: SearchSpace, mask: np.ndarray) -> bool:
    """Whether a mask may be the final one, by looking at each rule of the space itself."""
    fixed = space.fixed
    if not mask[fixed.kept].all() or mask[fixed.dropped].any():
        return False
    price = 0
    if space.items is not None:
        named: set[int] = set()
        for item, must in [(one, False) for one in space.items] + [(one, True) for one in space.always]:
            inside = mask[list(item.sites)]
            if inside.any() != inside.all() or (must and not inside.all()):
                return False
            price += item.cost * bool(inside.all())
            named |= set(item.sites)
        if mask[sorted(set(range(mask.size)) - named)].any():
            return False
    groups = space.sites.groups
    kept = [int(mask[group.start : group.stop].sum()) for group in groups]
    if any(count < least for count, least in zip(kept, space.final_least, strict=True)):
        return False
    if any(sum(kept[place] for place in count.layers) != count.n for count in space.budget.counts):
        return False
    for cost in space.budget.costs:
        value = price
        if cost.costs is not None:
            pairs = list(itertools.pairwise([*kept, 2]))
            value = sum(a * b for a, b in pairs) + (sum(b for _, b in pairs) if cost.unit == "parameters" else 0)
        if value > cost.limit:
            return False
    return True


@st.composite
def spaces(draw: Any) -> SearchSpace:
    """Spaces of up to 10 sites with any mixture of fixed sites, counts, costs and tied groups; some without an allowed mask."""
    sizes = draw(st.sampled_from([(4,), (7,), (3, 3), (4, 3), (3, 2, 2), (4, 3, 3), (2, 3, 4)]))
    sites = layered(*sizes)
    size = sites.size
    states = draw(st.lists(st.sampled_from(["free"] * 6 + ["kept", "dropped"]), min_size=size, max_size=size))
    kept, dropped = (
        np.array([k for k, one in enumerate(states) if one == state], np.int64) for state in ("kept", "dropped")
    )
    units = draw(st.sampled_from([(), ("macs",), ("parameters",), ("macs", "parameters")]))
    whole = {unit: chain_costs(sites, unit) for unit in units}
    costs = [CostBudget(unit, draw(st.integers(1, one.whole)), one) for unit, one in whole.items()]
    if draw(st.booleans()):
        return _tied(draw, sites, states, costs)
    kinds = {"inputs": sizes[0], "units": sum(sizes[1:])} if len(sizes) > 1 else {}
    ways = [{"sites": size}, *([kinds] if kinds else []), *([{}, {"inputs": sizes[0]}] if units else [])]
    named = draw(st.sampled_from(ways if units or not kinds else ways[:2]))
    keep = {kind: draw(st.integers(1, most)) for kind, most in named.items()}
    return make_space(sites, Budget(counts_of(sites, keep), tuple(costs)), Fixed(kept, dropped))


def _tied(draw: Any, sites: SiteMap, states: list[str], costs: list[CostBudget]) -> SearchSpace:
    owner = draw(st.lists(st.integers(0, 4), min_size=sites.size, max_size=sites.size))
    groups = [tuple(k for k, one in enumerate(owner) if one == number) for number in range(5)]
    items = [Item(f"g{k}", group, draw(st.integers(1, 5))) for k, group in enumerate(groups) if group]
    must = [states[item.sites[0]] for item in items]
    tied = TiedItems(
        "cost",
        tuple(
            sorted(
                (item for item, one in zip(items, must, strict=True) if one == "free"),
                key=lambda item: (item.cost, item.sites),
            )
        ),
        tuple(item for item, one in zip(items, must, strict=True) if one == "kept"),
    )
    own = [CostBudget("cost", draw(st.integers(1, max(1, tied.whole))))]
    return make_space(sites, Budget((), tuple(own + costs)), tied=tied)
