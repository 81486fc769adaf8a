"""A fixed-point network in QONNX: Quant nodes on inputs, weights, biases and signals, compared in qonnx's executor.

Quant saturates. Where a signal wraps, its Quant node gets enough bits that it cannot overflow, and the ONNX operator Mod takes the high
bits away; where units of a saturating layer have several widths, Min cuts each at its own. All numbers are floats on their grids, and
a network whose sums float32 cannot hold exactly is refused.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mcprune.errors import ConfigError, ModelError, brief
from mcprune.exporters.graphs import ENTRANCE, EXIT
from mcprune.firmware.counting.solver import floor_rounding
from mcprune.firmware.csd import bit_length
from mcprune.firmware.fixed_point import FixedFormat
from mcprune.firmware.network import FixedNetwork
from mcprune.types import AnyArray, FloatArray, IntArray

EXACT = 1 << 24  # whole numbers below it are floats of 32 bits
DOMAIN = "qonnx.custom_op.general"
OPSET = 16


def need_qonnx() -> None:
    """Raise a ConfigError unless onnx and qonnx can be imported."""
    for name in ("onnx", "qonnx"):
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"This needs the package {name}, which cannot be imported ({brief(error)}). Install it: pip install "
                "'mcprune[firmware]'."
            ) from None


class _Graph:
    """Nodes and constants of an ONNX graph under construction."""

    def __init__(self) -> None:
        self.onnx: Any = import_module("onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, values: AnyArray | float) -> str:
        """Add a constant of float32 and return its name."""
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Add a node and return the name of its output."""
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def quant(self, source: str, output: str, scale: FloatArray, bits: int, *, signed: bool, rounding: str) -> str:
        """Add a Quant node and return the name of its output."""
        inputs = [
            source,
            self.constant(f"{output}_scale", scale),
            self.constant(f"{output}_zero", 0.0),
            self.constant(f"{output}_bits", float(bits)),
        ]
        attributes = {"signed": int(signed), "narrow": 0, "rounding_mode": rounding}
        return self.add("Quant", inputs, output, domain=DOMAIN, **attributes)


def write_qonnx(network: FixedNetwork, path: Path) -> None:
    """Write a QONNX file: real inputs `kept` (rows, n) -> real logits `logits` (rows, C).

    Raises
    ------
    ConfigError
        onnx or qonnx is not installed.
    ModelError
        Sums that float32 cannot hold exactly.
    """
    need_qonnx()
    widest = max(int(reach.max()) for reach in network.accumulator_reach())
    if 2 * widest >= EXACT:
        raise ModelError(
            f"A sum of the network can be as large as {widest:,} steps, and QONNX computes in float32, which is exact below {EXACT:,}. "
            "Export with --to c, alkaid or hls4ml."
        )
    net = floor_rounding(network)
    graph = _Graph()
    values = _inputs(graph, net.inputs)
    for number, layer in enumerate(net.layers, start=1):
        scale = np.asarray(2.0**-layer.fraction)
        size = int(np.maximum(layer.weight, -layer.weight - 1).max(initial=1))
        weight = graph.quant(
            graph.constant(f"weight{number}", np.ldexp(layer.weight.T.astype(np.float64), -layer.fraction)),
            f"weight{number}_q", scale, int(bit_length(np.asarray(size))) + 1, signed=True, rounding="ROUND",
        )  # fmt: skip
        point = net.accumulator_fraction(number - 1)
        bias = graph.constant(f"bias{number}", np.ldexp(layer.bias.astype(np.float64), -point))
        product = graph.add("MatMul", [values, weight], f"product{number}")
        is_last = layer.activation is None
        values = graph.add("Add", [product, bias], EXIT if is_last else f"sum{number}")
        if layer.activation is not None:
            if layer.relu:
                values = graph.add("Relu", [values], f"relu{number}")
            values = _signals(graph, values, f"signal{number}", layer.activation, widest)
    _save(graph, net, path)


