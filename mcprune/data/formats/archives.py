"""Numpy's .npz and .npy files: never by pickle, and never beyond the memory that the file's size allows."""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from mcprune.data.roles.checks import nearest, some
from mcprune.errors import DataError
from mcprune.types import AnyArray

_MAX_DEFLATE = 1032  # see idx.py
MAX_HEADER = 10_000  # bytes, numpy's own bound for a header that is not trusted


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, AnyArray]:
    """Read the named arrays of an archive.

    Raises
    ------
    DataError
        No such archive or array (the nearest name is suggested), arrays of Python objects, truncated or broken
        content.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            arrays = {}
            for name in names:
                if name not in members:
                    raise DataError(
                        f"{path}: no array {name!r}.{nearest(name, members)} It holds: "
                        f"{some(map(repr, members)) or 'nothing'}. Write it with numpy.savez(file, "
                        "X=features, y=classes)."
                    )
                info = members[name]
                if info.file_size > info.compress_size * _MAX_DEFLATE + 64:
                    raise DataError(
                        f"{path}: array {name!r} claims {info.file_size:,} bytes, more than the file can "
                        "hold. Write it again."
                    )
                with archive.open(info) as file:
                    arrays[name] = _read_npy(f"{path}: array {name!r}", file, info.file_size)
            return arrays
    except DataError:
        raise
    except Exception as error:  # a broken archive makes zipfile raise nearly anything
        raise _broken(path, error) from error


def array_names(path: Path) -> list[str]:
    """Return the names of an archive's arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # as in read_npz
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: broken or no .npz archive ({type(error).__name__}: {error}). Write it with numpy.savez.")


def read_npy(path: Path) -> AnyArray:
    """Read the array of one .npy file; errors as `read_npz`."""
    try:
        with path.open("rb") as file:
            return _read_npy(str(path), file, path.stat().st_size)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from error


def _read_npy(where: str, file: IO[bytes], size: int) -> AnyArray:
    try:
        version = np.lib.format.read_magic(file)
        length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
        if length > MAX_HEADER:  # the reader would allocate as much as is claimed
            raise DataError(f"{where} is broken: its header claims {length:,} bytes. Write it again.")
        file.seek(8)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise DataError(
                f"{where} holds Python objects, which only pickle can read, and mcprune never uses pickle. Save "
                "numbers or texts: X.astype(float), y.astype(str)."
            )
        if dtype.itemsize == 0 and dtype.kind != "O":  # any number of them fits into any file, but takes memory
            raise DataError(f"{where} holds values without a size ({dtype}). Save numbers or texts.")
        claimed = math.prod(shape) * dtype.itemsize
        available = size - file.tell()
        if claimed > available:
            sides = " x ".join(map(str, shape))
            raise DataError(
                f"{where} is truncated: its header claims {sides} = {claimed:,} bytes, there are {available:,}. "
                "Write it again."
            )
        file.seek(0)
        array: AnyArray = np.lib.format.read_array(file, allow_pickle=False)
        return array
    except DataError:
        raise
    except Exception as error:  # numpy's header parser and the unpacker of the file raise nearly anything
        raise DataError(
            f"{where} is broken ({str(error).splitlines()[0][:120] if str(error) else 'no content'}). Write it again."
        ) from error
