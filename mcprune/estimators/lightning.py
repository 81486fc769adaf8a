"""A callback for Lightning: when training ends, the chain chooses what of the network to keep. Needs the package lightning."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from mcprune.errors import ConfigError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from mcprune.results import Result

try:
    from lightning.pytorch.callbacks import Callback
except ImportError as error:
    raise ConfigError(f"the Lightning callback needs lightning ({error}). Install it: pip install lightning") from None


class PruneAfterFit(Callback):  # type: ignore[misc]
    """Prune a trained network on the loader that it was trained with.

    Parameters
    ----------
    keep : int
    sites : str
        As in `mcprune.prune`.
    network : str
        Name of the LightningModule's attribute that is the classifier of flat rows (B, N); "" for the module itself.
    **options
        Further options of `mcprune.prune`. By default `frozen=True`: the trained weights are judged as they are.

    Attributes
    ----------
    result : Result or None
        After the fit. The fitted module is left as it is: the network is copied.
    """

    def __init__(self, keep: int, sites: str = "inputs", *, network: str = "model", **options: object) -> None:
        self.keep, self.sites, self.network = keep, sites, network
        self.options = {"frozen": True, **options}
        self.result: Result | None = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the chain once the trainer has taken its last step."""
        from mcprune.api import prune_problem

        network = getattr(pl_module, self.network, None) if self.network else pl_module
        if network is None:
            raise ConfigError(
                f"{type(pl_module).__name__} has no attribute {self.network!r}; name its network, network='net'"
            )
        options = {"keep": self.keep, "sites": self.sites, **self.options}
        self.result = prune_problem(trainer.train_dataloader, copy.deepcopy(network).cpu(), options)
