"""A rank other than 0: the same work on the same data, but only its part of the candidates, and no output."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import cast

from mcprune.config.options import in_flat
from mcprune.config.schema import Config, make_config
from mcprune.distributed.evaluation import Ranks
from mcprune.session.build.dataset import load_dataset
from mcprune.session.build.planner import make_plan
from mcprune.session.checkpoints.content import Checkpoint
from mcprune.session.finish.search_time import with_search_time
from mcprune.session.interrupt import CODES, Interrupt
from mcprune.session.loop import make_search
from mcprune.session.ranks import share_plan
from mcprune.session.resume import restore_search
from mcprune.session.steering.controller import Controller
from mcprune.session.steering.replay import Replay
from mcprune.storage.checkpoint import unpacked


def run(ranks: Ranks, config: Config | None = None, controller: Controller | None = None) -> int:
    """Work with rank 0 until its search has ended in a mask; what comes after that is rank 0's alone.

    Parameters
    ----------
    ranks : Ranks
    config : Config, optional
        None for `mcprune resume`; where rank 0 resumes a run, its options are used.
    controller : Controller, optional
        As rank 0 has it.

    Returns
    -------
    int
        The exit code: 130 or 143 if the search was interrupted or terminated, on whatever rank.

    Raises
    ------
    McpruneError
        As on rank 0; RanksError where rank 0 is gone.
    """
    resumed = ranks.broadcast(None)
    checkpoint = None
    if resumed["options"] is not None:
        content = ranks.broadcast_bytes(b"")
        config = make_config(**in_flat(resumed["options"]))
        controller = Replay.of(resumed["steering"])
        checkpoint = cast(Checkpoint, unpacked(Path("the checkpoint of rank 0"), content)) if content else None
    assert config is not None
    began = time.monotonic()
    dataset = load_dataset(config)
    if checkpoint is None:
        plan = make_plan(config, dataset)
        share_plan(plan, config, ranks)
        config = with_search_time(config, plan, began, ranks)
        search = make_search(config, plan, began, controller)
    else:
        assert controller is not None
        where = Path("the folder of rank 0")
        search = restore_search(
            checkpoint, dataset, controller, where, is_forced=bool(resumed["is_forced"]), ranks=ranks
        )
    del dataset
    with Interrupt(signal.SIGINT, signal.SIGTERM) as interrupt:
        for _ in search.run(interrupt, began):
            pass
        search.harden()
    return CODES.get(interrupt.reason, 0)
