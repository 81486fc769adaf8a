"""How the small network is trained on kept columns of few rows: dropout, epochs, weight decay and noise, on rows that it has not seen.

The masks are those of `prune` in results/tables.json; of digits, wine and breast-cancer the columns of a forest. A quarter of the training
rows, of MNIST 10,000 others, validates; the rest, or some of it, trains three networks. Test rows are not used.

    MCPRUNE_TABLES=../shared/data python benchmarks/retraining.py --out benchmarks/results/retraining.json
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
import table_selectors as selectors
import table_sets as sets

SEEDS, SHARE, BATCH, HIDDEN, RATE = 3, 0.25, 64, (128, 64), 2e-3
MASKS = Path(__file__).parent / "results" / "tables.json"
BUILT_IN = {"digits": 16, "wine": 4, "breast-cancer": 5}
MNIST_ROWS = 10_000
# Fewer rows of the larger sets.
FEW = (100, 300, 1_000)


class Setting(NamedTuple):
    """How a network is trained: `times` multiplies the epochs of a run without dropout."""

    dropout: float = 0.0
    times: float = 1.0
    decay: float = 0.0
    noise: float = 0.0

    def __str__(self) -> str:
        """Return the setting as a row of the table."""
        return f"dropout={self.dropout:g} times={self.times:g} decay={self.decay:g} noise={self.noise:g}"


SETTINGS = (Setting(), Setting(0.3), Setting(0.3, 2), Setting(0.3, 1, decay=1.0), Setting(0.3, 2, noise=0.1))


class Part(NamedTuple):
    """Kept columns of training and validation rows."""

    name: str
    x: np.ndarray
    y: np.ndarray
    x_new: np.ndarray
    y_new: np.ndarray


def load(name: str) -> Part:
    """Return a set on its mask, its training rows split."""
    from sklearn.model_selection import train_test_split

    if name in BUILT_IN:
        from sklearn import datasets
        from sklearn.preprocessing import StandardScaler

        x, y = getattr(datasets, f"load_{name.replace('-', '_')}")(return_X_y=True)
        x, _, y, _ = train_test_split(x, y, test_size=sets.TEST_SHARE, random_state=sets.SPLIT_SEED, stratify=y)
        x = StandardScaler().fit_transform(x).astype(np.float32)
        keep = selectors.forest(x, y, BUILT_IN[name], 0)
    else:
        table = sets.load(name)
        runs = json.loads(MASKS.read_text())["runs"]
        keep = np.array(
            next(run["keep"] for run in runs if (run["set"], run["method"], run["seed"]) == (name, "prune", 0))
        )
        x, y = table.x, table.y
        if name == "mnist-6000":
            return Part(name, x[:, keep], y, *others(x, keep))
    parts = train_test_split(x[:, keep], y, test_size=SHARE, random_state=0, stratify=y)
    return Part(name, parts[0], parts[2], parts[1], parts[3])


def others(x: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return training rows of MNIST that are not in a table of some of them."""
    from mcprune.data.named import load_named

    data = load_named("mnist")
    assert data.test_rows is not None
    rest = np.setdiff1d(np.arange(len(data.targets)), data.test_rows)
    known = {row.tobytes() for row in x}
    rows = data.features[rest[:20_000]].astype(np.float32) / 255.0
    new = np.array([row.tobytes() not in known for row in rows])
    return rows[new][:MNIST_ROWS, keep], data.targets[rest[:20_000]][new][:MNIST_ROWS]


def trained(part: Part, setting: Setting) -> dict[str, Any]:
    """Return accuracies and losses of networks on the validation rows."""
    import torch

    from mcprune.config.rules import RETRAIN_STEPS
    from mcprune.models.mlp import MLP
    from mcprune.training.fit_several import fit_several

    rows, n = part.x.shape
    least = RETRAIN_STEPS.rules[0].value.at(rows)
    epochs = round(setting.times * max(30, math.ceil(least / (rows // min(BATCH, rows)))))
    widths = (n, *HIDDEN, int(max(part.y.max(), part.y_new.max())) + 1)
    models = [MLP(widths, dropout=setting.dropout, seed=seed) for seed in range(SEEDS)]
    began = time.process_time()
    fit_several(
        models, torch.from_numpy(part.x).expand(SEEDS, -1, -1), torch.from_numpy(part.y), epochs=epochs, batch_size=BATCH,
        learning_rate=RATE, weight_decay=setting.decay, seeds=range(SEEDS), input_noise=setting.noise,
    )  # fmt: skip
    seconds = time.process_time() - began
    goals = torch.from_numpy(part.y_new)
    with torch.no_grad():
        logits = [model(torch.from_numpy(part.x_new)) for model in models]
    right = [float((one.argmax(1) == goals).float().mean()) for one in logits]
    losses = [float(torch.nn.functional.cross_entropy(one, goals)) for one in logits]
    return {
        "set": part.name, "rows": rows, "setting": str(setting), "epochs": epochs, "accuracy": statistics.mean(right),
        "error": statistics.stdev(right) / math.sqrt(SEEDS), "loss": statistics.mean(losses), "cpu": seconds,
    }  # fmt: skip


def fewer(part: Part, rows: int) -> Part:
    """Return the set with some of its training rows, each class in its proportion."""
    from sklearn.model_selection import train_test_split

    x, _, y, _ = train_test_split(part.x, part.y, train_size=rows, random_state=0, stratify=part.y)
    return part._replace(x=x, y=y)


def main() -> None:
    """Train, print and write; go on where an earlier run stopped."""
    parser = common.parser(__doc__ or "", with_plot=False)
    parser.add_argument("--only", nargs="+", help="these sets")
    parser.add_argument("--few", action="store_true", help="with fewer rows as well")
    asked = parser.parse_args()
    names = asked.only or (("wine",) if asked.quick else (*BUILT_IN, *sets.SETS))
    runs: list[dict[str, Any]] = []
    if asked.out is not None and asked.out.exists():
        runs = json.loads(asked.out.read_text())["runs"]
    done = {(run["set"], run["rows"], run["setting"]) for run in runs}
    for name in names:
        whole = load(name)
        parts = [whole, *(fewer(whole, rows) for rows in FEW if asked.few and rows < len(whole.y) / 2)]
        for part, setting in itertools.product(parts, SETTINGS):
            if (name, len(part.y), str(setting)) in done:
                continue
            run = trained(part, setting)
            runs.append(run)
            print(
                f"{name} {run['rows']:,} rows, {setting}: {run['accuracy']:.4f} +- {run['error']:.4f}, loss {run['loss']:.4f}, "
                f"{run['epochs']} epochs, {run['cpu']:.1f} s",
                flush=True,
            )
            if asked.out is not None:
                common.write(asked.out, {"machine": common.machine(1), "runs": runs})


if __name__ == "__main__":
    main()
