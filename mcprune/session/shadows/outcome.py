"""What a run makes of the competition: the columns that it keeps, or the answer that there are none."""

from __future__ import annotations

from mcprune.config.schema import Config
from mcprune.config.unused import check_options
from mcprune.data.base import Dataset
from mcprune.environment import use_threads
from mcprune.errors import NothingFoundError
from mcprune.session.shadows.compete import compete
from mcprune.storage.events import ErrorRate


def choose_by_shadows(config: Config, dataset: Dataset) -> tuple[ErrorRate, Config]:
    """Let the columns compete with their shadows; return the outcome, and the configuration that keeps as many columns.

    Raises
    ------
    NothingFoundError
        No column is kept.
    """
    error_rate = check_and_compete(config, dataset)
    require_some(error_rate)
    return error_rate, config.replace(fdr=None, keep=len(error_rate.indices))


def check_and_compete(config: Config, dataset: Dataset) -> ErrorRate:
    """Return the outcome of the competition, possibly without a column, with the threads and the checks of a run."""
    check_options(config)
    use_threads(config.threads())
    return compete(dataset, config)


def require_some(event: ErrorRate) -> None:
    """Refuse to go on without a column.

    Raises
    ------
    NothingFoundError
        None is kept.
    """
    if event.indices:
        return
    best = min(event.columns, key=lambda column: column.rate)
    ahead = sum(column.rate <= best.rate for column in event.columns)
    kept = f"{best.name} alone" if ahead == 1 else f"the best {ahead:,} columns, with {best.name},"
    raise NothingFoundError(
        f"No column beats its shadow at fdr={event.fdr:g}: {kept} would have an estimated false discovery rate of {best.rate:.2f}. Give "
        "more rows or a larger fdr, or choose a number of columns by keep.",
        event,
    )
