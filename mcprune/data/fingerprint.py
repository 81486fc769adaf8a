"""A checksum of split and scaled data, by which a resumed run recognises them."""

from __future__ import annotations

import zlib

import numpy as np

from mcprune.data.prepare import Splits


def fingerprint(data: Splits) -> str:
    """Return a CRC-32 over all parts of the data, sample weights and entities too: it finds other data by mistake, not by malice."""
    checksum = 0
    for part in (data.train, data.validation, data.test):
        for values in (part.features, part.targets, part.weights, part.entities):
            if values is None:
                continue
            checksum = zlib.crc32(f"{values.dtype} {values.shape}".encode(), checksum)
            checksum = zlib.crc32(np.ascontiguousarray(values).data.cast("B") if values.size else b"", checksum)
    return f"{checksum:08x}"
