"""A table with two kinds of rows for commands on fixed-point networks."""

import numpy as np


def write_kinds_table(folder, seed):
    """Write a csv of 600 rows and four columns of unlike scales, one of which says nothing; return its path."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(600, 4)) * [1, 2, 5, 0.1] + [0, 1, -3, 0]
    kinds = np.where((rows[:, 0] + rows[:, 1] > 1) & (rows[:, 2] > -3), "yes", "no")
    path = folder / "table.csv"
    lines = [",".join([*(f"{value:.5f}" for value in row), kind]) for row, kind in zip(rows, kinds, strict=True)]
    path.write_text("\n".join(["a,b,c,d,kind", *lines]) + "\n")
    return path
