"""What the parts of `benchmarks/sampling.py` share."""

from __future__ import annotations

from collections.abc import Callable

from mcprune.sampling.drawn import Drawn

# Options of every run.
RUN = {"threads": 1, "compare": "no", "retrain_epochs": 1}


class Rows:
    """What a part has measured so far: each row is written at once, and a part that was cut off goes on."""

    def __init__(self, known: list[dict], write: Callable[[], None]) -> None:
        self.known, self.write = known, write

    def add(self, row: dict) -> None:
        """Add a row, and write it."""
        self.known.append(row)
        self.write()


def cost(drawn: Drawn, seconds: float, cpu: float) -> dict[str, object]:
    """Return what samples are worth, and what they cost."""
    samples = drawn.samples
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "chains": samples.chains,
        "draws": samples.draws,
        "r_hat_of_the_loss": samples.loss_r_hat,
        "largest_r_hat_of_a_site": float(samples.r_hat.max()),
        "ess_of_the_loss": samples.loss_ess,
        "smallest_ess_of_a_site": float(samples.ess.min()),
        "largest_error_of_p": float(samples.monte_carlo_error.max()),
        "temperature": samples.temperature,
        "paired_error": samples.paired_error,
        "spread": samples.loss_spread,
        "acceptance": drawn.acceptance,
    }
