"""What the commands for networks in fixed point ask of targets."""

from __future__ import annotations

from mcprune.data.prepare import Splits
from mcprune.errors import ConfigError


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
