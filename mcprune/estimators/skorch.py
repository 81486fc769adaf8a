"""A callback for skorch: when training ends, the chain chooses what of the module to keep. Needs the package skorch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from mcprune.errors import ConfigError

try:
    from skorch.callbacks import Callback
except ImportError as error:
    raise ConfigError(f"the skorch callback needs skorch ({error}); pip install 'mcprune[skorch]'") from None


class PruneAfterFit(Callback):  # type: ignore[misc]
    """Prune a trained module on the arrays that it was fitted to.

    Parameters
    ----------
    keep : int
    sites : str
        As in `mcprune.prune`.
    **options
        Further options of `mcprune.prune`. By default `frozen=True`: the trained weights are judged as they are.

    Attributes
    ----------
    result_ : Result
        After the fit. The fitted module is left as it is: it is copied.
    """

    def __init__(self, keep: int, sites: str = "inputs", **options: Any) -> None:
        self.keep, self.sites = keep, sites
        self.options = {"frozen": True, **options}

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Run the chain once the last epoch is over."""
        from mcprune.api import prune

        if y is None:
            raise ConfigError("the callback needs the classes as arrays: fit with net.fit(X, y)")
        data = (np.asarray(X), np.asarray(y))
        self.result_ = prune(
            data, keep=self.keep, sites=self.sites, model=copy.deepcopy(net.module_).cpu(), **self.options
        )
