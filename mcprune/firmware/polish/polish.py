"""From a fixed-point network to a cheaper one within an exact budget."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcprune.data.prepare import Rows, Splits
from mcprune.firmware.classes import check_classes, check_names
from mcprune.firmware.counting.costs import Costs, costs
from mcprune.firmware.dead import remove_dead
from mcprune.firmware.network import FixedNetwork
from mcprune.firmware.network_files import save_network
from mcprune.firmware.polish.checkpoint import load_state, remove_checkpoints, save_state
from mcprune.firmware.polish.engine import digit_kernels as kernels
from mcprune.firmware.polish.engine.chain import MIXTURE, accuracy, mean_loss
from mcprune.firmware.polish.run import Polisher, PolishState, SolverCount, Steering
from mcprune.firmware.polish.settings import PolishSettings
from mcprune.objectives.named import make_objective
from mcprune.objectives.specs import PLAIN
from mcprune.types import FloatArray

SAVED_EVERY = 10.0  # seconds between checkpoints


class Standing(NamedTuple):
    """What a network costs and how good it is.

    Attributes
    ----------
    costs : Costs
    widths : tuple of int
        Inputs, units of each layer, outputs.
    loss : float
        Mean cross-entropy of the training rows.
    accuracies : dict of str to float
        By part: train, validation, test; only of parts that have rows.
    """

    costs: Costs
    widths: tuple[int, ...]
    loss: float
    accuracies: dict[str, float]


class MoveCount(NamedTuple):
    """Candidates of one move: drawn, evaluated, accepted; and the sum of the changes of the mean loss."""

    move: str
    proposed: int
    evaluated: int
    accepted: int
    gain: float


class Polished(NamedTuple):
    """What `polish` returns.

    Attributes
    ----------
    network : FixedNetwork
        Its cost in the unit of the budget is at most the budget.
    before, after : Standing
        Of the network that was given, without its dead units, and of the result.
    settings : PolishSettings
    evaluated : int
        Candidates.
    dropped, bits_moved : int
        Units and inputs that were dropped as a whole, and bits that went or came.
    moves : tuple of MoveCount
    seconds : float
        Of the processor, of this call.
    """

    network: FixedNetwork
    before: Standing
    after: Standing
    settings: PolishSettings
    evaluated: int
    dropped: int
    bits_moved: int
    moves: tuple[MoveCount, ...]
    seconds: float


def polish(
    network: FixedNetwork,
    splits: Splits,
    settings: PolishSettings,
    *,
    objective: str | Callable[..., object] = PLAIN,
    solver_count: SolverCount | None = None,
    folder: Path | None = None,
    on_block: Callable[[PolishState], None] | None = None,
    steer: Steering | None = None,
) -> Polished:
    """Lower the cost of a fixed-point network to a budget by a Markov chain over the signed digits of its weights.

    Every decision is by the true loss of the bit-exact network on the training rows. Of the networks within the budget that the blocks
    leave, the best on the validation rows is taken, on the training rows where there are none; it never costs more than the budget.

    Parameters
    ----------
    network : FixedNetwork
    splits : Splits
        Of the data that it was trained on.
    settings : PolishSettings
    objective : str or callable
        As ``--objective`` of a run.
    solver_count : callable, optional
        A solver's count: a budget in adders or luts then holds after its sharing of common parts.
    folder : Path, optional
        The network is written there; until it is done a checkpoint, with which the same call goes on after an interruption.
    on_block : callable, optional
        Called with the `PolishState` after each block.
    steer : callable, optional
        Asked before each block: the block starts from the `PolishState` that it returns. It may wait, and change the temperature or
        the number of blocks that are done.

    Raises
    ------
    McpruneError
        Data or a network that do not fit, or a budget that cannot be reached.
    """
    check_classes(splits)
    check_names(network.origin, splits)
    chosen = make_objective(objective, splits.labels, splits.names, is_weighted=splits.is_weighted)
    by_objective = None if chosen.name == PLAIN else chosen
    polisher = Polisher(splits.train, settings, splits.validation, by_objective, solver_count)
    started = time.process_time()
    state = polisher.start(network)
    before = standing(state.network, splits)
    digest = _digest(network, splits.train, chosen.name)
    if folder is not None:
        state = load_state(settings, digest, folder) or state
    saved = time.monotonic()
    for state in polisher.run(state, steer):  # noqa: B020 - the last state is the result
        if folder is not None and time.monotonic() - saved >= SAVED_EVERY:
            save_state(state, settings, digest, folder)
            saved = time.monotonic()
        if on_block is not None:
            on_block(state)
    best = state.best
    assert best is not None
    best = remove_dead(best)
    if folder is not None:
        save_network(best, folder)
        remove_checkpoints(folder)
    return Polished(
        best,
        before,
        standing(best, splits),
        settings,
        state.evaluated,
        state.dropped,
        state.bits_moved,
        move_counts(state.statistics),
        time.process_time() - started,
    )


def standing(network: FixedNetwork, splits: Splits) -> Standing:
    """Return what a network costs and how good it is."""
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    accuracies = {name: accuracy(network, rows) for name, rows in parts.items() if len(rows.targets)}
    return Standing(costs(network), network.widths, mean_loss(network, splits.train), accuracies)


def move_counts(statistics: FloatArray) -> tuple[MoveCount, ...]:
    """Return the counts of each move from the chain's table."""
    return tuple(
        MoveCount(
            name,
            int(row[kernels.PROPOSED]),
            int(row[kernels.EVALUATED]),
            int(row[kernels.ACCEPTED]),
            float(row[kernels.GAIN]),
        )
        for name, row in zip((*MIXTURE, "forced"), statistics, strict=True)
    )


def _digest(network: FixedNetwork, rows: Rows, objective: str) -> str:
    """Return a digest of what a chain starts from."""
    total = hashlib.sha256(objective.encode())
    for layer in network.layers:
        total.update(layer.weight.tobytes() + layer.bias.tobytes())
    for form in network.formats:
        total.update(form.bits.tobytes() + form.fraction.tobytes())
    total.update(np.ascontiguousarray(rows.features).tobytes() + rows.targets.tobytes())
    return total.hexdigest()
