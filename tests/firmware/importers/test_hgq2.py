"""Integers of HGQ2 models: the logits of Keras on all rows; models that mcprune does not know are refused."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from mcprune.errors import DataError, ModelError
from mcprune.firmware.importers.hgq2 import import_hgq2, read_layers
from mcprune.firmware.network import plain_origin

ROWS = (np.random.default_rng(0).normal(size=(600, 5)) * 1.5).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    """A model of three layers, trained for a few steps so that its bits differ."""
    pytest.importorskip("jax")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    layers = pytest.importorskip("hgq.layers")
    from hgq.config import LayerConfigScope, QuantizerConfigScope

    keras.utils.set_random_seed(0)
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP", f0=4),
        LayerConfigScope(enable_ebops=True, beta0=1e-4),
    ):
        built = keras.Sequential(
            [
                keras.layers.Input((5,)),
                layers.QDense(12, activation="relu"),
                layers.QDense(8, activation="relu"),
                layers.QDense(3),
            ]
        )
    targets = (ROWS[:, 0] * ROWS[:, 1] > 0).astype(np.int64) + (ROWS[:, 2] > 1)
    built.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    built.fit(ROWS, targets, batch_size=100, epochs=8, verbose=0)
    from hgq.utils import trace_minmax

    trace_minmax(built, ROWS, verbose=0)
    return built


@pytest.mark.filterwarnings("default")
def test_all_logits_are_those_of_keras(model):
    network = import_hgq2(model, plain_origin(5, 3), ROWS)
    assert network.widths == (5, 12, 8, 3)
    assert len(np.unique(network.layers[0].activation.bits)) > 1
    wide = 3 * ROWS  # beyond the ranges: wrapped by both
    logits = network.forward(network.quantize_inputs(wide)) * network.logit_scale
    assert (logits == model.predict(wide, verbose=0)).all()


@pytest.mark.filterwarnings("default")
def test_a_saved_model_is_loaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    network = import_hgq2(tmp_path / "model.keras", plain_origin(5, 3), ROWS)
    assert network.widths == (5, 12, 8, 3)
    with pytest.raises(DataError, match="no rows"):
        import_hgq2(model, plain_origin(5, 3), ROWS[:0])
    with pytest.raises(ModelError, match="cannot be loaded"):
        import_hgq2(tmp_path / "none.keras", plain_origin(5, 3), ROWS)


@pytest.mark.filterwarnings("default")
def test_a_model_whose_outputs_differ_is_refused(model):
    other = SimpleNamespace(layers=model.layers, predict=lambda part, verbose: model.predict(part, verbose=0) + 1)
    with pytest.raises(ModelError, match="differ from the HGQ2 model on 600 of 600 rows"):
        import_hgq2(other, plain_origin(5, 3), ROWS)


def layer(kind, **attributes):
    return type(kind, (), {"name": "it", **attributes})()


def test_layers_that_are_not_known_are_refused():
    with pytest.raises(ModelError, match="QConv2D"):
        read_layers(SimpleNamespace(layers=[layer("InputLayer"), layer("QConv2D")]))
    with pytest.raises(ModelError, match="No quantiser precedes"):
        read_layers(SimpleNamespace(layers=[layer("QDense", enable_iq=False)]))
    inner = SimpleNamespace(round_mode="RND_CONV", overflow_mode="WRAP", kif=(1, 2, 3))
    with pytest.raises(ModelError, match="RND_CONV"):
        read_layers(SimpleNamespace(layers=[layer("Quantizer", quantizer=inner)]))
