"""A callback for skorch: when training ends, the chain chooses what of the module to keep. Needs the package skorch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from mcprune.errors import ConfigError

if TYPE_CHECKING:
    from skorch import NeuralNet

try:
    from skorch.callbacks import Callback
except ImportError as error:
    raise ConfigError(f"the skorch callback needs skorch ({error}). Install it: pip install skorch") from None


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

    def __init__(self, keep: int, sites: str = "inputs", **options: object) -> None:
        self.keep, self.sites = keep, sites
        self.options = {"frozen": True, **options}

    def on_train_end(self, net: NeuralNet, X: object = None, y: object = None, **_: object) -> None:
        """Run the chain once the last epoch is over."""
        from mcprune.api import prune_problem

        if y is None:
            raise ConfigError("the callback needs the classes as arrays: fit with net.fit(X, y)")
        model = copy.deepcopy(net.module_).cpu()
        options = {"keep": self.keep, "sites": self.sites, **self.options}
        self.result_ = prune_problem((np.asarray(X), np.asarray(y)), model, options)
