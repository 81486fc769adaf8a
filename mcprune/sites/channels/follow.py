"""Channels followed through a recorded forward pass: which are made together, handed on, tied and read.

Each value of the graph carries the groups of its channels. A convolution reads groups and makes another; normalisations, activations, pools
and depthwise convolutions hand them on; a sum and a product tie two groups into one; a concatenation puts groups side by side. What is
not known to treat every channel on its own blocks its groups, with its name: a group is a place of sites only if all that touches it is
understood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import fx, nn

from mcprune.models.mlp import MLP
from mcprune.models.narrow.norms import OVER_CHANNELS
from mcprune.sites.channels.calls import CONVOLUTIONS, Call, Way, call_of

OUTPUT = "its channels are the outputs"


class Reader(NamedTuple):
    """A layer with one column of its weight for each channel, or `spread` of them behind a Flatten, from the column `offset` on."""

    layer: str
    spread: int
    offset: int = 0


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
    norms : tuple of str
        Those of the parts that normalise over all channels.
    """

    kind: str
    layer: str
    size: int
    parts: tuple[str, ...]
    gated: tuple[str, ...]
    readers: tuple[Reader, ...]
    blocked: str
    norms: tuple[str, ...] = ()


class Piece(NamedTuple):
    """Some channels of a value: `spread` numbers of dimension 1 for each channel of a group, one channel after the other.

    Attributes
    ----------
    group, spread : int
    setters : frozenset of str
        Where gates make a dropped channel exactly 0 here.
    shift : str
        Why a dropped channel is not 0 here although it was gated; "" if it is 0.
    """

    group: int
    spread: int
    setters: frozenset[str]
    shift: str = ""


# The channels of a value, side by side in dimension 1.
Signal = tuple[Piece, ...]


@dataclass
class _Group:
    size: int
    makers: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    gated: list[str] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    blocked: str = ""
    kinds: set[str] = field(default_factory=set)


