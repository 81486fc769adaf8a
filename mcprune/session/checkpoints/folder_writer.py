"""A callback that writes a run into its folder; whatever ends the run early, a checkpoint is written first."""

from __future__ import annotations

import json
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

from mcprune.errors import FolderError, McpruneError, RanksError
from mcprune.methods.base import BlockInfo
from mcprune.session.checkpoints.writer import CheckpointWriter
from mcprune.session.finish.finalize import mask_content
from mcprune.session.search import Saver, Search
from mcprune.session.steering.callbacks import Callback, SearchView
from mcprune.storage.atomic import write_whole
from mcprune.storage.events import Event, RunDone, Stage, plain
from mcprune.storage.folder import RunFolder


class FolderWriter(Callback):
    """Writes the events and checkpoints of a run into its folder.

    Parameters
    ----------
    folder : RunFolder
    search : Search
    """

    def __init__(self, folder: RunFolder, search: Search) -> None:
        self.folder = folder
        self.search = search
        self.checkpoints = CheckpointWriter(folder, search.plan)
        search.saver = Saver(folder.path, lambda: self.checkpoints.save(search))

    def on_start(self, search: SearchView) -> None:
        """See `Callback.on_start`."""
        self.checkpoints.start(search.blocks_done)

    def on_block(self, search: SearchView, info: BlockInfo) -> None:
        """See `Callback.on_block`."""
        self.checkpoints.after_block(self.search)

    def on_event(self, event: Event) -> None:
        """See `Callback.on_event`."""
        if isinstance(event, Stage):
            return
        # A classifier that diverges in the first block writes nothing, and leaves an earlier run in place.
        if self.search.blocks_done or self.search.mask is not None:
            self.folder.start()
        self.folder.write_event(event)
        if isinstance(event, RunDone) and event.is_complete:
            self.folder.mark_finished()

    def on_end(self, error: BaseException | None) -> None:
        """See `Callback.on_end`."""
        if error is None:
            return
        if isinstance(error, FolderError):  # nothing more can be written; what is written stays, also with --force
            if self.search.blocks_done and not self.folder.path.exists():
                raise FolderError(f"{error} {save_orphaned_mask(self.search, self.folder.path)}") from None
            return
        with suppress(FolderError):
            self.checkpoints.save_at_error(self.search)
        if isinstance(error, McpruneError) and not isinstance(error, RanksError):  # after those the run can be resumed
            self.folder.restore_replaced()


def save_orphaned_mask(search: Search, path: Path) -> str:
    """Write the mask of a search whose folder was deleted beside it, or among the temporary files; return a sentence that says where."""
    if search.plan.ranks is not None and search.mask is None:  # hardening would need the other ranks
        return "there is no mask yet"
    try:
        mask = search.harden(plays=False)[0] if search.mask is None else search.mask
    except McpruneError as error:
        return f"No mask could be saved: {error}"
    content = mask_content(search.plan, mask, search.position(), search.final_gates)
    text = json.dumps(plain(content), indent=1) + "\n"
    for place in (path.parent, Path(tempfile.gettempdir())):
        file = place / f"{path.name}-mask-{uuid.uuid4().hex[:8]}.json"
        with suppress(OSError):
            write_whole(file, text.encode())
            return f"its mask after block {search.blocks_done:,}, {int(mask.sum()):,} sites, is in {file}"
    return f"its mask after block {search.blocks_done:,} keeps the sites {','.join(map(str, mask.nonzero()[0]))}"
