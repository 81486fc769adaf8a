"""From a configuration and a data set to a run that can start: every `auto` settled, every refusal made, nothing written."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mcprune.chain.schedules import parse
from mcprune.config.options import option
from mcprune.config.schema import Config
from mcprune.config.unused import check_options
from mcprune.data.base import Dataset
from mcprune.data.prepare import Prepared, prepare
from mcprune.distributed.evaluation import Ranks
from mcprune.environment import cores, pick_device
from mcprune.errors import ConfigError
from mcprune.evaluators.choose import refuse_random
from mcprune.models.modes import is_fully_frozen
from mcprune.objectives.base import Objective
from mcprune.objectives.named import make_objective
from mcprune.objectives.specs import PLAIN
from mcprune.session.build import defaults
from mcprune.session.build.budget import settle_space
from mcprune.session.build.gradient import settle
from mcprune.session.build.grayscale import for_grey_images
from mcprune.session.build.importance import settle_importance, settle_start
from mcprune.session.build.markov import evaluation_case
from mcprune.session.build.own_model import redraw_note, settle_own_model
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import SiteMap, site_map
from mcprune.sites.space import SearchSpace
from mcprune.surgery.trial import require_cuttable
from mcprune.training.batches import HELD_OUT_BELOW
from mcprune.training.classifiers import fresh_classifier, rows_that_fit
from mcprune.training.metrics import coded_groups, try_objective
from mcprune.types import Float32Array


class Evaluation(NamedTuple):
    """Which rows evaluate candidates, whatever the method.

    Attributes
    ----------
    on : str
        `train` or `held-out`.
    fraction : float
        Of the training rows that are held out.
    early_rows, rows : int
        Of the evaluation batch while n(t) falls, and at the end.
    """

    on: str
    fraction: float
    early_rows: int
    rows: int


@dataclass
class Plan:
    """A run that can start."""

    config: Config  # nothing is None but target, max_time and out
    prepared: Prepared
    model: nn.Module
    origin: nn.Module  # as it was before the search
    space: SearchSpace
    gated: GatedModel
    objective: Objective
    device: torch.device
    epochs: int
    blocks: int
    batch_size: int
    retrain_epochs: int
    is_users_model: bool
    evaluation: Evaluation
    spent_forwards: int = 0  # on pilots, before the search
    notes: list[str] = field(default_factory=list)
    ranks: Ranks | None = None  # the processes that share the candidates; None: this one alone

    @property
    def sites(self) -> SiteMap:
        """What may be dropped."""
        return self.space.sites

    @property
    def keep(self) -> int:
        """How many sites are kept; N where only a cost bounds them."""
        return self.space.n

    @property
    def retrain_rate(self) -> float:
        """Adam's step while retraining."""
        return self.config.retrain.learning_rate or self.config.train.learning_rate

    @property
    def falls(self) -> bool:
        """Whether the budget is below the whole model."""
        return bool((np.concatenate(self.space.goal) < np.concatenate(self.space.whole)).any())

    def rows(self, features: Float32Array) -> torch.Tensor:
        """Return scaled rows as the model takes them, on the run's device."""
        return torch.from_numpy(features).to(self.device)


