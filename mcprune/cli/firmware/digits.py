"""`mcprune run --sites digits`: training in fixed point, then the chain over signed digits, to an exact budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcprune.config.options import option
from mcprune.config.schema import Config, make_config
from mcprune.errors import ConfigError
from mcprune.storage.layout import check_network_folder

if TYPE_CHECKING:
    from mcprune.cli.firmware.start import Start
    from mcprune.data.prepare import Splits
    from mcprune.firmware.counting.costs import Unit
    from mcprune.firmware.qat.choose import Choice

OPTIONS = (
    "data", "target", "test", "validation", "scale", "keep", "objective", "hidden", "epochs", "batch_size", "learning_rate", "seed",
    "threads", "out", "force",
)  # fmt: skip
START = "start"  # in the folder: the network before the chain
ROOM = 2.0  # the chain starts from a network of at most so many budgets
EPOCHS, RATE = 600, 0.003
PROPOSALS = 400_000


def run_digits(options: dict[str, object], unit: object, *, quiet: bool, json: bool) -> int:
    """Run under options by flat name, and return the exit code.

    Parameters
    ----------
    options : dict
        Those of `mcprune run`, without the sites.
    unit : object
        Of the budget; None: digits.
    quiet, json : bool
    """
    others = [name for name in options if name not in OPTIONS]
    if others:
        raise ConfigError(
            f"{option(others[0])} is not for --sites digits, whose network is trained in fixed point. Leave it out, or use mcprune "
            "quantize and mcprune polish, which have options of their own."
        )
    keep = options.pop("keep", None)
    objective = str(options.pop("objective", "cross-entropy"))
    config = make_config(**{"epochs": EPOCHS, "learning_rate": RATE, **options})

    from mcprune.cli.firmware.polishing import Screen, polish_start
    from mcprune.firmware.polish.settings import PolishSettings

    if not (isinstance(keep, int) or str(keep).isdecimal()):
        raise ConfigError(
            f"--sites digits needs --keep N, a budget as one number, but got {keep!r}. Give such as --keep 80."
        )
    name: Unit = "digits" if unit is None else unit  # type: ignore[assignment]  # checked by the settings
    settings = PolishSettings(int(str(keep)), name, PROPOSALS, seed=config.seed())
    out = config.folder()
    check_network_folder(out, force=config.replaces())
    polish_start(_start(config, settings.budget, settings.unit, out), settings, objective, out, Screen(quiet, json))
    return 0


def _start(config: Config, budget: int, unit: Unit, out: Path) -> Start:
    """Return the network that the chain starts from: that of the folder where a run was cut off, else a trained one."""
    from mcprune.cli.firmware.start import Start, splits_of
    from mcprune.data.prepare import prepare
    from mcprune.firmware.network_files import is_network, load_network, save_network
    from mcprune.session.build.dataset import load_dataset

    if is_network(out / START) and not config.replaces():
        network = load_network(out / START)
        return Start(network, splits_of(config, network.origin), "the network of a run that was cut off")
    data = config.data_settings()
    splits = prepare(
        load_dataset(config), seed=config.seed(), validation=data.validation, test=data.test, scale=data.scale
    )
    chosen = start_of(_trained(config, splits), unit, budget)
    origin = chosen.network.origin._replace(split_seed=config.seed())
    save_network(chosen.network.but(origin=origin), out / START)
    network = load_network(out / START)
    return Start(
        network, splits_of(config, network.origin), f"trained in fixed point, {chosen.costs.of(unit):,} {unit}"
    )


def _trained(config: Config, splits: Splits) -> list[Choice]:
    import torch

    from mcprune.firmware.qat.choose import train_choices
    from mcprune.firmware.qat.fit import Training, default_batch

    epochs, batch_size, rate, threads = config.digit_training()
    training = Training(
        hidden=config.hidden_widths(),
        epochs=EPOCHS if epochs is None else epochs,
        batch_size=default_batch(len(splits.train.targets)) if batch_size is None else batch_size,
        learning_rate=rate,
        seed=config.seed(),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(1 if threads is None else threads)
    try:
        return train_choices(splits, training)
    finally:
        torch.set_num_threads(before)


def start_of(choices: Sequence[Choice], unit: Unit, budget: int) -> Choice:
    """Return the network of least validation loss among those of at most `ROOM` budgets; where there is none, the smallest."""
    within = [one for one in choices if one.costs.of(unit) <= ROOM * budget]
    return min(within, key=lambda one: one.loss) if within else min(choices, key=lambda one: one.costs.of(unit))
