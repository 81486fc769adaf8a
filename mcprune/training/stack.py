"""The classifiers of a search in training: one, or one for each fold, each on its own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mcprune.methods.base import TrainingHook
from mcprune.training.fit import fit
from mcprune.training.stacked_steps import StackedSteps, can_stack
from mcprune.training.trainer import Trainer, TrainerState
from mcprune.types import Float32Array, FloatArray


@dataclass
class StackState:
    """Classifiers in training; updated in place.

    Attributes
    ----------
    members : tuple of TrainerState
        All of them have made as many steps.
    """

    members: tuple[TrainerState, ...]

    @property
    def steps(self) -> int:
        """Steps that each classifier has made so far."""
        return self.members[0].steps


class ClassifierStack:
    """Trains several classifiers, each step on the rows of its own fold.

    Parameters
    ----------
    trainers : sequence of Trainer
        One for each classifier.
    """

    # Made again from the state, whose tensors become views of its own.
    recomputed = ("_stacked",)

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = tuple(trainers)
        self._can_stack = can_stack(self.trainers)
        self._stacked: tuple[StackState, StackedSteps] | None = None

    @property
    def step_rows(self) -> int:
        """Rows that a step of all classifiers reads."""
        return sum(trainer.batch_size for trainer in self.trainers)

    def init(self) -> StackState:
        """Return the state before the first step: the classifiers as they are."""
        return StackState(tuple(trainer.init() for trainer in self.trainers))

    def run(
        self,
        state: StackState,
        count: int,
        gates: Float32Array,
        weights: FloatArray,
        progress: float,
        hook: TrainingHook | None = None,
    ) -> None:
        """Make `count` steps with each classifier, in place, at once where they can be stacked; see `Trainer.run`."""
        if hook is None and self._can_stack:
            if self._stacked is None or self._stacked[0] is not state:
                self._stacked = state, StackedSteps(self.trainers, state.members)
            self._stacked[1].run(count, gates, weights, progress)
            return
        for trainer, member in zip(self.trainers, state.members, strict=True):
            trainer.run(member, count, gates, weights, progress, hook)

    def pretrain(self, epochs: int, weight_decay: float, should_stop: Callable[[], bool]) -> int:
        """Train each classifier with all sites kept, in place, and return the rows that went through backprop.

        Raises
        ------
        KeyboardInterrupt
            `should_stop` has become true: the user wants to end.
        """
        rows = 0
        for trainer in self.trainers:
            features, targets, weights = trainer.training_rows()
            fit(
                trainer.gated.model,
                features,
                targets,
                epochs=epochs,
                batch_size=trainer.batch_size,
                learning_rate=trainer.learning_rate,
                weight_decay=weight_decay,
                seed=trainer.seed,
                should_stop=should_stop,
                weights=weights,
                amp=trainer.amp,
                row_loss=trainer.row_loss,
            )
            rows += epochs * len(targets)
        return rows
