"""A checksum of prepared data, by which a resumed run recognises them."""

from __future__ import annotations

import zlib

import numpy as np

from mcprune.data.prepare import Prepared


def fingerprint(data: Prepared) -> str:
    """Return a CRC-32 over all parts of the prepared data: it finds other data by mistake, not by malice."""
    checksum = 0
    for part in ("train", "validation", "test"):
        for values in (getattr(data, f"x_{part}"), getattr(data, f"y_{part}")):
            checksum = zlib.crc32(f"{values.dtype} {values.shape}".encode(), checksum)
            checksum = zlib.crc32(np.ascontiguousarray(values).data.cast("B") if values.size else b"", checksum)
    return f"{checksum:08x}"
