"""The integers of an HGQ2 model of dense layers (a Keras model that was trained with quantisation of its own for every weight).

HGQ2 is LGPL and an optional package: it is needed only to load the model.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import numpy as np

from mcprune.errors import ConfigError, DataError, ModelError, brief
from mcprune.firmware.importers.assemble import QuantisedLayer, Quantiser, assemble, check_outputs
from mcprune.firmware.network import FixedNetwork, Origin
from mcprune.types import AnyArray

DENSE = ("QDense", "QBatchNormDense")
PASSED = ("InputLayer", "Dropout", "Flatten", "GaussianNoise")
ROUNDINGS = {"RND": "nearest", "TRN": "floor"}
OVERFLOWS = {"WRAP": "wrap", "SAT": "saturate"}


def import_hgq2(model: Any, origin: Origin, rows: AnyArray) -> FixedNetwork:
    """Return the integers of an HGQ2 model, compared with its own outputs.

    Parameters
    ----------
    model : keras.Model or path
        A chain of QDense or QBatchNormDense layers with ReLU between them; a path is loaded by Keras.
    origin : Origin
        Of its inputs and classes.
    rows : ndarray, shape (B, N)
        Scaled as in its training: on each, all logits must be equal.

    Raises
    ------
    ConfigError
        Keras or HGQ2 is not installed.
    ModelError
        A layer, a rounding or an overflow of another kind; an output that differs.
    """
    if isinstance(model, str | os.PathLike):
        model = _load(model)
    if not len(rows):
        raise DataError("There are no rows to compare the model on. Give at least one.")
    network = assemble(read_layers(model), origin)
    check_outputs(network, lambda part: np.asarray(model.predict(part, verbose=0)), rows, "HGQ2")
    return network


def read_layers(model: Any) -> list[QuantisedLayer]:
    """Return the quantised layers of an HGQ2 model.

    Raises
    ------
    ModelError
        Layers of another kind.
    """
    layers: list[QuantisedLayer] = []
    quantiser: Quantiser | None = None
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in PASSED:
            continue
        if kind == "Quantizer":
            quantiser = _one_quantiser(quantiser, layer, layer.name)
        elif kind in DENSE:
            if layer.enable_iq:
                quantiser = _one_quantiser(quantiser, layer.iq, layer.name)
            if quantiser is None:
                raise ModelError(f"No quantiser precedes the layer {layer.name!r}. Train it with enable_iq=True.")
            bias = np.zeros(layer.units) if layer.bias is None else _array(layer.qbias)
            layers.append(QuantisedLayer(quantiser, _array(layer.qkernel).T, bias, _is_rectified(layer)))
            quantiser = _read_quantiser(layer.oq, layer.name) if layer.enable_oq else None
        elif kind in ("Activation", "ReLU") and layers and quantiser is None and _is_rectified(layer):
            layers[-1] = layers[-1]._replace(relu=True)
        else:
            raise ModelError(
                f"The layer {layer.name!r} is a {kind}, which mcprune cannot import. Give a chain of QDense layers with ReLU between them."
            )
    return layers


def _one_quantiser(before: Quantiser | None, quantiser: Any, name: str) -> Quantiser:
    if before is not None:
        raise ModelError(
            f"Two quantisers precede {name!r}, which mcprune cannot import. Train without enable_oq, or without "
            "a Quantizer layer."
        )
    return _read_quantiser(quantiser, name)


def _read_quantiser(quantiser: Any, name: str) -> Quantiser:
    inner = quantiser.quantizer
    rounding, overflow = ROUNDINGS.get(inner.round_mode), OVERFLOWS.get(inner.overflow_mode)
    if rounding is None or overflow is None:
        raise ModelError(
            f"The quantiser of {name!r} rounds by {inner.round_mode} and overflows by {inner.overflow_mode}. mcprune imports "
            f"{' and '.join(ROUNDINGS)}, and {' and '.join(OVERFLOWS)}."
        )
    signed, integer, fraction = (_array(values).astype(np.int64).reshape(-1) for values in inner.kif)
    return Quantiser(signed, integer, fraction, overflow, rounding)


def _is_rectified(layer: Any) -> bool:
    if type(layer).__name__ == "ReLU":
        return True
    name = getattr(layer.activation, "__name__", "linear")
    if name not in ("linear", "relu"):
        raise ModelError(f"The layer {layer.name!r} has the activation {name}. mcprune imports relu and linear.")
    return bool(name == "relu")


def _array(values: Any) -> AnyArray:
    keras: Any = import_module("keras")
    return np.asarray(keras.ops.convert_to_numpy(values), np.float64)


def _load(path: str | os.PathLike[str]) -> Any:
    try:
        import_module("hgq.layers")  # registers its layers
        keras: Any = import_module("keras")
    except ImportError as error:
        raise ConfigError(
            f"This needs the packages keras and hgq2, which cannot be imported ({brief(error)}). Install them: pip install hgq2 jax."
        ) from None
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises nearly anything
        raise ModelError(
            f"{os.fspath(path)!r} cannot be loaded by Keras: {brief(error)}. Give a .keras file."
        ) from error
