"""Names for the array types that cross module borders."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
AnyArray = NDArray[Any]
JsonObject = dict[str, Any]  # the content of a JSON object whose shape only its reader knows
Int32Array = NDArray[np.int32]
UInt8Array = NDArray[np.uint8]
UInt64Array = NDArray[np.uint64]


class InputField(NamedTuple):
    """One of several inputs of a model, as it lies in a flat row.

    Attributes
    ----------
    name : str
        The keyword of the model's forward pass; "" for a positional input.
    start : int
        Its first column.
    shape : tuple of int
        Of one row.
    kind : "float", "int" or "bool"
        Ids and masks are whole numbers, which are kept or set to 0, but never scaled.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    kind: str

    @property
    def stop(self) -> int:
        """One past its last column."""
        return self.start + math.prod(self.shape)