class Follower:
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
        self.calls: Counter[str] = Counter()
        self.ways: dict[Way, Callable[[fx.Node, str, list[Signal], Call], Signal]] = {
            Way.PASS: self._pass,
            Way.SHIFT: self._shift,
            Way.NORM: self._norm,
            Way.OVER: self._norm,
            Way.MAKE: self._make,
            Way.TIE: self._tie,
            Way.SCALE: self._tie,
            Way.JOIN: self._join,
        }

    def follow(self, graph: fx.Graph) -> list[ChannelGroup]:
        """Return the groups, in the order in which their first layers run."""
        self.calls.update(str(node.target) for node in graph.nodes if node.op == "call_module")
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
        """Return the group that a group has become a part of."""
        while self.parent[group] != group:
            group = self.parent[group]
        return group

    def _new(self, size: int, blocked: str = "") -> int:
        self.groups.append(_Group(size, blocked=blocked))
        self.parent.append(len(self.groups) - 1)
        return len(self.groups) - 1

    def _of(self, piece: Piece) -> _Group:
        return self.groups[self.root(piece.group)]

    def _block(self, signal: Signal, reason: str) -> None:
        for piece in signal:
            group = self._of(piece)
            group.blocked = group.blocked or reason

    def _fixed(self, node: fx.Node, reason: str) -> None:
        """Register a value whose channels are all kept."""
        shape = self.shapes.get(node)
        if shape is not None:
            self.signals[node] = self._kept(shape[1] if len(shape) > 1 else 1, reason)

    def _kept(self, size: int, reason: str) -> Signal:
        return (Piece(self._new(size, reason), 1, frozenset()),)

    def _inputs_of(self, node: fx.Node) -> list[Signal]:
        return [self.signals[each] for each in node.all_input_nodes if each in self.signals]

    def _call(self, node: fx.Node) -> None:
        inputs = self._inputs_of(node)
        call = call_of(node, self.modules, self.shapes)
        if node not in self.shapes and call.way is Way.NUMBER:
            return  # a shape or a size
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
        if call.way is Way.END:
            for signal in inputs:
                self._block(signal, OUTPUT)
            self._fixed(node, OUTPUT)
            return
        if call.way in self.ways and all(each in self.signals for each in node.all_input_nodes if each in self.shapes):
            self.signals[node] = self.ways[call.way](node, name, inputs, call)
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
        return tuple(piece._replace(spread=piece.spread * call.spread) for piece in inputs[0])

    def _shift(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        """Follow what makes another number of a dropped channel's 0: a module of one call can be gated behind, a function cannot."""
        is_alone = node.op == "call_module" and self.calls[name] == 1
        if is_alone and all(piece.spread == 1 for piece in inputs[0]) and len(inputs[0]) == 1:
            return (inputs[0][0]._replace(setters=frozenset([name]), shift=""),)
        return tuple(piece._replace(shift=call.reason) for piece in inputs[0])

    def _norm(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        """Follow a layer that passes each channel on by itself, with numbers of its own for each."""
        signal = inputs[0]
        if len(signal) > 1:
            reason = f"layer {name!r} has numbers of its own for each channel of a concatenation"
            self._block(signal, reason)
            return self._kept(self.shapes[node][1], reason)
        (piece,) = signal
        group = self._of(piece)
        if piece.spread != 1:
            self._block(signal, f"layer {name!r} has {piece.spread} numbers for each channel")
        if call.way is Way.OVER:
            self._zero(piece)
        group.parts.append(name)
        # An activation with parameters leaves 0 at 0; anything else may not.
        return (
            signal
            if isinstance(self.modules[name], nn.PReLU)
            else (Piece(piece.group, piece.spread, frozenset([name])),)
        )

    def _make(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        layer = self.modules[name]
        reader = f"{name}.layers.0" if type(layer) is MLP else name
        self._read(inputs[0], reader)
        number = self._new(self.shapes[node][1])
        group = self.groups[number]
        if type(layer) is MLP:
            group.blocked = f"they are made by {name!r}, an MLP of its own"
        else:
            group.makers.append(name)
            group.parts.append(name)
            group.kinds.add("channels" if isinstance(layer, CONVOLUTIONS) else "units")
        return (Piece(number, 1, frozenset([name])),)

    def _read(self, signal: Signal, layer: str) -> None:
        offset = 0
        for piece in signal:
            group = self._of(piece)
            group.readers.append(Reader(layer, piece.spread, offset))
            offset += piece.spread * group.size
            self._zero(piece)

    def _zero(self, piece: Piece) -> None:
        """Let gates make a dropped channel exactly 0 here."""
        group = self._of(piece)
        if piece.shift:
            self._block((piece,), piece.shift)
        group.gated.extend(sorted(piece.setters - set(group.gated), key=lambda name: self.order[name]))

    def _join(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        """Put the channels of a concatenation side by side."""
        (parts,) = (each for each in node.args[:1])
        assert isinstance(parts, list | tuple)
        return tuple(piece for each in parts if isinstance(each, fx.Node) for piece in self.signals[each])

    def _tie(self, node: fx.Node, name: str, inputs: list[Signal], call: Call) -> Signal:
        one, other = (self.signals[each] for each in node.args[:2] if isinstance(each, fx.Node))
        if [(each.spread, self._of(each).size) for each in one] != [
            (each.spread, self._of(each).size) for each in other
        ]:
            what = "multiplies" if call.way is Way.SCALE else "adds"
            reason = f"{self._words(node)} {what} values of unlike channels"
            self._block(one, reason)
            self._block(other, reason)
            return self._kept(self.shapes[node][1], reason)
        pairs = zip(one, other, strict=True)
        return tuple(self._tied(node, a, b, is_product=call.way is Way.SCALE) for a, b in pairs)

    def _tied(self, node: fx.Node, one: Piece, other: Piece, *, is_product: bool) -> Piece:
        """Return the sum or product of two values, whose channels become one group."""
        first, second = self.root(one.group), self.root(other.group)
        if first != second:
            first, second = min(first, second), max(first, second)
            into, gone = self.groups[first], self.groups[second]
            for each in ("makers", "parts", "gated", "readers"):
                getattr(into, each).extend(getattr(gone, each))
            into.kinds |= gone.kinds
            verb = "multiplies them with" if is_product else "adds them to"
            tied = f"{self._words(node)} {verb} others: {gone.blocked}" if gone.blocked else ""
            into.blocked = into.blocked or tied
            self.parent[second] = first
        if is_product:  # one factor that is 0 is enough
            zero = other if one.shift else one
            return Piece(first, one.spread, zero.setters, zero.shift)
        return Piece(first, one.spread, one.setters | other.setters, one.shift or other.shift)

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
            norms = tuple(part for part in parts if isinstance(self.modules[part], OVER_CHANNELS))
            readers = tuple(group.readers)
            out.append(ChannelGroup(kind, makers[0], group.size, tuple(parts), tuple(gated), readers, blocked, norms))
        return sorted(out, key=lambda group: self.order[group.layer])
