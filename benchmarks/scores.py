"""What it costs to score the channels of a VGG-13: each measure against one pass forward and back over the same images.

Every measure runs from nothing, on 2,560 class-balanced CIFAR-10 images in batches of 128, untrained weights, batch-norm in evaluation
mode; the pass forward and back is over the same batches in the same mode, half of it before and half of it after. Times are of the
processor (all threads), so that neighbours on the machine count less. Memory is the growth of the process's resident peak while a
measure runs.

    python benchmarks/scores.py --quick
    python benchmarks/scores.py --threads 2 --out benchmarks/results/scores.json
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

from common import parser, report, row  # isort: skip

import numpy as np

SHAPE = (3, 32, 32)
INPUTS = 3 * 32 * 32
FIRST, SECOND = 1.3, 4.0
BARS = {
    **dict.fromkeys(
        ("magnitude", "magnitude-l1", "bn-scale", "random", "loss", "loss-elements", "loss-weighted", "fisher-batch"),
        FIRST,
    ),
    **dict.fromkeys(("grasp", "gradient-norm", "fisher"), SECOND),
}


def images(count: int) -> tuple[Any, Any]:
    """Return CIFAR-10 images (rows, 3072) in 0..1 and labels; noise of that shape where CIFAR is not at hand."""
    import torch

    from mcprune.data.load import load
    from mcprune.errors import McpruneError

    try:
        data = load("cifar-10")
        x = np.asarray(data.features[: 4 * count], np.float32).reshape(-1, INPUTS) / 255.0
        return torch.from_numpy(x), torch.from_numpy(np.asarray(data.targets[: 4 * count], np.int64))
    except McpruneError as error:
        print(f"noise in place of images: {error}")
        draw = np.random.default_rng(0)
        x = draw.random((4 * count, INPUTS), dtype=np.float32)
        return torch.from_numpy(x), torch.from_numpy(draw.integers(0, 10, 4 * count))


def peak() -> float:
    """Return the resident peak of the process in MiB since it was last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reset_peak() -> None:
    """Set the resident peak back to what is resident now, where the system lets us."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("peaks are of the whole process so far")


def main() -> None:
    """Measure, print, write."""
    options = parser(__doc__.split("\n")[0], with_plot=False)
    options.add_argument("--rows", type=int, help="images (2560; with --quick 128)")
    options.add_argument("--scale", type=float, help="share of VGG-13's widths (1; with --quick 0.25)")
    options.add_argument("--threads", type=int, default=1, help="of torch (1)")
    options.add_argument("--measures", default="", help="some measures, with commas between (all but loss-tracked)")
    given = options.parse_args()
    rows = given.rows or (128 if given.quick else 2560)
    scale = given.scale or (0.25 if given.quick else 1.0)

    import torch

    from mcprune.methods.importance.evidence import Evidence, balanced_rows, row_losses
    from mcprune.methods.importance.registry import REGISTRY, score
    from mcprune.methods.importance.scorer import BATCH
    from mcprune.models.registry import build
    from mcprune.objectives.classification import CrossEntropy
    from mcprune.sites.owners import Owners
    from mcprune.sites.site_map import site_map

    torch.set_num_threads(given.threads)
    model = build("vgg13", INPUTS, 10, image_shape=SHAPE, width=scale).eval()
    sites = site_map(model, "channels", INPUTS)
    x, y = images(rows)
    batches = [(x[part], y[part]) for part in balanced_rows(y.numpy(), rows, BATCH, 0)]
    owners = Owners(model, sites)
    parameters = list(model.parameters())

    def once(part: Any) -> float:
        began = time.process_time()
        loss = torch.nn.functional.cross_entropy(model(part[0]), part[1])
        torch.autograd.grad(loss, parameters)
        return time.process_time() - began

    once(batches[0])
    names = [name for name in REGISTRY if name != "loss-tracked"]
    names = given.measures.split(",") if given.measures else names
    found = []
    for name in names:
        half = len(batches) // 2
        plain = sum(map(once, batches[:half]))
        reset_peak()
        before = peak()
        began = time.process_time()
        evidence = Evidence(
            model, owners, batches, losses=row_losses(CrossEntropy(), name), temperature=REGISTRY[name].temperature
        )
        scores = score(name, evidence)
        took = time.process_time() - began
        grown = peak() - before
        plain += sum(map(once, batches[half:]))
        assert np.isfinite(scores.values).all()
        found.append(
            row(name, took / plain, "passes", BARS.get(name), "lower", f"  {took:.2f} s, pass {plain:.2f} s, peak +{grown:.0f} MiB",
                seconds=took, pass_seconds=plain, peak_mib=grown)
        )  # fmt: skip
        print(f"{name}: {found[-1]['value']:.2f}{found[-1]['note']}", flush=True)
    setting = {"rows": len(np.concatenate([part[1].numpy() for part in batches])), "batch": BATCH, "scale": scale, "sites": sites.size,
               "parameters": sum(parameter.numel() for parameter in parameters), "seed": 0}  # fmt: skip
    report(found, given.threads, given.out, setting=setting)


if __name__ == "__main__":
    main()
