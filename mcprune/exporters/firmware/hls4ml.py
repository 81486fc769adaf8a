"""A fixed-point network as an hls4ml project, compared in hls4ml's C simulation.

The layers are given to hls4ml as it describes them itself, with a quantiser of its own format for every value: its pass for bit-exact
models then derives all widths, and no Keras is needed.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mcprune.errors import ConfigError, ModelError, brief
from mcprune.firmware.counting.solver import floor_rounding
from mcprune.firmware.fixed_point import FixedFormat
from mcprune.firmware.network import FixedNetwork
from mcprune.types import IntArray, JsonObject

PROJECT = "mcprune_net"
BACKENDS = ("Vitis", "Vivado")


def need_hls4ml() -> None:
    """Raise a ConfigError unless hls4ml can be imported."""
    try:
        import_module("hls4ml")
    except ImportError as error:
        raise ConfigError(
            f"This needs the package hls4ml, which cannot be imported ({brief(error)}). Install it: pip install 'mcprune[firmware]'."
        ) from None


def hls4ml_model(network: FixedNetwork, folder: Path, *, backend: str = "Vitis") -> Any:
    """Write an hls4ml project and return hls4ml's model of it.

    Parameters
    ----------
    network : FixedNetwork
    folder : Path
    backend : str
        "Vitis" or "Vivado".

    Raises
    ------
    ConfigError
        hls4ml is not installed, or another backend.
    ModelError
        hls4ml refuses the network.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend={backend!r} is not known. Choose one of {', '.join(BACKENDS)}.")
    need_hls4ml()
    create: Any = import_module("hls4ml.utils.config").create_config
    graph: Any = import_module("hls4ml.model").ModelGraph
    config = create(output_dir=str(folder), project_name=PROJECT, backend=backend, io_type="io_parallel")
    config["HLSConfig"] = {
        "Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1, "Strategy": "latency", "BitExact": True}
    }
    try:
        model = graph.from_layer_list(config, describe_layers(network))
        model.write()
    except Exception as error:  # hls4ml raises nearly anything
        raise ModelError(
            f"hls4ml could not write the network: {brief(error)}. Export with --to c or alkaid."
        ) from error
    return model


def describe_layers(network: FixedNetwork) -> list[JsonObject]:
    """Return the layers as hls4ml describes them."""
    net = floor_rounding(network)
    layers: list[JsonObject] = [
        {"class_name": "InputLayer", "name": "inputs", "input_shape": [len(net.inputs)]},
        _quantiser("inputs_q", net.inputs),
    ]
    for number, layer in enumerate(net.layers, start=1):
        outputs, inputs = layer.weight.shape
        point = net.accumulator_fraction(number - 1)
        layers.append(
            {
                "class_name": "Dense",
                "name": f"dense{number}",
                "data_format": "channels_last",
                "weight_data": np.ldexp(layer.weight.T.astype(np.float64), -layer.fraction),
                "bias_data": np.ldexp(layer.bias.astype(np.float64), -point),
                "n_in": inputs,
                "n_out": outputs,
            }
        )
        if layer.activation is not None:
            if layer.relu:
                layers.append(
                    {"class_name": "Activation", "name": f"relu{number}", "activation": "relu", "n_in": outputs}
                )
            layers.append(_quantiser(f"signal{number}", layer.activation))
    return layers


def run_hls4ml(network: FixedNetwork, model: Any, inputs: IntArray) -> IntArray:
    """Compile hls4ml's C simulation and return its integer logits for integer inputs (B, n).

    Raises
    ------
    ModelError
        There is no C++ compiler, or it refuses the project.
    """
    if shutil.which("g++") is None:
        raise ModelError("There is no g++ to compile hls4ml's simulation. Install it.")
    try:
        model.compile()
        outputs = model.predict(np.ldexp(np.ascontiguousarray(inputs, np.float64), -network.inputs.common))
    except Exception as error:
        raise ModelError(f"hls4ml's simulation failed: {brief(error)}.") from error
    point = network.accumulator_fraction(len(network.layers) - 1)
    logits = np.rint(np.ldexp(np.asarray(outputs, np.float64).reshape(len(inputs), -1), point))
    return np.asarray(logits, np.int64)


def _quantiser(name: str, form: FixedFormat) -> JsonObject:
    """Return hls4ml's layer that brings each value into a format of its own."""
    signed = form.signed.astype(np.int16)
    front = np.where(form.bits > 0, form.bits - form.fraction, 0)  # bits before the point, the sign among them
    kbi = tuple(np.asarray(values, np.int16)[None] for values in (signed, form.bits, front))
    return {
        "class_name": "FixedPointQuantizer",
        "name": name,
        "mask_kbi": kbi,
        "SAT": "WRAP" if form.overflow == "wrap" else "SAT",
        "RND": "TRN" if form.rounding == "floor" else "RND",
        "fusible": None,
        "overrides": {},
    }
