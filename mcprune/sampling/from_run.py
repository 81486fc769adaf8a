"""Sample the masks of a finished run: its folder, or its result in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from mcprune.config.schema import Config
from mcprune.data.base import Dataset
from mcprune.data.formats.tables import FROM_PYTHON
from mcprune.environment import use_threads
from mcprune.errors import ConfigError
from mcprune.sampling.drawn import Drawn
from mcprune.sampling.sample import (
    FEWEST_ROWS,
    PRECISION,
    SECONDS,
    SampleProgress,
    SampleSettings,
    make_sampler,
    sample_masks,
)
from mcprune.sampling.samples import Samples
from mcprune.sampling.settle import ROWS, settle_classifiers
from mcprune.sampling.starts import FEWEST_CHAINS, check_space
from mcprune.sampling.store import SampleStore
from mcprune.sampling.summary import write_summary
from mcprune.session.build.dataset import dataset_of, load_dataset
from mcprune.session.checkpoints.classifiers import (
    SearchClassifiers,
    check_parts,
    classifiers_config,
    read_classifiers,
    restore_classifiers,
)
from mcprune.state import serialize
from mcprune.types import JsonObject

Report = Callable[[SampleProgress], None]


def sample(
    folder: str | Path,
    data: object = None,
    model: nn.Module | None = None,
    *,
    objective: Callable[..., object] | None = None,
    sample_weight: object = None,
    chains: int = FEWEST_CHAINS,
    temperature: float | None = None,
    precision: float = PRECISION,
    max_time: float = SECONDS,
    rungs: int = 1,
    hottest: float = 4.0,
    rows: int | None = None,
    force: bool = False,
    on_progress: Report | None = None,
) -> Samples:
    """Draw masks of n sites by how good they are, and say how sure each site is.

    The classifiers of the search evaluate the masks; they are frozen, and a mask of loss L is drawn with probability exp(-L / T) / Z.
    The samples are written into the folder, and a second call goes on with them.

    Parameters
    ----------
    folder : path
        Of a finished run.
    data : str, Dataset, or a pair (X, y), optional
        The same data again, where they were arrays; else they are loaded again.
    model : nn.Module, optional
        A classifier of the same kind again, where the run had a user's own; it is copied, not changed.
    objective : callable, optional
        The objective again, where it was a function.
    sample_weight : array (rows,), optional
        The sample weights again, where they were an array.
    chains : int
        From unlike starts: the run's mask, the columns of the highest F, random masks. 4 at least.
    temperature : float, optional
        T, in the unit of the loss. By default that at which the losses of the masks spread by the standard error of a paired loss
        difference: masks that the evaluation rows cannot tell apart.
    precision : float
        Largest Monte-Carlo standard error of P(kept) of a site.
    max_time : float
        Seconds, of this call.
    rungs : int
        Laws of each chain on a ladder from the loss to its cheap model; 1 is no ladder.
    hottest : float
        In the last law of a ladder the loss counts 1 / hottest, and the model the rest.
    rows : int, optional
        Evaluation rows at most; by default those of the run. Fewer ones distinguish fewer masks, and evaluate a mask in less time.
    force : bool
        Replace the samples that are there.
    on_progress : callable, optional
        Called with a `SampleProgress` after each chunk.

    Returns
    -------
    Samples

    Raises
    ------
    SamplingError
        The chains do not agree (R-hat); the message says what would help.
    McpruneError
        There is no run to sample, or parts of it are missing.

    Examples
    --------
    >>> import mcprune
    >>> samples = mcprune.sample("runs/digits")  # doctest: +SKIP
    >>> samples.probability[28], samples.monte_carlo_error[28]  # doctest: +SKIP
    (0.91, 0.012)
    """
    settings = SampleSettings(chains, temperature, precision, max_time, rungs, hottest, rows)
    return sample_folder(
        folder, settings, data=data, model=model, objective=objective, sample_weight=sample_weight, force=force,
        on_progress=on_progress,
    ).samples  # fmt: skip


def sample_folder(
    folder: str | Path,
    settings: SampleSettings,
    *,
    data: object = None,
    model: nn.Module | None = None,
    objective: Callable[..., object] | None = None,
    sample_weight: object = None,
    force: bool = False,
    on_progress: Report | None = None,
) -> Drawn:
    """Do what `sample` does, and return what it cost too."""
    content = read_classifiers(folder)
    path = Path(folder)
    store = SampleStore(path, force=force)
    try:
        drawn = _sample(
            content, settings, repr(str(folder)), store, data=data, model=model, objective=objective,
            sample_weight=sample_weight, on_progress=on_progress,
        )  # fmt: skip
        write_summary(path, drawn)
        return drawn
    finally:
        store.close()


def sample_content(
    content: JsonObject,
    settings: SampleSettings,
    *,
    data: object = None,
    model: nn.Module | None = None,
    objective: Callable[..., object] | None = None,
    sample_weight: object = None,
    on_progress: Report | None = None,
) -> Drawn:
    """Sample the classifiers of a run that has no folder, of which nothing is written."""
    return _sample(
        content, settings, "the run", None, data=data, model=model, objective=objective, sample_weight=sample_weight,
        on_progress=on_progress,
    )  # fmt: skip


def _sample(
    content: JsonObject,
    settings: SampleSettings,
    name: str,
    store: SampleStore | None,
    *,
    data: object,
    model: nn.Module | None,
    objective: Callable[..., object] | None,
    sample_weight: object,
    on_progress: Report | None,
) -> Drawn:
    config = classifiers_config(content, name)
    check_searched(config, name)
    check_parts(config, data, model, objective, name=name)
    if store is not None:  # the one that `auto` chose by its speed then; another one may round differently
        config = config.with_evaluator(store.evaluator())
    classifiers = restore_classifiers(
        content, config, _dataset(config, data, sample_weight), model, objective, name=name
    )
    began = time.monotonic()
    settle(content, classifiers, settings, store)
    return sample_masks(classifiers, settings, store, on_progress, spent=time.monotonic() - began)


def check_searched(config: Config, name: str) -> None:
    """Refuse a run whose columns were chosen by a false discovery rate: there was no search, so its classifiers have not been trained.

    Raises
    ------
    ConfigError
    """
    fdr = config.false_discovery_rate()
    if fdr is not None:
        raise ConfigError(
            f"The columns of {name} were chosen by fdr={fdr:g}, without a search whose classifiers could evaluate masks. Run with --keep N "
            "instead of --fdr, and sample that run."
        )


def settle(
    content: JsonObject, classifiers: SearchClassifiers, settings: SampleSettings, store: SampleStore | None
) -> None:
    """Train the classifiers under the law, unless they have been for these settings, and keep them, in the folder if there is one."""
    plan, key = classifiers.plan, [settings.temperature, settings.chains, settings.rows]
    # Samples that are there are of the classifiers that are there.
    if content.get("settled") == key or (store is not None and store.evaluator() is not None):
        return
    check_space(plan.space)
    use_threads(plan.runtime.threads)
    rows = min(plan.evaluation.rows, plan.folds.rows, plan.folds.rows if settings.rows is None else settings.rows)
    sampler, _ = make_sampler(
        plan, classifiers.mask, replace(settings, rungs=1, rows=max(FEWEST_ROWS, min(ROWS, rows)))
    )
    if not settle_classifiers(plan, sampler, rows):
        return
    content["classifiers"] = [serialize(gated.model) for gated in plan.stack]
    content["settled"] = key
    if store is not None:
        store.write_classifiers(content)


def _dataset(config: Config, data: object, weights: object) -> Dataset:
    if data is None or isinstance(data, str | os.PathLike):
        if data is not None and config.data_settings().source != FROM_PYTHON:
            config = config.replace(data=os.fspath(data))
        return load_dataset(config, weights)
    return dataset_of(data, config, weights)