def make_plan(
    config: Config,
    dataset: Dataset | Prepared,
    model: nn.Module | None = None,
    *,
    split_seed: int | None = None,
    function: Callable[..., Any] | None = None,
) -> Plan:
    """Settle everything that the configuration leaves open.

    Parameters
    ----------
    config : Config
    dataset : Dataset, or Prepared where its parts are made already
    model : nn.Module, optional
        The user's own classifier of (B, N) rows; by default an MLP of `config.model.hidden`.
    split_seed : int, optional
        Draws the training, validation and test parts; by default `config.runtime.seed` does.
    function : callable, optional
        The objective, where it is a function that was given from Python.

    Raises
    ------
    McpruneError
        What cannot be run.
    """
    check_options(config)
    if config.train.frozen and model is None and config.train.pretrain is None:
        raise ConfigError(
            "frozen=true, but the built-in classifier starts untrained; give --pretrain EPOCHS, or pass a trained model from Python"
        )
    device = pick_device(config.runtime.device)
    split = config.runtime.seed if split_seed is None else split_seed
    own = None if model is None else settle_own_model(config, model.to(device), dataset, split, device)
    scale = config.data.scale if own is None else own.scale
    prepared = (
        dataset
        if isinstance(dataset, Prepared)
        else prepare(dataset, seed=split, validation=config.data.validation, test=config.data.test, scale=scale)
    )
    notes = [*prepared.notes, *(() if own is None else own.notes)]
    if len(prepared.y_train) >= defaults.LARGE:
        config = for_grey_images(config, prepared, is_own=model is None and config.model.name == "mlp")
    searched = defaults.search_hidden(config, len(prepared.y_train), model is not None)
    classifier = (
        own.model if own is not None else fresh_classifier(config, prepared, config.runtime.seed, hidden=searched)
    )
    classifier = classifier.to(device)
    sites = site_map(classifier, config.problem.sites, prepared.n_inputs)
    if model is not None:
        refuse_random(
            classifier,
            torch.from_numpy(prepared.x_train[: config.chain.evaluation_rows.end or defaults.END_ROWS]).to(device),
        )
    if config.retrain.warp and prepared.image_shape is None:
        raise ConfigError(
            f"retrain_warp={config.retrain.warp:g}, but the rows of {prepared.name!r} are no images; leave --retrain-warp out"
        )
    space = settle_space(config, classifier, sites, prepared)
    keep = space.n
    _check_method(config, space)
    if config.chain.pool.is_off and keep < sites.size and set(config.chain.moves) <= {"exchange", "informed"}:
        raise ConfigError(
            "pool=none, but exchanges never change how many sites are kept, so the chain could not reach "
            f"{keep}; add another move, such as --moves exchange=3,toggle=1, or leave --pool none out"
        )
    if max(parse(config.chain.delta).start, parse(config.chain.delta).end) > defaults.LARGEST_DELTA:
        raise ConfigError(
            f"delta={config.chain.delta} is beyond all weights; choose at most {defaults.LARGEST_DELTA:g}"
        )
    objective = make_objective(
        function or config.problem.objective,
        prepared.labels,
        prepared.feature_names,
        is_weighted=prepared.weights is not None,
    )
    prepared = replace(prepared, groups=coded_groups(objective, prepared.x_train))
    origin = copy.deepcopy(classifier)
    if model is not None or sites.channels:  # now rather than after the search
        require_cuttable(classifier, sites, (prepared.n_inputs,))
    # The gradient path is not judged: all rows train.
    eval_on = config.chain.eval_on if config.method == "markov" else "train"
    rows = len(prepared.y_train)
    if eval_on == "auto":
        eval_on = "held-out" if rows < HELD_OUT_BELOW else "train"
        notes.append(f"eval_on: {eval_on} ({rows:,} training rows)")
    fitted = rows if eval_on == "train" else rows - round(config.chain.eval_fraction * rows)
    batch_size = max(1, min(config.train.batch_size or (256 if rows >= defaults.LARGE else 64), fitted))
    steps = max(1, fitted // batch_size)
    usual = defaults.LARGE_EPOCHS if rows >= defaults.LARGE and config.method == "markov" else defaults.EPOCHS
    epochs = config.train.epochs or max(usual, math.ceil(defaults.SEARCH_STEPS / steps))
    all_rows = rows + len(prepared.y_validation)
    retrain_steps = max(1, all_rows // min(batch_size, all_rows))
    one_shot = defaults.one_shot(config, rows, sites, is_fixed=is_fully_frozen(classifier))
    finetune = one_shot.get("finetune", config.retrain.finetune)
    if finetune not in ("scratch", "warm"):
        why = ", as single weights and a trained start have it" if config.retrain.finetune == "auto" else ""
        for name, told in (("retrain_distill", "teaches"), ("retrain_warp", "is of")):
            if value := config.value(name):
                raise ConfigError(
                    f"{name}={value:g} {told} the classifier that is retrained, and nothing is under --finetune {finetune}{why}; "
                    f"leave {option(name)} out"
                )
    # Found weights know the task already: as long as the search is long enough.
    usual_retrain = (
        epochs if finetune == "warm" else max(defaults.EPOCHS, math.ceil(defaults.RETRAIN_STEPS / retrain_steps))
    )
    retrain = config.retrain.epochs or one_shot.get("retrain_epochs") or usual_retrain
    # Noise on the pixels was found to help perceptrons that see single pixels; batch-norms need none.
    is_pixels = prepared.image_shape is not None and not sites.channels
    evaluated = defaults.evaluation_rows(config, sites, rows_that_fit(config, classifier, sites, prepared), notes)
    train_steps = min(config.train.steps, epochs * steps)
    # Steps on small batches of few rows are too short to share between threads.
    threads = config.runtime.threads or (cores() if rows >= defaults.LARGE else 1)
    if threads > defaults.THREADS_A_CORE * cores():
        notes.append(f"threads: {cores()}, the cores at hand; {threads} would spend their time waiting for each other")
        threads = cores()
    settled = config.replace(
        **{
            **one_shot,
            **_settled_keep(config, space),
            "search_hidden": searched,
            "input_noise": config.train.input_noise
            if config.train.input_noise is not None
            else defaults.JITTER * (is_pixels and rows >= defaults.LARGE and not config.train.frozen),
            "retrain_input_noise": config.retrain.input_noise
            if config.retrain.input_noise is not None
            else defaults.RETRAIN_JITTER * is_pixels,
            "retrain_dropout": config.model.dropout if config.retrain.dropout is None else config.retrain.dropout,
            "evaluation_rows": evaluated,
            "eval_on": eval_on,
            "epochs": epochs,
            "batch_size": batch_size,
            "retrain_epochs": retrain,
            "threads": threads,
            "scale": scale,
            "device": device.type,
            "train_steps": train_steps,
            **(
                settle(config, epochs, epochs * steps)
                if config.method == "gradient"
                else settle_importance(config, epochs, sites, keep)
                if config.method == "importance"
                else {
                    **settle_start(config, epochs, sites, keep),
                    "keep_schedule": (schedule := defaults.keep_schedule(config, rows, may_rise=not sites.channels)),
                    "pool": defaults.pool(config),
                    "replicas": defaults.replicas(config),
                    "warm_up": defaults.warm_up(config, schedule, not space.is_count or keep < sites.size),
                    **({} if space.is_count else {"alpha": "0.0"}),
                }
            ),
        }
    )
    if model is not None and settled.retrain.finetune == "scratch" and (note := redraw_note(classifier)):
        notes.append(note)
    plan = Plan(
        config=settled,
        prepared=prepared,
        model=classifier,
        origin=origin,
        space=space,
        gated=GatedModel(classifier, sites),
        objective=objective,
        device=device,
        epochs=epochs,
        blocks=max(1, math.ceil(epochs * steps / train_steps)),
        batch_size=batch_size,
        retrain_epochs=retrain,
        is_users_model=model is not None,
        notes=notes,
        evaluation=Evaluation(
            eval_on,
            config.chain.eval_fraction,
            evaluated.early or defaults.EARLY_ROWS,
            evaluated.end or defaults.END_ROWS,
        ),
    )
    if config.problem.objective != PLAIN or function is not None:  # now rather than after the first blocks
        try_objective(plan.gated, objective, evaluation_case(plan))
        notes.append(f"objective: the chain minimises {objective.words}; backprop minimises cross-entropy")
    return plan


def _check_method(config: Config, space: SearchSpace) -> None:
    """Refuse a budget that the way to the mask does not know."""
    if config.method != "markov" and not space.is_count:
        raise ConfigError(
            f"A number for each kind of site does nothing under --method {config.method}: it belongs to --method markov. "
            "Give --keep one number."
        )
    start = config.chain.start
    if start is None or (space.is_count and space.is_plain):
        return
    if start.layerwise or (start.min_per_layer or 1) > 1:
        part = "layerwise" if start.layerwise else f"min_per_layer={start.min_per_layer}"
        raise ConfigError(
            f"--start {start.name},{part}: such a start is for one count of all sites, none of which must be kept or dropped. "
            f"Leave {part} out."
        )


def _settled_keep(config: Config, space: SearchSpace) -> dict[str, int]:
    """Return the number that --keep has become, where it was left open."""
    if space.is_count:
        return {"keep": space.n}
    own = [cost.limit for cost in space.budget.costs if cost.costs is None]
    return {"keep": own[0]} if own and config.problem.keep is None else {}
