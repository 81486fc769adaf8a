"""The small sets that scikit-learn brings along: no file, no network."""

import numpy as np

from mcprune.data.base import Dataset, assemble

BUNDLED = ("digits", "breast-cancer", "wine")


def load_bundled(name: str) -> Dataset:
    """`digits` (1,797 x 64, classes 0..9), `breast-cancer` (569 x 30) or `wine` (178 x 13).

    The classes of the two tables are their names ('benign', 'malignant'), so in alphabetical order: the
    reverse of scikit-learn's numbers for breast-cancer.
    """
    from sklearn import datasets

    if name == "digits":
        bunch = datasets.load_digits()
        return assemble(name, bunch.data.astype(np.float32), bunch.target, image_shape=(8, 8))
    bunch = datasets.load_breast_cancer() if name == "breast-cancer" else datasets.load_wine()
    return assemble(
        name,
        bunch.data,
        np.asarray(bunch.target_names)[bunch.target],
        feature_names=[str(each) for each in bunch.feature_names],
        target_name="target",
    )
