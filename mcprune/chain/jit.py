"""numba's options, in this one place."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

# Never fastmath: it may reorder sums, and then the trace would depend on the machine's vector width.
# error_model "numpy": a division by zero gives inf or nan, which the decision rejects, instead of an
# exception.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


def _compiled(fn: F, **options: Any) -> F:
    """Hand a function to numba; where no folder can hold its machine code, without the cache."""
    try:
        return cast(F, numba.njit(**options)(fn))
    except RuntimeError:
        return cast(F, numba.njit(**{**options, "cache": False})(fn))


def kernel(fn: F) -> F:
    """Compile a function for one thread, on first use, with the machine code cached on disk."""
    return _compiled(fn, **_OPTIONS)


def parallel_kernel(fn: F) -> F:
    """Compile a function whose `prange` loops run on numba's threads.

    Every iteration must write to its own elements only, so that 1 and N threads give the same bits.
    """
    return _compiled(fn, parallel=True, **_OPTIONS)


# A product and a sum may become one rounding (contract), a zero lose its sign: no order of sums changes, so a machine
# repeats its bits, but two kinds of machine may differ in the last one. For losses that only screen.
_CONTRACTED: dict[str, Any] = {**_OPTIONS, "fastmath": {"contract", "nsz"}}


def contracted_kernel(fn: F) -> F:
    """Compile a function for one thread with fused multiply-adds."""
    return _compiled(fn, **_CONTRACTED)


def contracted_inline(fn: F) -> F:
    """Like `contracted_kernel`, and put into its callers."""
    return _compiled(fn, inline="always", **_CONTRACTED)


def contracted_parallel_kernel(fn: F) -> F:
    """Like `contracted_kernel` with `prange` on numba's threads; every iteration writes to its own elements only."""
    return _compiled(fn, parallel=True, **_CONTRACTED)
