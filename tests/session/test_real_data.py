"""On the real images, where they are at hand."""

import os

import pytest

import mcprune
from mcprune.data.load import load as load_data


@pytest.mark.long("a run on 60,000 images")
@pytest.mark.data
@pytest.mark.skipif("MCPRUNE_DATA" not in os.environ, reason="MCPRUNE_DATA names no folder of data sets")
def test_fifty_pixels_of_mnist_in_one_short_run(tmp_path):
    result = mcprune.prune(
        "mnist", keep=50, epochs=1, retrain_epochs=2, evaluation_rows=2048, out=str(tmp_path / "run")
    )
    assert result.mask.support.shape == (784,)
    assert result.mask.support.sum() == 50
    assert [step.kept for step in result.history][-1] == 50
    # Random pixels give .82, and the border of the images, which is black, tells nothing.
    assert result.metrics["test_accuracy"] > 0.88
    rows, columns = result.mask.indices // 28, result.mask.indices % 28
    assert ((rows > 1) & (rows < 26) & (columns > 1) & (columns < 26)).all()
    data = load_data("mnist")
    answers = mcprune.load(result.folder).predict(data.features[data.test_rows])
    assert (answers == data.targets[data.test_rows]).mean() == result.metrics["test_accuracy"]
