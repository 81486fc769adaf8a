"""Names for the array types that cross module borders."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
AnyArray = NDArray[Any]
JsonObject = dict[str, Any]  # the content of a JSON object whose shape only its reader knows
Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
UInt8Array = NDArray[np.uint8]
