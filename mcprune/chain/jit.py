"""numba's options and the folder of its machine code, in this one place.

A kernel is compiled on its first use and the machine code is kept in a folder of the user (`cache_folder`), so that every
process of the user finds it: from any working directory, from a read-only installation, in the workers of joblib. The
folder's name holds a digest of all source files with kernels. numba alone looks at the file of the called kernel only
and would not see an edit of a kernel that is called from there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import types as _numba_types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache, _CacheLocator
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

try:
    import fcntl
except ImportError:  # not on Windows, where processes that start together compile side by side
    fcntl = None  # type: ignore[assignment]

types: Any = _numba_types  # its names are made at run time
F = TypeVar("F", bound=Callable[..., Any])

# Seconds that a process waits for another one that compiles the same kernels, before it compiles them itself.
PATIENCE = 300.0
# Folders of other sources, such as those of another installation, that keep their machine code.
KEPT = 8
# The rooms with kernels, and what stands in a file that belongs to them.
_ROOMS = tuple(
    Path(__file__).parents[1] / room
    for room in (
        "chain",
        "chain/ranks",
        "evaluators/compiled",
        "firmware/polish/engine",
        "sampling/walks",
        "training/compiled",
    )
)
_MARKS = (b"chain.jit import", b"llvmlite")


@functools.cache
def sources_digest() -> str:
    """Digest of the source files that machine code is made from."""
    digest = hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in room.glob("*.py")):
        text = path.read_bytes()
        if path == Path(__file__) or any(mark in text for mark in _MARKS):
            digest.update(path.name.encode() + b"\0" + text)
    return digest.hexdigest()


def _user_folder() -> Path:
    """Folder of the user for files that can be made again, by the platform's convention."""
    if sys.platform == "win32":
        default, variable = Path.home() / "AppData" / "Local", "LOCALAPPDATA"
    elif sys.platform == "darwin":
        default, variable = Path.home() / "Library" / "Caches", ""
    else:
        default, variable = Path.home() / ".cache", "XDG_CACHE_HOME"
    chosen = os.environ.get(variable, "")
    return (Path(chosen) if os.path.isabs(chosen) else default) / "mcprune"


