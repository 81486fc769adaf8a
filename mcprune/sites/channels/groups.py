"""Which channels of a network belong together, found by following them through its forward pass.

torch.fx records the forward pass as a graph of calls; here each value of it carries the group of its channels. A convolution
reads one group and makes another; normalisations, activations, pools and depthwise convolutions hand a group on; a sum ties
two groups into one. What is not known to treat every channel on its own blocks its groups, with its name: a group is a place
of sites only if all that touches it is understood. (torch-pruning finds such groups as well, but follows gradients' functions,
so what it does not know it passes over; here that is refused. And fx comes with torch.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import fx, nn

from mcprune.errors import ModelError, brief
from mcprune.models.forward import home
from mcprune.models.mlp import MLP
from mcprune.models.modes import evaluating
from mcprune.sites.channels.calls import CONVOLUTIONS, Call, Way, call_of

OUTPUT = "its channels are the outputs"


class Reader(NamedTuple):
    """A layer with one column of dimension 1 of its weight for each channel, or `spread` of them behind a Flatten."""

    layer: str
    spread: int


@dataclass
class ChannelGroup:
    """Channels, or units of a Linear layer, that can only be dropped together.

    Attributes
    ----------
    kind : "channels" or "units"
        Whether convolutions or Linear layers make them.
    layer : str
        The first layer that makes them.
    size : int
    parts : tuple of str
        Layers with parameters that have one slice of dimension 0 for each channel, in the order in which they run.
    gated : tuple of str
        Where gates make a dropped channel exactly 0 for every reader: the last layers before readers that could
        make something else of 0.
    readers : tuple of Reader
    blocked : str
        Why these channels cannot be dropped; "" if they can.
    """

    kind: str
    layer: str
    size: int
    parts: tuple[str, ...]
    gated: tuple[str, ...]
    readers: tuple[Reader, ...]
    blocked: str


class Signal(NamedTuple):
    """The channels of a value: dimension 1 holds `spread` numbers for each channel of a group, one channel after the other."""

    group: int
    spread: int
    setters: frozenset[str]


@dataclass
class _Group:
    size: int
    makers: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    gated: list[str] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    blocked: str = ""
    kinds: set[str] = field(default_factory=set)


class _Tracer(fx.Tracer):
    """An MLP asks for the number of dimensions, which no symbol has: it stays one layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) is MLP or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs the graph, and keeps the shape of every tensor."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        out = super().run_node(n)
        if isinstance(out, torch.Tensor):
            self.shapes[n] = tuple(out.shape)
        return out


def channel_groups(model: nn.Module, rows: Sequence[int]) -> list[ChannelGroup]:
    """Find the groups of channels of a model.

    Parameters
    ----------
    model : nn.Module
        Left as it is. Its forward pass must be one that torch.fx can follow: no decisions that depend on numbers.
    rows : sequence of int
        Shape of one row as the model takes it.

    Returns
    -------
    list of ChannelGroup
        In the order in which their first layers run.

    Raises
    ------
    ModelError
        If the forward pass cannot be followed, or cannot be run on such rows.
    """
    name = type(model).__name__
    try:
        # In evaluation, so that the graph holds no functional dropout that would draw random numbers.
        with evaluating(model):
            graph = _Tracer().trace(model)
    except Exception as error:  # the user's own code, called with symbols instead of numbers
        raise ModelError(
            f"the forward pass of {name} cannot be followed by torch.fx ({type(error).__name__}: {brief(error)}), so what reads its "
            'channels is not known. Write it without decisions on numbers, or choose sites = "inputs".'
        ) from error
    dtype, device = home(model)
    x = torch.zeros((2, *rows), dtype=dtype, device=device)
    shapes = _Shapes(model, graph)
    try:
        with torch.no_grad(), evaluating(model):
            shapes.run(x)
    except Exception as error:
        raise ModelError(
            f"{name} could not be run on rows of shape {tuple(rows)}: {brief(error)}. "
            "Pass input_shape=..., the shape of one row as the model takes it, such as (1, 28, 28)."
        ) from error
    return _Follower(model, shapes.shapes).follow(graph)


