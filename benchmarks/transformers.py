"""A part of the heads and neurons of small transformers: the chain beside Fisher, EvoPress, magnitude and chance.

- images: a vision transformer (pre-norm, 4 layers) on Fashion-MNIST, 16 patches.
- text: a BERT-like encoder (post-norm, 3 layers) on 24 characters of source code of Python's library: which of five packages are they from?

For each seed one network is trained. Every way gets the same trained weights and, where it evaluates masks, as many training rows in
all (a row of a backward pass counts three times); test rows are only looked at for the figures. Each mask is tested as it is and after a
short retraining of the cut network.

- fisher: Kwon et al. 2022, "A Fast Post-Training Pruning Framework for Transformers": the diagonal of the empirical Fisher
  information of the mask variables, then swaps within each layer by its whole block, without their last step (the weights are
  retrained here in place of it).
- chain: `mcprune.refine` of Fisher's mask with `proposals="slopes"`, which exchanges several sites at once.
- evopress: Sieberling et al. 2025: a (1 + lambda) search whose offspring swap kept and dropped sites of a layer or of a kind, the
  best ones selected on more and more rows.

    python benchmarks/transformers.py --task images --seeds 0 1 2 --out benchmarks/results/transformers.json

Runs of other tasks, shares and seeds in the file stay; `--folder` keeps the trained networks for another share.
"""

from __future__ import annotations

import json
import statistics
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

PATCH, WIDTH, LAYERS, HEADS, HIDDEN = 7, 64, 4, 8, 128
PACKAGES = ("asyncio", "email", "http", "multiprocessing", "unittest")
LENGTH, EACH, TEXT_LAYERS, LETTERS = 24, 6_000, 3, 128
SEEDS, TRAINED, EPOCHS, BATCH, RATE = (0, 1, 2), 20_000, 3, 128, 2e-3
ROWS = 256  # of training, for each evaluation of EvoPress
# Of the chain: rows of an evaluation, decisions between two backward passes beside its leaps, and steps of the run between them.
CHAIN_ROWS, DECISIONS, STEPS = 256, 2, 6
SEARCHED = 8192  # training rows that masks may be evaluated on
FISHER_ROWS = 2048
TESTED = 6_000
RETRAIN_ROWS, RETRAIN_RATE = 4_000, 3e-4  # a short retraining: one pass over so many rows
RANDOM = 1
# EvoPress: offspring, and how many of them are left on which share of the rows.
OFFSPRING, SELECTION = 16, ((4, 8), (1, 2))  # (survivors, part of the rows)


