"""Make the plan of a run from a configuration and a data set; what cannot be run is refused here, before anything is written."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from mcprune.config import rules
from mcprune.config.budgets import counts_items
from mcprune.config.facts import NO_BOUND, Facts, SiteLayer
from mcprune.config.resolve import Resolved, resolve_model
from mcprune.config.resolve_search import value_or
from mcprune.config.resolved import ImportanceOptions
from mcprune.config.schema import Config
from mcprune.config.sections.problem import Problem
from mcprune.config.unused import check_options
from mcprune.data.base import Dataset
from mcprune.data.prepare import Splits, prepare
from mcprune.data.roles.tasks import CLASSIFICATION
from mcprune.environment import cores, pick_device
from mcprune.errors import ConfigError
from mcprune.evaluators.choose import refuse_random
from mcprune.models.modes import is_fully_frozen
from mcprune.models.own_file import model_of_file
from mcprune.objectives.losses import RowLoss
from mcprune.objectives.named import make_loss, make_objective
from mcprune.objectives.specs import objective_of_task
from mcprune.session.build.axes import tie_axis
from mcprune.session.build.budget import describe_budget, screen, settle_space, tie_columns
from mcprune.session.build.importance import rounds_of
from mcprune.session.build.latency import settle_latency
from mcprune.session.build.markov import evaluation_problem
from mcprune.session.build.own_adapter import refuse_soft_gates
from mcprune.session.build.own_model import note_on_redraw, redrawn_copies, settle_own_model
from mcprune.session.build.plan import Plan
from mcprune.session.build.starts import settle_start
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.sites.space import SearchSpace
from mcprune.surgery.trial import cuttable_sites, require_cuttable
from mcprune.training.classifiers import fresh_classifier, rows_that_fit
from mcprune.training.folds import Folds, member_seed, split_rows
from mcprune.training.metrics import coded_groups, try_objective

# Images are grey where fewer pixels than this share are black: hardly any is rarely lit, so noise and regrowth, which cost such pixels,
# bring nothing (docs/what-makes-a-good-mask.md). So many training rows are looked at.
BLACK, LOOKED_AT = 2.0 / 3.0, 5000


def make_plan(
    config: Config,
    dataset: Dataset | Splits,
    model: nn.Module | None = None,
    *,
    split_seed: int | None = None,
    function: Callable[..., object] | None = None,
    folds: Folds | None = None,
) -> Plan:
    """Return the plan of a run.

    Parameters
    ----------
    config : Config
    dataset : Dataset, or Splits where its parts are made already
    model : nn.Module, optional
        The user's own classifier of (B, N) rows; by default the built-in one, or that of a file which the options name.
    split_seed : int, optional
        Draws the training, validation and test rows; by default the seed of the run does.
    function : callable, optional
        The objective, where it is a function of Python.
    folds : Folds, optional
        Of the rows of the data set, all of which train, in place of those that the options would draw.

    Raises
    ------
    McpruneError
        What cannot be run.
    """
    model = _own_model(config, model)
    config = tie_columns(config, dataset.coding, is_users_model=model is not None)
    check_options(config)
    config, row_loss = _of_task(config, dataset.task)
    if config.train.frozen and model is None and config.train.pretrain is None:
        raise ConfigError(
            "frozen=true, but the built-in classifier starts untrained. Give --pretrain EPOCHS, or pass a trained model from Python."
        )
    device = pick_device(config.runtime.device)
    seed = config.runtime.seed
    split = seed if split_seed is None else split_seed
    own = (
        None
        if model is None
        else settle_own_model(config.own_model_settings(), model.to(device), dataset, split, device)
    )
    scale = config.data.scale if own is None else own.scale
    splits = (
        dataset
        if isinstance(dataset, Splits)
        else prepare(
            dataset,
            seed=split,
            validation=config.data.validation,
            test=config.data.test,
            scale=scale,
            link=row_loss.link,
            scales_targets=own is None or own.scales_targets,
        )
    )
    notes = [*splits.notes, *(doubt.text for doubt in splits.doubts), *(() if own is None else own.notes)]
    config, note_on_axis = tie_axis(config, None if own is None else own.model, splits.n_inputs)
    notes += [note_on_axis] * bool(note_on_axis)
    facts = _data_facts(config.problem, splits, scale, device, is_users_model=own is not None)
    shape = resolve_model(config, facts)
    classifier = (fresh_classifier(shape, splits, seed, hidden=shape.search_hidden) if own is None else own.model).to(
        device
    )
    kinds, note = (
        (config.problem.sites, "")
        if own is None
        else cuttable_sites(classifier, config.problem.sites, (splits.n_inputs,))
    )
    notes += [note] * bool(note)
    sites = site_map(classifier, kinds, splits.n_inputs)
    if own is not None:
        refuse_soft_gates(config.method, classifier, sites)
        refuse_random(classifier, torch.from_numpy(splits.train.features[: _most_rows(config)]).to(device))
    config = settle_latency(settle_start(config, sites, splits), classifier, sites, splits.n_inputs)
    space = settle_space(config.problem, classifier, sites, splits)
    screened = ""
    if own is None and config.method == "markov" and not splits.image_shape:
        space, screened = screen(space, splits)
        notes += [screened] * bool(screened)
    facts = _all_facts(facts, config, classifier, space, splits)
    settings = Resolved.of(config, facts)
    notes += settings.notes
    if isinstance(settings.search, ImportanceOptions):
        rounds_of(settings.search, sites.size, space.n)
    objective = make_objective(
        function or config.problem.objective,
        splits.labels,
        splits.names,
        is_weighted=splits.train.weights is not None,
        units=splits.target_scaler,
        fields=splits.fields,
    )
    splits = splits._replace(train=splits.train._replace(groups=coded_groups(objective, splits.train.features)))
    folds = _own_folds(splits, settings, seed) if folds is None else folds.reordered(splits.parts.train)
    candidates = None
    searched = sites
    if screened and _may_narrow(settings):
        candidates = space.free
        classifier = fresh_classifier(shape, splits, seed, hidden=shape.search_hidden, inputs=candidates.size).to(
            device
        )
        searched = site_map(classifier, kinds, candidates.size)
    models: tuple[nn.Module, ...] = (classifier,)
    if settings.evaluation.folds > 1 and own is not None:
        models = redrawn_copies(classifier, len(folds.training), seed)
    elif len(folds.training) > 1:
        seeds = [member_seed(seed, place) for place in range(1, len(folds.training))]
        inputs = None if candidates is None else candidates.size
        models += tuple(
            fresh_classifier(shape, splits, one, hidden=shape.search_hidden, inputs=inputs).to(device) for one in seeds
        )
    if own is not None or sites.channels:  # now rather than after the search
        require_cuttable(classifier, sites, (splits.n_inputs,))
    if own is not None and settings.retrain.finetune == "scratch" and (note := note_on_redraw(classifier)):
        notes.append(note)
    plan = Plan(
        settings=settings,
        facts=facts,
        splits=splits,
        folds=folds,
        stack=tuple(GatedModel(model, searched) for model in models),
        origins=tuple(map(copy.deepcopy, models)),
        space=space,
        objective=objective,
        row_loss=row_loss,
        device=device,
        notes=notes,
        candidates=candidates,
    )
    if not plan.is_plain_objective or function is not None:  # now rather than after the first blocks
        try_objective(evaluation_problem(plan))
        notes.append(
            f"objective: the chain minimises {objective.description}; backprop minimises {row_loss.description}"
        )
    return plan


def _own_model(config: Config, model: nn.Module | None) -> nn.Module | None:
    """Return the user's own classifier: the given one, or that of a file which the options name; None where there is none."""
    return model_of_file(config.model.name, config.runtime.seed) if model is None and config.model.is_file else model


