"""The fixed-point network that a command starts from, with the data that it is for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.config.files import read_options
from mcprune.config.schema import Config, make_config
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.data.prepare import Rows, Splits, prepare
from mcprune.errors import ConfigError, FolderError
from mcprune.firmware.network import FixedNetwork, Origin
from mcprune.firmware.network_files import is_network, load_network
from mcprune.firmware.rounding import round_mlp
from mcprune.session.build.dataset import load_dataset
from mcprune.storage.layout import CONFIG
from mcprune.storage.pruned_model import load


class Start(NamedTuple):
    """A network, its data, and how it came about."""

    network: FixedNetwork
    splits: Splits
    description: str


class RoundingRule(NamedTuple):
    """Bits of the weights, and of inputs and activations, of a classifier in floating point that is rounded."""

    bits: int = 8
    signal_bits: int = 8


def read_start(folder: Path, options: dict[str, object], rule: RoundingRule) -> Start:
    """Return the network of a folder.

    Parameters
    ----------
    folder : Path
        Of a fixed-point network, or of a finished run, whose pruned classifier is rounded.
    options : dict
        Of the data, as in `Config`: of a fixed-point network they are needed; of a run they are those of the run.
    rule : RoundingRule

    Raises
    ------
    McpruneError
        There is neither, or the data are missing or do not fit.
    """
    if not folder.is_dir():
        raise FolderError(f"there is no folder {str(folder)!r}. Give the folder of a run or of a fixed-point network.")
    if is_network(folder):
        if "data" not in options:
            raise ConfigError(
                f"{str(folder)!r} holds a network and no data. Give --data, the data that it was trained on."
            )
        network = load_network(folder)
        if network.origin.split_seed is not None:  # another split would take training rows for test rows
            options = {**options, "seed": network.origin.split_seed}
        config = make_config(**options)
        return Start(network, splits_of(config, network.origin), "a fixed-point network")
    others = [name for name in options if name != "seed"]
    if others:
        raise ConfigError(
            f"--{others[0].replace('_', '-')} is for a fixed-point network, but {str(folder)!r} holds none. The data of a run are those "
            "of the run: leave it out."
        )
    pruned = load(folder)
    config = make_config(**read_options(folder / CONFIG))
    if config.data_settings().source == FROM_PYTHON:
        raise ConfigError(f"The data of {str(folder)!r} came from Python. Polish its network from Python too.")
    seed = config.seed()
    origin = Origin(pruned.columns, pruned.n_inputs, pruned.names, pruned.labels, pruned.scaler, seed)
    splits = splits_of(config, origin)
    network = round_mlp(
        pruned.model, splits.train.features[:, origin.columns], origin, bits=rule.bits, signal_bits=rule.signal_bits
    )
    return Start(
        network, splits, f"rounded to {rule.bits} bits a weight and {rule.signal_bits} bits an input and activation"
    )


def splits_of(config: Config, origin: Origin) -> Splits:
    """Return the splits of a data set, scaled as the network of an origin expects its inputs."""
    dataset = load_dataset(config)
    data = config.data_settings()
    is_scaled = origin.scaler is not None and dataset.n_inputs == origin.width
    splits = prepare(
        dataset,
        seed=config.seed(),
        validation=data.validation,
        test=data.test,
        scale="none" if is_scaled else data.scale,
    )
    if not is_scaled or origin.scaler is None:
        return splits
    columns, scaler = origin.columns, origin.scaler

    def scaled(rows: Rows) -> Rows:
        features = np.zeros_like(rows.features)
        features[:, columns] = scaler.apply(rows.features[:, columns])
        return rows._replace(features=features)

    return splits._replace(train=scaled(splits.train), validation=scaled(splits.validation), test=scaled(splits.test))