class _Follower:
    """Goes through the graph once and collects what happens to each group."""

    def __init__(self, model: nn.Module, shapes: dict[fx.Node, tuple[int, ...]]) -> None:
        self.modules = dict(model.named_modules())
        self.shapes = shapes
        self.groups: list[_Group] = []
        self.parent: list[int] = []
        self.signals: dict[fx.Node, Signal] = {}
        self.seen: set[str] = set()
        self.order: dict[str, int] = {}
        counts: dict[int, int] = {}
        for _, parameter in model.named_parameters(remove_duplicate=False):
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
        self.shared = {each for each, count in counts.items() if count > 1}

    def follow(self, graph: fx.Graph) -> list[ChannelGroup]:
        for node in graph.nodes:
            if node.op == "placeholder":
                self._fixed(node, "its channels are the rows' own")
            elif node.op == "output":
                for signal in self._inputs_of(node):
                    self._block(
                        signal, OUTPUT if node.args[0] in self.signals else "the model gives more than one output"
                    )
            elif node.op == "get_attr":
                self._fixed(node, f"they are mixed with {node.target!r}, a tensor of the model's own")
            else:
                self._call(node)
        return self._results()

    def root(self, group: int) -> int:
        while self.parent[group] != group:
            group = self.parent[group]
        return group

    def _new(self, size: int, blocked: str = "") -> int:
        self.groups.append(_Group(size, blocked=blocked))
        self.parent.append(len(self.groups) - 1)
        return len(self.groups) - 1

    def _of(self, signal: Signal) -> _Group:
        return self.groups[self.root(signal.group)]

    def _block(self, signal: Signal, reason: str) -> None:
        group = self._of(signal)
        group.blocked = group.blocked or reason

    def _fixed(self, node: fx.Node, reason: str) -> None:
        """Register a value whose channels are all kept."""
        shape = self.shapes.get(node)
        if shape is not None:
            size = shape[1] if len(shape) > 1 else 1
            self.signals[node] = Signal(self._new(size, reason), 1, frozenset())

    def _inputs_of(self, node: fx.Node) -> list[Signal]:
        return [self.signals[each] for each in node.all_input_nodes if each in self.signals]

    def _call(self, node: fx.Node) -> None:
        inputs = self._inputs_of(node)
        if node not in self.shapes and call_of(node, self.modules, self.shapes).way is Way.NUMBER:
            return  # a shape or a size
        call = call_of(node, self.modules, self.shapes)
        name = str(node.target)
        if node.op == "call_module":
            self.order.setdefault(name, len(self.order))
            layer = self.modules[name]
            own = [id(tensor) for tensor in (*layer.parameters(), *layer.buffers())]
            if own and (name in self.seen or self.shared & set(own)):
                call = Call(Way.UNKNOWN, f"layer {name!r} is used in more than one place")
            elif layer._forward_hooks or layer._forward_pre_hooks:
                call = Call(Way.UNKNOWN, f"layer {name!r} has hooks of its own")
            self.seen.add(name)
        ways = {Way.PASS: self._pass, Way.NORM: self._norm, Way.MAKE: self._make, Way.TIE: self._tie}
        if call.way in ways and all(each in self.signals for each in node.all_input_nodes if each in self.shapes):
            self.signals[node] = ways[call.way](node, name, inputs, call)
            return
        reason = call.reason or f"{self._words(node)} treats them in a way that is not known"
        for signal in inputs:
            self._block(signal, reason)
        layer = self.modules.get(name) if node.op == "call_module" else None
        if isinstance(layer, nn.Linear):  # its units are listed with the reason
            units = self.groups[self._new(layer.out_features, reason)]
            units.makers.append(name)
            units.parts.append(name)
            units.kinds.add("units")
        self._fixed(node, f"they are tied to what {self._words(node)} gives")

    def _words(self, node: fx.Node) -> str:
        if node.op == "call_module":
            name = str(node.target)
            return f"layer {name!r} ({type(self.modules[name]).__name__})"
        return f"the operation {node.name!r} of the forward pass"

    def _pass(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        return inputs[0]._replace(spread=inputs[0].spread * call.spread)

    def _norm(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        """Follow a layer that passes each channel on by itself, with numbers of its own for each."""
        signal = inputs[0]
        group = self._of(signal)
        if signal.spread != 1:
            self._block(signal, f"layer {name!r} has {signal.spread} numbers for each channel")
        group.parts.append(name)
        # An activation with parameters leaves 0 at 0; anything else may not.
        return signal if isinstance(self.modules[name], nn.PReLU) else signal._replace(setters=frozenset([name]))

    def _make(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        layer = self.modules[name]
        reader = f"{name}.layers.0" if type(layer) is MLP else name
        self._read(inputs[0], Reader(reader, inputs[0].spread))
        number = self._new(self.shapes[node][1])
        group = self.groups[number]
        if type(layer) is MLP:
            group.blocked = f"they are made by {name!r}, an MLP of its own"
        else:
            group.makers.append(name)
            group.parts.append(name)
            group.kinds.add("channels" if isinstance(layer, CONVOLUTIONS) else "units")
        return Signal(number, 1, frozenset([name]))

    def _read(self, signal: Signal, reader: Reader) -> None:
        group = self._of(signal)
        group.readers.append(reader)
        group.gated.extend(sorted(signal.setters - set(group.gated), key=lambda name: self.order[name]))

    def _tie(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        one, other = (self.signals[each] for each in node.args[:2] if isinstance(each, fx.Node))
        first, second = self.root(one.group), self.root(other.group)
        if one.spread != other.spread or self.groups[first].size != self.groups[second].size:
            reason = f"{self._words(node)} adds values of unlike channels"
            self._block(one, reason)
            self._block(other, reason)
            return Signal(self._new(self.shapes[node][1], reason), 1, frozenset())
        if first != second:
            first, second = min(first, second), max(first, second)
            into, gone = self.groups[first], self.groups[second]
            for each in ("makers", "parts", "gated", "readers"):
                getattr(into, each).extend(getattr(gone, each))
            into.kinds |= gone.kinds
            tied = f"{self._words(node)} adds them to others: {gone.blocked}" if gone.blocked else ""
            into.blocked = into.blocked or tied
            self.parent[second] = first
        return Signal(first, one.spread, one.setters | other.setters)

    def _results(self) -> list[ChannelGroup]:
        out = []
        for place, group in enumerate(self.groups):
            if self.parent[place] != place or not group.makers:
                continue
            blocked = group.blocked or ("" if group.readers else "no layer reads them")
            gated, parts = (
                sorted(set(names), key=lambda name: self.order[name]) for names in (group.gated, group.parts)
            )
            makers = sorted(group.makers, key=lambda name: self.order[name])
            kind = "channels" if "channels" in group.kinds else "units"
            out.append(
                ChannelGroup(kind, makers[0], group.size, tuple(parts), tuple(gated), tuple(group.readers), blocked)
            )
        return sorted(out, key=lambda group: self.order[group.layer])