def cache_candidates() -> list[Path]:
    """Folders for the machine code, the preferred one first; they need not exist.

    NUMBA_CACHE_DIR where it is set, the user's cache folder, the package's own `__pycache__`.
    """
    roots = [Path(__file__).parent / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # a user without a home
        roots.insert(0, _user_folder())
    if numba.config.CACHE_DIR:
        roots.insert(0, Path(numba.config.CACHE_DIR).absolute() / "mcprune")
    return [root / f"numba-{numba.__version__}" / sources_digest()[:16] for root in roots]


@functools.cache
def cache_folder() -> Path | None:
    """Writable folder for the machine code, made on first use; None where there is none."""
    try:
        candidates = cache_candidates()
    except OSError:  # the sources cannot be read, as in a zip archive
        return None
    for folder in candidates:
        with contextlib.suppress(OSError):
            is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            if is_new:
                drop_unused(folder)
            with contextlib.suppress(OSError):
                os.utime(folder)  # its last use
            return folder
    return None


def drop_unused(folder: Path) -> None:
    """Remove the machine code of other sources and versions of numba beside a folder, but for the `KEPT` last used."""
    others = []
    for other in folder.parents[1].glob("numba-*/" + "[0-9a-f]" * len(folder.name)):
        with contextlib.suppress(OSError):  # another process removes it too
            others.append((other.stat().st_mtime, other))
    others = [(used, other) for used, other in others if other != folder]
    for _, other in sorted(others, reverse=True)[KEPT:]:
        shutil.rmtree(other, ignore_errors=True)


class _Locator(_CacheLocator):  # type: ignore[misc]  # numba has no types
    """Tells numba where the machine code of one function lies."""

    def __init__(self, fn: Callable[..., Any], file: str, folder: Path) -> None:
        self._py_file, self._line, self._folder = file, fn.__code__.co_firstlineno, folder

    @classmethod
    def from_function(cls, fn: Callable[..., Any], file: str) -> _Locator | None:
        folder = cache_folder()
        return None if folder is None else cls(fn, file, folder)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return sources_digest()

    def get_disambiguator(self) -> str:
        return str(self._line)


class _CacheFiles(CompileResultCacheImpl):  # type: ignore[misc]  # numba has no types
    _locator_classes = (_Locator,)


class _Cache(FunctionCache):  # type: ignore[misc]  # numba has no types
    """The machine code of one function on disk; a file that is damaged or cannot be written is as if it were not there."""

    _impl_class = _CacheFiles

    def has(self, signature: Any, context: Any) -> bool:
        """Tell whether the folder's index lists a signature."""
        with contextlib.suppress(Exception):
            return self._index_key(signature, context.codegen()) in self._cache_file._load_index()
        return False

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            return super().load_overload(signature, context)
        except Exception:  # unpickling a damaged file may raise anything
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(signature, compiled)


@contextlib.contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """Be the only process that compiles into a folder; wait for `PATIENCE` seconds at most."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a file system without locks
            if folder is not None and fcntl is not None:
                lock = stack.enter_context((folder / "lock").open("ab"))  # closing the file unlocks it
                deadline = time.monotonic() + PATIENCE
                while not _is_locked(lock.fileno()) and time.monotonic() < deadline:
                    time.sleep(0.05)
        yield


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _plain(kind: Any) -> Any:
    """Type of an argument without its value; signed integers as int64."""
    kind = types.unliteral(kind)
    return types.int64 if isinstance(kind, types.Integer) and kind.signed else kind


class _Kernel(CPUDispatcher):  # type: ignore[misc]  # numba has no types
    """A dispatcher whose machine code is compiled by one process of the user and loaded by the others."""

    _is_compiling = False  # in this process: a kernel compiles the kernels that it calls

    def enable_caching(self) -> None:
        if cache_folder() is not None:
            self._cache = _Cache(self.py_func)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """One machine code for all calls from other kernels: by default numba makes one for each constant argument."""
        return super().get_call_template(tuple(map(_plain, args)), {name: _plain(kind) for name, kind in kws.items()})

    def compile(self, signature: Any) -> Any:
        with global_compiler_lock:
            if (
                _Kernel._is_compiling
                or isinstance(self._cache, NullCache)
                or self._cache.has(signature, self.targetctx)
            ):
                return super().compile(signature)
            with _alone(cache_folder()):
                _Kernel._is_compiling = True
                try:
                    return super().compile(signature)
                finally:
                    _Kernel._is_compiling = False


# Never fastmath: it may reorder sums, and then the trace would depend on the machine's vector width.
# error_model "numpy": a division by zero gives inf or nan, which the decision rejects, instead of an
# exception.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
# A product and a sum may become one rounding (contract), a zero lose its sign: no order of sums changes, so a machine
# repeats its bits, but two kinds of machine may differ in the last one. For losses that only screen.
_CONTRACTED: dict[str, Any] = {**_OPTIONS, "fastmath": {"contract", "nsz"}}


def _dispatcher(fn: F, **options: Any) -> F:
    if numba.config.DISABLE_JIT:
        return fn
    dispatcher = _Kernel(py_func=fn, targetoptions={"nopython": True, "boundscheck": None, **options})
    dispatcher.enable_caching()
    return cast(F, dispatcher)


def kernel(fn: F) -> F:
    """Compile a function for one thread, on first use, with the machine code cached on disk."""
    return _dispatcher(fn, **_OPTIONS)


def parallel_kernel(fn: F) -> F:
    """Compile a function whose `prange` loops run on numba's threads.

    Every iteration must write to its own elements only, so that 1 and N threads give the same bits.
    """
    return _dispatcher(fn, parallel=True, **_OPTIONS)


def contracted_kernel(fn: F) -> F:
    """Compile a function for one thread with fused multiply-adds."""
    return _dispatcher(fn, **_CONTRACTED)


def contracted_inline(fn: F) -> F:
    """Compile as `contracted_kernel` does, and put the code into the callers."""
    return _dispatcher(fn, inline="always", **_CONTRACTED)


def contracted_parallel_kernel(fn: F) -> F:
    """Compile as `contracted_kernel` does, with `prange` on numba's threads.

    Every iteration must write to its own elements only, so that 1 and N threads give the same bits.
    """
    return _dispatcher(fn, parallel=True, **_CONTRACTED)
