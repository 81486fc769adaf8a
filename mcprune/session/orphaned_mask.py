"""A run whose folder was taken away must not lose its mask: it is written beside."""

from __future__ import annotations

import json
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mcprune.errors import McpruneError
from mcprune.session.finalize import mask_content
from mcprune.storage.atomic import write_whole
from mcprune.storage.events import plain

if TYPE_CHECKING:
    from mcprune.session.search import Search


def rescued(search: Search, path: Path) -> str:
    """Write the mask of a search whose folder is gone beside it, or among the temporary files, and return where it is."""
    plan = search.plan
    if plan.ranks is not None and search.mask is None:  # the other ranks would have to harden with this one
        return "no mask was found yet"
    try:
        mask = search.harden()[0] if search.mask is None else search.mask
    except McpruneError as error:
        return f"no mask could be saved: {error}"
    content = mask_content(plan, mask, search.position(), search.final_gates)
    text = json.dumps(plain(content), indent=1) + "\n"
    for place in (path.parent, Path(tempfile.gettempdir())):
        file = place / f"{path.name}-mask-{uuid.uuid4().hex[:8]}.json"
        with suppress(OSError):
            write_whole(file, text.encode())
            return f"its mask behind block {search.blocks_done:,}, {int(mask.sum()):,} sites, is in {file}"
    return f"its mask behind block {search.blocks_done:,} keeps the sites {','.join(map(str, mask.nonzero()[0]))}"
