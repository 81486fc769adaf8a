"""`reproduce obd`: the nets, the percentages and the data, and what of it the post does not give."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcprune.config.schema import Config, make_config
from mcprune.studies.base import Options
from mcprune.studies.reproduce.obd.curves import DROPOUT, GLOBAL, LAYERWISE, PLAIN, SIGNED

# The post drops 1 ... 19% layer by layer and 10 ... 70% of all layers; both are dropped both ways here, and more.
LIGHT, POST, BEYOND = tuple(range(1, 20)), tuple(range(10, 80, 10)), (80, 90, 95, 98)
KEEP_PROBABILITY = 0.8
NETS = {PLAIN: 0.0, DROPOUT: round(1.0 - KEEP_PROBABILITY, 6)}
MEASURES = ("magnitude", "obd", SIGNED, "obd-row-sum")
HOWS = (LAYERWISE, GLOBAL)
BATCH, RATE = 128, 2e-3


@dataclass(frozen=True)
class Setting:
    """What is reproduced on which data, and how long; `threads` as `run` takes it."""

    data: str
    seeds: tuple[int, ...] = (0, 1, 2)
    quick: bool = False
    threads: str | None = None
    hidden: tuple[int, ...] = (50, 50, 50, 50)
    epochs: int = 12
    percents: tuple[int, ...] = tuple(sorted({*LIGHT, *POST, *BEYOND}))
    chain_percents: tuple[int, ...] = (*POST, *BEYOND)
    # A frozen classifier's batches only count the chain's blocks: 99 of them on MNIST.
    chain: Options = field(default_factory=lambda: {"epochs": 1, "batch_size": 512})

    def options(self, seed: int) -> Options:
        """Return the options of the chain's runs, as `make_config` takes them."""
        threads = {} if self.threads is None else {"threads": self.threads}
        return {
            "data": self.data, "seed": seed, "compare": "no", "sites": "weights", "frozen": True, "finetune": "none", "start": "obd",
            "keep_schedule": "constant", "batch_size": BATCH, **threads, **self.chain,
        }  # fmt: skip

    def config(self, seed: int) -> Config:
        """Return the configuration that says how rows are split and scaled, for the nets as for the chain.

        Raises
        ------
        ConfigError
            Options that cannot be.
        """
        return make_config(**self.options(seed))

    def key(self) -> Options:
        """Return what the figures of a net depend on, besides its own name."""
        threads = {} if self.threads is None else {"threads": int(self.config(0).runtime.threads or 0)}
        return {
            "data": self.data, "hidden": list(self.hidden), "epochs": self.epochs, "percents": list(self.percents), **threads,
        }  # fmt: skip

    def description(self) -> str:
        """Return what the setting is, and which part of it the post does not give."""
        layers = "-".join(map(str, self.hidden))
        noisy = (
            " Small data: accuracies are steps of a fraction of a percent, and verdicts may differ from MNIST's."
            if self.quick
            else ""
        )
        return (
            f"{self.data}, seeds {', '.join(map(str, self.seeds))}. As in the post: a ReLU net with four hidden layers ({layers}), biases "
            "left alone, one shot after training, every percentage from the same trained net, no retraining, accuracy on the test rows, "
            f"dropout with keep probability {KEEP_PROBABILITY:g}. Not in the post, so chosen here: {self.epochs} epochs of Adam in batches "
            f"of {BATCH} with one cycle of the rate, every percentage both layer-wise and over all layers, percentages above 70, at least "
            "one weight left in each layer. OBD is h_kk theta^2 / 2 with the true diagonal of the Hessian over all training rows; 'Hessian "
            "row sum' and 'signed weight' are what the post's public code sorts by: H times a vector of ones on one batch, and the weight "
            f"itself, so that the most negative go first.{noisy}"
        )


QUICK: Options = {
    "hidden": (30, 30, 30, 30),
    "epochs": 100,
    "chain_percents": (30, 50, 70, 90),
    "chain": {"epochs": 6},
}
