"""What the commands for networks in fixed point ask of data: classes, and the columns of the network."""

from __future__ import annotations

from mcprune.data.prepare import Splits
from mcprune.errors import ConfigError, DataError
from mcprune.firmware.network import Origin


def check_classes(splits: Splits) -> None:
    """Refuse data whose targets are numbers.

    Raises
    ------
    ConfigError
    """
    if not splits.n_classes:
        raise ConfigError(
            f"The targets of {splits.name} are numbers, but networks in fixed point are made for classes. Choose a column of classes "
            "with --target, or use mcprune run without --sites digits."
        )


def check_names(origin: Origin, splits: Splits) -> None:
    """Refuse data whose columns have other names than the inputs of a network.

    Raises
    ------
    DataError
    """
    if splits.n_inputs != origin.width or len(origin.names) != len(origin.columns):
        return
    for column, name in zip(origin.columns.tolist(), origin.names, strict=True):
        if splits.names[column] != name:
            raise DataError(
                f"Column {column + 1} of {splits.name} is {splits.names[column]!r}, and the network reads {name!r} there. Give the data "
                "set that it was trained on."
            )
