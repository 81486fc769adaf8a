"""When a run is saved, and what a checkpoint holds besides the search: the options, the data's fingerprint, the machine."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from mcprune.config.files import recorded_options
from mcprune.config.parsing import interval
from mcprune.data.prepare import Prepared
from mcprune.environment import circumstances
from mcprune.session.build.plan import Plan
from mcprune.state import serialize
from mcprune.storage.folder import Mark, RunFolder

if TYPE_CHECKING:
    from mcprune.session.search import Search

# `auto`: so many seconds between two checkpoints, and at most this share of the time for writing them.
USUAL, SHARE = 30.0, 0.01
# A search that took less is repeated in no time: its end is not worth a checkpoint.
SHORT = 3.0


class Keeper:
    """Writes checkpoints of a search into its folder when they are due.

    Parameters
    ----------
    folder : RunFolder
    plan : Plan
    """

    def __init__(self, folder: RunFolder, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        every = plan.config.runtime.checkpoint_every
        self.unit, self.size = ("auto", USUAL) if every == "auto" else interval(every)
        self.mark = Mark()  # of the events when the search was last between two blocks, nothing told of the last one
        self._last = time.monotonic()
        self._last_epoch = 0.0
        self._cost = 0.0
        self._saved_blocks = -1
        self._about: dict[str, Any] | None = None

    def begin(self, blocks: int) -> None:
        """The search begins or goes on, so many blocks done."""
        self._last = time.monotonic()
        self._last_epoch = self.plan.epochs * blocks / self.plan.blocks
        self._saved_blocks = blocks

    def after_block(self, search: Search, *, is_asked: bool) -> None:
        """Save if it is due: in time, at the end of the search, or asked to; nothing of the block has been told yet.

        Raises
        ------
        FolderError
            The disk is full, or the folder is gone.
        """
        self.folder.start()
        self.mark = self.folder.mark
        passed = time.monotonic() - self._last
        epoch = self.plan.epochs * search.blocks_done / self.plan.blocks
        if self.unit == "epochs":
            is_due = epoch - self._last_epoch >= self.size - 1e-9
        else:
            is_due = passed >= (max(self.size, self._cost / SHARE) if self.unit == "auto" else self.size)
        at_end = search.is_over and (passed >= SHORT or self.unit != "auto")
        if is_due or at_end or is_asked:
            self.save(search, self.mark)

    def save(self, search: Search, mark: Mark | None = None) -> None:
        """Write a checkpoint; `mark` says which events it stands behind, by default all."""
        began = time.monotonic()
        if self._about is None:
            self._about = about(self.plan, search)
        steering = search.steering.save(search.blocks_done)
        self.folder.write_checkpoint(
            {**self._about, "search": search.save(), "steering": steering}, mark or self.folder.mark
        )
        self._last = time.monotonic()
        self._last_epoch = self.plan.epochs * search.blocks_done / self.plan.blocks
        self._saved_blocks = search.blocks_done
        self._cost = self._last - began

    def rescue(self, search: Search) -> None:
        """Save before an error or a reader that leaves ends the run, where the search stands between two blocks.

        Raises
        ------
        FolderError
            It cannot be written.
        """
        if search.is_between and search.blocks_done > self._saved_blocks and self.folder.has_started:
            search.take_back()
            self.save(search, self.mark)


def about(plan: Plan, search: Search) -> dict[str, Any]:
    """Return what a checkpoint says of its run: what stays the same."""
    config = plan.config
    held: dict[str, Any] = {
        "options": recorded_options(config.replace(out=None, force=False)),
        "evaluator": search.evaluator_name(),
        "machine": circumstances(config.runtime.threads or 1, plan.device.type),
        "data": fingerprint(plan.prepared),
        "is_users_model": plan.is_users_model,
        "spent_forwards": plan.spent_forwards,
        "training_ranks": plan.ranks.size
        if plan.ranks is not None and config.runtime.train_ranks == "shared"
        else None,
    }
    if plan.is_users_model:  # retraining begins from it
        model = plan.origin
        held["origin"] = {
            **serialize(model),
            "frozen": [name for name, value in model.named_parameters() if not value.requires_grad],
        }
    return held


def fingerprint(data: Prepared) -> str:
    """Return a CRC-32 over all parts of the prepared data: it finds other data by mistake, not by malice."""
    found = 0
    for part in ("train", "validation", "test"):
        for values in (getattr(data, f"x_{part}"), getattr(data, f"y_{part}")):
            found = zlib.crc32(f"{values.dtype} {values.shape}".encode(), found)
            found = zlib.crc32(np.ascontiguousarray(values).data.cast("B") if values.size else b"", found)
    return f"{found:08x}"
