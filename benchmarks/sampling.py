"""How far samples of masks can be trusted, and how fast they are: the law, the errors of P, the truth, the calibration, the precision.

    python benchmarks/sampling.py [law] [truth] [calibration] [calibration_weak]
        [calibration_cold] [calibration_fresh] [precision] [mnist] [mnist_1024] [mnist_warm]

Each part adds its figures to benchmarks/results/sampling.json; a part that was cut off goes on with the rows that it has.
`mnist` needs MNIST in MCPRUNE_DATA.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sampling_calibration import calibration, calibration_cold, calibration_fresh, calibration_weak
from sampling_common import RUN, Rows, cost
from sampling_law import law
from sampling_truth import truth

import mcprune
from mcprune.environment import processor, versions
from mcprune.errors import SamplingError
from mcprune.sampling.from_run import sample_folder
from mcprune.sampling.sample import SampleSettings
from mcprune.sampling.samples import Samples
from mcprune.storage.checkpoint import read_checkpoint
from mcprune.storage.layout import SAMPLES

RESULTS = Path(__file__).parent / "results" / "sampling.json"


def precision() -> dict[str, object]:
    """Time to R-hat at most 1.01 and 400 effective draws: a table of 30 columns."""
    return _time_to_agree("breast-cancer", {"keep": 10}, 60.0)


def mnist() -> dict[str, object]:
    """The same of MNIST at n = 50, from a short run; one thread, at most 400 seconds of the clock."""
    return _time_to_agree("mnist", {"keep": 50, "max_time": 40}, 400.0)


def mnist_1024() -> dict[str, object]:
    """The same on 1,024 evaluation rows, which distinguish fewer masks; at most 180 seconds."""
    return _time_to_agree("mnist", {"keep": 50, "max_time": 40}, 180.0, 1_024)


def mnist_warm() -> dict[str, object]:
    """The same at twice the default temperature of 1,024 rows."""
    return _time_to_agree("mnist", {"keep": 50, "max_time": 40}, 180.0, 1_024, 0.008)


def _time_to_agree(
    name: str, options: dict[str, object], seconds: float, rows: int | None = None, temperature: float | None = None
) -> dict[str, object]:
    """Run and sample a data set; where the chains do not agree, how far they are."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get(f"MCPRUNE_RUN_{name.upper()}", Path(temporary) / "run"))  # one that is finished
        if not folder.exists():
            mcprune.prune(name, out=str(folder), seed=0, **{**RUN, **options})
        began = time.monotonic(), time.process_time()
        try:
            drawn = sample_folder(folder, SampleSettings(max_time=seconds, rows=rows, temperature=temperature))
        except SamplingError as error:
            return {
                "refused": str(error),
                "max_time": seconds,
                **_reached(folder),
                "cpu_seconds": time.process_time() - began[1],
            }
        return cost(drawn, time.monotonic() - began[0], time.process_time() - began[1])


def _reached(folder: Path) -> dict[str, object]:
    """What the samples in a folder are worth whose chains do not agree, in temperatures where it is a loss."""
    content = read_checkpoint(folder / SAMPLES)
    losses, state = content["losses"], content["state"]
    masks = np.unpackbits(content["masks"], axis=2, count=len(state["probability"])).astype(bool)
    if losses.shape[1] < 8:
        return {"draws": int(losses.shape[1])}
    temperature, companions = float(state["temperature"]), state["companions"]
    samples = Samples(masks, losses, temperature, math.nan, tuple(map(str, range(masks.shape[2]))))
    mean, spread = losses.mean(axis=1), losses.std(axis=1)
    return {
        "draws": samples.draws,
        "r_hat_of_the_loss": samples.loss_r_hat,
        "largest_r_hat_of_a_site": float(samples.r_hat.max()),
        "sites_with_r_hat_above_1.05": int((samples.r_hat > 1.05).sum()),
        "ess_of_the_loss": samples.loss_ess,
        "median_ess_of_a_site": float(np.median(samples.ess)),
        "temperature": temperature,
        "mean_losses_of_the_chains_apart": float((mean.max() - mean.min()) / temperature),
        "spread_within_chains": float(spread.mean() / temperature),
        "acceptance": float(state["accepted"] / max(1, state["decisions"])),
        "trades_with_companions": int(companions["asked"]),
        "trades_accepted": int(companions["accepted"]),
        "factor_of_the_model": float(companions["scale"]),
        "seconds_of_burn_in_and_draws": [float(value) for value in content["seconds"]],
    }


PARTS = {
    "law": law, "truth": truth, "calibration": calibration, "calibration_weak": calibration_weak,
    "calibration_cold": calibration_cold, "calibration_fresh": calibration_fresh, "precision": precision, "mnist": mnist,
    "mnist_1024": mnist_1024,
    "mnist_warm": mnist_warm,
}  # fmt: skip
BY_ROWS = ("truth", "calibration", "calibration_weak", "calibration_cold", "calibration_fresh")


def main(names: list[str]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    def write() -> None:
        RESULTS.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")

    for name in names or PARTS:
        load, began, cpu = os.getloadavg()[0], time.monotonic(), time.process_time()
        rows = results.get(name, {}).get("unfinished", [])
        if name in BY_ROWS:
            results[name] = {"unfinished": rows}
        figures = PARTS[name](Rows(rows, write)) if name in BY_ROWS else PARTS[name]()
        results[name] = {
            "command": f"python benchmarks/sampling.py {name}",
            "machine": {"processor": processor(), "cores": os.cpu_count(), "platform": platform.machine()},
            "threads": 1,
            "versions": versions(),
            "load_average_before": load,
            "load_average_after": os.getloadavg()[0],
            "seconds": time.monotonic() - began,
            "cpu_seconds": time.process_time() - cpu,
            **figures,
            **({"rows": rows} if name in BY_ROWS else {}),
        }
        write()
        print(name, json.dumps(figures, indent=1)[:2000], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
