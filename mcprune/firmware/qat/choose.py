"""The fixed-point networks of a front, and which of them is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcprune.data.prepare import Splits
from mcprune.errors import ConfigError, ModelError, NumericalError, brief
from mcprune.firmware.classes import check_classes
from mcprune.firmware.counting.costs import Costs, Unit, costs
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork, Origin
from mcprune.firmware.qat.convert import check_equal, to_fixed
from mcprune.firmware.qat.fit import Snapshot, Training, train_rounded
from mcprune.types import AnyArray, FloatArray, IntArray

WORSE = 3.0  # times the loss of equal probabilities: a training whose best network is worse has diverged


class Choice(NamedTuple):
    """A network of the front.

    Attributes
    ----------
    network : FixedNetwork
        Without dead units and inputs.
    costs : Costs
    loss, error, accuracy : float
        Cross-entropy of the validation rows, its standard error, and the share of right classes.
    epoch : int
    """

    network: FixedNetwork
    costs: Costs
    loss: float
    error: float
    accuracy: float
    epoch: int


def train_choices(splits: Splits, settings: Training) -> list[Choice]:
    """Train for all sizes on the training rows, and return the networks that no other one beats on the validation rows.

    Raises
    ------
    ConfigError
        Settings out of their ranges, no validation rows, rows with weights, or targets that are numbers.
    NumericalError
        The training diverged.
    """
    check_classes(splits)
    if splits.is_weighted:
        raise ConfigError("Training with rounding does not weigh rows. Leave the weights out.")
    if not len(splits.validation.targets):
        raise ConfigError("There are no validation rows to choose a network by. Choose validation=0.15 or the like.")
    width = splits.n_inputs
    origin = Origin(np.arange(width), width, splits.names, splits.labels, splits.scaler)
    train, validation = ((rows.features, rows.targets) for rows in (splits.train, splits.validation))
    choices = make_choices(train_rounded(train, validation, settings, classes=splits.n_classes), origin, validation)
    least, even = min(one.loss for one in choices), float(np.log(splits.n_classes))
    if least > WORSE * even:
        raise NumericalError(
            f"The training diverged: the least validation loss of its networks is {least:.4g}, where equal probabilities of the "
            f"{splits.n_classes} classes have {even:.4g}. Choose a lower learning rate."
        )
    return choices


def make_choices(front: Sequence[Snapshot], origin: Origin, validation: tuple[AnyArray, IntArray]) -> list[Choice]:
    """Return the networks of a front, compared with the trained ones on the validation rows.

    Parameters
    ----------
    front : sequence of Snapshot
    origin : Origin
        Of the inputs and classes.
    validation : (features, targets)
        Scaled rows of all inputs, and their classes.
    """
    choices = []
    features, targets = validation
    for snapshot in front:
        try:
            whole = to_fixed(snapshot.model, origin)
        except ModelError as error:
            cause = brief(error).partition(". ")[0]
            raise NumericalError(
                f"The training diverged: numbers of its network of epoch {snapshot.epoch} are too large ({cause}). Choose a lower "
                "learning rate."
            ) from None
        check_equal(snapshot.model, whole, features)
        network = remove_dead(whole)
        losses, is_right = row_losses(network, features, targets)
        choices.append(
            Choice(
                network,
                costs(network),
                float(losses.mean()),
                float(losses.std(ddof=1) / np.sqrt(len(losses))),
                float(is_right.mean()),
                snapshot.epoch,
            )
        )
    return choices


def row_losses(network: FixedNetwork, features: AnyArray, targets: IntArray) -> tuple[FloatArray, AnyArray]:
    """Return the cross-entropy of each row, and whether its class is right, for scaled rows of all columns."""
    logits = network.forward(network.quantize_inputs(features)) * network.logit_scale
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]
    return losses, logits.argmax(axis=1) == targets


def choose(choices: Sequence[Choice], unit: Unit = "digits", budget: int | None = None) -> Choice:
    """Return the network with the least loss within a budget.

    Parameters
    ----------
    choices : sequence of Choice
    unit : str
        Of the budget.
    budget : int, optional
        Without one, the cheapest network whose loss is within one standard error of the least.

    Raises
    ------
    ConfigError
        No network is within the budget.
    """
    if budget is not None:
        within = [one for one in choices if one.costs.of(unit) <= budget]
        if not within:
            least = min(one.costs.of(unit) for one in choices)
            raise ConfigError(
                f"A budget of {budget:,} {unit} was asked for, but the smallest network of the training has {least:,}. Choose a larger "
                "budget, more epochs or a larger last penalty."
            )
        return min(within, key=lambda one: one.loss)
    best = min(choices, key=lambda one: one.loss)
    return min((one for one in choices if one.loss <= best.loss + best.error), key=lambda one: one.costs.of(unit))
