"""The errors of mcprune: every message gives the cause, what was found, and the remedy.

The command line prints the message of a `McpruneError` and exits with code 2. Any other exception is a fault of
mcprune itself and keeps its traceback.
"""


class McpruneError(Exception):
    """An error that the user can fix; the message says how."""


def brief(error: BaseException, most: int = 160) -> str:
    """Return the first line of an error's message, at most `most` characters, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


class ConfigError(McpruneError, ValueError):
    """An option or a combination of options that cannot be run."""


class DataError(McpruneError, ValueError):
    """A data set that is missing, broken or unfit for classification."""


class ModelError(McpruneError, ValueError):
    """A model whose sites cannot be gated, shrunk or loaded."""


class ObjectiveError(McpruneError, ValueError):
    """An objective, such as a function of the user's own, that gives no usable value."""


class DeviceError(McpruneError, RuntimeError):
    """A device that was asked for and is not there."""


class FolderError(McpruneError, OSError):
    """A run's folder that exists, is missing, is broken or cannot be written."""


class NumericalError(McpruneError, ArithmeticError):
    """A loss that turned non-finite where no rejection can absorb it."""


class SamplingError(McpruneError, RuntimeError):
    """Chains that have not come to one law, so that what they say of masks would mislead."""


class NothingFoundError(McpruneError):
    """No column beats its shadow at the false discovery rate that was asked for: the answer, and no fault of the options.

    Parameters
    ----------
    message : str
    event : ErrorRate
        The statistics of all columns (mcprune/storage/result_events.py).
    """

    def __init__(self, message: str, event: object) -> None:
        super().__init__(message)
        self.fdr = event


class RanksError(McpruneError, RuntimeError):
    """Processes of one run that cannot start together, are gone or late, or are out of step."""
