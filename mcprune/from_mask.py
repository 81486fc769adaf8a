"""`refine`: a mask from anywhere is the start of a chain at the same number of sites."""

from __future__ import annotations

import os
from collections.abc import Iterable

from torch import nn

from mcprune.api import prune
from mcprune.errors import ConfigError
from mcprune.results import Result
from mcprune.session.build.mask_files import dense_copy, external_mask
from mcprune.session.steering.callbacks import Callback


def refine(
    mask: object,
    X: object,
    y: object = None,
    *,
    model: nn.Module | str | None = None,
    sites: str | None = None,
    callbacks: Iterable[Callback] = (),
    progress: bool | None = None,
    **options: object,
) -> Result:
    """Improve a mask at the same number of sites: exchanges of kept and dropped sites that lower the loss.

    Parameters
    ----------
    mask : object
        The mask to start from: the path of a file; an array of bool of all sites, such as `support_` of a selector of scikit-learn; a
        list of indices or names of the kept sites; a fitted selector; a state_dict with masks of torch.nn.utils.prune or with zeros,
        or a module that is pruned so; a `Mask` or `Result` of mcprune. docs/refine.md has the forms.
    X, y
        The rows, as those of `prune`.
    model : nn.Module, str or None
        The classifier, as that of `prune`. By default the pruned module that `mask` is, else a multilayer perceptron. A module is taken
        to be trained, so it is frozen unless `frozen=False`; weights that torch.nn.utils.prune has masked come back in a copy of it.
    sites : str, optional
        What the mask is of; by default the weights for masks by layer, else the inputs.
    callbacks, progress
        As those of `prune`.
    **options
        Any other option of docs/options.md. `keep` is the mask's own.

    Returns
    -------
    Result
        Its `refined` has the loss under both masks on all evaluation rows; the mask of the result is never the worse one.

    Raises
    ------
    McpruneError
        The mask cannot be read, or is of other sites; or as `prune`.

    Examples
    --------
    >>> from sklearn.feature_selection import SelectKBest
    >>> selector = SelectKBest(k=4).fit(X, y)  # doctest: +SKIP
    >>> result = mcprune.refine(selector.get_support(), X, y)  # doctest: +SKIP
    >>> result.refined.start_loss, result.refined.loss  # doctest: +SKIP
    """
    if "start" in options:
        raise ConfigError("start is the mask that is refined. Leave it out.")
    if options.get("fdr") is not None:
        raise ConfigError("fdr chooses how many columns are kept, but refine keeps as many as the mask. Leave fdr out.")
    external = external_mask(mask)
    start = os.fspath(mask) if isinstance(mask, str | os.PathLike) else external.text()
    if model is None and isinstance(mask, nn.Module):
        model = mask
    if isinstance(model, nn.Module):
        model = dense_copy(model)
        options = {"frozen": True, **options}
    if sites is None:
        sites = "weights" if external.layers else "inputs"
    return prune(X, y, model=model, sites=sites, callbacks=callbacks, progress=progress, start=start, **options)
