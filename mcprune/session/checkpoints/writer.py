"""Write checkpoints of a run when they are due."""

from __future__ import annotations

import time

from mcprune.config.files import recorded_options
from mcprune.config.parsing import interval
from mcprune.data.fingerprint import fingerprint
from mcprune.environment import describe_machine
from mcprune.session.build.plan import Plan
from mcprune.session.checkpoints.content import RunFacts
from mcprune.session.search_status import SearchStatus
from mcprune.state import serialize
from mcprune.storage.folder import Mark, RunFolder

# `auto`: seconds between two checkpoints, and the largest share of the time for writing them.
USUAL, SHARE = 30.0, 0.01
# Seconds: a shorter search is repeated quickly, so that no checkpoint is written at its end.
SHORT = 3.0


class CheckpointTimes:
    """When checkpoints of a search are due.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        every = plan.runtime.checkpoint_every
        self.unit, self.size = ("auto", USUAL) if every == "auto" else interval(every)
        self.start(0)
        self._cost = 0.0

    def start(self, blocks: int) -> None:
        """Begin to measure the time to the next checkpoint: the search starts, or continues, after `blocks` blocks."""
        self._last = time.monotonic()
        self._last_epoch = self._epoch(blocks)

    def is_due(self, search: SearchStatus) -> bool:
        """Whether a checkpoint is to be written after the last block: by time, at the end of the search, or before it stops."""
        passed = time.monotonic() - self._last
        if self.unit == "epochs":
            is_due = self._epoch(search.blocks_done) - self._last_epoch >= self.size - 1e-9
        else:
            is_due = passed >= (max(self.size, self._cost / SHARE) if self.unit == "auto" else self.size)
        at_end = search.is_over and (passed >= SHORT or self.unit != "auto")
        return is_due or at_end or search.is_stopping

    def written(self, search: SearchStatus, began: float) -> None:
        """Note that a checkpoint has been written, whose writing began at a time by time.monotonic."""
        self.start(search.blocks_done)
        self._cost = self._last - began

    def _epoch(self, blocks: int) -> float:
        return self.plan.train.epochs * blocks / self.plan.train.blocks


class CheckpointWriter:
    """Writes checkpoints of a search into its folder when they are due.

    Parameters
    ----------
    folder : RunFolder
    plan : Plan
    """

    def __init__(self, folder: RunFolder, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.times = CheckpointTimes(plan)
        self.mark = Mark()  # before the events of the last block
        self._saved_blocks = -1
        self._facts: RunFacts | None = None

    def start(self, blocks: int) -> None:
        """Begin to measure the time to the next checkpoint: the search starts, or continues, after `blocks` blocks."""
        self.times.start(blocks)
        self._saved_blocks = blocks

    def after_block(self, search: SearchStatus) -> None:
        """Write a checkpoint if it is due. The events of the block follow.

        Raises
        ------
        FolderError
            The disk is full, or the folder is gone.
        """
        self.folder.start()
        self.mark = self.folder.mark
        if self.times.is_due(search):
            self.save(search, self.mark)

    def save(self, search: SearchStatus, mark: Mark | None = None) -> None:
        """Write a checkpoint that belongs to the events up to `mark`, by default all."""
        began = time.monotonic()
        if self._facts is None:
            self._facts = run_facts(self.plan, search.evaluator_name)
        pending = search.controller.pending(search.blocks_done)
        content = {**self._facts, "search": search.save(), "steering": pending}
        self.folder.write_checkpoint(content, self.folder.mark if mark is None else mark)
        self.times.written(search, began)
        self._saved_blocks = search.blocks_done

    def save_at_error(self, search: SearchStatus) -> None:
        """Write a checkpoint where an error, or a reader that leaves the loop, ends the run between two blocks.

        Raises
        ------
        FolderError
            It cannot be written.
        """
        if search.is_between and search.blocks_done > self._saved_blocks and self.folder.has_started:
            search.discard_report()
            self.save(search, self.mark)


def run_facts(plan: Plan, evaluator: str | None) -> RunFacts:
    """Return what a checkpoint states of its run, whose candidates are evaluated by the evaluator of this name."""
    config = plan.config
    facts: RunFacts = {
        "options": recorded_options(config.replace(out=None, force=False)),
        "evaluator": evaluator,
        "machine": describe_machine(plan.runtime.threads, plan.device.type),
        "data": fingerprint(plan.splits),
        "is_users_model": plan.is_users_model,
        "spent_forwards": plan.spent_forwards,
        "training_ranks": plan.ranks.size if plan.ranks is not None and plan.runtime.train_ranks == "shared" else None,
    }
    if plan.is_users_model:  # retraining begins from it
        frozen = [name for name, value in plan.origin.named_parameters() if not value.requires_grad]
        model = serialize(plan.origin)
        facts["origin"] = {"parameters": model["parameters"], "buffers": model["buffers"], "frozen": frozen}
    return facts
