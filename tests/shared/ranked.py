"""Processes of one run for tests: `together` begins them, and run as a script this is one of them."""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

from commands import Command

ROOT = Path(__file__).parents[2]
# Below those that systems give to whoever asks for any port: until the ranks listen, nobody else gets it. Each process starts elsewhere.
PORTS = (15_000 + (os.getpid() * 61 + number) % 15_000 for number in count())


def free_port():
    """Return a port on which nobody listens."""
    for port in PORTS:
        with suppress(OSError), socket.socket() as listening:
            listening.bind(("127.0.0.1", port))
            return port


def together(size, job, limit=560, script=__file__):
    """Begin `size` ranks of a job, each running the script on it; return (exit code, stdout, stderr) of each."""
    port = str(free_port())
    ranks = [
        Command(
            json.dumps(job),
            script=Path(script),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
                "OMP_NUM_THREADS": "1",
                "OMP_WAIT_POLICY": "PASSIVE",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "WORLD_SIZE": str(size),
                "RANK": str(rank),
            },
        )
        for rank in range(size)
    ]
    try:
        texts = [rank.communicate(timeout=limit) for rank in ranks]
        return [(rank.returncode, *both) for rank, both in zip(ranks, texts, strict=True)]
    finally:
        for rank in ranks:
            rank.kill()


def spoil(kind):
    """Let this rank do something else than the others."""
    import torch

    from mcprune.chain import moves
    from mcprune.chain.ranks import gates as ranks
    from mcprune.training.trainer import Trainer

    if kind == "seed":
        for module in (moves, ranks):  # gates by sign, gates by rank
            propose = module.propose
            module.propose = lambda *places, seed, propose=propose, **more: propose(*places, seed=seed + 1, **more)
    elif kind == "classifier":
        train = Trainer.run

        def run(self, *places, **more):
            train(self, *places, **more)
            with torch.no_grad():
                next(iter(self.gated.model.parameters()))[0, 0] += 1e-3

        Trainer.run = run
    elif kind == "signal":  # this rank alone is asked to end, in its fifth block
        train, calls = Trainer.run, []

        def signalled(self, *places, **more):
            train(self, *places, **more)
            calls.append(1)
            if len(calls) == 5:
                os.kill(os.getpid(), signal.SIGTERM)

        Trainer.run = signalled


def main(job):
    from mcprune.config.schema import make_config
    from mcprune.config.sections.settings import RankSettings
    from mcprune.errors import McpruneError
    from mcprune.session import worker
    from mcprune.session.interrupt import own_signals
    from mcprune.session.loop import run
    from mcprune.session.ranks import join_ranks, place_of

    place = place_of(os.environ)
    try:
        with (
            own_signals(),
            join_ranks(place, job.get("about", {}), RankSettings("cpu", job.get("timeout", 300.0))) as ranks,
        ):
            if place.rank == job.get("spoiled"):
                spoil(job["kind"])
            for options in job["runs"]:
                config = make_config(**options)
                if ranks.is_first:
                    reasons = [event.reason for event in run(config, ranks=ranks) if event.kind == "stopped"]
                    print(*reasons, flush=True)
                else:
                    print(worker.run(ranks, config), flush=True)
    except McpruneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
