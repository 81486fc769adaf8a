"""numba's options, in this one place."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

# Never fastmath: it may reorder sums, and then the trace would depend on the machine's vector width.
# error_model "numpy": a division by zero gives inf or nan, which the decision rejects, instead of an
# exception.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


def kernel(fn: F) -> F:
    """Compile a function for one thread, on first use, with the machine code cached on disk."""
    return cast(F, numba.njit(**_OPTIONS)(fn))


def parallel_kernel(fn: F) -> F:
    """Compile a function whose `prange` loops run on numba's threads.

    Every iteration must write to its own elements only, so that 1 and N threads give the same bits.
    """
    return cast(F, numba.njit(parallel=True, **_OPTIONS)(fn))


# A product and a sum may become one rounding (contract), a zero lose its sign: no order of sums changes, so a machine
# repeats its bits, but two kinds of machine may differ in the last one. For losses that only screen.
_CONTRACTED: dict[str, Any] = {**_OPTIONS, "fastmath": {"contract", "nsz"}}


def contracted_kernel(fn: F) -> F:
    """Compile a function for one thread with fused multiply-adds."""
    return cast(F, numba.njit(**_CONTRACTED)(fn))


def contracted_inline(fn: F) -> F:
    """Like `contracted_kernel`, and put into its callers."""
    return cast(F, numba.njit(inline="always", **_CONTRACTED)(fn))


def contracted_parallel_kernel(fn: F) -> F:
    """Like `contracted_kernel` with `prange` on numba's threads; every iteration writes to its own elements only."""
    return cast(F, numba.njit(parallel=True, **_CONTRACTED)(fn))
