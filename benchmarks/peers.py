"""Five packages from PyPI and the chain on one objective for the same time: which mask of n inputs has the lowest loss.

    python benchmarks/peers.py --env DIR        a virtual environment with the packages is made there once, then used again

A classifier is trained once, under masks of random sizes so that nobody's mask is favoured, and then stands still. The loss of a mask
is its cross-entropy on a fixed evaluation batch; a mask keeps exactly n. All start from the same random mask, have one thread and call
the same function; the chain is run so, and once more with the fused evaluator, so that it is seen what the moves gain and what the
evaluator; and once with a temperature that falls geometrically over the time, since a chain at temperature 0 stays in the first mask that
no exchange betters. LassoNet trains a network of its own for that time. In the end the same fresh classifier is trained on each mask's
inputs and scored on validation and test rows.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from common import parser, report, row  # isort: skip

import numpy as np
import torch
from peer_solvers import Judge, TimeOver

HERE = Path(__file__).resolve().parent
# What pip is asked for, what carries it; scipy's optimiser goes by its function's name.
PACKAGES = {
    "simanneal": "simanneal", "dual_annealing": "scipy", "evotorch": "evotorch", "nevergrad": "nevergrad", "lassonet": "lassonet",
}  # fmt: skip
DATA = {
    "digits": {"n": 16, "hidden": (64,), "rows": 1024, "epochs": 40},
    "mnist": {"n": 50, "hidden": (128, 64), "rows": 4096, "epochs": 8},
}
CHAINS = ("chain, plain loss", "chain, fused evaluator", "chain, fused evaluator, falling temperature")
# Of the start's loss: the temperature at first; and of that the temperature at last. Not tuned.
HOT, COLD = 0.05, 1e-3


def environment(folder: Path) -> dict[str, str]:
    """Make what is missing of the peers' environment; return the version of each package, or why there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    found: dict[str, str] = {}
    for package in ("torch", *PACKAGES.values()):
        told = _version(python, package)
        if told is None:
            print(f"  pip install {package} into {folder}", flush=True)
            limits = ["-c", str(HERE.parent / "constraints.txt")]
            done = subprocess.run(
                [str(python), "-m", "pip", "install", "-q", *limits, package, "numpy"], capture_output=True, text=True
            )
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
            told = _version(python, package) or f"not installed: {errors[-1]}"
        found[package] = told
    return found