def _most_rows(config: Config) -> int:
    """Return the largest number of evaluation rows that the options allow."""
    return int(value_or(config.chain.evaluation_rows.end, rules.END_ROWS.rules[-1].value))


def _own_folds(splits: Splits, settings: Resolved, seed: int) -> Folds:
    """Return the rows that train and that evaluate, as the options say."""
    on, fraction, folds = settings.evaluation.on, settings.evaluation.fraction, settings.evaluation.folds
    train = splits.train
    return split_rows(train.targets, on, fraction=fraction, folds=folds, seed=seed, entities=train.entities)


def _of_task(config: Config, task: str) -> tuple[Config, RowLoss]:
    """Return the configuration with the task and its objective, and what backprop minimises.

    Raises
    ------
    ConfigError
        An objective or option of another task.
    """
    config = config.replace(task=task, objective=objective_of_task(config.problem.objective, task))
    if task != CLASSIFICATION and config.retrain.distill:
        raise ConfigError(
            f"retrain_distill={config.retrain.distill:g} teaches the probabilities of classes, but the task is {task}. Leave it out."
        )
    return config, make_loss(config.problem.objective, task)


def _may_narrow(settings: Resolved) -> bool:
    """Whether the classifiers of the search may lack the columns that are no candidates: nothing scores or fine-tunes them."""
    chain = settings.chain
    is_scored = bool(chain.start_measure.name) or chain.proposals == "measure"
    return settings.config.model.name == "mlp" and settings.retrain.finetune == "scratch" and not is_scored


def _is_one_number(problem: Problem) -> bool:
    """Whether the budget is one number, as far as the options say it: of sites, or of columns and groups that each cost one."""
    return problem.groups is None or counts_items(problem.groups, problem.sites)


def _data_facts(problem: Problem, splits: Splits, scale: str, device: torch.device, *, is_users_model: bool) -> Facts:
    """Return the facts that are known before there is a classifier."""
    rows = len(splits.train.targets)
    is_image = splits.image_shape is not None
    is_grey = is_image and rows >= rules.LARGE and float((splits.train.features[:LOOKED_AT] == 0).mean()) < BLACK
    return Facts(
        rows=rows,
        validation_rows=len(splits.validation.targets),
        data_name=splits.name,
        is_image=is_image,
        is_grey=is_grey,
        is_users_model=is_users_model,
        is_fixed=False,
        layers=(),
        n=0,
        keep=None,
        is_single=_is_one_number(problem),
        is_plain=True,
        budget="",
        falls=True,
        fitting_rows=NO_BOUND,
        scale=scale,
        device=device.type,
        cores=cores(),
    )


def _all_facts(facts: Facts, config: Config, model: nn.Module, space: SearchSpace, splits: Splits) -> Facts:
    """Return the facts, with those of the classifier and its sites."""
    sites, is_single = space.sites, space.is_count
    fitting = rows_that_fit(
        model, sites, splits, max_memory=config.runtime.max_memory, replicas=config.chain.replicas.number
    )
    own = [cost.limit for cost in space.budget.costs if cost.costs is None]
    keep = config.problem.keep
    return facts._replace(
        is_fixed=is_fully_frozen(model),
        layers=tuple(SiteLayer(group.kind, group.layer, group.size) for group in sites.groups),
        n=space.n,
        keep=space.n if is_single else own[0] if own and keep is None else keep,
        is_single=is_single,
        is_plain=space.is_plain,
        budget="groups" if config.problem.groups is not None else describe_budget(space),
        falls=not is_single or space.n < sites.size,
        fitting_rows=NO_BOUND if fitting is None else fitting,
    )