def _inputs(graph: _Graph, form: FixedFormat) -> str:
    """Quantise the inputs: those that the tool gets are on their grids already, so that only the sign and the width matter."""
    return _signals(graph, ENTRANCE, "inputs", form, EXACT)


def _signals(graph: _Graph, source: str, name: str, form: FixedFormat, widest: int) -> str:
    """Bring values into a format; return the name of the result."""
    live = form.bits > 0
    step = np.ldexp(1.0, -np.where(live, form.fraction, 0))
    signed = bool(form.signed.any())
    is_wrapped = form.overflow == "wrap"
    bits = max(int((form.bits - form.signed).max(initial=1)), 1) + signed  # the sign is one for all
    if is_wrapped:
        bits = min(max(bits, int(bit_length(np.asarray(widest))) + 1), 24)
    rounding = "FLOOR" if form.rounding == "floor" else "ROUND"
    result = graph.quant(source, f"{name}_q", step, max(bits, 2), signed=signed, rounding=rounding)
    low, high = form.low * step, form.high * step
    if is_wrapped:
        span = np.where(live, np.ldexp(step, form.bits), 1.0)
        lifted = graph.add("Sub", [result, graph.constant(f"{name}_low", low)], f"{name}_lifted")
        # Mod of floats takes the sign of the value: made positive first by adding the span once more.
        once = graph.add("Mod", [lifted, graph.constant(f"{name}_span", span)], f"{name}_once", fmod=1)
        again = graph.add("Add", [once, f"{name}_span"], f"{name}_again")
        wrapped = graph.add("Mod", [again, f"{name}_span"], f"{name}_wrapped", fmod=1)
        result = graph.add("Add", [wrapped, f"{name}_low"], f"{name}_in_range")
    elif (form.bits != max(bits, 2)).any() or (form.signed != signed).any():
        top = graph.add("Min", [result, graph.constant(f"{name}_high", high)], f"{name}_below")
        result = graph.add("Max", [top, graph.constant(f"{name}_low", low)], f"{name}_in_range")
    if not live.all():
        result = graph.add("Mul", [result, graph.constant(f"{name}_live", live.astype(float))], f"{name}_live_only")
    return result


def _save(graph: _Graph, network: FixedNetwork, path: Path) -> None:
    helper, kinds = graph.onnx.helper, graph.onnx.TensorProto
    width, classes = len(network.inputs), network.widths[-1]
    body = helper.make_graph(
        graph.nodes,
        "mcprune_net",
        [helper.make_tensor_value_info(ENTRANCE, kinds.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info(EXIT, kinds.FLOAT, ["rows", classes])],
        graph.constants,
    )
    sets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(body, opset_imports=sets, ir_version=8)
    model.doc_string = "A fixed-point network made by mcprune."
    graph.onnx.save(model, str(path))


def run_qonnx(network: FixedNetwork, path: Path, inputs: IntArray) -> IntArray:
    """Return the integer logits of qonnx's executor for integer inputs (B, n).

    Raises
    ------
    ModelError
        qonnx refuses the file.
    """
    need_qonnx()
    wrapper: Any = import_module("qonnx.core.modelwrapper").ModelWrapper
    execute: Any = import_module("qonnx.core.onnx_exec").execute_onnx
    shapes: Any = import_module("qonnx.transformation.infer_shapes").InferShapes
    rows = np.ldexp(np.asarray(inputs, np.float32), -network.inputs.common).astype(np.float32)
    try:
        model = wrapper(str(path))
        model.set_tensor_shape(ENTRANCE, list(rows.shape))
        model.set_tensor_shape(EXIT, [len(rows), network.widths[-1]])
        model = model.transform(shapes())
        outputs = execute(model, {ENTRANCE: rows})[EXIT]
    except Exception as error:  # its executor raises plain exceptions
        raise ModelError(f"qonnx could not run the network: {brief(error)}.") from error
    point = network.accumulator_fraction(len(network.layers) - 1)
    return np.rint(np.ldexp(np.asarray(outputs, np.float64), point)).astype(np.int64)
