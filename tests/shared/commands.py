"""mcprune in processes of their own that begin at once: forks of a server that has imported everything, and has run nothing.

A process that starts Python, torch and the machine code again takes seconds of the processor. Tests of starting itself start such
processes: of imports, of the cache of machine code, of torchrun, of a clean environment. Signals, exit codes and outputs are here as there;
functions of `atexit` do not run.
"""

import functools
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver, reduction
from pathlib import Path
from typing import Self, TextIO

ROOT = Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context("forkserver")


@functools.cache
def _start_server() -> None:
    """Start the server, which finds mcprune and these modules from any folder."""
    CONTEXT.set_forkserver_preload(["commands_preload"])
    before = os.environ.get("PYTHONPATH")
    paths = [str(ROOT), str(Path(__file__).parent), *filter(None, [before])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class _Descriptor:
    """A file descriptor that a process gets as its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[object, ...]:
        return _detached, (reduction.DupFd(self.number),)


def _detached(descriptor: object) -> int:
    return descriptor.detach()


class Command:
    """A process, with what tests use of `subprocess.Popen`: its outputs are pipes of text.

    Parameters
    ----------
    *arguments : str
        Of the command line of mcprune.
    code : str, optional
        A program that is run instead, with the arguments in `sys.argv[1:]`.
    script : path, optional
        The file of such a program.
    cwd : path, optional
    env : mapping, optional
        What libraries read of it when they are loaded has no effect, but for the number of threads of OpenMP.
    """

    def __init__(
        self,
        *arguments: str,
        code: str | None = None,
        script: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        _start_server()
        pipes = [os.pipe(), os.pipe()]
        self.arguments = arguments
        where = os.getcwd() if cwd is None else str(cwd)
        outputs = [_Descriptor(end) for _, end in pipes]
        self._process = CONTEXT.Process(
            target=_run,
            args=(arguments, code, script, where, dict(os.environ if env is None else env), *outputs),
            daemon=True,
        )
        self._process.start()
        for _, end in pipes:
            os.close(end)
        self.stdout, self.stderr = (os.fdopen(end, encoding="utf-8") for end, _ in pipes)
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """See `Popen.poll`."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """See `Popen.wait`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(["mcprune", *self.arguments], timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """See `Popen.send_signal`."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """See `Popen.terminate`."""
        self._process.terminate()

    def kill(self) -> None:
        """See `Popen.kill`."""
        self._process.kill()

    def communicate(self, timeout: float = 600.0) -> tuple[str, str]:
        """See `Popen.communicate`; a process that does not end in time is killed."""
        timer = threading.Timer(timeout, self.kill)
        timer.start()
        try:
            with ThreadPoolExecutor(2) as readers:  # of both at once: a process waits for the reader of a full pipe
                texts = list(readers.map(_read, (self.stdout, self.stderr)))
            self._process.join()
        finally:
            timer.cancel()
            self.close()
        return texts[0], texts[1]

    def close(self) -> None:
        """Close the outputs."""
        self.stdout.close()
        self.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:  # nobody ends it any more
            self.kill()
        self._process.join()
        self.close()


def _read(stream: TextIO) -> str:
    return "" if stream.closed else stream.read()


def _run(
    arguments: tuple[str, ...],
    code: str | None,
    script: Path | None,
    cwd: str,
    env: dict[str, str],
    out: int,
    error: int,
) -> None:
    """Be the process."""
    for end, number in ((out, 1), (error, 2)):
        os.dup2(end, number)
        os.close(end)
    # The server's own may be files, which can be sought in.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", buffering=1, closefd=False) for number in (1, 2))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if "torch" in sys.modules and (threads := env.get("OMP_NUM_THREADS")):
        sys.modules["torch"].set_num_threads(int(threads))
    sys.argv = ["mcprune", *arguments]
    if script is not None:
        sys.path.insert(0, str(script.parent))
        code = script.read_text()
    if code is not None:
        exec(compile(code, str(script or "program"), "exec"), {"__name__": "__main__", "__file__": str(script)})
        return
    from mcprune.cli.main import main

    sys.exit(main(list(arguments)))
