"""How large a network will be in firmware, layer by layer, before anything is synthesised."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from mcprune.errors import ModelError
from mcprune.firmware.counting.costs import layer_costs
from mcprune.firmware.counting.solver import Solved, has_solver, solve_layers
from mcprune.firmware.network import FixedNetwork

HEADER = ("layer", "weights", "digits", "EBOPs", "adders at most", "LUTs at most", "adders shared", "LUTs shared")
SOLVED_DIGITS = 20_000  # above them the solver takes minutes


class LayerSize(NamedTuple):
    """Estimated size of a layer, or of a network.

    Attributes
    ----------
    name : str
        Such as "16 x 32".
    weights, digits, ebops : int
        Weights that are not 0, their nonzero signed digits, their bits times the bits of their inputs.
    adders : int
        Without sharing: digits less one in each sum.
    luts : int
        Of these adders and of the ReLU, without sharing.
    solved : Solved or None
        With shared sums, by alkaid; None where it is not installed or the layer is too large.
    """

    name: str
    weights: int
    digits: int
    ebops: int
    adders: int
    luts: int
    solved: Solved | None


def layer_sizes(network: FixedNetwork, *, use_solver: bool = True) -> list[LayerSize]:
    """Return the estimated size of each layer.

    Parameters
    ----------
    network : FixedNetwork
    use_solver : bool
        Ask alkaid, where it is installed and the network has at most 20,000 digits.
    """
    counted = layer_costs(network)
    digits = sum(row.digits for row in counted)
    is_solved = use_solver and digits <= SOLVED_DIGITS and has_solver()
    solved: list[Solved] | list[None] = [None] * len(counted)
    if is_solved:
        with suppress(ModelError):  # a network that the solver cannot take
            solved = solve_layers(network)
    return [
        LayerSize(
            f"{layer.weight.shape[1]} x {layer.weight.shape[0]}",
            row.weights, row.digits, row.ebops, row.adders, row.luts, figures,
        )
        for layer, row, figures in zip(network.layers, counted, solved, strict=True)
    ]  # fmt: skip


def total_size(sizes: list[LayerSize]) -> LayerSize:
    """Return the sums over the layers; the latencies add up too."""
    solved = [row.solved for row in sizes if row.solved is not None]
    both = Solved(*(sum(column) for column in zip(*solved, strict=True))) if len(solved) == len(sizes) else None
    return LayerSize(
        "all",
        sum(row.weights for row in sizes),
        sum(row.digits for row in sizes),
        sum(row.ebops for row in sizes),
        sum(row.adders for row in sizes),
        sum(row.luts for row in sizes),
        both,
    )


def size_rows(sizes: list[LayerSize]) -> list[list[str]]:
    """Return the cells of a table with the columns of `HEADER`, the totals last."""
    return [
        [
            row.name, f"{row.weights:,}", f"{row.digits:,}", f"{row.ebops:,}", f"{row.adders:,}", f"{row.luts:,}",
            "-" if row.solved is None else f"{row.solved.adders:,}",
            "-" if row.solved is None else f"{row.solved.luts:,.0f}",
        ]
        for row in (*sizes, total_size(sizes))
    ]  # fmt: skip