def network(seed: int) -> Any:
    """Return an untrained vision transformer of 16 patches."""
    import torch
    from torch import nn

    class Vision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(PATCH * PATCH, WIDTH)
            self.place = nn.Parameter(torch.randn((28 // PATCH) ** 2, WIDTH) * 0.1)
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, "gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
            self.head = nn.Linear(WIDTH, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            side = 28 // PATCH
            patches = x.view(-1, side, PATCH, side, PATCH).transpose(2, 3).reshape(-1, side * side, PATCH * PATCH)
            out: torch.Tensor = self.head(self.encoder(self.embed(patches) + self.place).mean(dim=1))
            return out

    torch.manual_seed(seed)
    return Vision()


def text_network(seed: int) -> Any:
    """Return an untrained BERT-like encoder of characters."""
    import torch
    from torch import nn

    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.letters = nn.Embedding(LETTERS, WIDTH)
            self.place = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.1)
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, "gelu", batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, TEXT_LAYERS, enable_nested_tensor=False)
            self.head = nn.Linear(WIDTH, len(PACKAGES))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.encoder(self.letters(x.long()) + self.place).mean(dim=1))
            return out

    torch.manual_seed(seed)
    return Text()


def text_data() -> Any:
    """Return pieces of source code that do not overlap, as rows of character codes, and the packages that they are from."""
    from mcprune.data.load import from_arrays

    root, draw = Path(sysconfig.get_paths()["stdlib"]), np.random.default_rng(0)
    rows, labels = [], []
    for label, package in enumerate(PACKAGES):
        content = b"".join(path.read_bytes() for path in sorted((root / package).glob("*.py")))
        pieces = np.frombuffer(content[: len(content) // LENGTH * LENGTH], np.uint8).reshape(-1, LENGTH)
        rows.append(np.minimum(pieces[draw.permutation(len(pieces))[:EACH]], LETTERS - 1))
        labels.append(np.full(len(rows[-1]), label))
    order = draw.permutation(sum(map(len, rows)))
    return from_arrays(
        np.concatenate(rows)[order].astype(np.float32), np.concatenate(labels)[order], name="source code"
    )


class Kind(NamedTuple):
    """A task: its rows, its network, and how the rows are scaled."""

    data: Callable[[], Any]
    network: Callable[[int], Any]
    scale: str


def _images() -> Any:
    from mcprune.data.load import load

    return load("fashion-mnist")


TASKS = {"images": Kind(_images, network, "auto"), "text": Kind(text_data, text_network, "none")}


class Task:
    """The trained network of a seed, its sites, and the loss of masks on training rows; evaluations are counted in rows."""

    def __init__(self, model: Any, data: Any, seed: int, share: float) -> None:
        import torch

        from mcprune.sites.gates import GatedModel
        from mcprune.sites.site_map import site_map

        self.model, self.data, self.seed = model.eval(), data, seed
        self.sites = site_map(model, "heads,neurons", data.n_inputs)
        self.gated = GatedModel(model, self.sites)
        self.kind = np.array([group.kind for group in self.sites.groups for _ in range(group.size)])
        self.layer = np.array([place for place, group in enumerate(self.sites.groups) for _ in range(group.size)])
        self.keep = {kind: round(share * (self.kind == kind).sum()) for kind in ("heads", "neurons")}
        self.x, self.y = torch.from_numpy(data.train.features), torch.from_numpy(data.train.targets)
        self.rows_used = 0

    def loss(self, mask: np.ndarray, rows: np.ndarray) -> float:
        """Return the mean cross-entropy under a mask on some training rows."""
        import torch

        self.rows_used += len(rows)
        with torch.no_grad():
            logits = self.gated(self.x[rows], torch.from_numpy(mask).float())
        return float(torch.nn.functional.cross_entropy(logits, self.y[rows]))

    def highest(self, scores: np.ndarray) -> np.ndarray:
        """Return the mask of the highest scores: the share of each kind, and at least one of each layer."""
        mask = np.zeros(scores.size, bool)
        order = np.argsort(-scores, kind="stable")
        for layer in np.unique(self.layer):
            mask[next(site for site in order if self.layer[site] == layer)] = True
        for kind, count in self.keep.items():
            rest = [site for site in order if self.kind[site] == kind and not mask[site]]
            mask[rest[: count - int(mask[self.kind == kind].sum())]] = True
        return mask

    def norms(self) -> np.ndarray:
        """Return the norm of the weights of each site."""
        from mcprune.sites.owners import Owners

        return np.asarray(Owners(self.model, self.sites).norms())

    def gradients(self) -> np.ndarray:
        """Return the gradient of the loss of each of some training rows by the gates, (rows, N)."""
        import torch

        parts = []
        for first in range(0, FISHER_ROWS, 256):
            x, y = self.x[first : first + 256], self.y[first : first + 256]
            gates = torch.ones(len(x), self.sites.size, requires_grad=True)
            torch.nn.functional.cross_entropy(self.gated(x, gates), y, reduction="sum").backward()
            parts.append(gates.grad.numpy())
        return np.concatenate(parts)


def by_fisher(task: Task) -> np.ndarray:
    """Return the mask of the highest diagonal Fisher information, rearranged by swaps within each layer."""
    gradients = task.gradients()
    mask = task.highest((gradients**2).mean(axis=0))
    for layer in np.unique(task.layer):
        place = np.flatnonzero(task.layer == layer)
        block = gradients[:, place].T @ gradients[:, place] / len(gradients)
        kept = mask[place]
        while True:  # the swap that lowers d' F d the most, d the dropped ones
            d = (~kept).astype(float)
            field = block @ d
            drop, add = np.flatnonzero(kept), np.flatnonzero(~kept)
            if not (drop.size and add.size):
                break
            change = (
                2 * field[drop][:, None] + np.diag(block)[drop][:, None]
                - 2 * field[add][None] + np.diag(block)[add][None] - 2 * block[np.ix_(drop, add)]
            )  # fmt: skip
            best = np.unravel_index(np.argmin(change), change.shape)
            if change[best] >= -1e-12:
                break
            kept[drop[best[0]]], kept[add[best[1]]] = False, True
        mask[place] = kept
    return mask


def by_evolution(task: Task, budget: int, start: np.ndarray | None = None) -> np.ndarray:
    """Return the mask of a (1 + lambda) search that sees `budget` rows; by default from the best of some random masks."""
    draw = np.random.default_rng(task.seed)
    before = task.rows_used

    def sample(part: int) -> np.ndarray:
        return draw.integers(0, SEARCHED, ROWS // part)

    if start is None:
        firsts = [task.highest(draw.random(task.sites.size)) for _ in range(OFFSPRING)]
        rows = sample(1)
        start = min(firsts, key=lambda mask: task.loss(mask, rows))
    best = start.copy()
    while task.rows_used - before < budget:
        offspring = [mutated(task, best, draw) for _ in range(OFFSPRING)]
        for survivors, part in SELECTION:
            rows = sample(part)
            candidates = [*offspring, best] if survivors == SELECTION[-1][0] else offspring
            offspring = sorted(candidates, key=lambda mask: task.loss(mask, rows))[:survivors]
        best = offspring[0]
    return best


def mutated(task: Task, mask: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return a mask with some kept and dropped sites of the same kind swapped, few more often than many."""
    out = mask.copy()
    for _ in range(min(draw.integers(1, 4, 2))):
        kind = draw.choice(["heads", "neurons"])
        on, off = (np.flatnonzero((task.kind == kind) & (out == value)) for value in (True, False))
        out[draw.choice(on)], out[draw.choice(off)] = False, True
    empty = any(not out[task.layer == layer].any() for layer in np.unique(task.layer))
    return mask.copy() if empty else out


def by_chain(task: Task, start: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the mask of the chain that refines a mask by slopes, and how many rows its evaluations and backward passes take."""
    import mcprune

    seen: list[int] = []
    result = mcprune.refine(
        start, task.data.train.features[:SEARCHED], task.data.train.targets[:SEARCHED], model=task.model, sites="heads,neurons",
        keep=task.keep, proposals="slopes", epochs=1, batch_size=64, train_steps=STEPS, test=0, validation=0, eval_on="train",
        evaluation_rows=f"{CHAIN_ROWS},early={CHAIN_ROWS}", decisions=DECISIONS, lookahead=1, finetune="none", compare="no",
        seed=task.seed, threads=1, callbacks=[common.count_forwards(seen)], progress=False,
    )  # fmt: skip
    return result.mask.support, seen[-1]


def tests(task: Task, mask: np.ndarray) -> dict[str, float]:
    """Return test accuracies of a mask, as it is and after a short retraining of the cut network."""
    from mcprune.surgery.shrink import shrink
    from mcprune.training.fit import fit
    from mcprune.training.metrics import accuracy

    test = test_rows(task.data)
    small = shrink(task.model, task.sites, mask, input_shape=(task.data.n_inputs,))
    out = {"mask only": accuracy(small, *test)}
    fit(small, task.x[:RETRAIN_ROWS], task.y[:RETRAIN_ROWS], epochs=1, batch_size=BATCH, learning_rate=RETRAIN_RATE,
        weight_decay=0.0, seed=task.seed)  # fmt: skip
    return {**out, "retrained": accuracy(small, *test)}


def test_rows(data: Any) -> tuple[Any, Any]:
    """Return the test rows that masks are tested on."""
    import torch

    return torch.from_numpy(data.test.features[:TESTED]), torch.from_numpy(data.test.targets[:TESTED])


def ways(task: Task) -> Iterator[dict[str, Any]]:
    """Yield the figures of every way to a mask; the chain first, since it sets how many rows EvoPress evaluates."""

    def figures(way: str, made: np.ndarray | tuple[np.ndarray, int], began: float) -> dict[str, Any]:
        mask, rows = made if isinstance(made, tuple) else (made, task.rows_used)
        seconds = time.monotonic() - began
        for kind, count in task.keep.items():
            assert int(mask[task.kind == kind].sum()) == count, (way, kind)
        out = {"way": way, "rows": rows, "seconds": seconds, **tests(task, mask)}
        task.rows_used = 0
        return out

    began = time.monotonic()
    fisher = by_fisher(task)
    yield figures("fisher", fisher, began)
    began = time.monotonic()
    first = figures("chain from fisher", by_chain(task, fisher), began)
    yield first
    began = time.monotonic()
    yield figures("evopress from fisher", by_evolution(task, int(first["rows"]), fisher), began)
    began = time.monotonic()
    yield figures("evopress", by_evolution(task, int(first["rows"])), began)
    yield figures("magnitude", task.highest(task.norms()), time.monotonic())
    draw = np.random.default_rng(task.seed)
    for _ in range(RANDOM):
        yield figures("random", task.highest(draw.random(task.sites.size)), time.monotonic())


def trained(kind: Kind, data: Any, seed: int, epochs: int, path: Path | None) -> Any:
    """Return the trained network of a seed; from a file, where it was kept there."""
    import torch

    from mcprune.training.fit import fit

    model = kind.network(seed)
    if path is not None and path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    x, y = torch.from_numpy(data.train.features[:TRAINED]), torch.from_numpy(data.train.targets[:TRAINED])
    fit(model, x, y, epochs=epochs, batch_size=BATCH, learning_rate=RATE, weight_decay=0.0, seed=seed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), path)
    return model


def main() -> None:
    """Measure, print, write after every mask; other runs in the file stay."""
    parser = common.parser(__doc__.splitlines()[0], with_plot=False)
    parser.add_argument("--task", choices=list(TASKS), default="images", help="which network and rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="which seeds")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of training the whole network")
    parser.add_argument("--share", type=float, default=0.5, help="of the heads, and of the neurons, that is kept")
    parser.add_argument("--folder", type=Path, help="keep the trained networks here")
    options = parser.parse_args()

    from mcprune.data.prepare import prepare
    from mcprune.environment import use_threads
    from mcprune.training.metrics import accuracy

    use_threads(1)
    kind = TASKS[options.task]
    dataset = kind.data()
    runs = [] if options.out is None or not options.out.exists() else json.loads(options.out.read_text())["runs"]
    settings = {"epochs": options.epochs, "width": WIDTH, "heads": HEADS, "hidden": HIDDEN,
        "rows": ROWS, "trained": TRAINED}  # fmt: skip

    for seed in options.seeds[: 1 if options.quick else None]:
        place = {"task": options.task, "share": options.share, "seed": seed}
        runs = [run for run in runs if any(run[key] != value for key, value in place.items())]

        def note(run: dict[str, Any], place: dict[str, Any] = place, runs: list[dict[str, Any]] = runs) -> None:
            runs.append(place | run)
            print(runs[-1], flush=True)
            if options.out is not None:
                part = {"machine": common.machine(1), "options": settings, "runs": runs, "rows": rows_of(runs)}
                common.write(options.out, part)

        data = prepare(dataset, seed=seed, validation=0.05, test=0.15, scale=kind.scale)
        began = time.monotonic()
        file = None if options.folder is None else options.folder / f"{options.task}-{seed}-{options.epochs}.pt"
        model = trained(kind, data, seed, options.epochs, file)
        task = Task(model, data, seed, options.share)
        note({"way": "dense", "mask only": accuracy(task.model, *test_rows(data)), "seconds": time.monotonic() - began})
        for run in ways(task):
            note(run)
    common.report(rows_of(runs), 1, options.out, runs=runs, options=settings)


def rows_of(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over the seeds."""
    out = []
    for task, share, way in dict.fromkeys((run["task"], run["share"], run["way"]) for run in runs):
        own = [run for run in runs if (run["task"], run["share"], run["way"]) == (task, share, way)]
        for how in ("mask only", "retrained"):
            values = [run[how] for run in own if how in run]
            if values:
                spread = statistics.stdev(values) if len(values) > 1 else None
                name = f"{task}, {share:g} kept, {way}, {how}"
                value = statistics.mean(values)
                out.append(common.row(name, value, "", None, "higher", spread=spread, count=len(values)))
    return out


if __name__ == "__main__":
    main()
