"""A classifier of the user: checks before anything is searched or written, and the scaling of its rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mcprune.config.sections.settings import OwnModelSettings
from mcprune.data.base import Dataset
from mcprune.data.parts.split import split
from mcprune.data.prepare import Splits
from mcprune.data.roles.tasks import CLASSIFICATION, REGRESSION
from mcprune.data.scale import fit_scaler
from mcprune.errors import ConfigError, ModelError, brief
from mcprune.models.adapters import hard_columns
from mcprune.models.modes import (
    evaluating,
    has_frozen_parameters,
    is_fully_frozen,
    keep_evaluation,
    redraw,
    undrawn_parameters,
)
from mcprune.models.outputs import Changed, give_logits
from mcprune.objectives.losses import r2_rows
from mcprune.session.build.own_adapter import NOTE_ON_IDS, refuse_state, refuse_uncopied, settle_adapter
from mcprune.training.folds import member_seed

# Parameters that a note names.
NAMED = 3
# Training rows on which a model is tried.
TRIED = 512
# A model is trained if its loss is below this share of that of the class frequencies.
TRAINED_BELOW = 0.8
TRAINED_ABOVE = 0.2  # or its R2 is above this
# A note is made if the accuracy on scaled rows is higher by more than this.
BETTER_SCALED = 0.1


class OwnModel(NamedTuple):
    """A user's classifier as a run takes it.

    Attributes
    ----------
    model : nn.Module
        Gives logits; it shares its parameters with the given one.
    scale : str
        As `fit_scaler` takes it.
    notes : tuple of str
    scales_targets : bool
        Numeric targets are scaled; a trained model predicts them as they are.
    """

    model: nn.Module
    scale: str
    notes: tuple[str, ...]
    scales_targets: bool = True


def settle_own_model(
    settings: OwnModelSettings, model: nn.Module, dataset: Dataset | Splits, split_seed: int, device: torch.device
) -> OwnModel:
    """Check a classifier of the user on training rows, and choose the scaling of the rows.

    Parameters
    ----------
    settings : OwnModelSettings
    model : nn.Module
        On the device; lazy layers get their shapes here.
    dataset : Dataset, or Splits, which is scaled already
    split_seed : int
    device : torch.device

    Raises
    ------
    ConfigError, ModelError
    """
    if isinstance(dataset, Splits):
        tried, rows, targets = np.arange(0), dataset.train.features[:TRIED], dataset.train.targets[:TRIED]
    else:
        train = split(dataset, seed=split_seed, validation=settings.data.validation, test=settings.data.test).train
        tried = train[np.linspace(0, len(train) - 1, min(TRIED, len(train))).astype(np.int64)]
        rows, targets = dataset.features[tried].astype(np.float32), dataset.targets[tried]
        keep_evaluation(model)
    features = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
    model, adapter = settle_adapter(model, features, dataset)
    _check_outputs(model, features[:2], dataset.n_outputs, dataset.task)
    refuse_uncopied(model)
    check_frozen(settings, model)
    refuse_state(model, features)
    changed = give_logits(model, features) if dataset.task == CLASSIFICATION else Changed(model)
    notes = [note for note in (adapter.note, changed.note) if note]
    if _depends_on_batch(changed.model, features):
        notes.append(
            "the model's output for a row depends on the other rows of the batch, so its losses and predictions do too; look for a "
            "softmax over dimension 0 or a batch-norm with track_running_stats=False"
        )
    if isinstance(dataset, Splits):
        return OwnModel(changed.model, settings.data.scale, tuple(notes))
    answers = torch.from_numpy(targets).to(device)
    is_trained = False
    if hard_columns(changed.model, dataset.n_inputs) is not None:
        if settings.data.scale not in ("auto", "none"):
            raise ConfigError(
                f"scale={settings.data.scale!r}, but the model takes whole numbers from the rows, such as ids or masks, which a "
                "scaling would change. Leave scale out, and scale the other columns before."
            )
        notes.append(NOTE_ON_IDS)
        settings = settings._replace(data=settings.data._replace(scale="none"))
    if dataset.task == CLASSIFICATION:
        scale, note = _choose_scale(settings, changed.model, dataset, tried, features, answers)
    else:
        scale, note, is_trained = _choose_number_scale(settings, changed.model, dataset, tried, features, answers)
    return OwnModel(changed.model, scale, (*notes, note) if note else tuple(notes), scales_targets=not is_trained)


def _check_outputs(model: nn.Module, rows: torch.Tensor, n_classes: int, task: str) -> None:
    """Refuse a model that cannot be run on two rows or does not give one output a class, or a target."""
    outputs = _outputs(model, rows)
    if task != CLASSIFICATION:
        if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != (2, n_classes):
            got = (
                f"outputs of shape {tuple(outputs.shape)}" if isinstance(outputs, torch.Tensor) else _describe(outputs)
            )
            raise ModelError(
                f"The model returns {got} for 2 rows, but the task is {task}. It must return (2, {n_classes}), one number a target: end "
                f"in nn.Linear(..., {n_classes})."
            )
        return
    if not isinstance(outputs, torch.Tensor):
        raise ModelError(
            f"The model returns {_describe(outputs)} for 2 rows. It must return one tensor of logits, (2, {n_classes}): pass a module "
            f"whose forward returns that part alone{_part(outputs)}."
        )
    shape = tuple(outputs.shape)
    must = f"The model returns outputs of shape {shape} for 2 rows; it must return (2, {n_classes}), one logit a class."
    if shape in ((2,), (2, 1)) and n_classes == 2:
        raise ModelError(
            f"{must} A single output z for two classes is the same as two outputs (0, z): end in nn.Linear(..., 2), or return "
            "torch.cat([torch.zeros_like(z), z], dim=1) for z of shape (B, 1), without a sigmoid."
        )
    if shape[:2] == (2, n_classes) and math.prod(shape[2:]) == 1 and len(shape) > 2:
        raise ModelError(f"{must} Flatten them: nn.Sequential(model, nn.Flatten()).")
    if shape != (2, n_classes):
        raise ModelError(f"{must} The data have {n_classes} classes.")
    if not outputs.is_floating_point():
        raise ModelError(
            f"The model returns {outputs.dtype} outputs, not logits. Return them before argmax or rounding."
        )


def _outputs(model: nn.Module, rows: torch.Tensor) -> object:
    """Return what the model returns in evaluation mode."""
    try:
        with evaluating(model):
            pass
        model.train(model.training)
    except Exception as error:  # exported programs have no modes
        raise ModelError(
            f"The model cannot switch between training and evaluation mode ({type(error).__name__}: {brief(error)}). Pass the "
            "nn.Module that it was made from."
        ) from error
    try:
        with torch.no_grad(), evaluating(model):
            return model(rows)
    except Exception as error:  # the user's own code
        kinds = {parameter.dtype for parameter in model.parameters()} - {torch.float32}
        remedy = (
            f"Its parameters are {kinds.pop()}: pass model.float()." if kinds else "Wrap it so that it takes (B, N)."
        )
        raise ModelError(
            f"The model cannot be run on float32 rows of {rows.shape[1]} features ({type(error).__name__}: {brief(error)}). {remedy}"
        ) from error


def _describe(outputs: object) -> str:
    """Return the type of outputs, and its keys or length."""
    if isinstance(outputs, Mapping):
        return f"a {type(outputs).__name__} with {', '.join(map(repr, outputs))}"
    if isinstance(outputs, tuple | list):
        return f"a {type(outputs).__name__} of {len(outputs)}"
    return f"a {type(outputs).__name__}"


def _part(outputs: object) -> str:
    """Return how to take the logits out of outputs; empty where that is not known."""
    if isinstance(getattr(outputs, "logits", None), torch.Tensor):
        return ", such as model(x).logits"
    if isinstance(outputs, Mapping) and outputs:
        return f", such as model(x)[{next(iter(outputs))!r}]"
    return ", such as model(x)[0]" if isinstance(outputs, tuple | list) and outputs else ""


@torch.no_grad()
def _depends_on_batch(model: nn.Module, rows: torch.Tensor) -> bool:
    """Whether the first rows have other outputs in a smaller batch."""
    with evaluating(model):
        whole, part = model(rows)[:2], model(rows[:2])
    return not torch.allclose(whole, part, rtol=1e-3, atol=1e-3 * max(1.0, float(whole.abs().max())), equal_nan=True)


def check_frozen(settings: OwnModelSettings, model: nn.Module) -> None:
    """Refuse options that train a model whose parameters are all frozen.

    Raises
    ------
    ConfigError
    """
    if not is_fully_frozen(model):
        return
    cause = "every parameter of the model has requires_grad=False, so nothing can be trained"
    if settings.method == "markov" and not settings.is_frozen:
        raise ConfigError(
            f"frozen=False, but {cause}. Pass frozen=True to choose a mask for the model as it is, or set requires_grad on what is to "
            "be trained."
        )
    if settings.pretrain is not None:
        raise ConfigError(f"pretrain={settings.pretrain}, but {cause}. Leave pretrain out.")
    if settings.finetune not in ("auto", "none"):
        raise ConfigError(f"finetune={settings.finetune}, but {cause}. Use finetune='none', or leave it out.")


def _choose_scale(
    settings: OwnModelSettings,
    model: nn.Module,
    dataset: Dataset,
    tried: np.ndarray,
    rows: torch.Tensor,
    targets: torch.Tensor,
) -> tuple[str, str]:
    """Return the scaling of the rows, and a note on it.

    The rows of a trained model are not scaled, since it was probably trained on rows as they are.
    """
    scale = settings.data.scale
    scaler = fit_scaler(dataset, tried, scale)
    if scale != "auto":
        return scale, "" if scale == "none" else f"scale: {scale}, as given, is applied to the rows of your own model"
    right, loss = _fit_of(model, rows, targets)
    frequencies = torch.bincount(targets, minlength=len(dataset.labels)).double() / len(targets)
    entropy = float(-(frequencies * frequencies.clamp_min(1e-12).log()).sum())
    if has_frozen_parameters(model):
        why = "since parameters of the model are frozen"
    elif settings.is_frozen and settings.pretrain is None:
        why = "since the model is used as it came"
    elif settings.is_start_scored:
        why = "since the model is scored as it came"
    elif loss < TRAINED_BELOW * entropy:
        why = f"since the model comes trained ({right:.0%} of {len(rows):,} training rows are right)"
    else:
        return scaler.kind, (
            f"scale: {scaler.kind}, learned on the training rows, since the model comes untrained; scale='none' leaves rows as they are"
        )
    scaled = torch.from_numpy(scaler.apply(dataset.features[tried])).to(rows.device)
    right_scaled, _ = _fit_of(model, scaled, targets)
    note = f"scale: none, {why}; its rows stay as they are"
    if right_scaled > right + BETTER_SCALED:
        note += (
            f". But it is right on {right_scaled:.0%} of rows with scale='{scaler.kind}' and on {right:.0%} of rows as they are: "
            "if it was trained on scaled rows, pass them scaled, or give that option"
        )
    return "none", note


@torch.no_grad()
def _choose_number_scale(
    settings: OwnModelSettings,
    model: nn.Module,
    dataset: Dataset,
    tried: np.ndarray,
    rows: torch.Tensor,
    targets: torch.Tensor,
) -> tuple[str, str, bool]:
    """Return the scaling of the rows, a note on it, and whether the model comes trained on targets as they are."""
    scaler = fit_scaler(dataset, tried, settings.data.scale)
    with evaluating(model):
        outputs = model(rows).double().cpu().numpy()
    right = float(r2_rows(outputs, targets.double().cpu().numpy()).mean())
    is_trained = dataset.task == REGRESSION and (right > TRAINED_ABOVE or settings.is_frozen)
    if settings.data.scale != "auto":
        return settings.data.scale, "", is_trained
    if has_frozen_parameters(model) or settings.is_frozen or is_trained:
        text = f"R2 {right:.3f} on {len(rows):,} training rows as they are"
        return "none", f"scale: none, since the model comes trained or is used as it came ({text})", is_trained
    return (
        scaler.kind,
        f"scale: {scaler.kind}, since the model comes untrained; its targets are standardised too",
        False,
    )


@torch.no_grad()
def _fit_of(model: nn.Module, rows: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
    """Return the share of rows that are right, and the mean cross-entropy (infinite where it is not finite)."""
    with evaluating(model):
        logits = model(rows).double()
    loss = float(functional.cross_entropy(logits, targets))
    return float((logits.argmax(dim=1) == targets).double().mean()), loss if math.isfinite(loss) else math.inf


def note_on_redraw(model: nn.Module) -> str:
    """Return a note on trainable parameters that retraining cannot draw again; empty if there are none."""
    names = undrawn_parameters(model)
    if not names:
        return ""
    listing = ", ".join(map(repr, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f"retraining starts {listing} from the values that they came with: no reset_parameters of the model draws them again"


def redrawn_copies(model: nn.Module, count: int, seed: int) -> tuple[nn.Module, ...]:
    """Return copies of a model, the trainable parameters of each drawn again, so that no copy has seen the rows.

    Raises
    ------
    ConfigError
        Parameters that cannot be drawn again.
    """
    if names := undrawn_parameters(model):
        raise ConfigError(
            f"eval_on=folds trains a copy of the model for each fold from scratch, but no reset_parameters of the model draws "
            f"{names[0]!r} afresh. Give its module a reset_parameters, or use eval_on='held-out'."
        )
    copies = tuple(copy.deepcopy(model) for _ in range(count))
    for place, one in enumerate(copies):
        redraw(one, member_seed(seed, place))
    return copies