def _version(python: Path, package: str) -> str | None:
    program = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([str(python), "-c", program], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def problem(data: str, seed: int, quick: bool) -> tuple[dict[str, Any], Any]:
    """Return what is minimised, as arrays by name, and the prepared data."""
    from mcprune.data.load import load
    from mcprune.data.prepare import prepare
    from mcprune.models.registry import build
    from mcprune.training.steps import adam

    chosen = DATA[data]
    n, count = int(chosen["n"]), int(chosen["rows"])  # type: ignore[call-overload]
    prepared = prepare(load(data), seed=seed, validation=0.15, test=0.2, scale="auto")
    x, y = torch.from_numpy(prepared.train.features), torch.from_numpy(prepared.train.targets)
    model = build("mlp", prepared.n_inputs, prepared.n_classes, chosen["hidden"], "relu", 0.0, seed)  # type: ignore[arg-type]
    optimizer, draw = adam(model, 2e-3, 0.0), np.random.default_rng([seed, 7])
    sites = prepared.n_inputs
    for _ in range(2 if quick and data != "digits" else int(chosen["epochs"])):  # type: ignore[call-overload]
        for part in np.array_split(draw.permutation(len(y)), max(1, len(y) // 256)):
            # Sizes from n to N, evenly in their logarithm.
            share = np.exp(draw.uniform(np.log(n / sites), 0.0, (len(part), 1)))
            gates = torch.from_numpy((draw.random((len(part), sites)) < share).astype(np.float32))
            loss = torch.nn.functional.cross_entropy(model(x[part] * gates), y[part])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    model.eval()
    some = draw.permutation(len(y))[:count]
    start = np.zeros(sites, bool)
    start[draw.permutation(sites)[:n]] = True
    arrays: dict[str, Any] = {
        "x": prepared.train.features[some], "y": prepared.train.targets[some], "n": n, "start": start, "hidden": np.array(chosen["hidden"]),
        "rows": prepared.train.features, "targets": prepared.train.targets,
    }  # fmt: skip
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    for number, layer in enumerate(layers):
        arrays[f"weight{number}"], arrays[f"bias{number}"] = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return arrays, prepared


class Plain:
    """The judge's plain loss under the evaluators' contract, as far as a single chain asks."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def losses(self, current: Any, batch: Any) -> np.ndarray:
        """Return the losses of the candidates."""
        from mcprune.chain import moves

        return np.array([[self.judge.loss(mask > 0) for mask in moves.dense(current, batch)[0]]])

    def moved(self, *_: Any) -> None:
        """Nothing is kept."""


def chain(arrays: dict[str, Any], seconds: float, seed: int, *, is_fused: bool, falls: bool) -> dict[str, Any]:
    """Exchange moves from the same mask, at temperature 0 or one that falls: the engine alone, the classifier stands still."""
    from mcprune.chain import engine, moves, state
    from mcprune.evaluators.fused import FusedEvaluator
    from mcprune.objectives.classification import CrossEntropy
    from mcprune.sites.gates import GatedModel
    from mcprune.sites.site_map import site_map

    plan, chains, most = moves.move_plan(exchange=1.0), np.zeros(1, np.int64), 32 if is_fused else 1
    start = np.where(arrays["start"], 4.0, -4.0)[None]
    rule: dict[str, Any] = {"alpha": 0.0, "n": int(arrays["n"]), "seed": seed, "chains": chains}
    evaluations = 0

    def search(judge: Judge) -> None:
        nonlocal evaluations
        current = state.new_state(start, sharpness=np.inf)
        evaluator: Any = Plain(judge)
        if is_fused:
            gated = GatedModel(judge.model, site_map(judge.model, "inputs", judge.sites))
            evaluator = FusedEvaluator(gated, CrossEntropy())
            evaluator.begin(judge.x.T.contiguous().T, judge.y, current.position, np.inf)
        first = judge.plain(judge.start)
        engine.set_loss(current, first, alpha=0.0, n=judge.n)
        rate, temperature = 0.0, 0.0  # accepted of the consumed, lately
        judge.restart()
        try:
            while judge.elapsed() < judge.seconds:
                if falls:
                    temperature = HOT * first * COLD ** (judge.elapsed() / judge.seconds)
                # What stands behind an acceptance is lost.
                ahead = min(most, max(1, round(1.0 / max(rate, 1e-3))))
                batch = moves.propose(current, ahead, plan=plan, delta=1.0, sharpness=np.inf, seed=seed, chains=chains)
                losses = evaluator.losses(current, batch)
                _, info = engine.advance(current, batch, losses, sharpness=np.inf, temperature=temperature, **rule)
                evaluations += ahead
                rate += 0.02 * ((info.index[0] >= 0) - rate * (int(info.index[0]) + 1 if info.index[0] >= 0 else ahead))
                if info.index[0] >= 0:
                    evaluator.moved(current.position, batch, info.index)
        except TimeOver:
            pass
        judge.mask = current.position[0] > 0

    search(Judge(arrays, 0.2))  # compile, outside the time
    evaluations, judge = 0, Judge(arrays, seconds)
    search(judge)
    keep = np.flatnonzero(judge.mask).tolist()
    return {
        "loss": judge.plain(judge.mask),
        "evaluations": evaluations,
        "seconds": judge.elapsed(),
        "keep": keep,
        "note": "",
    }


def peer(name: str, arrays: dict[str, Any], seconds: float, seed: int, python: Path) -> dict[str, Any]:
    """Run a peer in its environment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, **arrays)
        given = [str(python), str(HERE / "peer_solvers.py"), name, str(path), str(seconds), str(seed)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        done = subprocess.run(given, capture_output=True, text=True, env=env, timeout=20 * seconds + 300)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def retrained(prepared: Any, keep: np.ndarray, seed: int, quick: bool) -> dict[str, float]:
    """Accuracy of a fresh MLP 128-64 on the kept inputs: on validation and on test rows."""
    from mcprune.models.registry import build
    from mcprune.training.fit import fit
    from mcprune.training.metrics import accuracy

    def rows(part: str) -> tuple[torch.Tensor, torch.Tensor]:
        x = np.ascontiguousarray(getattr(prepared, part).features[:, keep])
        return torch.from_numpy(x), torch.from_numpy(getattr(prepared, part).targets)

    model = build("mlp", keep.size, prepared.n_classes, (128, 64), "relu", 0.0, seed)
    epochs = 30 if len(prepared.train.targets) < 20_000 else 3 if quick else 20
    fit(model, *rows("train"), epochs=epochs, batch_size=256, learning_rate=2e-3, weight_decay=0.0, seed=seed)
    return {part: accuracy(model, *rows(part)) for part in ("validation", "test")}


def one_seed(
    data: str, seed: int, seconds: float, python: Path, quick: bool, versions: dict[str, str]
) -> dict[str, Any]:
    """All on one problem; by name what each reached."""
    arrays, prepared = problem(data, seed, quick)
    judge = Judge(arrays, 1.0)
    out: dict[str, Any] = {
        "random mask": {"loss": judge.plain(judge.start), "evaluations": 0, "seconds": 0.0, "keep": np.flatnonzero(judge.start).tolist()}
    }  # fmt: skip
    out |= {name: chain(arrays, seconds, seed, is_fused=name != CHAINS[0], falls=name == CHAINS[2]) for name in CHAINS}
    for name, package in PACKAGES.items():
        is_there = not versions[package].startswith("not")
        out[name] = peer(name, arrays, seconds, seed, python) if is_there else {"failed": versions[package]}
    for name, one in out.items():
        if "keep" in one:
            keep = np.array(one["keep"])
            assert keep.size == judge.n, f"{name} kept {keep.size}"
            mask = np.zeros(judge.sites, bool)
            mask[keep] = True
            assert abs(judge.plain(mask) - one["loss"]) < 1e-4, f"{name} tells another loss than its mask has"
            one |= retrained(prepared, keep, seed, quick)
        shown = {key: value for key, value in one.items() if key != "keep"}
        print(f"  {data} seed {seed} {name}: {shown}", flush=True)
    return out


def rows_of(data: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Three rows for each way: loss, evaluations, accuracy; the chain's loss must be below that of every peer."""
    rows, losses = [], {}
    for name in runs[0]:
        good = [run[name] for run in runs if "keep" in run[name]]
        if not good:
            rows.append(row(f"{data}, {name}: loss reached", None, "loss", None, "lower", runs[0][name]["failed"]))
            continue
        took = statistics.mean(one["seconds"] for one in good)
        note = f"{took:.0f} s; {good[0].get('note', '')}".rstrip("; ")
        for key, unit, better, words in (
            ("loss", "loss", "lower", "loss reached"), ("evaluations", "count", "higher", "evaluations"),
            ("test", "", "higher", "retrained test accuracy"), ("validation", "", "higher", "retrained validation accuracy"),
        ):  # fmt: skip
            values = [one[key] for one in good]
            mean, spread = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
            if name == "lassonet" and key == "evaluations":
                continue
            more = "of the mask that its own network chose; " if name == "lassonet" and key == "loss" else ""
            rows.append(
                row(
                    f"{data}, {name}: {words}",
                    mean,
                    unit,
                    None,
                    better,
                    more + note,
                    spread=spread,
                    values=values,
                    seconds=took,
                )
            )
            if key == "loss":
                losses[name] = mean
    others = [loss for name, loss in losses.items() if name in PACKAGES]
    for one in rows:
        if others and one["name"] in (f"{data}, {name}: loss reached" for name in CHAINS):
            one["bar"] = min(others)
    return rows


def main() -> None:
    """Make the environment, run, print, write."""
    from mcprune.environment import use_threads

    asked = parser(__doc__ or "")
    asked.add_argument(
        "--env", type=Path, required=True, metavar="DIR", help="the peers' environment, made if it is not there"
    )
    asked.add_argument("--data", choices=tuple(DATA), help="one data set; default: digits with --quick, else both")
    asked.add_argument("--seconds", type=float, help="time of each (60, with --quick 5)")
    asked.add_argument("--seeds", type=int, help="how many (3, with --quick 1)")
    chosen = asked.parse_args()
    use_threads(1)
    began = time.monotonic()
    versions = environment(chosen.env)
    seconds = chosen.seconds or (5.0 if chosen.quick else 60.0)
    seeds = range(chosen.seeds or (1 if chosen.quick else 3))
    names = [chosen.data] if chosen.data else ["digits"] if chosen.quick else list(DATA)
    if "mnist" in names and not os.environ.get("MCPRUNE_DATA"):
        sys.exit("MCPRUNE_DATA names no folder with mnist; set it, or use --data digits")
    rows: list[dict[str, Any]] = []
    runs: dict[str, Any] = {}
    for data in names:
        runs[data] = [
            one_seed(data, seed, seconds, chosen.env / "bin" / "python", chosen.quick, versions) for seed in seeds
        ]
        rows += rows_of(data, runs[data])
    print(f"  {time.monotonic() - began:.0f} s in all")
    title = f"{seconds:g} s each on a classifier that stands still"
    more = {"packages": versions, "seconds": seconds, "seeds": list(seeds), "runs": runs}
    report(rows, 1, chosen.out, chosen.plot, title, **more)


if __name__ == "__main__":
    main()
