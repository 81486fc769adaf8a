"""Recurrent layers with some of their hidden units: what is left of one, and one whose units have gates."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from mcprune.errors import ModelError

# Rows of a weight for each hidden unit.
BLOCKS: dict[type[nn.Module], int] = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}
State = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
Output = tuple[torch.Tensor, State]


class Direction(NamedTuple):
    """The parameters of one layer of a recurrent module in one direction, by their names, and the inputs that it reads."""

    weight_ih: str
    weight_hh: str
    biases: tuple[str, ...]
    reads_rows: bool
    is_reversed: bool


def directions_of(layer: nn.RNNBase) -> list[Direction]:
    """Return the layers of a recurrent module in the order of its states."""
    out = []
    for number in range(layer.num_layers):
        for suffix in ("", "_reverse")[: 1 + layer.bidirectional]:
            end = f"l{number}{suffix}"
            biases = (f"bias_ih_{end}", f"bias_hh_{end}") if layer.bias else ()
            out.append(Direction(f"weight_ih_{end}", f"weight_hh_{end}", biases, number == 0, bool(suffix)))
    return out


class NarrowRecurrent(nn.Module):
    """A recurrent module of which some hidden units are left: the others are 0 in what it returns.

    Parameters
    ----------
    layer : nn.RNN, nn.GRU or nn.LSTM
        The whole one; not changed.
    kept : Tensor of int64
        The hidden units that are left, rising, in all of its layers and both directions.
    """

    kept: torch.Tensor

    def __init__(self, layer: nn.RNNBase, kept: torch.Tensor) -> None:
        super().__init__()
        self.layer = _narrow(layer, kept)
        self.input_size, self.hidden_size, self.num_layers = layer.input_size, layer.hidden_size, layer.num_layers
        self.batch_first, self.bidirectional = layer.batch_first, layer.bidirectional
        self.register_buffer("kept", kept.clone(), persistent=False)

    def forward(self, x: torch.Tensor, hx: State | None = None) -> Output:
        """See the module that it stands for.

        Raises
        ------
        ModelError
            A packed sequence.
        """
        if not isinstance(x, torch.Tensor):
            raise ModelError("it reads packed sequences, whose dropped hidden units are not known. Pad them")
        own = tuple(each.index_select(-1, self.kept) for each in hx) if isinstance(hx, tuple) else hx
        out, state = self.layer(x, own.index_select(-1, self.kept) if isinstance(own, torch.Tensor) else own)
        states = tuple(map(self._spread, state)) if isinstance(state, tuple) else self._spread(state)
        return self._spread(out), states  # type: ignore[return-value]

    def _spread(self, small: torch.Tensor) -> torch.Tensor:
        """Put the kept units of one or both directions into zeros."""
        parts = small.reshape(*small.shape[:-1], -1, self.kept.numel())
        zeros = parts.new_zeros((*parts.shape[:-1], self.hidden_size))
        return zeros.index_copy(-1, self.kept, parts).flatten(-2)

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the brackets."""
        return f"kept={self.kept.numel()}, hidden_size={self.hidden_size}"


def _narrow(layer: nn.RNNBase, kept: torch.Tensor) -> nn.RNNBase:
    small, size = copy.deepcopy(layer), layer.hidden_size
    rows = torch.cat([kept + block * size for block in range(BLOCKS[type(layer)])])
    columns = torch.cat([kept + direction * size for direction in range(1 + layer.bidirectional)])
    for each in directions_of(layer):
        cuts = {
            each.weight_ih: None if each.reads_rows else columns,
            each.weight_hh: kept,
            **dict.fromkeys(each.biases),
        }
        for name, inner in cuts.items():
            old = layer.get_parameter(name)
            new = old.detach()[rows] if inner is None else old.detach()[rows][:, inner]
            setattr(small, name, nn.Parameter(new.clone(), old.requires_grad))
    small.hidden_size = kept.numel()
    return small


def gated_recurrence(layer: nn.RNNBase, x: torch.Tensor, hx: State | None, gates: torch.Tensor) -> Output:
    """Return what a recurrent module returns whose hidden units have gates of each row.

    Parameters
    ----------
    layer : nn.RNN, nn.GRU or nn.LSTM
    x : Tensor, shape (B, T, F), or (T, B, F) where it is not `batch_first`
    hx : Tensor, tuple of two or None
        The states before the first step.
    gates : Tensor, shape (B, H)

    Raises
    ------
    ModelError
        A packed sequence, or a row by itself.
    """
    if not isinstance(x, torch.Tensor) or x.dim() != 3:
        raise ModelError(
            "it reads packed sequences or a single row, whose hidden units have no gates. Pass (B, steps, features)"
        )
    rows = x.transpose(0, 1) if layer.batch_first else x
    g, ends, cells = gates.to(x.dtype), [], []
    all_directions, count = directions_of(layer), 1 + layer.bidirectional
    for first in range(0, len(all_directions), count):
        outs = []
        for number in range(first, first + count):
            h0, c0 = (
                (each[number] for each in hx) if isinstance(hx, tuple) else (None if hx is None else hx[number], None)
            )
            out, h, c = _direction(layer, all_directions[number], rows, (h0, c0), g)
            outs.append(out)
            ends.append(h * g)
            cells.append(c * g)
        rows = torch.cat(outs, dim=-1)
        if first + count < len(all_directions):
            rows = functional.dropout(rows, layer.dropout, layer.training)
    last = torch.stack(ends)
    state: State = (last, torch.stack(cells)) if isinstance(layer, nn.LSTM) else last
    return (rows.transpose(0, 1) if layer.batch_first else rows), state


def _direction(
    layer: nn.RNNBase,
    names: Direction,
    rows: torch.Tensor,
    start: tuple[torch.Tensor | None, torch.Tensor | None],
    gates: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gated outputs (T, B, H) of one layer in one direction, and its last hidden and cell states, not gated."""
    biases = [getattr(layer, name) for name in names.biases] or [None, None]
    inner, weight = functional.linear(rows, getattr(layer, names.weight_ih), biases[0]), getattr(layer, names.weight_hh)
    zeros = rows.new_zeros((rows.shape[1], layer.hidden_size))
    h, c = (zeros if each is None else each for each in start)
    outs: list[torch.Tensor] = []
    for step in reversed(range(len(rows))) if names.is_reversed else range(len(rows)):
        h, c = _step(layer, inner[step], functional.linear(h * gates, weight, biases[1]), h, c)
        outs.append(h * gates)
    return torch.stack(outs[::-1] if names.is_reversed else outs), h, c


def _step(
    layer: nn.RNNBase, inner: torch.Tensor, outer: torch.Tensor, h: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the hidden and the cell state after a step, from the products with the inputs and with the states."""
    if isinstance(layer, nn.LSTM):
        i, f, new, out = (inner + outer).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * new.tanh()
        return out.sigmoid() * c.tanh(), c
    if isinstance(layer, nn.GRU):
        (r, z, n), (hr, hz, hn) = inner.chunk(3, dim=-1), outer.chunk(3, dim=-1)
        update = (z + hz).sigmoid()
        return (1 - update) * (n + (r + hr).sigmoid() * hn).tanh() + update * h, c
    total = inner + outer
    return (total.relu() if layer.mode == "RNN_RELU" else total.tanh()), c
