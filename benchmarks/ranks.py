"""Decisions a second of one chain on 1 and 2 ranks, here and on a simulated network, beside what the model of docs/scale.md says.

Blocks of decisions alone are timed, on an untrained classifier: what the ranks share out. The delay of a network is made by
netem in a network namespace where the machine has both, else by waiting before each message. The costs in the model are those of
one rank and of empty messages between two.

    python benchmarks/ranks.py --out benchmarks/results/ranks.json

Each rank takes one thread: on fewer free cores than ranks the figures say nothing of ranks (the model is told of the cores).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import parser, report, row  # isort: skip

DELAY = 1e-3  # seconds, one way
RATE = 125e6  # bytes a second
FULL = {"inputs": 256, "rows": 8_000, "hidden": [512], "evaluation_rows": 1024, "blocks": 16, "pings": 400}
QUICK = {"inputs": 128, "rows": 2_000, "hidden": [64], "evaluation_rows": 1024, "blocks": 4, "pings": 50}


def one_rank(job: dict[str, Any]) -> None:
    """Be a rank: time blocks of decisions, and messages of the usual size; rank 0 prints what it found."""
    import numpy as np

    from mcprune.config.schema import make_config
    from mcprune.config.sections.settings import RankSettings
    from mcprune.data.load import from_arrays
    from mcprune.distributed import evaluation as shared
    from mcprune.environment import use_threads
    from mcprune.methods.markov.lookahead import consumed
    from mcprune.session.build.markov import make_method
    from mcprune.session.build.planner import make_plan
    from mcprune.session.ranks import join_ranks, place_of, share_plan
    from mcprune.session.search import Search

    class Slow(shared.Ranks):
        """Waits as long as a network would take, before each message: a ring passes it on size - 1 times."""

        def gather(self, values: Any) -> Any:
            began = time.perf_counter()
            while time.perf_counter() - began < (self.size - 1) * (job["delay"] + 8 * values.size / RATE):
                time.sleep(0)
            return super().gather(values)

    draw = np.random.default_rng(0)
    x = draw.normal(size=(job["rows"], job["inputs"])).astype(np.float32)
    y = (x[:, :4].sum(axis=1) > 0).astype(int)
    config = make_config(
        data="arrays", keep=max(2, job["inputs"] // 8), hidden=tuple(job["hidden"]), search_hidden=tuple(job["hidden"]), threads=1,
        evaluator=job["evaluator"], evaluation_rows=job["evaluation_rows"], lookahead=64, keep_schedule="constant", eval_on="train",
    )  # fmt: skip
    place = place_of(os.environ)
    assert place is not None
    with join_ranks(place, {}, RankSettings("cpu", 300.0)) as ranks:
        if job["delay"]:
            ranks.__class__ = Slow
        plan = make_plan(config, from_arrays(x, y))
        share_plan(plan, config, ranks)
        use_threads(1)
        search = Search(plan, make_method(plan))
        batch = search.rows.batch(search.state.evaluation, job["evaluation_rows"])
        chain, state = search.method, search.state.method
        for _ in range(2):
            chain.step(state, batch, 1.0)  # compiles
        state.lookahead = chain.look_ahead()
        ranks.messages, ranks.seconds, decisions = 0, 0.0, 0
        began = time.perf_counter()
        for _ in range(job["blocks"]):
            decisions += chain.step(state, batch, 1.0)[1].proposals
        took = time.perf_counter() - began
        messages, waited = ranks.messages, ranks.seconds
        pings = []
        for _ in range(job["pings"]):
            began = time.perf_counter()
            ranks.gather(np.zeros(shared.LEAST))
            pings.append(time.perf_counter() - began)
        first, slope = state.lookahead.cost()
        if ranks.is_first:
            found = {
                "rate": decisions / took, "messages": messages / decisions, "waited": waited / took, "c0": first, "c1": slope,
                "acceptance": state.lookahead.acceptance, "ping": float(np.median(pings)), "evaluator": chain.evaluation.evaluator.name,
                "ahead": chain.lookahead.best(state.lookahead), "consumed": consumed(64, state.lookahead.acceptance),
            }  # fmt: skip
            print("FOUND " + json.dumps(found), flush=True)


def has_netem() -> bool:
    """Tell whether a delayed network can be made in a namespace."""
    if not (shutil.which("unshare") and shutil.which("tc") and shutil.which("ip")):
        return False
    script = "ip link set lo up && tc qdisc add dev lo root netem delay 1ms"
    return subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, check=False).returncode == 0


def measured(size: int, job: dict[str, Any], *, netem: bool) -> dict[str, Any]:
    """Begin the ranks of one measurement and return what rank 0 found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__).resolve()
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={size}",
        f"--master-port={port}",
        str(here),
    ]
    wanted = dict(job)
    if netem and job["delay"]:
        wanted["delay"] = 0.0
        script = f"ip link set lo up && tc qdisc add dev lo root netem delay {1e3 * job['delay']:g}ms rate {8 * RATE:.0f}bit && "
        command = ["unshare", "-n", "sh", "-c", script + 'exec "$@"', "sh", *command]
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RANKS_JOB": json.dumps(wanted),
        "PYTHONPATH": os.pathsep.join([str(here.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if "FOUND " in line]
    if done.returncode or not lines:
        raise SystemExit(f"{size} ranks failed:\n{done.stdout}\n{done.stderr[-3000:]}")
    out: dict[str, Any] = json.loads(lines[0].split("FOUND ", 1)[1])
    return out


def predicted(alone: dict[str, Any], size: int, ping: float, cores: int) -> float:
    """Return the decisions a second of `size` ranks, from the costs of one and of a message (docs/scale.md)."""
    from mcprune.methods.markov.lookahead import consumed

    speed = min(1.0, cores / size)  # of each rank
    sizes = [1, 2, 4, 8, 16, 32, 64]
    costs = []
    for ahead in sizes:
        alone_takes = ahead == 1 or size == 1
        judged = ahead if alone_takes else -(-ahead // size)
        seconds = (alone["c0"] + alone["c1"] * judged) / speed + (0.0 if alone_takes else ping)
        costs.append(consumed(ahead, alone["acceptance"]) / seconds)
    return max(costs)


def main() -> None:
    """Measure, and say what the model says."""
    if "RANKS_JOB" in os.environ:
        one_rank(json.loads(os.environ["RANKS_JOB"]))
        return
    options = parser(str(__doc__).splitlines()[0], with_plot=False).parse_args()
    from mcprune.environment import cores

    netem, base = has_netem(), QUICK if options.quick else FULL
    rows = []
    for evaluator in ("full",) if options.quick else ("full", "fused"):
        alone = measured(1, {**base, "delay": 0.0, "evaluator": evaluator}, netem=netem)
        about = {"c0_seconds": alone["c0"], "c1_seconds": alone["c1"], "acceptance": alone["acceptance"]}
        rows.append(
            row(
                f"{evaluator}, 1 rank",
                alone["rate"],
                "/s",
                None,
                "higher",
                predicted=predicted(alone, 1, 0.0, 1),
                **about,
            )
        )
        for delay in (0.0, DELAY):
            found = measured(2, {**base, "delay": delay, "evaluator": evaluator}, netem=netem)
            where = (
                "here" if not delay else f"{1e3 * delay:g} ms, {RATE / 1e6:g} MB/s by {'netem' if netem else 'waiting'}"
            )
            says = predicted(alone, 2, found["ping"], cores())
            rows.append(
                row(
                    f"{evaluator}, 2 ranks, {where}", found["rate"], "/s", None, "higher", f"the model: {says:,.4g}/s", predicted=says,
                    message_seconds=found["ping"], messages_per_decision=found["messages"], share_waited=found["waited"],
                )
            )  # fmt: skip
    report(
        rows,
        1,
        options.out,
        delay_by="netem" if netem else "waiting",
        case=base,
        quick=options.quick,
        load=os.getloadavg(),
    )


if __name__ == "__main__":
    main()
