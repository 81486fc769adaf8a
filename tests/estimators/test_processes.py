"""Compiled kernels serve all processes of a user: what one has compiled no other compiles again."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from joblib import Parallel, delayed


def compilations(seed):
    from numba.core import event

    class Count(event.Listener):
        count = 0

        def on_start(self, event):
            Count.count += 1

        def on_end(self, event):
            pass

    event.register("numba:compile", Count())
    from mcprune import MarkovSelector

    draw = np.random.default_rng(0)
    x = draw.normal(size=(120, 6))
    MarkovSelector(2, random_state=seed, epochs=4).fit(x, (x[:, 0] > 0).astype(int))
    return Count.count


print(compilations(0), *Parallel(n_jobs=2)(delayed(compilations)(seed) for seed in (1, 2)))
"""


@pytest.mark.long("four processes that load and compile")
def test_worker_processes_compile_nothing(tmp_path):
    """The first process may compile; its workers, and another program, may not."""
    counts = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=os.environ, timeout=600
        )
        counts.append([int(one) for one in done.stdout.split()])
    assert counts[0][1:] == [0, 0]
    assert counts[1] == [0, 0, 0]
