"""Run configurations to their end, with as many processes as they ask for, or in a child that is killed on the way.

Run as a script, this is one of several ranks, or the server that starts the children.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))  # as pytest does

from configurations import CONFIGURATIONS
from digest import is_progress, resume_here, run_here, run_rank
from ranked import ROOT, together


def run_whole(name: str, folder: Path) -> None:
    """Run a configuration to its end."""
    if CONFIGURATIONS[name].ranks == 1:
        run_here(CONFIGURATIONS[name], folder, lambda kind, data: None)
    else:
        run_ranks(name, folder)


def resume_whole(name: str, folder: Path) -> None:
    """Continue a run that was killed to its end, with as many processes as before."""
    if CONFIGURATIONS[name].ranks == 1:
        resume_here(CONFIGURATIONS[name], folder)
    else:
        run_ranks(name, folder, resumes=True)


def run_ranks(name: str, folder: Path, *, kill_at: int = 0, resumes: bool = False) -> list[int]:
    """Run a configuration of several processes, or continue it; return their exit codes.

    Parameters
    ----------
    name : str
    folder : Path
    kill_at : int
        Events of progress after which rank 0 is killed; 0 lets all come to the end.
    resumes : bool
        Continue the run in the folder.
    """
    job = {"does": "rank", "name": name, "folder": str(folder), "kill_at": kill_at, "resumes": resumes}
    ends = together(CONFIGURATIONS[name].ranks, job, script=__file__)
    assert kill_at or all(end[0] == 0 for end in ends), ends
    return [end[0] for end in ends]


class Killer:
    """Hears events, and kills its own process when so many of them were progress; 0 never does."""

    def __init__(self, events: int) -> None:
        self.left = events

    def __call__(self, kind: str, data: Mapping[str, Any]) -> None:
        """Hear an event."""
        self.left -= is_progress(kind)
        if is_progress(kind) and self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Children:
    """Starts children that run and are killed: forks of one server, which has imported everything and has run nothing."""

    def __enter__(self) -> "Children":
        """Start the server."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self.server = subprocess.Popen(
            [sys.executable, __file__, json.dumps({"does": "serve"})],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        with suppress(BrokenPipeError):  # it has ended before
            self.server.stdin.close()
        self.server.wait(300)
        self.server.stdout.close()

    def killed(self, name: str, folder: Path, events: int) -> int:
        """Run a configuration in a child until so many events of progress; return its exit code, -9 if it was killed."""
        if self.server.poll() is not None:
            raise RuntimeError(f"the server of the children has ended: exit code {self.server.returncode}")
        print(json.dumps({"name": name, "folder": str(folder), "events": events}), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


def serve() -> None:
    """Fork a child for each line of standard input, and print its exit code."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                job = json.loads(line)
                run_here(CONFIGURATIONS[job["name"]], Path(job["folder"]), Killer(job["events"]))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)  # it came to its end first
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    if job["does"] == "serve":
        serve()
    else:
        run_rank(CONFIGURATIONS[job["name"]], Path(job["folder"]), Killer(job["kill_at"]), resumes=job["resumes"])
