"""What loading must not pull in: heavy packages that the data do not need, or that only an extra brings."""

import subprocess
import sys

SCRIPT = """
import sys
for absent in ("pandas", "pyarrow", "sklearn", "torch"):
    sys.modules[absent] = None  # importing it raises ImportError
from mcprune.data.load import from_arrays, load
from mcprune.data.prepare import prepare
dataset = load(sys.argv[1])
prepared = prepare(dataset, seed=0)
assert prepared.train.features.shape[1] == 2, prepared.train.features.shape
from_arrays(dataset.features, dataset.targets)
"""


def test_a_csv_is_loaded_and_split_with_nothing_but_numpy(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,label\n" + "".join(f"{i % 7},{i * i},{'xyz'[i % 3]}\n" for i in range(60)))
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
